"""EDF and EDF+ (European Data Format, 16 bits), and BDF (BioSemi's, 24 bits)."""

import math
import re
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from ecg_spark.ecg.formats.leads import (
    StoredLead,
    add_lead,
    check_extent,
    lead_name,
    make_recording,
)
from ecg_spark.ecg.formats.parts import noted_time
from ecg_spark.ecg.formats.quantities import decimal, microvolts
from ecg_spark.ecg.formats.times import moment_of
from ecg_spark.ecg.recording import Note, Reason, Recording, RecordingError

_FIELDS = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)
"""The widths of a signal's fields: label, transducer, unit, physical and digital bounds, ..."""
_MAX_SIGNALS = 512
_EDF, _BDF = b"0       ", b"\xffBIOSEMI"
_RECORD_TIME = re.compile(rb"([+-][0-9]{1,12}(?:\.[0-9]{1,12})?)\x14\x14")


def is_edf(data: bytes) -> bool:
    """Return whether data begin as EDF or BDF: with its version, and a number where one must be."""
    return data[:8] in (_EDF, _BDF) and data[184:192].strip().isdigit()


def read_edf(data: bytes) -> Recording:
    """Return the ECG of an EDF or BDF file; signals of other kinds are left out.

    EDF+D, which may have gaps, is read if the times of its records show that it has none. The
    participant is EDF+'s patient code; plain EDF has only a text that may be a name, which is not
    used.

    Raises:
        RecordingError: `not_finite` if there are gaps; otherwise the file is malformed or cannot be
            used.
    """
    head = data[:256].decode("latin-1")
    width = 3 if data[:8] == _BDF else 2
    reserved, n_signals = head[192:236].strip().upper(), _whole(head[252:256])
    if not 1 <= n_signals <= _MAX_SIGNALS or len(data) < 256 * (n_signals + 1):
        raise RecordingError(Reason.MALFORMED, "the header ends early")
    columns = _columns(data[256 : 256 * (n_signals + 1)].decode("latin-1"), n_signals)
    per_record = [_whole(text) for text in columns[8]]
    record = sum(per_record)
    if min(per_record) < 0 or record == 0:
        raise RecordingError(Reason.MALFORMED, "a data record holds no samples")
    body = memoryview(data)[256 * (n_signals + 1) :]
    n_records = _whole(head[236:244])
    stored = len(body) // (width * record)
    if n_records == -1:
        n_records = stored
    seconds = _number(head[244:252])
    if not 0 < seconds < math.inf or not 0 < n_records <= stored:
        raise RecordingError(Reason.MALFORMED, f"{stored} data records are stored")
    chosen = [index for index, label in enumerate(columns[0]) if lead_name(label)]
    rates = {per_record[index] / seconds for index in chosen}
    if not chosen:
        raise RecordingError(Reason.MISSING_LEAD, "no ECG lead")
    if len(rates) != 1:
        raise RecordingError(Reason.MALFORMED, "the leads differ in sampling rate")
    rate = rates.pop()
    check_extent(rate, per_record[chosen[0]] * n_records)
    stored_bytes = np.frombuffer(body, np.uint8, n_records * record * width)
    records = stored_bytes.reshape(n_records, record, width)
    starts = np.cumsum([0, *per_record])
    if reserved.startswith(("EDF+D", "BDF+D")):
        times = [
            records[:, starts[index] : starts[index + 1]].reshape(n_records, -1)
            for index, label in enumerate(columns[0])
            if label.strip().upper() in ("EDF ANNOTATIONS", "BDF ANNOTATIONS")
        ]
        _refuse_gaps(times[:1], seconds, rate)
    leads: dict[str, StoredLead] = {}
    for index in chosen:
        row = _values(records[:, starts[index] : starts[index + 1]].reshape(-1, width))
        texts = [column[index] for column in columns]
        add_lead(leads, texts[0], _lead(row, texts[2], [_number(text) for text in texts[3:7]]))
    notes: list[Note] = []
    acquired_at = noted_time(_acquired_at(head[168:184]), head[168:184], notes)
    return make_recording(
        leads,
        rate,
        "edf" if width == 2 else "bdf",
        participant_id=_participant(head[8:88]) if reserved[1:].startswith("DF+") else None,
        acquired_at=acquired_at,
        device=None,
        notes=notes,
    )


