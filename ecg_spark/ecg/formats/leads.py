"""From leads as stored, in any spelling, order and gain, to a checked Recording."""

import math
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ecg_spark.ecg.formats.missing import fill_missing
from ecg_spark.ecg.recording import (
    LEADS,
    LIMB_LEADS,
    Note,
    Reason,
    Recording,
    RecordingError,
    limb_weights,
)

MIN_RATE_HZ, MAX_RATE_HZ = 100.0, 1000.0
"""Below 100 Hz a QRS complex has too few samples to be aligned; no resting ECG exceeds 1000 Hz."""

MIN_SECONDS, MAX_SECONDS = 5.0, 300.0
"""Five seconds hold the few beats an average needs; resting ECGs last 10 s, some 60 s."""

MIN_PEAK_TO_PEAK_MV, MAX_PEAK_TO_PEAK_MV = 0.05, 20.0
"""Bounds of a recording's amplitude (see `_check_amplitudes`): far outside the physiological 0.3 to
6 mV, but a unit that is wrong by a factor of 1000 exceeds them."""

FLAT_PEAK_TO_PEAK_MV = 0.015
"""A lead that moves less than this in most 2 s windows carries no heart beat: amplifier noise
alone is about as large."""

_INT16_MAX = 32767
_LEAD_WORDS = (
    r"LEAD|ABL(?:EITUNG|TG)?\.?|DERIVA(?:TION|CION|CAO|ZIONE)|AFLEIDING|AVLEDNING|ODPROWADZENIE|"
    r"导联|導聯|誘導"
)
_WORDS = rf"MDC|ECG|EKG|ELEC|POTL|LIMB|CHEST|STANDARD|PRECORDIAL|{_LEAD_WORDS}"
_BETWEEN = r"(?:[\s_:./]*|-|\s*-\s+)"
"""What may precede a lead's name. Not ` -`: the hyphen of `ECG -aVR` inverts the lead."""

_LEAD = (
    r"(?P<limb>I{1,3})|A[\s_.-]*V[\s_.-]*(?P<augmented>[RLF])|[VC][\s_.-]*0?(?P<chest>[1-6])|"
    r"[DL][\s_.-]*(?P<einthoven>I{1,3}|[1-3])"
)
_AFTER = (
    rf"[\s_:./-]+(?:REF(?:ERENCE)?\d?|WCT|WILSON|CT|COMMON|AVG|AVERAGE|GND|GROUND|[U\u039cMN]?V|"
    rf"RAW|FILT(?:ERED)?|SIGNAL|WAVE(?:FORM)?|{_WORDS})"
)
_REMARK = r"\s*(?:[(\[{][^)\]}]*[)\]}]?|,.*)"
_SPELLING = re.compile(
    rf"(?:(?:{_WORDS}){_BETWEEN})*[(\[{{]?\s*(?:{_LEAD})\s*[)\]}}]?(?:{_AFTER})*"
    rf"(?P<remarks>(?:{_REMARK})*)\s*[.:;]?"
)
_COUNTED = re.compile(rf"(?:{_LEAD_WORDS}){_BETWEEN}([1-3])(?!\w)")
_OTHERWISE = re.compile(
    r"\bINV|REVERS|NEG|MINUS|FLIP|SWAP|TURNED|MIRROR|OPPOS|UPSIDE|-\s*A?V|^\W*-|"
    r"-\s*1(?![\d.])|180\s*(?:°|DEG)|DIFF|IMPED|OHM|NOIS|QUALI|STATUS|"
    r"ANNOT|MARK|\bPAC(?:E|ING)|RESP|MEDIAN|POST|RIGHT CHEST|V[1-6]R|V[7-9]"
)
"""Remarks that make a channel something else than the lead it names."""

