"""Philips Sierra XML 1.03 and 1.04 (PageWriter, HeartStart), with its XLI compression."""

import base64
import binascii
import re
import xml.etree.ElementTree as ET
from datetime import datetime
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ecg_spark.ecg.formats import xmltree
from ecg_spark.ecg.formats.leads import (
    StoredLead,
    add_lead,
    check_extent,
    lead_name,
    make_recording,
    without_padding,
)
from ecg_spark.ecg.formats.parts import noted_time, spared
from ecg_spark.ecg.formats.times import read_moment
from ecg_spark.ecg.recording import LEADS, Note, Reason, Recording, RecordingError

ROOT = "restingecgdata"

_VERSION = re.compile(r"1\.0[34](\.\d\d)?")
_MEASUREMENTS = {
    "heart_rate_bpm": ("heartrate", "meanventrate"),
    "rr_ms": ("rrint",),
    "pr_ms": ("print", "meanprint"),
    "qrs_ms": ("qrsdur", "meanqrsdur"),
    "qt_ms": ("qtint", "meanqtint"),
    "qtc_ms": ("qtcb", "meanqtc"),
    "p_axis_deg": ("pfrontaxis",),
    "axis_deg": ("qrsfrontaxis",),
    "t_axis_deg": ("tfrontaxis",),
    "qrs_onset_ms": ("qonset",),
}
MIN_TAIL_SECONDS = 0.1
"""A shorter stretch at the end in which all leads are equal is kept."""

_CODE_BITS = 10
_MAX_CHANNELS = 32


def read_sierra(data: bytes) -> Recording:
    """Return the rhythm recording of a Sierra XML file, samples as the device took them.

    Compressed files hold III, aVR, aVL and aVF as differences from what I and II give. `vendor`
    holds the global measurements, QTc by Bazett; the median beat ("representative beat") has its
    own sampling rate.

    Raises:
        RecordingError: `unknown_format` for other versions and compressions; otherwise the file is
            malformed or cannot be used.
    """
    root, notes = xmltree.parse(data, skip=("reportinfo", "userdefines", "internalmeasurements"))
    if not _VERSION.fullmatch(xmltree.text(root, "documentinfo/documentversion") or ""):
        raise RecordingError(Reason.UNKNOWN_FORMAT, "Sierra XML of another version than 1.03, 1.04")
    signal = root.find("dataacquisition/signalcharacteristics")
    stored = root.find("waveforms/parsedwaveforms")
    if signal is None or stored is None:
        raise RecordingError(Reason.MALFORMED, "no signalcharacteristics or parsedwaveforms")
    rate = xmltree.attribute(stored, "samplespersecond") or xmltree.number(signal, "samplingrate")
    unit = xmltree.attribute(stored, "resolution") or (
        xmltree.number(signal, "resolution") or xmltree.number(signal, "signalresolution")
    )
    milliseconds = xmltree.attribute(stored, "durationperchannel")
    if rate is None or unit is None or milliseconds is None:
        raise RecordingError(Reason.MALFORMED, "no sampling rate, resolution or duration")
    n_samples = round(milliseconds * rate / 1000)
    check_extent(rate, n_samples)
    names = (stored.get("leadlabels") or " ".join(LEADS)).split()
    leads: dict[str, StoredLead] = {}
    # What follows the last of the twelve is not needed, so damage there does not matter.
    needed = max((i + 1 for i, name in enumerate(names) if lead_name(name)), default=0)
    rows = _channels(stored, n_samples, min(needed, _MAX_CHANNELS))
    for name, row in zip(names, _restored(names, rows), strict=False):
        add_lead(leads, name, StoredLead(row, unit))
    beats = root.find("waveforms/repbeats")
    median = None
    if beats is not None:
        median = spared(partial(_median, beats, unit), notes, Note.MEDIAN_BEAT_DROPPED)
    machine = xmltree.text(root, "dataacquisition/machine")
    return make_recording(
        _without_tail(leads, rate),
        rate,
        "sierra",
        median=median,
        median_rate_hz=xmltree.attribute(beats, "samplespersec"),
        participant_id=xmltree.text(root, "patient/generalpatientdata/patientid"),
        acquired_at=_acquired_at(root.find("dataacquisition"), notes),
        device=f"Philips {machine}" if machine else "Philips",
        vendor=_vendor(root, notes),
        notes=notes,
    )


