"""WFDB (PhysioNet) records: a text header and the signal files it names, as in PTB-XL, MIMIC-IV."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from ecg_spark.ecg.formats.leads import StoredLead, add_lead, check_extent, make_recording
from ecg_spark.ecg.recording import Reason, Recording, RecordingError

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_RECORD = re.compile(
    r"(?P<name>[A-Za-z0-9_.-]+)(?P<segments>/\d+)?\s+(?P<signals>\d{1,6})"
    rf"(?:\s+(?P<rate>{_NUMBER})(?:/\S*)?(?:\s+(?P<samples>\d{{1,18}})"
    r"(?:\s+(?P<time>[\d:.]+)(?:\s+(?P<date>\d+/\d+/\d+))?)?)?)?\s*"
)
_SIGNAL = re.compile(
    r"(?P<file>\S+)\s+(?P<format>\d{1,5})(?:x(?P<per_frame>\d+))?(?::(?P<skew>\d+))?"
    rf"(?:\+(?P<offset>\d{{1,18}}))?(?:\s+(?P<gain>{_NUMBER})(?:\((?P<baseline>[+-]?\d{{1,9}})\))?"
    r"(?:/(?P<units>\S+))?(?:\s+(?P<resolution>\d+)(?:\s+(?P<zero>[+-]?\d{1,9})"
    r"(?:\s+(?P<first>[+-]?\d+)(?:\s+(?P<checksum>[+-]?\d+)(?:\s+(?P<block>\d+)"
    r"(?:\s+(?P<name>.*))?)?)?)?)?)?)?\s*"
)
_MAX_LINE = 1000
_DEFAULT_RATE_HZ = 250.0
_DEFAULT_GAIN = 200.0
_MICROVOLTS = {"v": 1e6, "mv": 1e3, "uv": 1.0, "µv": 1.0, "nv": 1e-3}
_MISSING = {16: -32768, 61: -32768, 80: -128, 160: -32768, 212: -2048}
"""The formats that are read, with the value that marks a missing sample."""


@dataclass(frozen=True)
class _Signal:
    """One line of the header: where a lead's samples are and what they mean."""

    file: str
    format: int
    byte_offset: int
    unit_microvolts: float | None
    baseline: int
    checksum: int | None
    name: str


def is_wfdb_header(data: bytes) -> bool:
    """Say whether `data` looks like a WFDB header: text whose first line describes a record."""
    lines = _lines(data[: 64 * _MAX_LINE])
    return bool(lines) and _RECORD.fullmatch(lines[0]) is not None


def read_wfdb(header: bytes, load: Callable[[str], bytes | None]) -> Recording:
    """Return the record that `header` describes.

    `load` returns the content of a signal file by its name (None where there is none); it is
    only asked for plain names, since a header that names another folder is refused as unsafe.
    Formats 16, 61, 80, 160 and 212. Checksums are compared where given. Raises `RecordingError`.
    """
    lines = _lines(header)
    record = _RECORD.fullmatch(lines[0]) if lines else None
    if record is None:
        raise RecordingError(Reason.MALFORMED, "not a WFDB header")
    if record["segments"]:
        raise RecordingError(Reason.UNKNOWN_FORMAT, "multi-segment WFDB records are not read")
    rate = float(record["rate"] or _DEFAULT_RATE_HZ)
    n_signals = int(record["signals"])
    n_samples = int(record["samples"] or 0) or None
    if n_samples is not None:
        check_extent(rate, n_samples)
    if len(lines) - 1 < n_signals:
        raise RecordingError(Reason.MALFORMED, "the header has fewer lines than signals")
    signals = [_signal(line) for line in lines[1 : n_signals + 1]]
    leads: dict[str, StoredLead] = {}
    for file in dict.fromkeys(signal.file for signal in signals):
        inside = [signal for signal in signals if signal.file == file]
        content = load(file)
        if content is None:
            raise RecordingError(Reason.MALFORMED, "a signal file of the header is missing")
        samples = _decode(content, inside, n_samples, rate)
        for signal, row in zip(inside, samples, strict=True):
            _add(leads, signal, row)
    return make_recording(leads, rate, "wfdb", acquired_at=_moment(record["time"], record["date"]))


def _lines(data: bytes) -> list[str]:
    """Return the header's lines without comments; none where the data is no text."""
    if b"\0" in data:
        return []
    stripped = (line.strip() for line in data.decode("latin-1").splitlines())
    lines = [line for line in stripped if line and not line.startswith("#")]
    return [] if any(len(line) > _MAX_LINE for line in lines) else lines


def _signal(line: str) -> _Signal:
    match = _SIGNAL.fullmatch(line)
    if match is None:
        raise RecordingError(Reason.MALFORMED, "a signal line of the header cannot be read")
    file = match["file"]
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", file):
        raise RecordingError(Reason.UNSAFE, "the header names a file outside of its folder")
    if int(match["format"]) not in _MISSING:
        raise RecordingError(Reason.UNKNOWN_FORMAT, f"WFDB format {match['format']} is not read")
    if int(match["per_frame"] or 1) != 1 or int(match["skew"] or 0) != 0:
        raise RecordingError(Reason.UNKNOWN_FORMAT, "WFDB frames or skews are not read")
    gain = float(match["gain"] or 0.0) or _DEFAULT_GAIN
    volts = _MICROVOLTS.get((match["units"] or "mV").lower())
    baseline = match["baseline"] if match["baseline"] is not None else match["zero"]
    return _Signal(
        file=file,
        format=int(match["format"]),
        byte_offset=int(match["offset"] or 0),
        unit_microvolts=None if volts is None else volts / gain,
        baseline=int(baseline or 0),
        checksum=None if match["checksum"] is None else int(match["checksum"]),
        name=match["name"] or "",
    )


def _decode(
    content: bytes, signals: list[_Signal], n_samples: int | None, rate: float
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


def _add(leads: dict[str, StoredLead], signal: _Signal, digital: NDArray[np.int64]) -> None:
    if signal.checksum and (int(digital.sum()) - signal.checksum) % (1 << 16):
        raise RecordingError(Reason.CHECKSUM_MISMATCH, "a signal differs from its checksum")
    present = len(leads)
    unit = signal.unit_microvolts
    add_lead(leads, signal.name, StoredLead(digital - signal.baseline, unit or 0.0))
    if len(leads) > present:
        if unit is None:
            raise RecordingError(Reason.MALFORMED, "a lead's unit is not a voltage")
        if (digital == _MISSING[signal.format]).any():
            raise RecordingError(Reason.NOT_FINITE, "a sample is marked as missing")


def _moment(time: str | None, date: str | None) -> datetime | None:
    if time is None or date is None:
        return None
    try:
        return datetime.strptime(f"{date} {time.split('.')[0]}", "%d/%m/%Y %H:%M:%S")
    except ValueError:
        return None
