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

INVERTED_P_MV = -0.010
"""Mean of the P wave in lead I below which it is upside down: 25 µV at its peak."""

OPPOSITE_QRS = -0.3
"""Correlation of the QRS complexes of I and V6 below which they are each other's mirror image."""

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

    Lead I is then upside down while V6, which looks the same way, is as ever: P is negative in I,
    and QRS and T there are opposite to those of V6. A right axis or an inverted T wave alone is
    not enough, nor is dextrocardia, where V6 turns over with I. Without a P wave nothing is said.
    """
    signals = beat.signal_mv.astype(np.float64)
    at = find_fiducials(signals[_ROWS], beat.rr_ms, beat.noise_uv / 1000.0)
    if at.p_onset is None or at.p_offset is None or at.t_peak is None:
        return
    one, v6 = signals[LEADS.index("I")], signals[LEADS.index("V6")]
    p = one[int(at.p_onset) : int(at.p_offset) + 1]
    qrs = slice(int(at.qrs_onset) - 3, int(at.qrs_offset) + 4)
    t = slice(int(at.t_peak) - 30, int(at.t_peak) + 31)
    p_inverted = p.mean() - 0.5 * (p[0] + p[-1]) < INVERTED_P_MV
    qrs_opposite = np.corrcoef(one[qrs], v6[qrs])[0, 1] < OPPOSITE_QRS
    t_opposite = one[t].mean() * v6[t].mean() < 0.0
    if p_inverted and qrs_opposite and t_opposite:
        raise RecordingError(
            Reason.ARM_ELECTRODES_SWAPPED, "P, QRS and T are inverted in lead I but not in V6"
        )
