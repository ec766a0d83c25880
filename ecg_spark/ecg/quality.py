"""What is said about a recording: warnings that stay with the beat, and one error."""

import numpy as np
from numpy.typing import NDArray

from ecg_spark.ecg.beat import Beat
from ecg_spark.ecg.fiducials import find_fiducials
from ecg_spark.ecg.recording import INDEPENDENT_LEADS, LEADS, Reason, RecordingError

IRREGULAR = 0.1
"""Median change between successive RR intervals, as a part of the median RR, from which the rhythm
is called irregular: sinus arrhythmia stays below 0.07, atrial fibrillation lies about 0.2."""

NOISY_UV = 10.0
"""Standard error of the average, in µV, from which a P wave of 50 µV is no longer measurable."""

MIN_SWAP_MV = 0.025
"""P, QRS and T must be inverted by more than this to say that the arm electrodes were swapped."""

_ROWS = [LEADS.index(lead) for lead in INDEPENDENT_LEADS]


def flags(
    peaks_s: NDArray[np.float64], ectopic: NDArray[np.bool_], noise_uv: float
) -> tuple[str, ...]:
    """Return the warnings that apply: rhythm_irregular, ectopic_beats, noisy."""
    interval = np.diff(peaks_s)
    sinus = interval[~(ectopic[:-1] | ectopic[1:])]
    change = np.abs(np.diff(sinus)) if sinus.size >= 3 else np.abs(np.diff(interval))
    irregular = change.size > 0 and np.median(change) > IRREGULAR * np.median(interval)
    found = {
        "rhythm_irregular": irregular,
        "ectopic_beats": bool(ectopic.any()),
        "noisy": noise_uv > NOISY_UV,
    }
    return tuple(name for name, applies in found.items() if applies)


def check_arm_electrodes(beat: Beat) -> None:
    """Raise `RecordingError` (arm_electrodes_swapped) where the arms' electrodes changed places.

    Lead I is then upside down, and only lead I of those that look to the left: P, QRS and T are
    all negative in I while V6 is as ever. A right axis or an inverted T wave alone is not enough,
    nor is dextrocardia, where V6 is negative too. Without a P wave nothing is said.
    """
    signals = beat.signal_mv.astype(np.float64)
    at = find_fiducials(signals[_ROWS], beat.rr_ms, beat.noise_uv / 1000.0)
    if at.p_onset is None or at.p_offset is None or at.t_peak is None:
        return
    p = slice(int(at.p_onset), int(at.p_offset) + 1)
    qrs = slice(int(at.qrs_onset), int(at.qrs_offset) + 1)
    t = slice(int(at.t_peak) - 20, int(at.t_peak) + 21)
    one, v6 = signals[LEADS.index("I")], signals[LEADS.index("V6")]
    base = 0.5 * (one[p.start] + one[p.stop - 1])
    p_mv = float(one[p].mean() - base)
    qrs_mv = float(one[qrs].max() + one[qrs].min())
    t_mv = float(one[t].mean())
    inverted = p_mv < -0.4 * MIN_SWAP_MV and qrs_mv < -MIN_SWAP_MV and t_mv < -MIN_SWAP_MV
    upright = float(v6[qrs].max() + v6[qrs].min()) > 0 and float(v6[t].mean()) > 0
    if inverted and upright:
        raise RecordingError(
            Reason.ARM_ELECTRODES_SWAPPED, "P, QRS and T are inverted in lead I but not in V6"
        )
