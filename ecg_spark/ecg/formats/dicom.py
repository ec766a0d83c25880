"""DICOM waveforms (12-lead and general ECG storage), decoded by pydicom."""

import io
import logging
import math
import re
import warnings
from datetime import datetime
from typing import Any

import numpy as np
import pydicom
from pydicom import config
from pydicom.uid import DeflatedExplicitVRLittleEndian
from pydicom.waveforms import multiplex_array

from ecg_spark.ecg.formats import xmltree
from ecg_spark.ecg.formats.leads import (
    StoredLead,
    add_lead,
    check_extent,
    lead_name,
    make_recording,
)
from ecg_spark.ecg.formats.quantities import microvolts
from ecg_spark.ecg.recording import Reason, Recording, RecordingError

MAX_BYTES, MAX_ITEMS = 8 << 20, 20_000
"""A resting ECG takes 300 kB and some hundred sequence items; five minutes of twelve leads at
1000 Hz take 7 MB. Every item costs pydicom 50 µs and 1 kB."""

_ITEM = b"\xfe\xff\x00\xe0"

_TAGS = (
    "AcquisitionDateTime",
    "StudyDate",
    "StudyTime",
    "Manufacturer",
    "ManufacturerModelName",
    "PatientID",
    "WaveformSequence",
    "WaveformAnnotationSequence",
)
_CODES = {1: "I", 2: "II", 61: "III", 62: "aVR", 63: "aVL", 64: "aVF"}
_CODES |= {code: f"V{code - 2}" for code in range(3, 9)}
_MEASUREMENTS = {
    "ventricular heart rate": "heart_rate_bpm",
    "heart rate": "heart_rate_bpm",
    "rr interval": "rr_ms",
    "p duration": "p_ms",
    "pr interval": "pr_ms",
    "qrs duration": "qrs_ms",
    "qt interval": "qt_ms",
    "qtc interval": "qtc_ms",
    "p axis": "p_axis_deg",
    "qrs axis": "axis_deg",
    "t axis": "t_axis_deg",
}


def is_dicom(data: bytes) -> bool:
    """Say whether `data` is a DICOM file."""
    return data[128:132] == b"DICM"


def read_dicom(data: bytes) -> Recording:
    """Return the rhythm group of a DICOM ECG, with its median group as the median beat.

    A recording stored in several groups (four times 2.5 s) lacks leads in each of them and is
    refused as such. Raises `RecordingError`.
    """
    if len(data) > MAX_BYTES:
        raise RecordingError(Reason.TOO_LARGE, f"DICOM of more than {MAX_BYTES >> 20} MiB")
    if data.count(_ITEM) > MAX_ITEMS:
        raise RecordingError(Reason.TOO_LARGE, f"DICOM of more than {MAX_ITEMS} sequence items")
    if DeflatedExplicitVRLittleEndian.encode() in data:
        raise RecordingError(Reason.UNKNOWN_FORMAT, "deflated DICOM is not read")
    # What it complains about may be a name: nothing of it may reach a log.
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    config.settings.reading_validation_mode = config.IGNORE
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _read(pydicom.dcmread(io.BytesIO(data), specific_tags=list(_TAGS)))
    except RecordingError:
        raise
    except Exception as error:  # pydicom lets through whatever a damaged file provokes
        kind = type(error).__name__
        raise RecordingError(Reason.MALFORMED, f"not sound DICOM ({kind})") from None


def _read(dataset: pydicom.Dataset) -> Recording:
    groups = [_group(dataset, i) for i in range(len(dataset.get("WaveformSequence") or []))]
    rhythms = [group for group in groups if not group[2]]
    if not rhythms:
        raise RecordingError(Reason.MALFORMED, "no rhythm waveform")
    leads, rate, _ = max(rhythms, key=lambda group: len(group[0]))
    median = next((group for group in groups if group[2]), None)
    maker = (dataset.get("Manufacturer"), dataset.get("ManufacturerModelName"))
    return make_recording(
        leads,
        rate,
        "dicom",
        median=median and median[0],
        median_rate_hz=median and median[1],
        participant_id=str(dataset.get("PatientID") or "").strip() or None,
        acquired_at=_acquired_at(dataset),
        device=" ".join(str(name) for name in maker if name) or None,
        vendor=_vendor(dataset),
    )