def _channels(stored: ET.Element, n_samples: int, count: int) -> list[NDArray[np.int64]]:
    """Return the first `count` stored channels, before III to aVF are restored."""
    raw = _bytes(stored)
    method = stored.get("compressmethod") or stored.get("compression") or "Uncompressed"
    if method.lower() == "uncompressed" or stored.get("compressflag", "").lower() == "false":
        whole = np.frombuffer(raw[: len(raw) // 2 * 2], "<i2").astype(np.int64)
        rows = [whole[at : at + n_samples] for at in range(0, whole.size, n_samples)]
    elif method.upper() == "XLI":
        rows = _decode_xli(raw, n_samples, count)
    else:
        raise RecordingError(Reason.UNKNOWN_FORMAT, "a compression other than XLI")
    rows = rows[:count]
    if any(row.size < n_samples for row in rows):
        raise RecordingError(Reason.MALFORMED, f"a lead holds fewer than {n_samples} samples")
    return [row[:n_samples] for row in rows]


def _decode_xli(raw: bytes, n_samples: int, count: int) -> list[NDArray[np.int64]]:
    """Decode XLI: one chunk per channel, each an 8-byte header and LZW codes of 10 bits.

    The codes give the high bytes of 16-bit values, then the low ones. The first two values are
    samples; each later one is the deviation of the next sample from a straight line, plus 64.
    """
    rows: list[NDArray[np.int64]] = []
    at = 0
    while at + 8 <= len(raw) and len(rows) < count:
        size = int.from_bytes(raw[at : at + 4], "little", signed=True)
        start = int.from_bytes(raw[at + 6 : at + 8], "little", signed=True)
        if size <= 0:
            raise RecordingError(Reason.MALFORMED, "an XLI chunk of no length")
        packed = _decode_lzw(raw[at + 8 : at + 8 + size], 2 * n_samples + 2)
        at += 8 + size
        half = (len(packed) + 1) // 2
        packed = packed.ljust(2 * half, b"\0")
        high, low = np.frombuffer(packed[:half], np.uint8), np.frombuffer(packed[half:], np.uint8)
        values = (high.astype(np.uint16) << 8 | low).astype(np.int16).astype(np.int64)
        if values.size < 3:
            raise RecordingError(Reason.MALFORMED, "an XLI chunk is too short")
        bend = -np.concatenate([[start], values[2:-1] - 64])
        slope = np.concatenate([[values[1] - values[0]], bend]).cumsum()
        samples = np.concatenate([values[:1], values[0] + slope.cumsum()])
        rows.append(samples.astype(np.int16).astype(np.int64))
    return rows


def _decode_lzw(packed: bytes, limit: int) -> bytes:
    """Decode LZW of fixed 10-bit codes, high bit first; the last code but one ends the stream.

    Raises `RecordingError` (malformed) before more than `limit` bytes are made.
    """
    bits = np.unpackbits(np.frombuffer(packed, np.uint8))
    whole = bits[: bits.size // _CODE_BITS * _CODE_BITS].reshape(-1, _CODE_BITS)
    codes = (whole @ (1 << np.arange(_CODE_BITS)[::-1])).tolist()
    table = [bytes([code]) for code in range(256)]
    last_code = (1 << _CODE_BITS) - 2
    pieces: list[bytes] = []
    length = 0
    previous = b""
    for code in codes:
        if code > last_code:
            break
        if code < len(table):
            piece = table[code]
        elif code == len(table) and previous:
            piece = previous + previous[:1]
        else:
            raise RecordingError(Reason.MALFORMED, "an LZW code that does not exist")
        if previous and len(table) <= last_code:
            table.append(previous + piece[:1])
        length += len(piece)
        if length > limit:
            raise RecordingError(Reason.MALFORMED, "a lead holds more samples than its duration")
        pieces.append(piece)
        previous = piece
    return b"".join(pieces)


def _restored(names: list[str], rows: list[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
    """Return the channels with III, aVR, aVL and aVF as leads.

    They are taken as differences if that satisfies Einthoven better than taking them as leads.
    """
    if [lead_name(name) for name in names[:6]] != list(LEADS[:6]) or len(rows) < 6:
        return rows
    one, two, three, right, left, foot = rows[:6]
    if np.median(np.abs(three - (two - one))) < np.median(np.abs(three)):
        return rows
    three = two - one - three
    limb = [
        one,
        two,
        three,
        -right - ((one + two) >> 1),
        ((one - three) >> 1) - left,
        ((two + three) >> 1) - foot,
    ]
    return limb + rows[6:]


def _without_tail(leads: dict[str, StoredLead], rate_hz: float) -> dict[str, StoredLead]:
    """Return the leads without the calibration pulse and padding after the recording.

    These are equal in all leads, which a heart's signal never is.
    """
    if len({lead.samples.size for lead in leads.values()}) != 1:
        return leads
    rows = np.stack([lead.samples for lead in leads.values()])
    differing = np.flatnonzero((rows != rows[0]).any(axis=0))
    end = int(differing[-1]) + 1 if differing.size else 0
    if rows.shape[1] - end < MIN_TAIL_SECONDS * rate_hz or end == 0:
        return leads
    return {
        name: StoredLead(lead.samples[:end], lead.microvolts_per_unit)
        for name, lead in leads.items()
    }


def _median(beats: ET.Element, rhythm_unit: float) -> dict[str, StoredLead]:
    """Return the representative beat of each lead."""
    unit = xmltree.attribute(beats, "resolution") or rhythm_unit
    leads: dict[str, StoredLead] = {}
    for beat in beats.iterfind("repbeat"):
        waveform = beat.find("waveform")
        raw = _bytes(beat if waveform is None else waveform, beats.get("dataencoding"))
        samples = np.frombuffer(raw[: len(raw) // 2 * 2], "<i2").astype(np.int64)
        add_lead(leads, beat.get("leadname", ""), StoredLead(samples, unit))
    return without_padding(leads)


def _bytes(element: ET.Element, encoding: str | None = None) -> bytes:
    if (encoding or element.get("dataencoding") or "Base64").lower() != "base64":
        raise RecordingError(Reason.UNKNOWN_FORMAT, "waveforms that are not in base64")
    try:
        return base64.b64decode("".join((element.text or "").split()), validate=True)
    except (binascii.Error, ValueError):
        raise RecordingError(Reason.MALFORMED, "the samples are not base64") from None


def _vendor(root: ET.Element, notes: list[Note]) -> dict[str, float]:
    """Return the device's measurements; those of the interpretation, which may be edited, win."""
    vendor: dict[str, float] = {}
    for path in (
        "measurements/globalmeasurements",
        "interpretations/interpretation/globalmeasurements",
        "interpretations/interpretation/interpretationmeasurements",
    ):
        measured = root.find(path)
        for name, tags in _MEASUREMENTS.items():
            found = xmltree.measurements(measured, dict(zip(tags, tags, strict=True)), notes)
            if found:
                vendor[name] = next(iter(found.values()))
    return vendor


def _acquired_at(acquisition: ET.Element | None, notes: list[Note]) -> datetime | None:
    parts = () if acquisition is None else map(acquisition.get, ("date", "time"))
    given = " ".join(part for part in parts if part)
    return noted_time(read_moment(given), given, notes)
