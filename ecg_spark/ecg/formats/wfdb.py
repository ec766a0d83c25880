"""WFDB (PhysioNet) records: a text header and the signal files it names, as in PTB-XL, MIMIC-IV.

The common storage formats are decoded here, where speed matters most; the others, frames, skews and
records of several segments are left to the package wfdb.
"""

import re

import numpy as np
from numpy.typing import NDArray

from ecg_spark.ecg.formats import wfdb_package
from ecg_spark.ecg.formats.leads import (
    StoredLead,
    add_lead,
    check_extent,
    lead_name,
    make_recording,
)
from ecg_spark.ecg.formats.parts import noted_time
from ecg_spark.ecg.formats.times import read_moment
from ecg_spark.ecg.formats.wfdb_header import MISSING, Header, Load, Signal, parse, plain_text
from ecg_spark.ecg.recording import Note, Reason, Recording, RecordingError


def read_wfdb(data: bytes, load: Load) -> Recording:
    """Return the record that a header describes.

    Checksums are compared if there are any. A time that can be read in two ways is missing, with a
    note.

    Args:
        data: the content of the header.
        load: returns the content of a file in the header's folder. It is only called with plain
            names: a header that names another folder is refused as unsafe.

    Raises:
        RecordingError: `unsafe`; `checksum_mismatch`; otherwise the header is malformed or the
            record cannot be used.
    """
    header = parse(data)
    if header.n_samples:
        check_extent(header.rate_hz, header.n_samples)
    leads = _leads(header, load) if header.n_segments is None else _segments(header, load)
    # Two numbers are minutes and seconds to WFDB's own programs, hours and minutes to people.
    is_unsure = re.search(r"(?:^|\s)\d+:\d+(?:\s|$)", header.start) is not None
    notes = [Note.TIME_UNREADABLE] if is_unsure else []
    acquired_at = (
        None
        if is_unsure
        else noted_time(read_moment(header.start, day_first=True), header.start, notes)
    )
    return make_recording(
        leads,
        header.rate_hz,
        "wfdb",
        acquired_at=acquired_at,
        notes=notes,
    )


def _leads(header: Header, load: Load) -> dict[str, StoredLead]:
    """Return the leads of a record of one segment."""
    signals = header.signals()
    if not all(signal.is_even and signal.format in MISSING for signal in signals):
        if not header.n_samples:
            raise RecordingError(Reason.MALFORMED, "the header does not state the record's length")
        files = {signal.file: _loaded(load, signal.file) for signal in signals}
        lines = header.lines[: header.n_signals]
        files[f"{wfdb_package.RECORD}.hea"] = _written(wfdb_package.RECORD, header, lines)
        leads = wfdb_package.read(files, _steps(signals))
        _compare_checksums(leads, signals)
        return leads
    leads = {}
    for file in dict.fromkeys(signal.file for signal in signals):
        inside = [signal for signal in signals if signal.file == file]
        if not any(lead_name(signal.name) for signal in inside):
            continue  # Frank leads, respiration: their file is not needed
        samples = _decode(_loaded(load, file), inside, header.n_samples or None, header.rate_hz)
        for signal, row in zip(inside, samples, strict=True):
            _add(leads, signal, row)
    return leads


def _segments(header: Header, load: Load) -> dict[str, StoredLead]:
    """Return the leads of a record of several segments, joined by the package wfdb."""
    if not header.n_samples:
        raise RecordingError(Reason.MALFORMED, "a record of several segments without a length")
    files: dict[str, bytes] = {}
    signals: list[Signal] = []
    for name in header.segments():
        inner = parse(_loaded(load, f"{name}.hea"))
        if inner.n_segments is not None or inner.name != name:
            raise RecordingError(Reason.MALFORMED, "a segment's header cannot be read")
        if (inner.n_samples or 0) > header.n_samples:
            raise RecordingError(Reason.MALFORMED, "a segment is longer than the record")
        if inner.n_samples != 0:  # the layout of the others names no file
            signals += inner.signals()
        files[f"{name}.hea"] = _written(name, inner, inner.lines[: inner.n_signals])
    files |= {file: _loaded(load, file) for file in {signal.file for signal in signals}}
    name = f"{wfdb_package.RECORD}/{header.n_segments}"
    files[f"{wfdb_package.RECORD}.hea"] = _written(
        name, header, header.lines[: header.n_segments or 0]
    )
    return wfdb_package.read(files, _steps(signals))


