"""DICOM waveforms (12-lead and general ECG storage), decoded by pydicom."""

import io
import logging
import math
import re
import warnings
import zlib
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Literal, TypeVar

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import config
from pydicom.uid import DeflatedExplicitVRLittleEndian

from ecg_spark.ecg.formats.leads import (
    StoredLead,
    add_lead,
    check_extent,
    lead_name,
    make_recording,
)
from ecg_spark.ecg.formats.parts import Part, noted_time, spared, twelve_leads
from ecg_spark.ecg.formats.quantities import decimal, microvolts
from ecg_spark.ecg.formats.times import read_moment
from ecg_spark.ecg.recording import Note, Reason, Recording, RecordingError

MAX_BYTES, MAX_ITEMS = 8 << 20, 20_000
"""A resting ECG takes 300 kB and some hundred sequence items; five minutes of twelve leads at
1000 Hz take 7 MB. Every item costs pydicom 50 µs and 1 kB."""

_ITEM, _ITEM_BIG = b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00"
_WAVEFORMS, _WAVEFORMS_BIG = b"\x00\x54\x00\x01", b"\x54\x00\x01\x00"
_FIRST_META, _META_KINDS = b"\x02\0\0\0", (b"UL", b"OB", b"UI")
_META_BYTES = 2000
_DEFLATED = DeflatedExplicitVRLittleEndian.encode()
_MAX_GROUPS = 64
_KINDS = {("SB", 8): "i1", ("UB", 8): "u1", ("SS", 16): "i2", ("US", 16): "u2", ("SL", 32): "i4"}
_KINDS |= {("UL", 32): "u4"}
_LONGEST_PASSAGE_SECONDS = 0.5
"""Because of noise, no lead stays on one value for longer."""

T = TypeVar("T")

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
    """Return whether data are a DICOM file, or a data set of waveforms without its preamble."""
    if data[128:132] == b"DICM":
        return True
    if data[:4] in (_FIRST_META, b"\x02\0\x01\0", b"\x02\0\x02\0") and data[4:6] in _META_KINDS:
        return True
    is_little, is_big = data[:2] == b"\x08\0", data[:2] == b"\0\x08"
    is_first = (is_little and data[3:4] == b"\0") or (is_big and data[2:3] == b"\0")
    has_kind = data[4:6].isalpha() and data[4:6].isupper()
    has_length = int.from_bytes(data[4:8], "little") < 256
    if not (is_first and (has_kind or (is_little and has_length))):
        return False
    return (_WAVEFORMS if is_little else _WAVEFORMS_BIG) in data


def read_dicom(data: bytes) -> Recording:
    """Return the rhythm of a DICOM ECG, with its median group as the median beat.

    The data may be little- or big-endian, deflated, and without preamble or meta group. Multiplex
    groups of the same time are joined; a recording whose leads were stored in groups one after the
    other (four times 2.5 s) is refused.

    Raises:
        RecordingError: `not_simultaneous` in that case; `too_large` beyond `MAX_BYTES` or
            `MAX_ITEMS`; otherwise the file is malformed or cannot be used.
    """
    if len(data) > MAX_BYTES:
        raise RecordingError(Reason.TOO_LARGE, f"DICOM of more than {MAX_BYTES >> 20} MiB")
    data = _inflated(data)
    if data.count(_ITEM) + data.count(_ITEM_BIG) > MAX_ITEMS:
        raise RecordingError(Reason.TOO_LARGE, f"DICOM of more than {MAX_ITEMS} sequence items")
    # Its warnings may contain a name: none of them may reach a log.
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    config.settings.reading_validation_mode = config.IGNORE
    return _quietly(
        lambda: _read(pydicom.dcmread(io.BytesIO(data), specific_tags=list(_TAGS), force=True))
    )


