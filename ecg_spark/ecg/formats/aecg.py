"""HL7 annotated ECG (aECG, FDA), as Mortara, Philips and others export it."""

import re
import xml.etree.ElementTree as ET
from datetime import datetime

from ecg_spark.ecg.formats import xmltree
from ecg_spark.ecg.formats.leads import (
    StoredLead,
    add_lead,
    lead_name,
    make_recording,
    without_padding,
)
from ecg_spark.ecg.formats.quantities import microvolts
from ecg_spark.ecg.recording import Reason, Recording, RecordingError

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
    """Return the first rhythm series of an annotated ECG that holds leads, samples as stored.

    `vendor` holds the measurements of the whole recording, those of its representative beat
    (the median beat) winning; beat by beat annotations are left behind. Raises `RecordingError`.
    """
    root, notes = xmltree.parse(data, skip=("supportingROI", "controlVariable"))
    series = [
        item for item in root.iter("series") if item.find("component/sequenceSet") is not None
    ]
    if not series:
        raise RecordingError(Reason.MALFORMED, "no series with a sequenceSet")
    rhythm = series[0]
    leads, rate = _leads(rhythm)
    beat = next(
        (
            item
            for item in rhythm.iter("derivedSeries")
            if _code(item).upper().startswith("REPRESENTATIVE_BEAT")
        ),
        None,
    )
    median, median_rate = _median(beat)
    maker = rhythm.find("author/seriesAuthor")
    device = (
        xmltree.text(maker, "manufacturerOrganization/name"),
        xmltree.text(maker, "manufacturedSeriesDevice/manufacturerModelName"),
    )
    subject = next(root.iter("trialSubject"), None)
    identity = None if subject is None else subject.find("id")
    return make_recording(
        leads,
        rate,
        "aecg",
        median=median,
        median_rate_hz=median_rate,
        participant_id=None if identity is None else identity.get("extension") or None,
        acquired_at=_time(rhythm) or _time(root),
        device=" ".join(name for name in device if name) or None,
        vendor=_vendor(rhythm) | ({} if beat is None else _vendor(beat)),
        notes=notes,
    )


def _leads(series: ET.Element) -> tuple[dict[str, StoredLead], float]:
    """Return the leads of the sequence set with the most of them, and its sampling rate in Hz."""
    best: tuple[dict[str, StoredLead], float] | None = None
    for sequences in series.iterfind("component/sequenceSet"):
        leads: dict[str, StoredLead] = {}
        rate = None
        for sequence in sequences.iterfind("component/sequence"):
            code = _code(sequence)
            value = sequence.find("value")
            if code.startswith("TIME_"):
                rate = rate or _rate(value)
            elif lead_name(code) is not None:
                add_lead(leads, code, _lead(value))
        if rate is not None and (best is None or len(leads) > len(best[0])):
            best = leads, rate
    if best is None:
        raise RecordingError(Reason.MALFORMED, "no sequence set with a time sequence")
    return best


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
    unit = None if step is None else _SECONDS.get(step.get("unit", ""))
    number = xmltree.attribute(step, "value")
    if not number or number <= 0 or unit is None:
        raise RecordingError(Reason.MALFORMED, "the time sequence has no increment")
    return 1.0 / (number * unit)


def _median(beat: ET.Element | None) -> tuple[dict[str, StoredLead] | None, float | None]:
    """Return the representative beat and its rate, nothing where it cannot be read."""
    if beat is None:
        return None, None
    try:
        leads, rate = _leads(beat)
    except RecordingError:
        return None, None
    return without_padding(leads), rate


def _vendor(series: ET.Element) -> dict[str, float]:
    vendor: dict[str, float] = {}
    for annotation in series.iterfind("subjectOf/annotationSet/component/annotation"):
        name = _MEASUREMENTS.get(_code(annotation))
        value = xmltree.attribute(annotation.find("value"), "value")
        if name is not None and value is not None:
            vendor.setdefault(name, value)
    return vendor


def _code(element: ET.Element) -> str:
    code = element.find("code")
    return "" if code is None else code.get("code", "")


def _time(element: ET.Element) -> datetime | None:
    """Return the start of the effective time, None where it is no full date and time."""
    for path in ("effectiveTime/low", "effectiveTime/center"):
        found = element.find(path)
        text = "" if found is None else found.get("value", "")
        parts = re.match(r"(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)?", text)
        if parts:
            return xmltree.moment(*(float(part or 0) for part in parts.groups()))
    return None