def _written(name: str, header: Header, lines: list[str]) -> bytes:
    """Return a header for the package wfdb, without a time: wfdb would read it in its own way."""
    length = "" if header.n_samples is None else f" {header.n_samples}"
    return plain_text([f"{name} {header.n_signals} {header.rate_hz}{length}", *lines])


def _steps(signals: list[Signal]) -> dict[str, float]:
    """Return the finest unit of each lead in µV."""
    steps: dict[str, float] = {}
    for signal in signals:
        name, unit = lead_name(signal.name), signal.unit_microvolts
        if name is not None and unit is not None and unit > 0:
            steps[name] = min(unit, steps.get(name, unit))
    return steps


def _compare_checksums(leads: dict[str, StoredLead], signals: list[Signal]) -> None:
    """Compare the checksums of leads that are stored as they are: no frames and no skew."""
    for signal in signals:
        lead = leads.get(lead_name(signal.name) or "")
        if lead is not None and signal.checksum and signal.is_even:
            n_missing = 0 if lead.missing is None else int(lead.missing.sum())
            mark = (MISSING | wfdb_package.MISSING).get(signal.format)
            if n_missing and mark is None:
                continue
            total = int(lead.samples.sum()) + signal.baseline * (lead.samples.size - n_missing)
            _compare(total + n_missing * (mark or 0), signal)


def _compare(total: int, signal: Signal) -> None:
    if (total - (signal.checksum or 0)) % (1 << 16):
        raise RecordingError(Reason.CHECKSUM_MISMATCH, "a signal differs from its checksum")


def _loaded(load: Load, name: str) -> bytes:
    content = load(name)
    if content is None:
        raise RecordingError(Reason.MALFORMED, "a file that the header names is missing")
    return content


def _decode(
    content: bytes, signals: list[Signal], n_samples: int | None, rate: float
) -> NDArray[np.int64]:
    """Return the digital values of the signals interleaved in one file, shape [signals, n]."""
    layouts = {(signal.format, signal.byte_offset) for signal in signals}
    if len(layouts) != 1:
        raise RecordingError(Reason.MALFORMED, "the signals of one file differ in format")
    fmt, offset = layouts.pop()
    body = memoryview(content)[offset:]
    bits = {80: 8, 212: 12}.get(fmt, 16)
    stored = len(body) * 8 // bits // len(signals)
    n = n_samples if n_samples is not None else stored
    check_extent(rate, n)
    if stored < n:
        raise RecordingError(Reason.MALFORMED, f"a signal file holds {stored} samples, not {n}")
    total = n * len(signals)
    if fmt == 212:
        values = _decode_212(body, total)
    elif fmt in (80, 160):
        kind, middle = (np.uint8, 1 << 7) if fmt == 80 else (np.dtype("<u2"), 1 << 15)
        values = np.frombuffer(body, kind, total).astype(np.int64) - middle
    else:
        values = np.frombuffer(body, "<i2" if fmt == 16 else ">i2", total).astype(np.int64)
    return values.reshape(n, len(signals)).T


def _decode_212(body: memoryview, total: int) -> NDArray[np.int64]:
    """Return `total` 12-bit values: every three bytes hold two of them."""
    used = (total * 3 + 1) // 2
    packed = np.zeros((total + 1) // 2 * 3, dtype=np.int64)
    packed[:used] = np.frombuffer(body, np.uint8, used)
    low, middle, high = packed.reshape(-1, 3).T
    pairs = np.stack([(middle & 0x0F) << 8 | low, (middle >> 4) << 8 | high], axis=1)
    values = pairs.reshape(-1)[:total]
    return np.where(values >= 1 << 11, values - (1 << 12), values)


def _add(leads: dict[str, StoredLead], signal: Signal, digital: NDArray[np.int64]) -> None:
    if lead_name(signal.name) is None:
        return
    if signal.checksum:
        _compare(int(digital.sum()), signal)
    if signal.unit_microvolts is None:
        raise RecordingError(Reason.MALFORMED, "a lead's unit is not a voltage")
    missing = digital == MISSING[signal.format]
    samples = np.where(missing, 0, digital - signal.baseline)
    add_lead(leads, signal.name, StoredLead(samples, signal.unit_microvolts, missing))