def _quietly(read: Callable[[], T]) -> T:
    """Return what `read` returns; any error that a file provokes in pydicom becomes `malformed`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read()
    except RecordingError:
        raise
    except Exception as error:
        kind = type(error).__name__
        raise RecordingError(Reason.MALFORMED, f"not sound DICOM ({kind})") from None


def _inflated(data: bytes) -> bytes:
    """Return a deflated data set unpacked and without its meta group; other data as they are."""
    start = 132 if data[128:132] == b"DICM" else 0
    if _DEFLATED not in data[start : start + _META_BYTES]:
        return data
    if data[start : start + 8] != _FIRST_META + b"UL\x04\0":
        raise RecordingError(
            Reason.MALFORMED, "deflated DICOM without the length of its meta group"
        )
    end = start + 12 + int.from_bytes(data[start + 8 : start + 12], "little")
    unpacker = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    try:
        content = unpacker.decompress(data[end:], MAX_BYTES + 1)
    except zlib.error:
        raise RecordingError(Reason.MALFORMED, "damaged deflated data") from None
    if len(content) > MAX_BYTES:
        raise RecordingError(Reason.TOO_LARGE, f"more than {MAX_BYTES >> 20} MiB inflated")
    if not unpacker.eof:
        raise RecordingError(Reason.MALFORMED, "deflated data end early")
    return content


def _read(dataset: pydicom.Dataset) -> Recording:
    notes: list[Note] = []
    groups = list(dataset.get("WaveformSequence") or [])[:_MAX_GROUPS]
    rhythms = [group for group in groups if not _is_median(group)]
    if not rhythms:
        raise RecordingError(Reason.MALFORMED, "no rhythm waveform")
    is_big = not _is_little_endian(dataset)
    rhythm = twelve_leads([partial(_part, group, is_big) for group in rhythms], notes)
    median = None
    for group in [group for group in groups if _is_median(group)][:1]:
        median = spared(partial(_part, group, is_big), notes, Note.MEDIAN_BEAT_DROPPED)
    maker = (dataset.get("Manufacturer"), dataset.get("ManufacturerModelName"))
    return make_recording(
        rhythm.leads,
        rhythm.rate_hz,
        "dicom",
        median=None if median is None else median.leads,
        median_rate_hz=None if median is None else median.rate_hz,
        participant_id=str(dataset.get("PatientID") or "").strip() or None,
        acquired_at=_acquired_at(dataset, notes),
        device=" ".join(str(name) for name in maker if name) or None,
        vendor=_vendor(dataset, notes),
        notes=notes,
    )


def _is_little_endian(dataset: pydicom.Dataset) -> bool:
    """Return whether the samples are little-endian."""
    return bool(dataset.original_encoding[1])


def _is_median(group: pydicom.Dataset) -> bool:
    is_derived = str(group.get("WaveformOriginality", "")).upper() == "DERIVED"
    return is_derived or "MEDIAN" in str(group.get("MultiplexGroupLabel", "")).upper()


def _part(group: pydicom.Dataset, is_big: bool) -> Part:
    return _quietly(lambda: _group(group, is_big))


def _group(group: pydicom.Dataset, is_big: bool) -> Part:
    """Return a multiplex group's leads, its rate and its offset."""
    rate = float(group.SamplingFrequency)
    n_samples = int(group.NumberOfWaveformSamples)
    channels = list(group.ChannelDefinitionSequence)
    check_extent(rate, n_samples, is_part=True)
    bits = int(group.WaveformBitsAllocated)
    kind = _KINDS.get((str(group.WaveformSampleInterpretation), bits))
    if kind is None or len(channels) != int(group.NumberOfWaveformChannels):
        raise RecordingError(Reason.UNKNOWN_FORMAT, "samples of an unsupported kind")
    stored = bytes(group.WaveformData)
    if bits == 8 and is_big:
        raise RecordingError(Reason.UNKNOWN_FORMAT, "big-endian samples of 8 bits are not read")
    order: Literal["little", "big"] = "big" if is_big else "little"
    total = n_samples * len(channels)
    if len(stored) < total * bits // 8:
        raise RecordingError(Reason.MALFORMED, f"a lead holds fewer than {n_samples} samples")
    values = np.frombuffer(stored, np.dtype(kind).newbyteorder(order), total).astype(np.int64)
    padding = group.get("WaveformPaddingValue")
    if isinstance(padding, bytes):
        padding = int.from_bytes(padding[: bits // 8], order, signed=kind.startswith("i"))
    leads: dict[str, StoredLead] = {}
    for channel, row in zip(channels, values.reshape(n_samples, -1).T, strict=True):
        name = _name(channel)
        if lead_name(name) is None:
            continue
        missing = row == padding
        if not isinstance(padding, int) or not _marks_missing(missing, row, padding, rate):
            missing = np.zeros(row.size, dtype=np.bool_)
        unit, zero = _scale(channel)
        add_lead(leads, name, StoredLead(row + zero, unit, missing))
    offset = group.get("MultiplexGroupTimeOffset")
    return Part(leads, rate, None if offset is None else float(offset) / 1000)


def _marks_missing(
    padded: NDArray[np.bool_], row: NDArray[np.int64], padding: int, rate_hz: float
) -> bool:
    """Return whether the declared padding value of a lead marks missing samples.

    Some writers declare a value that is an ordinary sample (0): it is one if the lead passes
    through it without staying on it.
    """
    if not padded.any():
        return False
    others = row[~padded]
    if others.size == 0 or not others.min() < padding < others.max():
        return True
    edges = np.flatnonzero(np.diff(np.concatenate([[0], padded.astype(np.int8), [0]])))
    longest = int((edges[1::2] - edges[::2]).max())
    return longest > _LONGEST_PASSAGE_SECONDS * rate_hz


def _name(channel: pydicom.Dataset) -> str:
    """Return the lead's name: by its code if that is of a known scheme, else by its text.

    Raises `RecordingError` (malformed) if the code and its meaning are different leads.
    """
    sources = channel.get("ChannelSourceSequence") or []
    for source in sources:
        scheme = str(source.get("CodingSchemeDesignator", ""))
        code = re.search(r"[:-](\d+)$", str(source.get("CodeValue", "")))
        if scheme in ("SCPECG", "MDC") and code and int(code[1]) in _CODES:
            name = _CODES[int(code[1])]
            if lead_name(str(source.get("CodeMeaning") or "")) not in (None, name):
                raise RecordingError(Reason.MALFORMED, f"lead {name} has another name in its text")
            return name
    texts = [source.get(key) for source in sources for key in ("CodeValue", "CodeMeaning")]
    texts.append(channel.get("ChannelLabel"))
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


def _vendor(dataset: pydicom.Dataset, notes: list[Note]) -> dict[str, float]:
    vendor: dict[str, float] = {}
    for annotation in dataset.get("WaveformAnnotationSequence") or []:
        found = spared(
            partial(_quietly, partial(_measurement, annotation)),
            notes,
            Note.MEASUREMENT_UNREADABLE,
        )
        if found is not None:
            vendor.setdefault(*found)
    return vendor


def _measurement(annotation: pydicom.Dataset) -> tuple[str, float] | None:
    """Return the name that we use for an annotation, and its value; None if it is not kept."""
    concepts = annotation.get("ConceptNameCodeSequence") or []
    meaning = str(concepts[0].get("CodeMeaning", "")).lower() if concepts else ""
    name = _MEASUREMENTS.get(meaning)
    if name is None:
        return None
    given = annotation.get("NumericValue")
    value = decimal(str(given if given is not None else ""))
    if value is None:
        if given is None or not str(given).strip():
            return None
        raise RecordingError(Reason.MALFORMED, "a measurement is not a number")
    # An interval of 0 was not measured.
    return (name, value) if value or name.endswith("_deg") else None


def _acquired_at(dataset: pydicom.Dataset, notes: list[Note]) -> datetime | None:
    given = str(dataset.get("AcquisitionDateTime") or "")
    if not given:
        given = str(dataset.get("StudyDate") or "") + str(dataset.get("StudyTime") or "")
    return noted_time(read_moment(given), given, notes)
