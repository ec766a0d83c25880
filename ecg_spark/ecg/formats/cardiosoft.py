"""GE CardioSoft XML, the format of UK Biobank's resting ECGs (field 20205)."""

import xml.etree.ElementTree as ET
from functools import partial

from ecg_spark.ecg.formats import xmltree
from ecg_spark.ecg.formats.leads import StoredLead, add_lead, lead_name, make_recording
from ecg_spark.ecg.formats.parts import Part, noted_time, spared, twelve_leads
from ecg_spark.ecg.formats.times import moment_of
from ecg_spark.ecg.recording import Note, Reason, Recording, RecordingError

ROOT = "CardiologyXML"

_MEASUREMENTS = {
    "heart_rate_bpm": "VentricularRate",
    "pr_ms": "PQInterval",
    "p_ms": "PDuration",
    "qrs_ms": "QRSDuration",
    "qt_ms": "QTInterval",
    "qtc_ms": "QTCInterval",
    "rr_ms": "RRInterval",
    "p_axis_deg": "PAxis",
    "axis_deg": "RAxis",
    "t_axis_deg": "TAxis",
    "p_onset_ms": "POnset",
    "p_offset_ms": "POffset",
    "qrs_onset_ms": "QOnset",
    "qrs_offset_ms": "QOffset",
    "t_offset_ms": "TOffset",
}


def read_cardiosoft(data: bytes) -> Recording:
    """Return the resting ECG (StripData) of a CardioSoft XML file, samples as stored.

    The vendor's onsets and offsets are in ms from the start of its median beat. The exercise
    recording (FullDisclosure) is not kept, nor is anything that identifies the participant except
    the PID.

    Raises:
        RecordingError: the file is malformed or cannot be used.
    """
    root, notes = xmltree.parse(data, skip=("FullDisclosure", "VectorLoops", "Interpretation"))
    strips = root.findall("StripData")
    if not strips:
        raise RecordingError(Reason.MALFORMED, "no StripData element")
    rhythm = twelve_leads([partial(_part, strip) for strip in strips], notes)
    measured = root.find("RestingECGMeasurements")
    median = None if measured is None else measured.find("MedianSamples")
    beat = None
    if median is not None:
        beat = spared(partial(_part, median), notes, Note.MEDIAN_BEAT_DROPPED)
    device = root.find("ClinicalInfo/DeviceInfo")
    names = [xmltree.text(device, tag) for tag in ("Desc", "SoftwareVer")]
    clock = root.find("ObservationDateTime")
    parts = ("Year", "Month", "Day", "Hour", "Minute", "Second")
    moment = moment_of(*(xmltree.number(clock, part) for part in parts))
    return make_recording(
        rhythm.leads,
        rhythm.rate_hz,
        "cardiosoft",
        median=None if beat is None else beat.leads,
        median_rate_hz=None if beat is None else beat.rate_hz,
        participant_id=xmltree.text(root, "PatientInfo/PID"),
        acquired_at=noted_time(moment, None if clock is None else "".join(clock.itertext()), notes),
        device=" ".join(name for name in names if name) or None,
        vendor=xmltree.measurements(measured, _MEASUREMENTS, notes),
        notes=notes,
    )


def _part(waveforms: ET.Element) -> Part:
    return Part(_leads(waveforms), xmltree.required_number(waveforms, "SampleRate"))


def _leads(waveforms: ET.Element) -> dict[str, StoredLead]:
    unit = xmltree.required_number(waveforms, "Resolution")
    expected = xmltree.sample_count(waveforms, "ChannelSampleCountTotal")
    leads: dict[str, StoredLead] = {}
    for waveform in waveforms.iterfind("WaveformData"):
        name = waveform.get("lead", "")
        if lead_name(name) is None:
            continue
        samples = xmltree.whole_numbers(waveform.text or "", ",")
        if expected is not None and samples.size != expected:
            raise RecordingError(
                Reason.MALFORMED,
                f"a lead of {waveforms.tag} holds {samples.size} samples, not {expected}",
            )
        add_lead(leads, name, StoredLead(samples, unit))
    return leads
