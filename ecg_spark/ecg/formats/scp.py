"""SCP-ECG (EN 1064, ISO 11073-91064), versions 1 and 2: binary sections of leads and beats."""

import binascii
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ecg_spark.ecg.formats.huffman import HuffmanTable, decode, read_tables
from ecg_spark.ecg.formats.leads import StoredLead, add_lead, check_extent, make_recording
from ecg_spark.ecg.formats.parts import Part, spared, twelve_leads
from ecg_spark.ecg.formats.times import moment_of
from ecg_spark.ecg.recording import Note, Reason, Recording, RecordingError

_LEADS = {1: "I", 2: "II", 61: "III", 62: "aVR", 63: "aVL", 64: "aVF"}
_LEADS |= {code: f"V{code - 2}" for code in range(3, 9)}
_BLOCK = (
    "p_onset_ms",
    "p_offset_ms",
    "qrs_onset_ms",
    "qrs_offset_ms",
    "t_offset_ms",
    "p_axis_deg",
    "axis_deg",
    "t_axis_deg",
)
"""The measurements of one beat in section 7, in this order."""

T = TypeVar("T")

_HEADER = 16
_UNDEFINED = 29999
_MAX_LEADS = 64


@dataclass(frozen=True)
class _Lead:
    """A lead's place in the recording: its first and last sample, counted from one.

    `name` is empty if it is none of the twelve.
    """

    name: str
    first: int
    last: int


@dataclass(frozen=True)
class _Signals:
    """The signals of section 5 or 6: `rows` of `nanovolts`, one sample every `interval_us`."""

    rows: list[NDArray[np.int64]]
    nanovolts: int
    interval_us: int


def is_scp(data: bytes) -> bool:
    """Return whether data begin as an SCP-ECG record: with a section 0 that points to itself."""
    if len(data) < 32 or data[8:10] != b"\0\0":
        return False
    return data[16:22] == b"SCPECG" or (data[22:24] == b"\0\0" and data[28:32] == b"\x07\0\0\0")


def read_scp(data: bytes) -> Recording:
    """Return the rhythm data of an SCP-ECG record, with its reference beat as the median beat.

    Huffman coding, differences and reference beat subtraction are undone; the CRC of every section
    that is used is checked. Damaged measurements, and a damaged reference beat that was not
    subtracted, are left out. `vendor` comes from section 7.

    Raises:
        RecordingError: `checksum_mismatch` if a section that is needed differs from its CRC;
            `unknown_format` for bimodal compression, which discards samples; otherwise the file is
            malformed or cannot be used.
    """
    try:
        return _read(data)
    except (struct.error, IndexError):
        raise RecordingError(Reason.MALFORMED, "a section ends early") from None


def _read(data: bytes) -> Recording:
    notes: list[Note] = []
    sections, damaged = _sections(data, notes)
    for needed in (3, 6):
        if needed not in sections:
            raise RecordingError(Reason.MALFORMED, f"no section {needed}")
    leads, subtracted = _lead_definitions(sections[3])
    for number in sorted(damaged):
        if number in (2, 3, 6) or (subtracted and number in (4, 5)):
            raise RecordingError(Reason.CHECKSUM_MISMATCH, f"section {number} differs from its CRC")
        del sections[number]
        extra = Note.MEASUREMENT_UNREADABLE if number == 7 else Note.MEDIAN_BEAT_DROPPED
        notes.append(extra)
    tables = read_tables(sections[2]) if 2 in sections else None
    interval, bimodal = struct.unpack_from("<2xHxB", sections[6])
    if bimodal:
        raise RecordingError(Reason.UNKNOWN_FORMAT, "bimodal compression is not read")
    if interval == 0:
        raise RecordingError(Reason.MALFORMED, "the sampling interval is 0")
    rate = 1e6 / interval
    counts = [lead.last - lead.first + 1 if lead.name else 0 for lead in leads]
    for count in filter(None, counts):
        check_extent(rate, count, is_part=True)
    rhythm = _signals(sections[6], counts, tables)
    beat = None
    if subtracted:
        beat = _reference_beat(sections, leads, tables)
        rhythm = _with_beats(rhythm, beat, leads, sections.get(4, b""))
    else:
        beat = spared(
            lambda: _whole(partial(_reference_beat, sections, leads, tables)),
            notes,
            Note.MEDIAN_BEAT_DROPPED,
        )
    places = sorted({(lead.first, lead.last) for lead in leads if lead.name})
    found = twelve_leads([partial(_part, leads, rhythm, place, rate) for place in places], notes)
    patient = _tags(sections.get(1, b""))
    vendor = spared(
        lambda: _whole(lambda: _vendor(sections.get(7, b""))), notes, Note.MEASUREMENT_UNREADABLE
    )
    return make_recording(
        found.leads,
        rate,
        "scp",
        median=None if beat is None else _stored(leads, beat),
        median_rate_hz=None if beat is None else 1e6 / beat.interval_us,
        participant_id=_text(patient.get(2, b"")),
        acquired_at=_acquired_at(patient, notes),
        device=_device(patient.get(14, b"")),
        vendor=vendor or {},
        notes=notes,
    )


