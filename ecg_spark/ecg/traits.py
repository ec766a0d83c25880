"""The conventional traits of an average beat: rate, intervals, axes, amplitudes."""

from math import atan2, cbrt, degrees, sqrt

import numpy as np
from numpy.typing import NDArray

from ecg_spark.ecg.beat import BEAT_RATE_HZ, Beat, Fiducials
from ecg_spark.ecg.recording import LEADS

_MS = 1000.0 / BEAT_RATE_HZ
_SMALLEST_R_MV = 0.02  # below it the complex is QS, whose depth is S
_ST_AFTER_J = int(0.060 * BEAT_RATE_HZ)  # where the level of ST is read, after the end of QRS
_ONE, _AVL, _AVF = (LEADS.index(lead) for lead in ("I", "aVL", "aVF"))
_V1, _V3, _V5, _V6 = (LEADS.index(lead) for lead in ("V1", "V3", "V5", "V6"))

Traits = dict[str, float | list[float] | None]


def measure_traits(beat: Beat) -> Traits:
    """Return the conventional traits of a beat by name; None where there is nothing to measure.

    Rate and intervals: `heart_rate_bpm` and `rr_ms` (mean of all beats), `pr_ms` and `p_ms` (None
    without a P wave), `qrs_ms`, `qt_ms`, `qtc_ms` by Bazett (Heart 1920; 7:353: QT / sqrt(RR in s))
    and `qtcf_ms` by Fridericia (Acta Med Scand 1920; 53:469: QT / cbrt(RR in s)).

    Frontal axes of the waves' net areas, 0 towards lead I and 90 towards aVF: `p_axis_deg`,
    `axis_deg` (QRS), `t_axis_deg`.

    Amplitudes in mV relative to the onset of QRS, a list of twelve in the order of `LEADS`: `r_mv`
    (0 where there is no R), `s_mv` (after R, 0 or negative), `t_mv` (the largest, signed, None
    without a T wave), `st_mv` (60 ms after the end of QRS). `sokolov_lyon_mv` is S of V1 plus the
    larger R of V5 and V6 (Am Heart J 1949; 37:161), `cornell_mv` R of aVL plus S of V3 (J Am Coll
    Cardiol 1985; 6:572), both with the depth of S as a positive number.
    """
    at = beat.fiducials
    signals = beat.signal_mv.astype(np.float64)
    rr_s = beat.rr_ms / 1000.0
    qt = None if at.t_offset is None else (at.t_offset - at.qrs_onset) * _MS
    first, last = round(at.qrs_onset), round(at.qrs_offset)
    qrs = signals[:, first : last + 1]
    r = np.maximum(qrs.max(axis=1), 0.0)
    top = np.where(r > _SMALLEST_R_MV, qrs.argmax(axis=1), 0)
    after_r = np.arange(qrs.shape[1]) >= top[:, None]
    s = np.minimum(np.where(after_r, qrs, 0.0).min(axis=1), 0.0)
    st = signals[:, min(last + _ST_AFTER_J, signals.shape[1] - 1)]
    traits: Traits = {
        "heart_rate_bpm": 60.0 / rr_s,
        "rr_ms": beat.rr_ms,
        "pr_ms": None if at.p_onset is None else (at.qrs_onset - at.p_onset) * _MS,
        "p_ms": None,
        "qrs_ms": (at.qrs_offset - at.qrs_onset) * _MS,
        "qt_ms": qt,
        "qtc_ms": None if qt is None else qt / sqrt(rr_s),
        "qtcf_ms": None if qt is None else qt / cbrt(rr_s),
        "p_axis_deg": None,
        "axis_deg": _axis(qrs),
        "t_axis_deg": None,
        "r_mv": r.tolist(),
        "s_mv": s.tolist(),
        "t_mv": None,
        "st_mv": st.tolist(),
        "sokolov_lyon_mv": float(max(r[_V5], r[_V6]) - s[_V1]),
        "cornell_mv": float(r[_AVL] - s[_V3]),
    }
    if at.p_onset is not None and at.p_offset is not None:
        p = signals[:, round(at.p_onset) : round(at.p_offset) + 1]
        base = np.linspace(p[:, 0], p[:, -1], p.shape[1], axis=1)
        traits |= {"p_ms": (at.p_offset - at.p_onset) * _MS, "p_axis_deg": _axis(p - base)}
    if at.t_peak is not None:
        t = _t_part(signals, at)
        largest = np.abs(t).argmax(axis=1)
        traits |= {"t_mv": t[np.arange(len(t)), largest].tolist(), "t_axis_deg": _axis(t)}
    return traits


def _t_part(signals: NDArray[np.float64], at: Fiducials) -> NDArray[np.float64]:
    """Return T [12, samples], from the middle between the end of QRS and its peak to its end."""
    assert at.t_peak is not None
    start = round((at.qrs_offset + at.t_peak) / 2)
    end = round(at.t_offset) if at.t_offset is not None else round(at.t_peak) + 30
    return signals[:, start : end + 1]


def _axis(wave: NDArray[np.float64]) -> float | None:
    """Return the frontal axis of the net area of a wave [12, samples] in degrees."""
    area = wave.sum(axis=1)
    x, y = float(area[_ONE]), float(area[_AVF]) * 2.0 / sqrt(3.0)
    return degrees(atan2(y, x)) if x or y else None
