"""The Recording: one resting ECG with its twelve leads, whatever file it came from.

Also how the limb leads follow from each other, which is written here and nowhere else.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Floating = TypeVar("Floating", bound=np.floating[Any])

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
"""The order of the twelve leads in every array of ecg-spark."""

INDEPENDENT_LEADS = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
"""The eight leads that are measured; III, aVR, aVL and aVF follow from I and II."""

INDEPENDENT_ROWS = [LEADS.index(lead) for lead in INDEPENDENT_LEADS]
"""Their rows among the twelve."""


LIMB_LEADS = {
    "I": (1.0, 0.0),
    "II": (0.0, 1.0),
    "III": (-1.0, 1.0),
    "aVR": (-0.5, -0.5),
    "aVL": (1.0, -0.5),
    "aVF": (-0.5, 1.0),
}
"""The limb leads as sums of I and II (Einthoven, Goldberger)."""

_DERIVED = np.array([LIMB_LEADS[lead] for lead in LEADS if lead not in INDEPENDENT_LEADS])
"""III, aVR, aVL and aVF, in the order of `LEADS`, which has them after I and II: [4, 2]."""


def derive_leads(independent: NDArray[Floating]) -> NDArray[Floating]:
    """Return all twelve leads, given the eight independent ones.

    Args:
        independent: [..., 8, samples] in the order of `INDEPENDENT_LEADS`, in any unit.

    Returns:
        [..., 12, samples] in the order of `LEADS`, in the same unit. Where I or II is NaN the
        derived leads are NaN, too.

    Example:
        >>> eight = np.zeros((8, 1))
        >>> eight[:2, 0] = 1.0, 3.0
        >>> dict(zip(LEADS, derive_leads(eight)[:6, 0].tolist(), strict=False))
        {'I': 1.0, 'II': 3.0, 'III': 2.0, 'aVR': -2.0, 'aVL': -0.5, 'aVF': 2.5}
    """
    # Never a type of whole numbers, in which the halves of the augmented leads would be lost.
    weights = _DERIVED.astype(np.result_type(independent, np.float32))
    limb, chest = independent[..., :2, :], independent[..., 2:, :]
    return np.concatenate([limb, weights @ limb, chest], axis=-2)


def limb_weights(lead: str, first: str, second: str) -> NDArray[np.float64]:
    """Return the weights [2] with which two limb leads sum to a third, all by their names.

    Example:
        >>> limb_weights("III", "I", "aVF")
        array([-0.5,  1. ])
    """
    pair = np.array([LIMB_LEADS[first], LIMB_LEADS[second]])
    return np.array(LIMB_LEADS[lead]) @ np.linalg.inv(pair)


class Reason(StrEnum):
    """Why a recording is quarantined instead of being read or averaged."""

    NOT_AN_ECG = "not_an_ecg"  # nothing marks it as one: counted, not quarantined
    UNKNOWN_FORMAT = "unknown_format"
    MALFORMED = "malformed"
    MISSING_LEAD = "missing_lead"
    CHECKSUM_MISMATCH = "checksum_mismatch"
    NOT_FINITE = "not_finite"
    FLAT_LEAD = "flat_lead"
    IMPLAUSIBLE_AMPLITUDE = "implausible_amplitude"
    UNSUPPORTED_RATE = "unsupported_rate"
    TOO_SHORT = "too_short"
    TOO_LARGE = "too_large"
    NOT_DESCRIBED = "not_described"
    UNSAFE = "unsafe"
    DUPLICATE = "duplicate"
    SEVERAL_PARTICIPANTS = "several_participants"  # the same samples under more than one
    NO_PARTICIPANT = "no_participant"
    TOO_FEW_BEATS = "too_few_beats"
    NO_VENDOR_BEAT = "no_vendor_beat"
    NOT_SIMULTANEOUS = "not_simultaneous"
    ARM_ELECTRODES_SWAPPED = "arm_electrodes_swapped"


class Note(StrEnum):
    """Faults of a recording that could be read all the same."""

    MEDIAN_BEAT_DROPPED = "median_beat_dropped"
    PART_DROPPED = "part_dropped"
    TIME_UNREADABLE = "time_unreadable"
    MEASUREMENT_UNREADABLE = "measurement_unreadable"
    CHECKSUM_SWAPPED = "checksum_swapped"
    CHECKSUM_ABSENT = "checksum_absent"
    TEXT_REPLACED = "text_replaced"
    SAMPLES_FILLED = "samples_filled"
    SAMPLES_DERIVED = "samples_derived"
    PADDING_LEFT_OFF = "padding_left_off"


class RecordingError(ValueError):
    """A recording that cannot be used.

    Args:
        reason: the kind of problem, which is counted.
        detail: a sentence for a person; it never holds text from the file's patient section.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type["RecordingError"], tuple[Reason, str]]:
        return type(self), (self.reason, self.detail)


@dataclass(frozen=True)
class Recording:
    """A resting ECG as the device stored it.

    Attributes:
        samples: [12, n] in the order of `LEADS`, in units of `microvolts_per_unit`.
        microvolts_per_unit: the scale, the same for all leads.
        sampling_rate_hz: the sampling rate of `samples`.
        source_format: the name of the file format.
        participant_id: None if the file names nobody.
        acquired_at: when it was recorded; None if unknown.
        device: what the file calls the device; None if unknown.
        vendor: the device's own measurements (`heart_rate_bpm`, `pr_ms`, `p_ms`, `qrs_ms`, `qt_ms`,
            `qtc_ms`, axes in degrees) as given; those that the file lacks are absent. Onsets and
            offsets (`p_onset_ms`, `p_offset_ms`, `qrs_onset_ms`, `qrs_offset_ms`, `t_offset_ms`)
            count from the first sample of `vendor_median`.
        vendor_median: the device's median beat, [12, m] in the units of `samples`; None if the file
            has none.
        vendor_median_rate_hz: the sampling rate of `vendor_median`, None without one.
        notes: faults of the file that cost no sample.
    """

    samples: NDArray[np.int16]
    microvolts_per_unit: float
    sampling_rate_hz: float
    source_format: str
    participant_id: str | None = None
    acquired_at: datetime | None = None
    device: str | None = None
    vendor: dict[str, float] = field(default_factory=dict)
    vendor_median: NDArray[np.int16] | None = None
    vendor_median_rate_hz: float | None = None
    notes: tuple[Note, ...] = ()

    @property
    def signal_mv(self) -> NDArray[np.float64]:
        """Return the signal in mV, [12, n]."""
        return self.samples.astype(np.float64) * (self.microvolts_per_unit / 1000.0)
