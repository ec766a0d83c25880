"""WFDB (PhysioNet) records: a text header and the signal files it names, as in PTB-XL, MIMIC-IV.

The common storage formats are decoded here, where speed decides; the others, frames, skews and
records of several segments by the package wfdb.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

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
from ecg_spark.ecg.recording import Reason, Recording, RecordingError

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_RECORD = re.compile(
    r"(?P<name>[A-Za-z0-9_.-]+)(?:/(?P<segments>\d{1,6}))?\s+(?P<signals>\d{1,6})"
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
COMPANION_SUFFIXES = (".hea", ".dat", ".mat")
"""What the files of one record end with; those that share what is before it belong together."""

_MAX_LINE = 1000
_DEFAULT_RATE_HZ = 250.0
_DEFAULT_GAIN = 200.0
_MISSING = {16: -32768, 61: -32768, 80: -128, 160: -32768, 212: -2048}
"""The formats that are decoded here, with the value that marks a missing sample."""

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_SEGMENT = re.compile(r"(?P<name>\S+)\s+(?P<samples>\d{1,18})\s*")
_MAX_SEGMENTS, _MAX_PER_FRAME, _MAX_SKEW = 1000, 100, 10_000


@dataclass(frozen=True)
class _Signal:
    """One line of the header: where a lead's samples are and what they mean."""

    file: str
    format: int
    byte_offset: int
    is_even: bool  # one sample a frame, no skew
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

    `load` returns the content of a file by its name (None where there is none); it is only asked
    for plain names, since a header that names another folder is refused as unsafe. Checksums are
    compared where given. Raises `RecordingError`.
    """
    lines = _lines(header)
    record = _RECORD.fullmatch(lines[0]) if lines else None
    if record is None:
        raise RecordingError(Reason.MALFORMED, "not a WFDB header")
    rate = float(record["rate"] or _DEFAULT_RATE_HZ)
    acquired_at = _moment(record["time"], record["date"])
    n_samples = int(record["samples"] or 0) or None
    if n_samples is not None:
        check_extent(rate, n_samples)
    if record["segments"] is not None:
        leads = _segments(lines, record, load)
        return make_recording(leads, rate, "wfdb", acquired_at=acquired_at)
    signals = _signals(lines, int(record["signals"]))
    if not all(signal.is_even and signal.format in _MISSING for signal in signals):
        files = {signal.file: _loaded(load, signal.file) for signal in signals}
        files[f"{wfdb_package.RECORD}.hea"] = _plain_header(lines, record, n_samples)
        leads = wfdb_package.read(files, _steps(signals))
        _compare_checksums(leads, signals)
        return make_recording(leads, rate, "wfdb", acquired_at=acquired_at)
    leads = {}
    for file in dict.fromkeys(signal.file for signal in signals):
        inside = [signal for signal in signals if signal.file == file]
        samples = _decode(_loaded(load, file), inside, n_samples, rate)
        for signal, row in zip(inside, samples, strict=True):
            _add(leads, signal, row)
    return make_recording(leads, rate, "wfdb", acquired_at=acquired_at)


def companion_names(header: bytes) -> list[str]:
    """Return the signal files that a header of one segment names; `RecordingError` as `read_wfdb`.

    A header of several segments names none.
    """
    lines = _lines(header)
    record = _RECORD.fullmatch(lines[0]) if lines else None
    if record is None:
        raise RecordingError(Reason.MALFORMED, "not a WFDB header")
    if record["segments"] is not None:
        return []
    signals = _signals(lines, int(record["signals"]))
    return list(dict.fromkeys(signal.file for signal in signals))


def segment_names(header: bytes) -> list[str]:
    """Return the records that a header of several segments is made of, none for another header.

    Raises `RecordingError` as `read_wfdb` does.
    """
    lines = _lines(header)
    record = _RECORD.fullmatch(lines[0]) if lines else None
    if record is None or record["segments"] is None:
        return []
    count = int(record["segments"])
    if not 1 <= count <= _MAX_SEGMENTS or len(lines) - 1 < count:
        raise RecordingError(Reason.MALFORMED, f"{count} segments, {len(lines) - 1} lines")
    names = []
    for line in lines[1 : count + 1]:
        match = _SEGMENT.fullmatch(line)
        if match is None:
            raise RecordingError(Reason.MALFORMED, "a segment line of the header cannot be read")
        if match["name"] == "~":
            raise RecordingError(Reason.NOT_FINITE, "a stretch of the record is missing")
        names.append(_checked_name(match["name"]))
    return list(dict.fromkeys(names))


def _segments(
    lines: list[str], record: re.Match[str], load: Callable[[str], bytes | None]
) -> dict[str, StoredLead]:
    """Return the leads of a record of several segments, joined by the package wfdb."""
    if record["samples"] is None:
        raise RecordingError(Reason.MALFORMED, "a record of several segments without a length")
    files: dict[str, bytes] = {}
    signals: list[_Signal] = []
    for name in segment_names("\n".join(lines).encode("latin-1")):
        inner = _lines(_loaded(load, f"{name}.hea"))
        match = _RECORD.fullmatch(inner[0]) if inner else None
        if match is None or match["segments"] is not None or match["name"] != name:
            raise RecordingError(Reason.MALFORMED, "a segment's header cannot be read")
        if int(match["samples"] or 0) > int(record["samples"]):
            raise RecordingError(Reason.MALFORMED, "a segment is longer than the record")
        if match["samples"] != "0":  # the layout of the others names no file
            signals += _signals(inner, int(match["signals"]))
        files[f"{name}.hea"] = "\n".join(inner).encode("latin-1")
    files |= {file: _loaded(load, file) for file in {signal.file for signal in signals}}
    count = int(record["segments"])
    first = lines[0].replace(record["name"], wfdb_package.RECORD, 1)
    master = "\n".join([first, *lines[1 : count + 1]])
    files[f"{wfdb_package.RECORD}.hea"] = master.encode("latin-1")
    return wfdb_package.read(files, _steps(signals))


def _steps(signals: list[_Signal]) -> dict[str, float]:
    """Return the finest unit of each lead in µV."""
    steps: dict[str, float] = {}
    for signal in signals:
        name, unit = lead_name(signal.name), signal.unit_microvolts
        if name is not None and unit is not None and unit > 0:
            steps[name] = min(unit, steps.get(name, unit))
    return steps


def _compare_checksums(leads: dict[str, StoredLead], signals: list[_Signal]) -> None:
    """Compare the checksums of leads that are stored as they are: no frames and no skew."""
    for signal in signals:
        lead = leads.get(lead_name(signal.name) or "")
        if lead is not None and signal.checksum and signal.is_even:
            _compare(int(lead.samples.sum()) + signal.baseline * lead.samples.size, signal)


def _compare(total: int, signal: _Signal) -> None:
    if (total - (signal.checksum or 0)) % (1 << 16):
        raise RecordingError(Reason.CHECKSUM_MISMATCH, "a signal differs from its checksum")


def _plain_header(lines: list[str], record: re.Match[str], n_samples: int | None) -> bytes:
    """Return the header under a name of our own, with the length that it must state."""
    if n_samples is None:
        raise RecordingError(Reason.MALFORMED, "the header does not state the record's length")
    first = lines[0].replace(record["name"], wfdb_package.RECORD, 1)
    return "\n".join([first, *lines[1 : int(record["signals"]) + 1]]).encode("latin-1")


def _loaded(load: Callable[[str], bytes | None], name: str) -> bytes:
    content = load(name)
    if content is None:
        raise RecordingError(Reason.MALFORMED, "a file that the header names is missing")
    return content


def _checked_name(name: str) -> str:
    if not _PLAIN.fullmatch(name):
        raise RecordingError(Reason.UNSAFE, "the header names a file outside of its folder")
    return name


def _signals(lines: list[str], count: int) -> list[_Signal]:
    if len(lines) - 1 < count:
        raise RecordingError(Reason.MALFORMED, "the header has fewer lines than signals")
    return [_signal(line) for line in lines[1 : count + 1]]


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
    file = _checked_name(match["file"])
    fmt = int(match["format"])
    if fmt not in _MISSING and fmt not in wfdb_package.FORMATS:
        raise RecordingError(Reason.UNKNOWN_FORMAT, f"WFDB format {fmt} is not read")
    per_frame, skew = int(match["per_frame"] or 1), int(match["skew"] or 0)
    if not 1 <= per_frame <= _MAX_PER_FRAME or skew > _MAX_SKEW:
        raise RecordingError(Reason.MALFORMED, "strange WFDB frames or skews")
    gain = float(match["gain"] or 0.0) or _DEFAULT_GAIN
    volts = wfdb_package.MICROVOLTS.get((match["units"] or "mV").lower())
    baseline = match["baseline"] if match["baseline"] is not None else match["zero"]
    return _Signal(
        file=file,
        format=fmt,
        byte_offset=int(match["offset"] or 0),
        is_even=per_frame == 1 and skew == 0,
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
    if signal.checksum:
        _compare(int(digital.sum()), signal)
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
