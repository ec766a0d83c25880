"""The text headers of WFDB records as found in practice, and the files that they name.

The format: https://physionet.org/physiotools/wag/header-5.htm
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from ecg_spark.ecg.formats import wfdb_package
from ecg_spark.ecg.recording import Reason, RecordingError

MISSING = {16: -32768, 61: -32768, 80: -128, 160: -32768, 212: -2048}
"""The formats that `formats.wfdb` decodes, with the value that marks a missing sample."""

Load = Callable[[str], bytes | None]
"""Returns the content of a file in the record's own folder by its name, None if there is none."""

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_RECORD = re.compile(
    r"(?P<name>[A-Za-z0-9_.-]+)(?:/(?P<segments>\d{1,6}))?\s+(?P<signals>\d{1,6})"
    rf"(?:\s+(?P<rate>{_NUMBER})(?:/\S*)?(?:\s+(?P<samples>\d{{1,18}})"
    r"(?:\s+(?P<start>\S.{0,60}))?)?)?\s*"
)
_SIGNAL = re.compile(
    r"(?P<file>\S+)\s+(?P<format>\d{1,5})(?:x(?P<per_frame>\d+))?(?::(?P<skew>\d+))?"
    rf"(?:\+(?P<offset>\d{{1,18}}))?(?:\s+(?P<gain>{_NUMBER})(?:\((?P<baseline>[+-]?\d{{1,9}})\))?"
    r"(?:/(?P<units>\S+))?(?:\s+(?P<resolution>\d+)(?:\s+(?P<zero>[+-]?\d{1,9})"
    r"(?:\s+(?P<first>[+-]?\d+)(?:\s+(?P<checksum>[+-]?\d+)(?:\s+(?P<block>\d+)"
    r"(?:\s+(?P<name>.*))?)?)?)?)?)?)?\s*"
)
_SEGMENT = re.compile(r"(?P<name>\S+)\s+(?P<samples>\d{1,18})\s*")
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_LINE_END = re.compile(rb"\r\n|\r|\n")

_MAX_LINE, _HEAD_BYTES = 1000, 64_000
_DEFAULT_RATE_HZ, _DEFAULT_GAIN = 250.0, 200.0
_MAX_SEGMENTS, _MAX_PER_FRAME, _MAX_SKEW = 1000, 100, 10_000


@dataclass(frozen=True)
class Signal:
    """One line of the header: where a lead's samples are and what they mean.

    Attributes:
        file: the name of the signal file.
        format: the number of WFDB's storage format.
        byte_offset: where the samples begin in the file.
        is_even: whether there is one sample per frame, and no skew.
        unit_microvolts: µV per digital unit; None if the unit is not a voltage.
        baseline: the digital value of 0 V.
        checksum: the sum of the samples modulo 65536; None if it is not given.
        name: the description, by which a lead is recognised.
    """

    file: str
    format: int
    byte_offset: int
    is_even: bool  # one sample a frame, no skew
    unit_microvolts: float | None
    baseline: int
    checksum: int | None
    name: str


@dataclass(frozen=True)
class Header:
    """A header's first line, and its other lines as they are.

    Attributes:
        name: the record's name.
        n_segments: how many records it joins; None if it is not a record of several segments.
        n_signals: how many signals it has.
        rate_hz: the sampling rate of a frame.
        n_samples: samples per signal; None if it is not stated.
        start: the text that stands for time and date.
        lines: the other lines without comments.
    """

    name: str
    n_segments: int | None
    n_signals: int
    rate_hz: float
    n_samples: int | None
    start: str
    lines: list[str]

    def signals(self) -> list[Signal]:
        """Return the signals.

        Raises:
            RecordingError: `malformed` if a line cannot be read; `unsafe` if it names another
                folder; `unknown_format` for a storage format that is not read.
        """
        if len(self.lines) < self.n_signals:
            raise RecordingError(Reason.MALFORMED, "the header has fewer lines than it has signals")
        return [_signal(line) for line in self.lines[: self.n_signals]]

    def segments(self) -> list[str]:
        """Return the names of the records that follow each other in this one.

        Raises:
            RecordingError: `malformed`; `unsafe`; `not_finite` if a stretch of the record is
                missing.
        """
        count = self.n_segments or 0
        if not 1 <= count <= _MAX_SEGMENTS or len(self.lines) < count:
            raise RecordingError(Reason.MALFORMED, f"{count} segments, {len(self.lines)} lines")
        names = []
        for line in self.lines[:count]:
            match = _SEGMENT.fullmatch(line)
            if match is None:
                raise RecordingError(
                    Reason.MALFORMED, "a segment line of the header cannot be read"
                )
            if match["name"] == "~":
                raise RecordingError(Reason.NOT_FINITE, "a part of the record is missing")
            names.append(_checked_name(match["name"]))
        return list(dict.fromkeys(names))


def is_header(data: bytes) -> bool:
    """Return whether data are a WFDB header: a record line, and lines of its signals or segments.

    Text such as `HR 41` has the form of a record line. Therefore at least half of the lines that
    should describe signals must do so: with a file that is not a bare word, and a gain or a WFDB
    format.
    """
    if data[:1] == b"<":  # XML: soon told
        return False
    header = _parsed(data[:_HEAD_BYTES])
    if header is None:
        return False
    if header.n_segments is not None:
        lines = header.lines[: header.n_segments]
        return bool(lines and header.n_samples) and all(_SEGMENT.fullmatch(line) for line in lines)
    told = sum(_tells_signal(line, header.name) for line in header.lines[: header.n_signals])
    return told > 0 and 2 * told >= min(header.n_signals, len(header.lines))


