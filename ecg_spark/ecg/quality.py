"""The quality of a recording: flags that stay with the beat, a score, and one refusal."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecg_spark.ecg.beat import BEAT_RATE_HZ, Beat
from ecg_spark.ecg.recording import LEADS, Reason, RecordingError

FLAGS = (
    "rhythm_irregular",
    "ectopic_beats",
    "ectopic_only",
    "few_beats",
    "flat_lead",
    "paced",
    "noisy",
    "muscle_noise",
    "mains",
    "baseline_wander",
    "saturated",
)
"""Every flag that a beat can have. `ectopic_only`: no beat of the recording came from the sinus
node or through normal conduction, so a ventricular beat was averaged."""


@dataclass(frozen=True)
class Limits:
    """Every threshold of the quality checks; the study file's `beats.quality` sets them."""

    irregular_rr: float = 0.1
    """Median change between successive RR intervals, as a fraction of the median RR, above which
    the rhythm is irregular: sinus arrhythmia stays below 0.07, atrial fibrillation is about 0.2."""

    noisy_uv: float = 10.0
    """Standard error of the average above which a P wave of 50 µV cannot be measured."""

    muscle_uv: float = 30.0
    """Noise of a single beat: its standard deviation about the average, median over leads."""

    mains_uv: float = 25.0
    """Root mean square of the mains and its harmonics, largest lead."""

    wander_uv: float = 250.0
    """Root mean square of the baseline wander, largest lead. 8 % of PTB-XL's first 180 recordings
    are above it: a third of those annotated as drifting and 1 in 40 of the others."""

    saturated_share: float = 0.002
    """Fraction of a lead's samples in runs of 5 or more at its largest or smallest value."""

    flat_uv: float = 50.0
    """Peak-to-peak of the average beat below which one of the measured leads is flat."""

    few_beats: int = 5
    """An average of fewer beats gets the flag `few_beats`."""

    inverted_p_uv: float = -10.0
    """Mean of the P wave in lead I below which it is inverted: 25 µV at its peak."""

    opposite_qrs: float = -0.3
    """Correlation of the QRS complexes of I and V6 below which they are mirror images."""


BETWEEN_VISITS_UV = 30.0
"""How far two noiseless beats of one person lie from their mean (electrodes, posture, heart rate).
In four people of PTB-XL with several recordings it is 20, 29, 50 and 65 µV, root mean square over
the eight independent leads."""


def weight(noise_uv: float) -> float:
    """Return how much a recording counts in the mean over a person's recordings, 0 to 1.

    A recording differs from the person's mean by the state of the day and by noise. The mean is
    most precise if each recording is weighted by the inverse of the sum of both variances. If noise
    alone counted, the noisier of two good recordings would have hardly any weight, although it says
    as much about the person.

    Args:
        noise_uv: the standard error of the recording's average beat.

    Example:
        >>> weight(0.0), weight(30.0)
        (1.0, 0.5)
    """
    return 1.0 / (1.0 + (noise_uv / BETWEEN_VISITS_UV) ** 2)


@dataclass(frozen=True)
class Findings:
    """What averaging found out about a recording, in the eight independent leads.

    Attributes:
        peaks_s: the times of all detected beats in s.
        ectopic: which of them are ectopic.
        n_used: how many beats were averaged.
        noise_uv: the standard error of the average, median over leads.
        mains_uv: the root mean square of mains interference, largest lead.
        wander_uv: the root mean square of baseline wander, largest lead.
        saturated_share: see `saturated_share`.
        smallest_lead_uv: peak to peak of the average beat in its smallest lead.
        paced: whether there are pacing spikes.
        ectopic_only: whether the averaged beats are ventricular although the heart is not paced.
    """

    peaks_s: NDArray[np.float64]
    ectopic: NDArray[np.bool_]
    n_used: int
    noise_uv: float
    mains_uv: float
    wander_uv: float
    saturated_share: float
    smallest_lead_uv: float
    paced: bool
    ectopic_only: bool