def _values(stored: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return little-endian signed integers, each of as many bytes as a row of `stored`."""
    width = stored.shape[1]
    wide = np.zeros((len(stored), 4), dtype=np.uint8)
    wide[:, 4 - width :] = stored
    return wide.view("<i4").ravel().astype(np.int64) >> (8 * (4 - width))


def _refuse_gaps(annotations: list[NDArray[np.uint8]], seconds: float, rate_hz: float) -> None:
    """Raise `RecordingError` if there are gaps between records [records, bytes of annotations].

    A record begins with its time: `+12.5`, followed by two bytes of value 20 and one of 0.
    """
    if not annotations:
        raise RecordingError(Reason.UNKNOWN_FORMAT, "EDF+D without the times of its records")
    times = []
    for row in annotations[0]:
        found = _RECORD_TIME.match(row.tobytes())
        if found is None:
            raise RecordingError(Reason.MALFORMED, "a data record without its time")
        times.append(float(found[1]))
    late = np.array(times) - times[0] - seconds * np.arange(len(times))
    if np.abs(late).max() > 0.51 / rate_hz:  # a time is written in so many digits
        gap = np.diff(late)[np.abs(np.diff(late)).argmax()]
        raise RecordingError(
            Reason.NOT_FINITE, f"there are gaps: {gap:.3g} s are missing between two records"
        )


def _columns(text: str, n_signals: int) -> list[list[str]]:
    """Return the signals' fields, one list per field: EDF stores them field by field."""
    columns = []
    at = 0
    for width in _FIELDS:
        columns.append([text[at + width * i : at + width * (i + 1)] for i in range(n_signals)])
        at += width * n_signals
    return columns


def _lead(row: np.ndarray, unit: str, bounds: list[float]) -> StoredLead:
    """Return a lead in units of its digital step; a negative step inverts it."""
    low, high, digital_low, digital_high = bounds
    volts = microvolts(unit)
    if volts is None:
        raise RecordingError(Reason.MALFORMED, "a lead's unit is not a voltage")
    if not math.isfinite(high - low) or digital_high == digital_low or high == low:
        raise RecordingError(Reason.MALFORMED, "a lead's bounds give no amplitude unit")
    step = (high - low) / (digital_high - digital_low)
    offset = low / step - digital_low
    if not abs(offset) < 1 << 24:
        raise RecordingError(Reason.MALFORMED, "a lead's bounds give no amplitude unit")
    centred = row + round(offset)
    return StoredLead(centred if step > 0 else -centred, abs(step) * volts)


def _number(text: str) -> float:
    number = decimal(text.strip("\0 "))
    if number is None:
        raise RecordingError(Reason.MALFORMED, "a field of the header is not a number")
    return number


def _whole(text: str) -> int:
    number = _number(text)
    if number != number // 1 or abs(number) > 1 << 31:
        raise RecordingError(Reason.MALFORMED, "a field of the header is not a whole number")
    return int(number)


def _participant(text: str) -> str | None:
    code = text.split(" ")[0].strip()
    return code if code and code != "X" else None


def _acquired_at(text: str) -> datetime | None:
    """Return the start from `dd.mm.yyhh.mm.ss`; years 85 to 99 are 1985 to 1999."""
    try:
        day, month, year = (int(part) for part in text[:8].split("."))
        hour, minute, second = (float(part) for part in text[8:].split("."))
    except ValueError:
        return None
    year += 1900 if year >= 85 else 2000
    return moment_of(year, month, day, hour, minute, second)
