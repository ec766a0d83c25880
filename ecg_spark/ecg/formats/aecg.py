"""HL7 annotated ECG (aECG, FDA), as Mortara, Philips and others export it."""

import re
import xml.etree.ElementTree as ET
from datetime import datetime
from functools import partial

from ecg_spark.ecg.formats import xmltree
from ecg_spark.ecg.formats.leads import (
    StoredLead,
    add_lead,
    lead_name,
    make_recording,
    without_padding,
)
from ecg_spark.ecg.formats.parts import Part, noted_time, spared, twelve_leads
from ecg_spark.ecg.formats.quantities import decimal, microvolts
from ecg_spark.ecg.formats.times import read_moment
from ecg_spark.ecg.recording import Note, Reason, Recording, RecordingError

ROOT = "AnnotatedECG"

_MEASUREMENTS = {
    "MDC_ECG_HEART_RATE": "heart_rate_bpm",
    "MDC_ECG_TIME_PD_RR": "rr_ms",
    "MDC_ECG_TIME_PD_PR": "pr_ms",
    "MDC_ECG_TIME_PD_P": "p_ms",
    "MDC_ECG_TIME_PD_QRS": "qrs_ms",
    "MDC_ECG_TIME_PD_QT": "qt_ms",
    "MDC_ECG_TIME_PD_QTc": "qtc_ms",
    "MDC_ECG_TIME_PD_QTcB": "qtc_ms",
    "MDC_ECG_ANGLE_P_FRONT": "p_axis_deg",
    "MDC_ECG_ANGLE_QRS_FRONT": "axis_deg",
    "MDC_ECG_ANGLE_T_FRONT": "t_axis_deg",
}
_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}


def read_aecg(data: bytes) -> Recording:
    """Return the rhythm of an HL7 annotated ECG with twelve simultaneous leads, samples as stored.

    `vendor` holds the measurements of the whole recording; those of its representative beat (the
    median beat) take precedence. Annotations of single beats are not kept.

    Raises:
        RecordingError: the file is malformed or cannot be used.
    """
    root, notes = xmltree.parse(data, skip=("supportingROI", "controlVariable"))
    series = [
        item for item in root.iter("series") if item.find("component/sequenceSet") is not None
    ]
    if not series:
        raise RecordingError(Reason.MALFORMED, "no series with a sequenceSet")
    has_clock = len(series) == 1
    found = twelve_leads(
        (
            partial(_part, sequences, _start(item, has_clock), place)
            for place, item in enumerate(series)
            for sequences in item.iterfind("component/sequenceSet")
        ),
        notes,
    )
    rhythm = series[found.place]
    beat = next(
        (
            item
            for origin in (rhythm, root)
            for item in origin.iter("derivedSeries")
            if _code(item).upper().startswith("REPRESENTATIVE_BEAT")
        ),
        None,
    )
    median = None
    if beat is not None:
        median = spared(partial(_median, beat), notes, Note.MEDIAN_BEAT_DROPPED)
    maker = rhythm.find("author/seriesAuthor")
    device = (
        xmltree.text(maker, "manufacturerOrganization/name"),
        xmltree.text(maker, "manufacturedSeriesDevice/manufacturerModelName"),
    )
    subject = next(root.iter("trialSubject"), None)
    identity = None if subject is None else subject.find("id")
    return make_recording(
        found.leads,
        found.rate_hz,
        "aecg",
        median=None if median is None else without_padding(median.leads),
        median_rate_hz=None if median is None else median.rate_hz,
        participant_id=None if identity is None else identity.get("extension") or None,
        acquired_at=_time([rhythm, root], notes),
        device=" ".join(name for name in device if name) or None,
        vendor=_vendor(rhythm, notes) | ({} if beat is None else _vendor(beat, notes)),
        notes=notes,
    )


def _part(sequences: ET.Element, series_start_s: float | None, place: int) -> Part:
    """Return the leads of a sequence set, with its rate and start."""
    leads: dict[str, StoredLead] = {}
    rate = start = None
    for sequence in sequences.iterfind("component/sequence"):
        code = _code(sequence).upper()
        value = sequence.find("value")
        if code.startswith("TIME_"):
            rate = rate or _rate(value)
            start = _head(value, series_start_s) if start is None else start
        elif lead_name(code) is not None:
            add_lead(leads, code, _lead(value))
    if rate is None:
        raise RecordingError(Reason.MALFORMED, "no sequence set with a time sequence")
    return Part(leads, rate, start, place)