def is_header_name(name: str) -> bool:
    """Return whether a file should be a WFDB header, by its name."""
    return name.lower().removesuffix(".gz").endswith(".hea")


def parse(data: bytes) -> Header:
    """Return the header.

    Raises:
        RecordingError: `malformed` if the data are not a WFDB header.
    """
    header = _parsed(data)
    if header is None:
        raise RecordingError(Reason.MALFORMED, "not a WFDB header")
    return header


def named_files(data: bytes, load: Load) -> list[str]:
    """Return every file of the record that a header describes, except the header itself.

    Those are its signal files, whatever their suffix; or the headers of its segments and the files
    that these name, as far as `load` returns them.

    Args:
        data: the content of the header.
        load: returns the content of a file in the record's folder, or None.

    Raises:
        RecordingError: `unsafe` for a name that is more than the name of a file in the record's own
            folder; `malformed` if a line cannot be read.
    """
    header = parse(data)
    if header.n_segments is None:
        return list(dict.fromkeys(signal.file for signal in header.signals()))
    names: dict[str, None] = {}
    for segment in header.segments():
        names[f"{segment}.hea"] = None
        content = load(f"{segment}.hea")
        if content is not None:
            inner = parse(content)
            if inner.n_segments is not None:
                raise RecordingError(Reason.MALFORMED, "a segment that has segments")
            if inner.n_samples != 0:  # the layout of the others names no file
                names |= dict.fromkeys(signal.file for signal in inner.signals())
    return list(names)


def plain_text(lines: list[str]) -> bytes:
    """Return lines in ASCII, as the package wfdb can read them; a micro sign becomes `u`."""
    text = unicodedata.normalize("NFKC", "\n".join(lines)).replace("\u03bc", "u")
    return text.encode("ascii", "replace")


def _parsed(data: bytes) -> Header | None:
    lines = _lines(data)
    record = _RECORD.fullmatch(lines[0]) if lines else None
    if record is None:
        return None
    n_samples = None if record["samples"] is None else int(record["samples"])
    return Header(
        name=record["name"],
        n_segments=None if record["segments"] is None else int(record["segments"]),
        n_signals=int(record["signals"]),
        rate_hz=float(record["rate"] or _DEFAULT_RATE_HZ),
        n_samples=n_samples,
        start=(record["start"] or "").strip(),
        lines=lines[1:],
    )


def _lines(data: bytes) -> list[str]:
    """Return the header's lines without comments; none if the data are not text.

    A line is UTF-8 if it can be, else Latin-1: the encoding of a comment says nothing about that of
    a unit.
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        data = data.decode("utf-16", "replace").encode()
    data = data.removeprefix(b"\xef\xbb\xbf")
    if b"\0" in data:
        return []
    stripped = (_decoded(line).strip() for line in _LINE_END.split(data))
    lines = [line for line in stripped if line and not line.startswith("#")]
    return [] if any(len(line) > _MAX_LINE for line in lines) else lines


def _decoded(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("latin-1")


def _tells_signal(line: str, record: str) -> bool:
    match = _SIGNAL.fullmatch(line)
    if match is None:
        return False
    is_file = re.search(r"[./\\~-]", match["file"]) or match["file"].startswith(record)
    is_known = int(match["format"]) in MISSING or int(match["format"]) in wfdb_package.FORMATS
    return bool(is_file) and (match["gain"] is not None or is_known)


def _checked_name(name: str) -> str:
    if not _PLAIN.fullmatch(name):
        raise RecordingError(Reason.UNSAFE, "the header names a file outside of its folder")
    return name


def _signal(line: str) -> Signal:
    match = _SIGNAL.fullmatch(line)
    if match is None:
        raise RecordingError(Reason.MALFORMED, "a signal line of the header cannot be read")
    file = _checked_name(match["file"])
    if file.lower().endswith(".hea"):
        raise RecordingError(Reason.MALFORMED, "the header names a header for its samples")
    fmt = int(match["format"])
    if fmt not in MISSING and fmt not in wfdb_package.FORMATS:
        raise RecordingError(Reason.UNKNOWN_FORMAT, f"WFDB format {fmt} is not read")
    per_frame, skew = int(match["per_frame"] or 1), int(match["skew"] or 0)
    if not 1 <= per_frame <= _MAX_PER_FRAME or skew > _MAX_SKEW:
        raise RecordingError(Reason.MALFORMED, "implausible WFDB frames or skews")
    gain = float(match["gain"] or 0.0) or _DEFAULT_GAIN
    volts = wfdb_package.microvolts(match["units"] or "mV")
    baseline = match["baseline"] if match["baseline"] is not None else match["zero"]
    return Signal(
        file=file,
        format=fmt,
        byte_offset=int(match["offset"] or 0),
        is_even=per_frame == 1 and skew == 0,
        unit_microvolts=None if volts is None else volts / gain,
        baseline=int(baseline or 0),
        checksum=None if match["checksum"] is None else int(match["checksum"]),
        name=match["name"] or "",
    )