_LONGEST_NAME = 100
_PLAIN = str.maketrans({**dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"), "\0": " "})
"""All hyphens and minus signs are treated alike."""


@dataclass(frozen=True)
class StoredLead:
    """One lead as the file stores it.

    Attributes:
        samples: whole numbers of `microvolts_per_unit`.
        microvolts_per_unit: the unit.
        missing: marks samples that are missing, whatever their value; None if there are none.
    """

    samples: NDArray[np.int64]
    microvolts_per_unit: float
    missing: NDArray[np.bool_] | None = None


@lru_cache(maxsize=4096)
def lead_name(name: str) -> str | None:
    """Return the name in `LEADS` that a text spells, or None if it spells none.

    Upper and lower case are not distinguished, and hyphen, colon, point, underscore and white space
    may separate the parts: `avr`, `Lead II`, `ECG_V1`, `EKG-I`, `ECG:I`, `ECG I-Ref`,
    `MDC_ECG_LEAD_I`, `C3`, `DI`, `D1`, `L1`. Remarks in brackets or after a comma are ignored
    (`Lead I (Einthoven)`, `I [uV]`) unless they say that the channel is something else (`aVR
    (inverted)`, `V4 (V4R)`): then it is not a lead. Nor are an inverted lead (`-aVR`), a difference
    of leads (`I-II`) and a bare number.

    Example:
        >>> [lead_name(name) for name in ("avr", "MDC_ECG_LEAD_I", "C3", "-aVR", "V4 (V4R)")]
        ['aVR', 'I', 'V3', None, None]
    """
    if len(name) > _LONGEST_NAME:
        return None
    key = unicodedata.normalize("NFKC", name).translate(_PLAIN).strip(" \t\r\n\"'")
    plain = unicodedata.normalize("NFKD", key.upper())
    key = "".join(sign for sign in plain if not unicodedata.combining(sign))
    key = _COUNTED.sub(lambda counted: f"LEAD {'I' * int(counted[1])}", key)
    found = _SPELLING.fullmatch(key)
    if found is None:
        return None
    limb = found["limb"] or found["einthoven"]
    if limb is not None:
        lead = limb if limb.startswith("I") else "I" * int(limb)
    elif found["augmented"] is not None:
        lead = f"aV{found['augmented']}"
    else:
        lead = f"V{found['chest']}"
    return None if _contradicts(found["remarks"], lead) else lead


def _contradicts(remarks: str, lead: str) -> bool:
    """Return whether the remarks after a lead's name make the channel something else."""
    if _OTHERWISE.search(remarks):
        return True
    inside = [part for part in re.split(r"[()\[\]{},;]", remarks) if part.strip()]
    return any(other not in (None, lead) for other in map(lead_name, inside))


def add_lead(leads: dict[str, StoredLead], name: str, lead: StoredLead) -> None:
    """Put a lead into `leads` under its canonical name; names outside of `LEADS` are ignored.

    Raises:
        RecordingError: `malformed` if that lead is there already.
    """
    canonical = lead_name(name)
    if canonical in leads:
        raise RecordingError(Reason.MALFORMED, f"lead {canonical} is stored twice")
    if canonical is not None:
        leads[canonical] = lead


def has_twelve(names: Collection[str]) -> bool:
    """Return whether all twelve leads are named or can be derived from those that are.

    Example:
        >>> has_twelve(["I", "II", "V1", "V2", "V3", "V4", "V5", "V6"])
        True
    """
    limb = sum(lead in names for lead in LIMB_LEADS)
    return limb >= 2 and all(lead in names for lead in LEADS if lead not in LIMB_LEADS)


def without_padding(beat: Mapping[str, StoredLead]) -> dict[str, StoredLead]:
    """Return a median beat without the padding of 32767 that Philips writes at its end."""
    ends = [np.flatnonzero(lead.samples == _INT16_MAX) for lead in beat.values()]
    end = min((int(found[0]) for found in ends if found.size), default=None)
    return {
        name: StoredLead(lead.samples[:end], lead.microvolts_per_unit)
        for name, lead in beat.items()
    }


def check_extent(sampling_rate_hz: float, n_samples: int, *, is_part: bool = False) -> None:
    """Check that rate and length are within the supported range, before anything is allocated.

    Args:
        sampling_rate_hz: the rate.
        n_samples: the length.
        is_part: whether this is a part of a recording, which may be shorter than a recording.

    Raises:
        RecordingError: `unsupported_rate`, `too_large` or `too_short`.
    """
    if not MIN_RATE_HZ <= sampling_rate_hz <= MAX_RATE_HZ:
        raise RecordingError(
            Reason.UNSUPPORTED_RATE,
            f"{sampling_rate_hz:g} Hz is outside of {MIN_RATE_HZ:g} to {MAX_RATE_HZ:g} Hz",
        )
    seconds = n_samples / sampling_rate_hz
    if seconds > MAX_SECONDS:
        raise RecordingError(Reason.TOO_LARGE, f"{seconds:.0f} s, more than {MAX_SECONDS:g} s")
    if seconds < MIN_SECONDS and not is_part:
        raise RecordingError(Reason.TOO_SHORT, f"{seconds:.1f} s, less than {MIN_SECONDS:g} s")


def make_recording(
    stored: Mapping[str, StoredLead],
    sampling_rate_hz: float,
    source_format: str,
    *,
    median: Mapping[str, StoredLead] | None = None,
    median_rate_hz: float | None = None,
    participant_id: str | None = None,
    acquired_at: datetime | None = None,
    device: str | None = None,
    vendor: dict[str, float] | None = None,
    notes: Iterable[Note] = (),
) -> Recording:
    """Return the Recording of leads as stored, checked, in one unit and with all twelve leads.

    Limb leads that the file does not store are derived from any two that it does (Einthoven,
    Goldberger); the common unit is then half of the stored one, so that (I + II) / 2 stays exact.
    Leads of different gain are brought to the finest of their units in which int16 can hold them.
    Missing samples are derived from other leads or, if they are few, interpolated, with a note.

    Args:
        stored: the leads by their names in `LEADS`, all of one length.
        sampling_rate_hz: their rate.
        source_format: the name of the format.
        median: the device's median beat, in the same form. If it cannot be used it is dropped with
            a note, because the recording itself matters more.
        median_rate_hz: the rate of the median beat; None is that of the recording.
        participant_id: as the file gives it.
        acquired_at: local time.
        device: what the file calls the device.
        vendor: the device's measurements (see `Recording`).
        notes: faults of the file that cost no sample.

    Raises:
        RecordingError: a lead is missing or flat, or rate, length, unit or amplitude are not those
            of a resting ECG.
    """
    _check_complete(stored)
    lengths = {lead.samples.size for lead in stored.values()}
    if len(lengths) != 1:
        raise RecordingError(Reason.MALFORMED, "the leads differ in length")
    check_extent(sampling_rate_hz, lengths.pop())
    stored, filled = fill_missing(stored, sampling_rate_hz)
    median_rate_hz = median_rate_hz or sampling_rate_hz
    unit = _common_unit(stored)
    said = dict.fromkeys([*notes, *filled])  # each note once, in order
    if Note.TEXT_REPLACED in said and participant_id and not participant_id.isascii():
        participant_id = None  # a guessed id may be somebody else's
    if median is not None:
        usable = _is_usable(median, median_rate_hz)
        unit = _unit_for_both(unit, stored, median) if usable else unit
        if not usable or _largest_microvolts(median) > unit * _INT16_MAX:
            said[Note.MEDIAN_BEAT_DROPPED] = None
            median = None
    recording = Recording(
        samples=_twelve(stored, unit),
        microvolts_per_unit=unit,
        sampling_rate_hz=sampling_rate_hz,
        source_format=source_format,
        participant_id=participant_id,
        acquired_at=acquired_at,
        device=device,
        vendor=vendor or {},
        vendor_median=None if median is None else _twelve(median, unit),
        vendor_median_rate_hz=None if median is None else median_rate_hz,
        notes=tuple(said),
    )
    _check_amplitudes(recording)
    return recording


def _check_complete(stored: Mapping[str, StoredLead]) -> None:
    missing = [lead for lead in LEADS if lead not in stored and lead not in LIMB_LEADS]
    limb = [lead for lead in LIMB_LEADS if lead in stored]
    if len(limb) < 2:
        missing = [lead for lead in ("I", "II") if lead not in stored] + missing
    if missing:
        raise RecordingError(Reason.MISSING_LEAD, f"no lead {', '.join(missing)}")
    units = [lead.microvolts_per_unit for lead in stored.values()]
    if not all(math.isfinite(unit) and unit > 0 for unit in units):
        raise RecordingError(Reason.MALFORMED, "a lead's amplitude unit is not positive")
    if max(units) > 1e3 * min(units):
        raise RecordingError(
            Reason.IMPLAUSIBLE_AMPLITUDE, "the leads' amplitude units differ by more than 1000"
        )


def _is_usable(median: Mapping[str, StoredLead], rate_hz: float) -> bool:
    """Return whether a median beat is complete: every lead, of one length, as long as a beat."""
    try:
        _check_complete(median)
    except RecordingError:
        return False
    if any(lead.missing is not None and lead.missing.any() for lead in median.values()):
        return False
    lengths = {lead.samples.size for lead in median.values()}
    in_range = MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ
    return in_range and len(lengths) == 1 and 0.2 <= lengths.pop() / rate_hz <= MIN_SECONDS


def _common_unit(leads: Mapping[str, StoredLead]) -> float:
    """Return the finest of the leads' units in which the largest sample still fits int16."""
    finest = min(lead.microvolts_per_unit for lead in leads.values())
    if len(leads) < len(LEADS):
        finest /= 2
    return max(finest, _largest_microvolts(leads) / _INT16_MAX)


def _largest_microvolts(leads: Mapping[str, StoredLead]) -> float:
    """Return a bound of the twelve leads' amplitude, those that are derived included."""
    largest = max(
        float(np.abs(lead.samples).max(initial=0)) * lead.microvolts_per_unit
        for lead in leads.values()
    )
    if len(leads) == len(LEADS):
        return largest
    # From I and II at most their whole difference, from two other limb leads 8/3 of the larger.
    return largest * (2.0 if {"I", "II"} <= leads.keys() else 4.0)


def _unit_for_both(
    unit: float, stored: Mapping[str, StoredLead], median: Mapping[str, StoredLead]
) -> float:
    """Return the unit in which the recording stays exact and the median beat loses least."""
    wanted = _common_unit(median)
    fits = max(map(_largest_microvolts, (stored, median))) <= wanted * _INT16_MAX
    steps = unit / wanted
    return wanted if fits and steps > 1 and math.isclose(steps, round(steps)) else unit


def _twelve(stored: Mapping[str, StoredLead], unit: float) -> NDArray[np.int16]:
    """Return the leads in the order of `LEADS` as int16 of `unit` µV, deriving what is absent."""
    scaled: dict[str, NDArray[np.float64] | NDArray[np.int64]] = {}
    for name, lead in stored.items():
        ratio = lead.microvolts_per_unit / unit
        scaled[name] = lead.samples if ratio == 1 else np.rint(lead.samples * ratio)
    absent = [name for name in LIMB_LEADS if name not in scaled]
    if absent:
        first, second = [name for name in LIMB_LEADS if name in scaled][:2]
        for name in absent:
            one, two = limb_weights(name, first, second)
            scaled[name] = np.rint(one * scaled[first] + two * scaled[second])
    return np.stack([scaled[lead].astype(np.int16) for lead in LEADS])


def _check_amplitudes(recording: Recording) -> None:
    """Raise `RecordingError` for a flat lead, or if the amplitude is not that of a heart.

    The amplitude is the median peak-to-peak over leads and 2 s windows, which neither baseline
    wander nor a single artefact changes much.
    """
    width = int(2 * recording.sampling_rate_hz)
    n = recording.samples.shape[1] // width * width
    windows = recording.samples[:, :n].reshape(len(LEADS), -1, width)
    span_units = windows.max(axis=2).astype(np.int32) - windows.min(axis=2)
    span_mv = np.median(span_units, axis=1) * recording.microvolts_per_unit / 1000.0
    amplitude = float(np.median(span_mv))
    if amplitude > 0 and not MIN_PEAK_TO_PEAK_MV <= amplitude <= MAX_PEAK_TO_PEAK_MV:
        raise RecordingError(
            Reason.IMPLAUSIBLE_AMPLITUDE,
            f"a typical lead spans {amplitude:.3g} mV, outside of {MIN_PEAK_TO_PEAK_MV:g} to "
            f"{MAX_PEAK_TO_PEAK_MV:g} mV: the amplitude unit is probably wrong",
        )
    flat = [lead for lead, span in zip(LEADS, span_mv, strict=True) if span < FLAT_PEAK_TO_PEAK_MV]
    if flat:
        raise RecordingError(Reason.FLAT_LEAD, f"lead {', '.join(flat)} is flat")
