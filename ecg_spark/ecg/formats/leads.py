"""From the leads as a file stores them, in any spelling, order and gain, to a checked Recording."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from ecg_spark.ecg.recording import INDEPENDENT_LEADS, LEADS, Reason, Recording, RecordingError

MIN_RATE_HZ, MAX_RATE_HZ = 100.0, 1000.0
"""Below 100 Hz a QRS complex has too few samples to be aligned; no resting ECG exceeds 1000 Hz."""

MIN_SECONDS, MAX_SECONDS = 5.0, 300.0
"""Five seconds hold the few beats an average needs; resting ECGs last 10 s, some 60 s."""

MIN_PEAK_TO_PEAK_MV, MAX_PEAK_TO_PEAK_MV = 0.05, 20.0
"""Bounds of a recording's amplitude (see `_check_amplitudes`), far outside of the physiological
0.3 to 6 mV and far inside of a unit that is wrong by a factor of 1000."""

FLAT_PEAK_TO_PEAK_MV = 0.015
"""A lead that moves less than this in most 2 s windows carries no heart beat: amplifier noise
alone is about as large."""

_INT16_MAX = 32767
_NAMES = {lead.upper(): lead for lead in LEADS} | {f"C{i}": f"V{i}" for i in range(1, 7)}


@dataclass(frozen=True)
class StoredLead:
    """One lead as stored: whole-numbered `samples` of `microvolts_per_unit` each."""

    samples: NDArray[np.int64]
    microvolts_per_unit: float


def lead_name(name: str) -> str | None:
    """Return the name in `LEADS` that `name` spells (`avr`, `Lead II`, `ECG_V1`), None if none.

    An inverted lead (`-aVR`) is not the lead.
    """
    key = name.strip().upper()
    for prefix in ("MDC_ECG_LEAD", "ECG_LEAD", "LEAD", "ECG"):
        key = key.removeprefix(prefix).lstrip(" _")
    return _NAMES.get(key)


def add_lead(leads: dict[str, StoredLead], name: str, lead: StoredLead) -> None:
    """Put `lead` into `leads` under its canonical name; leads outside of `LEADS` are ignored.

    Raises `RecordingError` (malformed) where the lead is there already.
    """
    canonical = lead_name(name)
    if canonical in leads:
        raise RecordingError(Reason.MALFORMED, f"lead {canonical} is stored twice")
    if canonical is not None:
        leads[canonical] = lead


def check_extent(sampling_rate_hz: float, n_samples: int) -> None:
    """Refuse a rate or length outside of the supported range, before anything is allocated."""
    if not MIN_RATE_HZ <= sampling_rate_hz <= MAX_RATE_HZ:
        raise RecordingError(
            Reason.UNSUPPORTED_RATE,
            f"{sampling_rate_hz:g} Hz is outside of {MIN_RATE_HZ:g} to {MAX_RATE_HZ:g} Hz",
        )
    seconds = n_samples / sampling_rate_hz
    if seconds > MAX_SECONDS:
        raise RecordingError(Reason.TOO_LARGE, f"{seconds:.0f} s, more than {MAX_SECONDS:g} s")
    if seconds < MIN_SECONDS:
        raise RecordingError(Reason.TOO_SHORT, f"{seconds:.1f} s, less than {MIN_SECONDS:g} s")


def make_recording(
    stored: Mapping[str, StoredLead],
    sampling_rate_hz: float,
    source_format: str,
    *,
    median: Mapping[str, StoredLead] | None = None,
    participant_id: str | None = None,
    acquired_at: datetime | None = None,
    device: str | None = None,
    vendor: dict[str, float] | None = None,
) -> Recording:
    """Return the Recording of the named leads, or raise the `RecordingError` that applies.

    Leads that the file does not store follow from I and II by Einthoven and Goldberger; their
    common unit is then half of the stored one, so that (I + II) / 2 stays exact. Leads of
    different gain are brought to the finest unit among them that int16 can hold. `median` is the
    device's median beat, dropped where it lacks a lead.
    """
    _check_complete(stored)
    lengths = {lead.samples.size for lead in stored.values()}
    if len(lengths) != 1:
        raise RecordingError(Reason.MALFORMED, "the leads differ in length")
    check_extent(sampling_rate_hz, lengths.pop())
    unit = _common_unit(stored)
    samples = _twelve(stored, unit)
    vendor_median = None
    if median and all(lead in median for lead in INDEPENDENT_LEADS):
        if len({lead.samples.size for lead in median.values()}) != 1:
            raise RecordingError(Reason.MALFORMED, "the leads of the median beat differ in length")
        vendor_median = _twelve(median, unit)
    recording = Recording(
        samples=samples,
        microvolts_per_unit=unit,
        sampling_rate_hz=sampling_rate_hz,
        source_format=source_format,
        participant_id=participant_id,
        acquired_at=acquired_at,
        device=device,
        vendor=vendor or {},
        vendor_median=vendor_median,
    )
    _check_amplitudes(recording)
    return recording


def _check_complete(stored: Mapping[str, StoredLead]) -> None:
    missing = [lead for lead in INDEPENDENT_LEADS if lead not in stored]
    if missing:
        raise RecordingError(Reason.MISSING_LEAD, f"no lead {', '.join(missing)}")
    units = [lead.microvolts_per_unit for lead in stored.values()]
    if not all(math.isfinite(unit) and unit > 0 for unit in units):
        raise RecordingError(Reason.MALFORMED, "a lead's amplitude unit is not positive")
    if max(units) > 1e3 * min(units):
        raise RecordingError(
            Reason.IMPLAUSIBLE_AMPLITUDE, "the leads' amplitude units differ by more than 1000"
        )


def _common_unit(stored: Mapping[str, StoredLead]) -> float:
    """Return the finest of the leads' units in which the largest sample still fits int16."""
    finest = min(lead.microvolts_per_unit for lead in stored.values())
    if len(stored) < len(LEADS):
        finest /= 2
    largest = max(
        float(np.abs(lead.samples).max(initial=0)) * lead.microvolts_per_unit
        for lead in stored.values()
    )
    # A derived lead is at most 3/2 of the larger of I and II, but III is their whole difference.
    headroom = 2.0 if len(stored) < len(LEADS) else 1.0
    return max(finest, headroom * largest / _INT16_MAX)


def _twelve(stored: Mapping[str, StoredLead], unit: float) -> NDArray[np.int16]:
    """Return the leads in the order of `LEADS` as int16 of `unit` µV, deriving what is absent."""
    scaled = {}
    for name, lead in stored.items():
        ratio = lead.microvolts_per_unit / unit
        scaled[name] = lead.samples if ratio == 1 else np.rint(lead.samples * ratio)
    one, two = scaled["I"], scaled["II"]
    derived = {
        "III": two - one,
        "aVR": -(one + two) / 2,
        "aVL": one - two / 2,
        "aVF": two - one / 2,
    }
    rows = np.stack([np.rint((derived | scaled)[lead]) for lead in LEADS])
    if np.abs(rows).max(initial=0) > _INT16_MAX:
        raise RecordingError(Reason.IMPLAUSIBLE_AMPLITUDE, "the median beat exceeds the recording")
    return rows.astype(np.int16)


def _check_amplitudes(recording: Recording) -> None:
    """Refuse flat leads, and a recording whose amplitude no unit of the heart explains.

    The amplitude is the median over leads and 2 s windows of the peak-to-peak, which neither
    baseline wander nor a single artefact moves.
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