def _whole(read: Callable[[], T]) -> T:
    """Return what `read` returns; raise `malformed` if the section that it reads ends early."""
    try:
        return read()
    except (struct.error, IndexError):
        raise RecordingError(Reason.MALFORMED, "a section ends early") from None


def _part(leads: list[_Lead], signals: _Signals, place: tuple[int, int], rate: float) -> Part:
    """Return the leads that were recorded from one sample to another."""
    inside = [(lead.first, lead.last) == place for lead in leads]
    chosen = [lead for lead, here in zip(leads, inside, strict=True) if here]
    rows = [row for row, here in zip(signals.rows, inside, strict=True) if here]
    there = _Signals(rows, signals.nanovolts, signals.interval_us)
    return Part(_stored(chosen, there), rate, place[0] / rate)


def _sections(data: bytes, notes: list[Note]) -> tuple[dict[int, bytes], set[int]]:
    """Return the bodies of sections 1 to 7, and which of 2 to 7 differ from their CRC.

    Some writers swap the bytes of every CRC, or write 0 for every one: that is noted. A CRC of 0
    among others that are not 0 counts as damage.
    """
    (size,) = struct.unpack_from("<I", data, 10)
    sections: dict[int, bytes] = {}
    stored: dict[int, int] = {}
    computed: dict[int, int] = {}
    for at in range(6 + _HEADER, min(6 + size, len(data)) - 9, 10):
        number, length, start = struct.unpack_from("<HII", data, at)
        if not 1 <= number <= 7 or length < _HEADER or number in sections:
            continue
        whole = data[start - 1 : start - 1 + length] if start else b""
        if len(whole) < length or struct.unpack_from("<H", whole, 2) != (number,):
            raise RecordingError(Reason.MALFORMED, f"section {number} is not where it should be")
        if number >= 2:
            (stored[number],) = struct.unpack_from("<H", whole)
            computed[number] = binascii.crc_hqx(whole[2:], 0xFFFF)
        sections[number] = whole[_HEADER:]
    damaged = {number for number, crc in computed.items() if stored[number] != crc}
    swapped = {number for number in damaged if _swapped(stored[number]) == computed[number]}
    if damaged and not any(stored.values()):
        (record,) = struct.unpack_from("<H", data)
        whole_record = binascii.crc_hqx(data[2 : 2 + max(size - 2, 0)], 0xFFFF)
        if record and whole_record not in (record, _swapped(record)):
            raise RecordingError(Reason.CHECKSUM_MISMATCH, "the record differs from its CRC")
        notes.append(Note.CHECKSUM_ABSENT)
        return sections, set()
    if swapped and all(_swapped(stored[number]) == crc for number, crc in computed.items()):
        notes.append(Note.CHECKSUM_SWAPPED)
        return sections, set()
    if len(swapped) > 1:  # a writer that swaps bytes; what differs either way is damaged
        notes.append(Note.CHECKSUM_SWAPPED)
        damaged = {number for number in computed if number not in swapped and number in damaged}
    return sections, damaged


def _swapped(crc: int) -> int:
    return (crc & 0xFF) << 8 | crc >> 8


def _lead_definitions(body: bytes) -> tuple[list[_Lead], bool]:
    """Return the leads of section 3, and whether reference beats were subtracted."""
    count, flags = body[0], body[1]
    if not 1 <= count <= _MAX_LEADS:
        raise RecordingError(Reason.MALFORMED, f"{count} leads")
    leads = []
    for index in range(count):
        first, last, code = struct.unpack_from("<IIB", body, 2 + 9 * index)
        leads.append(_Lead(_LEADS.get(code, ""), max(first, 1), last))  # some writers begin at 0
    return leads, bool(flags & 1)


def _signals(body: bytes, counts: list[int], tables: list[HuffmanTable] | None) -> _Signals:
    """Return the decoded rows of section 5 or 6, `counts` samples each; a count of 0 is skipped."""
    nanovolts, interval, differences = struct.unpack_from("<HHB", body)
    lengths = struct.unpack_from(f"<{len(counts)}H", body, 6)
    if not nanovolts or not interval or differences > 2:
        raise RecordingError(Reason.MALFORMED, "no amplitude unit or sampling interval")
    rows = []
    at = 6 + 2 * len(counts)
    for count, length in zip(counts, lengths, strict=True):
        # Long leads of uncompressed samples overrun the 16 bits of their length.
        size = length if tables is not None or not count else 2 * count
        coded = body[at : at + size]
        at += size
        if not count:
            row = np.zeros(0, dtype=np.int64)
        elif tables is not None:
            row = decode(coded, count, tables)
        elif len(coded) == 2 * count:
            row = np.frombuffer(coded, "<i2").astype(np.int64)
        else:
            raise RecordingError(Reason.MALFORMED, f"a lead holds fewer than {count} samples")
        rows.append(_integrated(row, differences))
    return _Signals(rows, nanovolts, interval)


