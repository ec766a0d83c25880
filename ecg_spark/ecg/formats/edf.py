"""EDF and EDF+ (European Data Format), 16 bits."""

import math
from datetime import datetime

import numpy as np

from ecg_spark.ecg.formats import xmltree
from ecg_spark.ecg.formats.leads import (
    StoredLead,
    add_lead,
    check_extent,
    lead_name,
    make_recording,
)
from ecg_spark.ecg.formats.quantities import decimal, microvolts
from ecg_spark.ecg.recording import Reason, Recording, RecordingError

_FIELDS = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)
"""The widths of a signal's fields: label, transducer, unit, physical and digital bounds, ..."""
_MAX_SIGNALS = 512


def is_edf(data: bytes) -> bool:
    """Say whether `data` begins as an EDF file: version 0 and whole numbers where they belong."""
    return data[:8] == b"0       " and data[184:192].strip().isdigit()


def read_edf(data: bytes) -> Recording:
    """Return the ECG of an EDF or a continuous EDF+ file; signals of other kinds are left out.

    The participant is EDF+'s patient code; plain EDF has only a text that may hold a name. Raises
    `RecordingError`.
    """
    head = data[:256].decode("latin-1")
    reserved, n_signals = head[192:236].strip(), _whole(head[252:256])
    if reserved.startswith("EDF+D"):
        raise RecordingError(Reason.UNKNOWN_FORMAT, "EDF+ with gaps is not read")
    if not 1 <= n_signals <= _MAX_SIGNALS or len(data) < 256 * (n_signals + 1):
        raise RecordingError(Reason.MALFORMED, "the header ends early")
    columns = _columns(data[256 : 256 * (n_signals + 1)].decode("latin-1"), n_signals)
    per_record = [_whole(text) for text in columns[8]]
    record = sum(per_record)
    if min(per_record) < 0 or record == 0:
        raise RecordingError(Reason.MALFORMED, "a data record holds no samples")
    body = memoryview(data)[256 * (n_signals + 1) :]
    n_records = _whole(head[236:244])
    stored = len(body) // (2 * record)
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
    samples = np.frombuffer(body, "<i2", n_records * record).reshape(n_records, record)
    starts = np.cumsum([0, *per_record])
    leads: dict[str, StoredLead] = {}
    for index in chosen:
        row = samples[:, starts[index] : starts[index + 1]].ravel().astype(np.int64)
        texts = [column[index] for column in columns]
        add_lead(leads, texts[0], _lead(row, texts[2], [_number(text) for text in texts[3:7]]))
    return make_recording(
        leads,
        rate,
        "edf",
        participant_id=_participant(head[8:88]) if reserved.startswith("EDF+") else None,
        acquired_at=_acquired_at(head[168:184]),
        device=None,
    )


def _columns(text: str, n_signals: int) -> list[list[str]]:
    """Return the signals' fields, a list a field: EDF stores each field of all signals together."""
    columns = []
    at = 0
    for width in _FIELDS:
        columns.append([text[at + width * i : at + width * (i + 1)] for i in range(n_signals)])
        at += width * n_signals
    return columns


def _lead(row: np.ndarray, unit: str, bounds: list[float]) -> StoredLead:
    """Return a lead in units of its digital step; a negative step turns it over."""
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
        raise RecordingError(Reason.MALFORMED, "a field of the header is no number")
    return number


def _whole(text: str) -> int:
    number = _number(text)
    if number != number // 1 or abs(number) > 1 << 31:
        raise RecordingError(Reason.MALFORMED, "a field of the header is no whole number")
    return int(number)


def _participant(text: str) -> str | None:
    code = text.split(" ")[0].strip()
    return code if code and code != "X" else None


def _acquired_at(text: str) -> datetime | None:
    """Return the start from `dd.mm.yyhh.mm.ss`, years 85 to 99 being those of 1900."""
    try:
        day, month, year = (int(part) for part in text[:8].split("."))
        hour, minute, second = (float(part) for part in text[8:].split("."))
    except ValueError:
        return None
    year += 1900 if year >= 85 else 2000
    return xmltree.moment(year, month, day, hour, minute, second)