def _head(value: ET.Element | None, series_start_s: float | None) -> float | None:
    """Return when a time sequence begins: of the day, or of its series where it is relative."""
    head = None if value is None else value.find("head")
    if head is None:
        return None
    unit = _SECONDS.get(head.get("unit", "").lower())
    if unit is None:
        return _seconds(head.get("value", ""))
    offset = xmltree.attribute(head, "value")
    return None if offset is None or series_start_s is None else series_start_s + offset * unit


def _start(series: ET.Element, is_only: bool) -> float | None:
    """Return when a series begins; zero if it does not say and is the only one."""
    low = series.find("effectiveTime/low")
    given = None if low is None else _seconds(low.get("value", ""))
    return 0.0 if given is None and is_only else given


def _seconds(time: str) -> float | None:
    """Return `YYYYMMDDhhmmss.fff` in seconds on a clock whose zero does not matter."""
    parts = re.match(r"(\d{8})(\d\d)(\d\d)(\d\d(?:[.,]\d{1,9})?)(?![\d.,])", time.strip())
    if parts is None:
        return None
    seconds = decimal(parts[4]) or 0.0
    return int(parts[1]) * 86400.0 + int(parts[2]) * 3600.0 + int(parts[3]) * 60.0 + seconds


def _lead(value: ET.Element | None) -> StoredLead:
    scale, origin = _microvolts(value, "scale"), _microvolts(value, "origin")
    if value is None or scale is None or scale <= 0:
        raise RecordingError(Reason.MALFORMED, "a lead's scale is not a voltage")
    samples = xmltree.whole_numbers(value.findtext("digits") or "", " ")
    # A whole number of units: baselines are removed later, their last fraction does not matter.
    return StoredLead(samples + round(min(max((origin or 0.0) / scale, -1e6), 1e6)), scale)


def _microvolts(value: ET.Element | None, path: str) -> float | None:
    found = None if value is None else value.find(path)
    number = xmltree.attribute(found, "value")
    unit = None if found is None else microvolts(found.get("unit"))
    return None if number is None or unit is None else number * unit


def _rate(value: ET.Element | None) -> float | None:
    step = None if value is None else value.find("increment")
    unit = None if step is None else _SECONDS.get(step.get("unit", "").lower())
    number = xmltree.attribute(step, "value")
    if not number or number <= 0 or unit is None:
        raise RecordingError(Reason.MALFORMED, "the time sequence has no increment")
    return 1.0 / (number * unit)


def _median(beat: ET.Element) -> Part:
    """Return the sequence set of a representative beat with the most leads."""
    sets = [_part(sequences, None, 0) for sequences in beat.iterfind("component/sequenceSet")]
    if not sets:
        raise RecordingError(Reason.MALFORMED, "a representative beat without samples")
    return max(sets, key=lambda part: len(part.leads))


def _vendor(series: ET.Element, notes: list[Note]) -> dict[str, float]:
    vendor: dict[str, float] = {}
    for annotation in series.iterfind("subjectOf/annotationSet/component/annotation"):
        name = _MEASUREMENTS.get(_code(annotation))
        found = annotation.find("value")
        given = None if name is None or found is None else found.get("value")
        value = decimal(given)
        if name is not None and value is not None:
            vendor.setdefault(name, value)
        elif given and given.strip():
            notes.append(Note.MEASUREMENT_UNREADABLE)
    return vendor


def _code(element: ET.Element) -> str:
    code = element.find("code")
    return "" if code is None else code.get("code", "")


def _time(elements: list[ET.Element], notes: list[Note]) -> datetime | None:
    """Return the start of the first effective time that is a full date and time."""
    found = [
        time.get("value", "")
        for element in elements
        for path in ("effectiveTime/low", "effectiveTime/center")
        for time in element.findall(path)
    ]
    moment = next((moment for text in found if (moment := read_moment(text))), None)
    return noted_time(moment, "".join(found), notes)
