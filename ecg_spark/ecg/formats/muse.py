"""GE MUSE XML (RestingECG), as exported by hospitals' ECG archives."""

import base64
import binascii
import re
import xml.etree.ElementTree as ET
import zlib
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from ecg_spark.ecg.formats import xmltree
from ecg_spark.ecg.formats.leads import StoredLead, add_lead, make_recording
from ecg_spark.ecg.formats.quantities import microvolts
from ecg_spark.ecg.recording import Reason, Recording, RecordingError

ROOT = "RestingECG"

_MEASUREMENTS = {
    "heart_rate_bpm": "VentricularRate",
    "pr_ms": "PRInterval",
    "qrs_ms": "QRSDuration",
    "qt_ms": "QTInterval",
    "qtc_ms": "QTCorrected",
    "p_axis_deg": "PAxis",
    "axis_deg": "RAxis",
    "t_axis_deg": "TAxis",
}
_ONSETS = {
    "p_onset_ms": "POnset",
    "p_offset_ms": "POffset",
    "qrs_onset_ms": "QOnset",
    "qrs_offset_ms": "QOffset",
    "t_offset_ms": "TOffset",
}


def read_muse(data: bytes) -> Recording:
    """Return the rhythm recording of a MUSE XML file: eight stored leads, four derived exactly.

    The vendor's onsets and offsets are ms from the start of its median beat (the file holds
    samples); its P duration follows from them. Raises `RecordingError`.
    """
    root, notes = xmltree.parse(data, skip=("Diagnosis", "OriginalDiagnosis", "MeasurementMatrix"))
    waveforms: dict[str, ET.Element] = {}
    for waveform in root.iterfind("Waveform"):
        waveforms.setdefault((xmltree.text(waveform, "WaveformType") or "").lower(), waveform)
    rhythm = waveforms.get("rhythm")
    if rhythm is None:
        raise RecordingError(Reason.MALFORMED, "no Rhythm waveform")
    rate = _rate_hz(rhythm)
    median = waveforms.get("median")
    version = xmltree.text(root, "MuseInfo/MuseVersion")
    model = xmltree.text(root, "TestDemographics/AcquisitionDevice")
    device = " ".join(name for name in ("MUSE", version, model) if name)
    return make_recording(
        _leads(rhythm),
        rate,
        "muse",
        median=None if median is None else _leads(median),
        median_rate_hz=None if median is None else _rate_hz(median),
        participant_id=xmltree.text(root, "PatientDemographics/PatientID"),
        acquired_at=_acquired_at(root.find("TestDemographics")),
        device=device,
        vendor=_vendor(root),
        notes=notes,
    )


def _leads(waveform: ET.Element) -> dict[str, StoredLead]:
    leads: dict[str, StoredLead] = {}
    for data in waveform.iterfind("LeadData"):
        volts = microvolts(xmltree.text(data, "LeadAmplitudeUnits") or "MICROVOLTS")
        if volts is None:
            raise RecordingError(Reason.MALFORMED, "the amplitude unit is not a voltage")
        unit = xmltree.required_number(data, "LeadAmplitudeUnitsPerBit") * volts
        lead = StoredLead(_samples(data), unit)
        add_lead(leads, xmltree.text(data, "LeadID") or "", lead)
    return leads


def _samples(data: ET.Element) -> NDArray[np.int64]:
    if xmltree.number(data, "LeadSampleSize") not in (2, None):
        raise RecordingError(Reason.MALFORMED, "the samples are not of two bytes")
    encoded = "".join((data.findtext("WaveFormData") or "").split())
    try:
        raw = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise RecordingError(Reason.MALFORMED, "the samples are not base64") from None
    count = xmltree.sample_count(data, "LeadSampleCountTotal")
    if len(raw) % 2 or (count is not None and len(raw) != 2 * count):
        raise RecordingError(Reason.MALFORMED, f"a lead holds {len(raw)} bytes, not {count} x 2")
    checksum = xmltree.number(data, "LeadDataCRC32")
    if checksum and int(checksum) & 0xFFFFFFFF != zlib.crc32(raw):
        raise RecordingError(Reason.CHECKSUM_MISMATCH, "a lead's samples differ from its CRC-32")
    samples = np.frombuffer(raw, dtype="<i2").astype(np.int64)
    if samples.size and samples.min() == -32768:
        raise RecordingError(Reason.NOT_FINITE, "a sample is marked as missing")
    return samples


def _rate_hz(waveform: ET.Element) -> float:
    exponent = xmltree.number(waveform, "SampleExponent") or 0.0
    if abs(exponent) > 6:
        raise RecordingError(Reason.MALFORMED, "the sampling rate's exponent is not plausible")
    return xmltree.required_number(waveform, "SampleBase") * 10.0**exponent


def _vendor(root: ET.Element) -> dict[str, float]:
    measured = root.find("RestingECGMeasurements")
    vendor = xmltree.measurements(measured, _MEASUREMENTS)
    base = xmltree.number(measured, "ECGSampleBase")
    if base and base > 0:
        onsets = xmltree.measurements(measured, _ONSETS)
        vendor |= {name: sample * 1000.0 / base for name, sample in onsets.items()}
    if "p_onset_ms" in vendor and "p_offset_ms" in vendor:
        vendor["p_ms"] = vendor["p_offset_ms"] - vendor["p_onset_ms"]
    rr = xmltree.number(root, "QRSTimesTypes/GlobalRR")
    return vendor if rr is None else {**vendor, "rr_ms": rr}


def _acquired_at(test: ET.Element | None) -> datetime | None:
    date = re.fullmatch(r"(\d{1,2})-(\d{1,2})-(\d{4})", xmltree.text(test, "AcquisitionDate") or "")
    time = re.fullmatch(r"(\d\d):(\d\d):(\d\d)", xmltree.text(test, "AcquisitionTime") or "")
    if date is None:
        return None
    month, day, year = (float(part) for part in date.groups())
    clock = (float(part) for part in time.groups()) if time else (0.0, 0.0, 0.0)
    return xmltree.moment(year, month, day, *clock)
