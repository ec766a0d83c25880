"""GE MUSE XML (RestingECG), as exported by hospitals' ECG archives."""

import base64
import binascii
import xml.etree.ElementTree as ET
import zlib
from collections.abc import Callable
from datetime import datetime
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ecg_spark.ecg.formats import xmltree
from ecg_spark.ecg.formats.leads import StoredLead, add_lead, lead_name, make_recording
from ecg_spark.ecg.formats.parts import Part, noted_time, spared, twelve_leads
from ecg_spark.ecg.formats.quantities import microvolts
from ecg_spark.ecg.formats.times import read_moment
from ecg_spark.ecg.recording import Note, Reason, Recording, RecordingError

ROOT = "RestingECG"

_MISSING = -32768
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
    """Return the rhythm recording of a MUSE XML file: eight stored leads, and four derived exactly.

    The vendor's onsets and offsets are in ms from the start of its median beat (the file gives them
    in samples); its P duration follows from them.

    Raises:
        RecordingError: `checksum_mismatch` if a lead's samples differ from its CRC-32; otherwise
            the file is malformed or cannot be used.
    """
    root, notes = xmltree.parse(data, skip=("Diagnosis", "OriginalDiagnosis", "MeasurementMatrix"))
    waveforms: dict[str, list[ET.Element]] = {}
    for waveform in root.iterfind("Waveform"):
        kind = (xmltree.text(waveform, "WaveformType") or "").lower()
        waveforms.setdefault(kind, []).append(waveform)
    rhythms = waveforms.get("rhythm", [])
    if not rhythms:
        raise RecordingError(Reason.MALFORMED, "no Rhythm waveform")
    default = 0.0 if len(rhythms) == 1 else None
    rhythm = twelve_leads(
        (part for waveform in rhythms for part in _part_readers(waveform, default)), notes
    )
    beat = None
    for waveform in waveforms.get("median", [])[:1]:
        beat = spared(partial(_part, waveform), notes, Note.MEDIAN_BEAT_DROPPED)
    version = xmltree.text(root, "MuseInfo/MuseVersion")
    model = xmltree.text(root, "TestDemographics/AcquisitionDevice")
    device = " ".join(name for name in ("MUSE", version, model) if name)
    return make_recording(
        rhythm.leads,
        rhythm.rate_hz,
        "muse",
        median=None if beat is None else beat.leads,
        median_rate_hz=None if beat is None else beat.rate_hz,
        participant_id=xmltree.text(root, "PatientDemographics/PatientID"),
        acquired_at=_acquired_at(root.find("TestDemographics"), notes),
        device=device,
        vendor=_vendor(root, notes),
        notes=notes,
    )


def _part_readers(waveform: ET.Element, default_s: float | None) -> list[Callable[[], Part]]:
    """Return a reader for each group of leads of a waveform that have one offset and length."""
    start = xmltree.number(waveform, "WaveformStartTime")
    groups: dict[tuple[float, float | None], list[ET.Element]] = {}
    for data in waveform.iterfind("LeadData"):
        offset = xmltree.number(data, "LeadTimeOffset") or 0.0
        key = offset, xmltree.number(data, "LeadSampleCountTotal")
        groups.setdefault(key, []).append(data)
    begins = default_s if start is None else start / 1000
    return [
        partial(_part, waveform, group, None if begins is None else begins + offset / 1000)
        for (offset, _), group in groups.items()
    ]


def _part(
    waveform: ET.Element, group: list[ET.Element] | None = None, start_s: float | None = None
) -> Part:
    """Return the leads of a waveform, or those of a group of them."""
    leads: dict[str, StoredLead] = {}
    for data in waveform.findall("LeadData") if group is None else group:
        name = xmltree.text(data, "LeadID") or ""
        if lead_name(name) is None:
            continue
        volts = microvolts(xmltree.text(data, "LeadAmplitudeUnits") or "MICROVOLTS")
        if volts is None:
            raise RecordingError(Reason.MALFORMED, "the amplitude unit is not a voltage")
        unit = xmltree.required_number(data, "LeadAmplitudeUnitsPerBit") * volts
        samples = _samples(data)
        add_lead(leads, name, StoredLead(samples, unit, samples == _MISSING))
    return Part(leads, _rate_hz(waveform), start_s)


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
    return np.frombuffer(raw, dtype="<i2").astype(np.int64)


def _rate_hz(waveform: ET.Element) -> float:
    exponent = xmltree.number(waveform, "SampleExponent") or 0.0
    if abs(exponent) > 6:
        raise RecordingError(Reason.MALFORMED, "the sampling rate's exponent is not plausible")
    return xmltree.required_number(waveform, "SampleBase") * 10.0**exponent


def _vendor(root: ET.Element, notes: list[Note]) -> dict[str, float]:
    measured = root.find("RestingECGMeasurements")
    vendor = xmltree.measurements(measured, _MEASUREMENTS, notes)
    base = xmltree.number(measured, "ECGSampleBase")
    if base and base > 0:
        onsets = xmltree.measurements(measured, _ONSETS, notes)
        vendor |= {name: sample * 1000.0 / base for name, sample in onsets.items()}
    if "p_onset_ms" in vendor and "p_offset_ms" in vendor:
        vendor["p_ms"] = vendor["p_offset_ms"] - vendor["p_onset_ms"]
    rr = xmltree.number(root, "QRSTimesTypes/GlobalRR")
    return vendor if rr is None else {**vendor, "rr_ms": rr}


def _acquired_at(test: ET.Element | None, notes: list[Note]) -> datetime | None:
    """Return the time of acquisition; MUSE writes the month before the day."""
    parts = [xmltree.text(test, f"Acquisition{part}") for part in ("Date", "Time")]
    given = " ".join(part for part in parts if part)
    return noted_time(read_moment(given, day_first=False), given, notes)
