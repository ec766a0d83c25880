"""The conventional traits of an average beat: rate, intervals, frontal axis."""

from math import atan2, degrees, sqrt

import numpy as np

from ecg_spark.ecg.beat import BEAT_RATE_HZ, Beat
from ecg_spark.ecg.fiducials import find_fiducials
from ecg_spark.ecg.recording import INDEPENDENT_LEADS, LEADS

_MS = 1000.0 / BEAT_RATE_HZ
_ROWS = [LEADS.index(lead) for lead in INDEPENDENT_LEADS]


def measure_traits(beat: Beat) -> dict[str, float | None]:
    """Return the traits of a beat by name; None where there is nothing to measure.

    `heart_rate_bpm` and `rr_ms` (median RR), `pr_ms` and `p_ms` (None without a P wave),
    `qrs_ms`, `qt_ms`, `qtc_ms` by Bazett (Heart 1920; 7:353: QT / sqrt(RR in s)), and `axis_deg`,
    the frontal axis of the QRS complex's net area: 0 towards lead I, 90 towards aVF.
    """
    eight = beat.signal_mv[_ROWS].astype(np.float64)
    at = find_fiducials(eight, beat.rr_ms, beat.noise_uv / 1000.0)
    pr = None if at.p_onset is None else (at.qrs_onset - at.p_onset) * _MS
    p = None
    if at.p_onset is not None and at.p_offset is not None:
        p = (at.p_offset - at.p_onset) * _MS
    qt = None if at.t_offset is None else (at.t_offset - at.qrs_onset) * _MS
    qrs = beat.signal_mv[:, int(at.qrs_onset) : int(at.qrs_offset) + 1].astype(np.float64)
    area = qrs.sum(axis=1)
    x, y = float(area[LEADS.index("I")]), float(area[LEADS.index("aVF")]) * 2.0 / sqrt(3.0)
    return {
        "heart_rate_bpm": 60_000.0 / beat.rr_ms,
        "rr_ms": beat.rr_ms,
        "pr_ms": pr,
        "p_ms": p,
        "qrs_ms": (at.qrs_offset - at.qrs_onset) * _MS,
        "qt_ms": qt,
        "qtc_ms": None if qt is None else qt / sqrt(beat.rr_ms / 1000.0),
        "axis_deg": degrees(atan2(y, x)) if x or y else None,
    }