def assess(found: Findings, limits: Limits) -> tuple[tuple[str, ...], float]:
    """Return the quality flags that apply and the score.

    The score is the fraction of detected beats that were averaged, times limit / size for each
    disturbance above its limit. A recording without any scores 1.

    Args:
        found: what averaging found out about the recording.
        limits: the thresholds of the flags.

    Returns:
        The flags, in the order of `FLAGS`, and the score, 0 to 1.
    """
    interval = np.diff(found.peaks_s)
    sinus = interval[~(found.ectopic[:-1] | found.ectopic[1:])]
    change = np.abs(np.diff(sinus)) if sinus.size >= 3 else np.abs(np.diff(interval))
    irregular = change.size > 0 and np.median(change) > limits.irregular_rr * np.median(interval)
    sizes = {
        "noisy": (found.noise_uv, limits.noisy_uv),
        "muscle_noise": (found.noise_uv * np.sqrt(found.n_used), limits.muscle_uv),
        "mains": (found.mains_uv, limits.mains_uv),
        "baseline_wander": (found.wander_uv, limits.wander_uv),
        "saturated": (found.saturated_share, limits.saturated_share),
    }
    applies = {
        "rhythm_irregular": bool(irregular),
        "ectopic_beats": bool(found.ectopic.any()),
        # In atrial fibrillation wide beats without a P wave may be conducted, too.
        "ectopic_only": found.ectopic_only and not irregular,
        "few_beats": found.n_used < limits.few_beats,
        "flat_lead": found.smallest_lead_uv < limits.flat_uv,
        "paced": found.paced,
    } | {name: bool(size > limit) for name, (size, limit) in sizes.items()}
    score = min(found.n_used / max(found.peaks_s.size, 1), 1.0)
    for size, limit in sizes.values():
        score *= min(1.0, limit / size) if size > 0 else 1.0
    if applies["flat_lead"]:
        score *= found.smallest_lead_uv / limits.flat_uv
    return tuple(name for name in FLAGS if applies[name]), float(score)


def saturated_share(samples: NDArray[np.integer]) -> float:
    """Return the largest fraction of clipped samples of a lead.

    Clipped samples are runs of 5 or more at the lead's largest or smallest value, far from its
    baseline.

    Args:
        samples: [leads, n], as the device stored them.

    Example:
        >>> ramp = np.arange(90)
        >>> saturated_share(np.array([np.concatenate([ramp, np.full(10, 89)])]))
        0.11
    """
    share = 0.0
    for lead in samples:
        for extreme in (lead == lead.max(), lead == lead.min()):
            at = np.flatnonzero(extreme)
            runs = at[4:][at[4:] - at[:-4] == 4]
            if runs.size:
                far = abs(float(lead[at[0]]) - float(np.median(lead)))
                if far > 0.25 * (float(lead.max()) - float(lead.min())):
                    share = max(share, (runs.size + 4) / lead.size)
    return share


def check_arm_electrodes(beat: Beat, limits: Limits) -> None:
    """Check that the electrodes of the arms were not swapped.

    If they were, lead I is inverted while V6, which views the heart from the same side, is not: P
    is negative in I, and QRS and T in I are opposite to those in V6. Two of the three signs are
    required, and P must not be upright: a right axis and an inverted T wave are not enough, nor is
    dextrocardia, in which V6 is inverted along with I. Without a P wave nothing is concluded.

    Args:
        beat: the average beat with its fiducials.
        limits: its `inverted_p_uv` and `opposite_qrs` are the thresholds of the signs.

    Raises:
        RecordingError: `arm_electrodes_swapped`.
    """
    at = beat.fiducials
    if at.p_onset is None or at.p_offset is None or at.t_peak is None:
        return
    one, v6 = beat.signal_mv[[LEADS.index("I"), LEADS.index("V6")]].astype(np.float64)
    reach = int(0.060 * BEAT_RATE_HZ)
    p = one[int(at.p_onset) : int(at.p_offset) + 1]
    qrs = slice(int(at.qrs_onset) - 3, int(at.qrs_offset) + 4)
    t = slice(int(at.t_peak) - reach, int(at.t_peak) + reach + 1)
    p_uv = 1000.0 * (p.mean() - 0.5 * (p[0] + p[-1]))
    signs = (
        p_uv < limits.inverted_p_uv,
        np.corrcoef(one[qrs], v6[qrs])[0, 1] < limits.opposite_qrs,
        one[t].mean() * v6[t].mean() < 0.0,
    )
    if p_uv < 0.3 * limits.inverted_p_uv and sum(signs) >= 2:
        raise RecordingError(
            Reason.ARM_ELECTRODES_SWAPPED, "P and QRS or T are inverted in lead I but not in V6"
        )