def _group(dataset: pydicom.Dataset, index: int) -> tuple[dict[str, StoredLead], float, bool]:
    """Return a multiplex group's leads, its rate, and whether it is a median beat."""
    group = dataset.WaveformSequence[index]
    rate = float(group.SamplingFrequency)
    is_median = str(group.get("WaveformOriginality", "")).upper() == "DERIVED" or (
        "MEDIAN" in str(group.get("MultiplexGroupLabel", "")).upper()
    )
    n_samples = int(group.NumberOfWaveformSamples)
    if not is_median:
        check_extent(rate, n_samples)
    elif not 0 < n_samples <= 10_000:
        return {}, rate, True
    raw = multiplex_array(dataset, index, as_raw=True).astype(np.int64)
    if str(group.WaveformSampleInterpretation).startswith("U"):
        raw -= 1 << (int(group.WaveformBitsAllocated) - 1)
    padding = _padding(group)
    leads: dict[str, StoredLead] = {}
    for channel, row in zip(group.ChannelDefinitionSequence, raw.T, strict=True):
        name = _name(channel)
        if lead_name(name) is None:
            continue
        if padding is not None and (row == padding).any():
            raise RecordingError(Reason.NOT_FINITE, "a sample is marked as missing")
        unit, zero = _scale(channel)
        add_lead(leads, name, StoredLead(row + zero, unit))
    return leads, rate, is_median


def _padding(group: pydicom.Dataset) -> int | None:
    """Return the signed sample that stands for none, None where none does."""
    value = group.get("WaveformPaddingValue")
    if isinstance(value, bytes):
        value = int.from_bytes(value, "little", signed=True)
    signed = str(group.WaveformSampleInterpretation).startswith("S")
    return value if signed and isinstance(value, int) else None


def _name(channel: pydicom.Dataset) -> str:
    """Return the lead's name: by its code where that is of a known scheme, else by its text."""
    sources = channel.get("ChannelSourceSequence") or []
    for source in sources:
        scheme = str(source.get("CodingSchemeDesignator", ""))
        code = re.search(r"[:-](\d+)$", str(source.get("CodeValue", "")))
        if scheme in ("SCPECG", "MDC") and code and int(code[1]) in _CODES:
            return _CODES[int(code[1])]
    texts = [source.get("CodeMeaning") for source in sources] + [channel.get("ChannelLabel")]
    return next((str(text) for text in texts if text and lead_name(str(text))), "")


def _scale(channel: pydicom.Dataset) -> tuple[float, int]:
    """Return a channel's unit in µV and its baseline in whole units."""
    units = channel.get("ChannelSensitivityUnitsSequence") or []
    volts = microvolts(str(units[0].get("CodeValue", ""))) if units else None
    sensitivity = channel.get("ChannelSensitivity")
    if volts is None or sensitivity is None:
        raise RecordingError(Reason.MALFORMED, "a lead's unit is not a voltage")
    step = float(sensitivity) * float(channel.get("ChannelSensitivityCorrectionFactor") or 1.0)
    baseline = float(channel.get("ChannelBaseline") or 0.0)
    if not (math.isfinite(step) and step > 0 and abs(baseline / step) < 1 << 24):
        raise RecordingError(Reason.MALFORMED, "a lead's amplitude unit is not positive")
    return step * volts, round(baseline / step)


def _vendor(dataset: pydicom.Dataset) -> dict[str, float]:
    vendor: dict[str, float] = {}
    for annotation in dataset.get("WaveformAnnotationSequence") or []:
        concepts = annotation.get("ConceptNameCodeSequence") or []
        value: Any = annotation.get("NumericValue")
        meaning = str(concepts[0].get("CodeMeaning", "")).lower() if concepts else ""
        name = _MEASUREMENTS.get(meaning)
        # An interval of 0 is one that was not measured.
        if name and isinstance(value, int | float) and (value or name.endswith("_deg")):
            vendor.setdefault(name, float(value))
    return vendor


def _acquired_at(dataset: pydicom.Dataset) -> datetime | None:
    given = str(dataset.get("AcquisitionDateTime") or "")
    if not given:
        given = str(dataset.get("StudyDate") or "") + str(dataset.get("StudyTime") or "")
    parts = re.match(r"(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)", given)
    return xmltree.moment(*map(float, parts.groups())) if parts else None