def _integrated(row: NDArray[np.int64], differences: int) -> NDArray[np.int64]:
    """Undo first or second differences, in 16-bit arithmetic like the encoder's."""
    if differences == 1:
        row = row.cumsum()
    elif differences == 2 and row.size > 2:
        slope = np.concatenate([row[1:2] - row[:1], row[2:]]).cumsum()
        row = np.concatenate([row[:1], row[0] + slope.cumsum()])
    return row.astype(np.int16).astype(np.int64)


def _reference_beat(
    sections: dict[int, bytes], leads: list[_Lead], tables: list[HuffmanTable] | None
) -> _Signals | None:
    """Return the reference beat of section 5; None if there is none of a plausible length."""
    if 5 not in sections or 4 not in sections:
        return None
    (milliseconds,) = struct.unpack_from("<H", sections[4])
    (interval,) = struct.unpack_from("<H", sections[5], 2)
    count = round(milliseconds * 1000 / interval) if interval else 0
    if not 1 <= count <= 5000:
        return None
    return _signals(sections[5], [count if lead.name else 0 for lead in leads], tables)


def _with_beats(
    rhythm: _Signals, beat: _Signals | None, leads: list[_Lead], places: bytes
) -> _Signals:
    """Add the reference beat back where section 4 says that it was subtracted."""
    if beat is None or not places or beat.interval_us != rhythm.interval_us:
        raise RecordingError(Reason.MALFORMED, "the subtracted reference beat cannot be used")
    unit = math.gcd(rhythm.nanovolts, beat.nanovolts)
    fiducial, count = struct.unpack_from("<2xHH", places)
    rows = [row * (rhythm.nanovolts // unit) for row in rhythm.rows]
    for index in range(count):
        kind, start, centre, end = struct.unpack_from("<HIII", places, 6 + 14 * index)
        if kind != 0:
            continue
        for lead, row, shape in zip(leads, rows, beat.rows, strict=True):
            origin = centre - fiducial + 1
            first = max(start, lead.first, origin)
            last = min(end, lead.last, origin + shape.size - 1)
            if first <= last:
                added = shape[first - origin : last - origin + 1] * (beat.nanovolts // unit)
                row[first - lead.first : last - lead.first + 1] += added
    return _Signals(rows, unit, rhythm.interval_us)


def _stored(leads: list[_Lead], signals: _Signals) -> dict[str, StoredLead]:
    stored: dict[str, StoredLead] = {}
    for lead, row in zip(leads, signals.rows, strict=True):
        add_lead(stored, lead.name, StoredLead(row, signals.nanovolts / 1000))
    return stored


def _tags(body: bytes) -> dict[int, bytes]:
    """Return the fields of section 1 by tag, the first of each."""
    tags: dict[int, bytes] = {}
    at = 0
    while at + 3 <= len(body) and body[at] != 255:
        (length,) = struct.unpack_from("<H", body, at + 1)
        tags.setdefault(body[at], body[at + 3 : at + 3 + length])
        at += 3 + length
    return tags


def _text(field: bytes) -> str | None:
    return field.split(b"\0")[0].decode("latin-1").strip() or None


def _acquired_at(tags: dict[int, bytes], notes: list[Note]) -> datetime | None:
    day, clock = tags.get(25, b""), tags.get(26, b"")
    moment = None
    if len(day) >= 4 and len(clock) >= 3:
        year = int.from_bytes(day[:2], "little")
        moment = moment_of(year, day[2], day[3], clock[0], clock[1], clock[2])
    if moment is None and any(day):
        notes.append(Note.TIME_UNREADABLE)
    return moment


def _device(field: bytes) -> str | None:
    """Return maker and model of the device that acquired the recording."""
    maker = _text((field[36:].split(b"\0") + [b""] * 5)[4])
    return " ".join(name for name in (maker, _text(field[8:14])) if name) or None


def _vendor(body: bytes) -> dict[str, float]:
    """Return the measurements of the reference beat in section 7, in ms and degrees."""
    if len(body) < 22 or body[0] < 1:
        return {}
    values = struct.unpack_from("<5H3h", body, 6)
    vendor = {
        name: float(value)
        for name, value in zip(_BLOCK, values, strict=True)
        if abs(value) not in (_UNDEFINED, 999, 0xFFFF)
    }
    (rr,) = struct.unpack_from("<H", body, 2)
    if rr not in (0, _UNDEFINED, 0xFFFF):
        vendor |= {"rr_ms": float(rr), "heart_rate_bpm": 60_000 / rr}
    intervals = {
        "p_ms": ("p_onset_ms", "p_offset_ms"),
        "pr_ms": ("p_onset_ms", "qrs_onset_ms"),
        "qrs_ms": ("qrs_onset_ms", "qrs_offset_ms"),
        "qt_ms": ("qrs_onset_ms", "t_offset_ms"),
    }
    for name, (start, end) in intervals.items():
        if start in vendor and end in vendor and vendor[end] > vendor[start]:
            vendor[name] = vendor[end] - vendor[start]
    return vendor
