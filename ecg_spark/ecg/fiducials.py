"""On- and offsets of P, QRS and T on an average beat, over all leads together."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_opening, gaussian_filter1d

from ecg_spark.ecg.beat import BEAT_RATE_HZ, BEAT_SAMPLES, R_INDEX, Fiducials
from ecg_spark.ecg.recording import INDEPENDENT_LEADS
from ecg_spark.ecg.windows import without_line

MIN_P_MV = 0.010
"""Smallest P wave: magnitude over all leads at its peak. Below it is atrial noise or flutter."""

MIN_P_AGREEMENT = 0.75
"""Below this `Beat.p_agreement` what precedes QRS is not the same in every beat: no P wave."""

WIDE_QRS_MS = 120.0
"""Duration from which a QRS complex is wide (Surawicz et al., J Am Coll Cardiol 2009; 53:976)."""

FLUTTER_MS = (150.0, 250.0)
"""Periods of atrial flutter: 240 to 400 waves a minute."""

_SAME_WAVE, _SAME_SIZE = 0.93, 1.45
_V1 = INDEPENDENT_LEADS.index("V1")
_QUIET = 0.05
_QUIET_SAMPLES = int(0.008 * BEAT_RATE_HZ)
_MIN_QRS = int(0.030 * BEAT_RATE_HZ)
_MAX_QRS_BEFORE = int(0.110 * BEAT_RATE_HZ)
_MAX_QRS_AFTER = int(0.150 * BEAT_RATE_HZ)
_P_LEVEL = 0.15
_SHORTEST_P, _SHORT_P, _LONG_P, _LONGEST_P = (
    int(ms * BEAT_RATE_HZ / 1000.0) for ms in (40.0, 70.0, 140.0, 220.0)
)
_P_NOTCH = int(0.032 * BEAT_RATE_HZ)
_T_TAIL, _T_SIGMA = 0.13, 5.0
_T_CAP, _T_CAPMIN = 1.6, 12


def qrs_onset(eight: NDArray[np.floating]) -> int:
    """Return the sample where the QRS complex begins in a beat [leads, 600] with R at `R_INDEX`.

    Going back from the R peak, the first place where the signal of all leads is quiet, its slope
    below a small part of the largest in the QRS, for 8 ms.
    """
    return round(_quiet(_slope(eight), -1, _MAX_QRS_BEFORE))


def qrs_bounds(eight: NDArray[np.floating]) -> tuple[float, float]:
    """Return on- and offset of QRS in a beat [leads, 600], found as `qrs_onset` is."""
    slope = _slope(eight)
    return _quiet(slope, -1, _MAX_QRS_BEFORE), _quiet(slope, +1, _MAX_QRS_AFTER)


def find_fiducials(
    eight: NDArray[np.floating], rr_ms: float, noise_mv: float, p_agreement: float
) -> Fiducials:
    """Return the fiducials of a beat [8, 600] in mV, R at `R_INDEX`.

    `rr_ms` bounds where P and T may lie, `noise_mv` is the beat's standard error: a P wave must
    exceed four times of it and `MIN_P_MV`. There is none where the beats do not agree about one
    (`p_agreement`, see `Beat`), nor where the atria flutter.
    """
    signals = np.asarray(eight, dtype=np.float64)
    onset, offset = qrs_bounds(signals)
    rr = rr_ms * BEAT_RATE_HZ / 1000.0
    t_peak, t_offset = _t_wave(
        signals, round(offset), min(R_INDEX + int(0.58 * rr), BEAT_SAMPLES - 1)
    )
    p_onset, p_offset = None, None
    if p_agreement >= MIN_P_AGREEMENT and not _flutters(signals[_V1], onset, offset, rr):
        earliest = max(R_INDEX - int(0.42 * rr), 0)
        p_onset, p_offset = _p_wave(signals, round(onset), earliest, noise_mv)
    return Fiducials(p_onset, p_offset, onset, offset, t_peak, t_offset)


def conducted(at: Fiducials) -> bool:
    """Say whether a beat came down from the atria: its QRS is narrow, or a P wave precedes it.

    120 ms is where ventricular beats begin, and where bundle branch block does: that has a P.
    """
    narrow = at.qrs_offset - at.qrs_onset < WIDE_QRS_MS * BEAT_RATE_HZ / 1000.0
    return narrow or at.p_onset is not None


def _slope(signals: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the root mean square over leads of the slope, mV a sample."""
    change = gaussian_filter1d(np.asarray(signals, dtype=np.float64), 1.2, axis=1, order=1)
    return np.sqrt(np.mean(change**2, axis=0))


def _quiet(slope: NDArray[np.float64], direction: int, reach: int) -> float:
    """Return where, from R in `direction`, the slope becomes small and stays it for 8 ms."""
    near = slope[R_INDEX - _MIN_QRS * 2 : R_INDEX + _MIN_QRS * 2]
    far = slope[R_INDEX + direction * np.arange(_MIN_QRS // 2, reach + _QUIET_SAMPLES)]
    floor = float(np.sort(far)[far.size // 10])
    limit = max(_QUIET * float(near.max()), 1.5 * floor)
    loud = far > limit
    for i in range(reach - _MIN_QRS // 2):
        if not loud[i : i + _QUIET_SAMPLES].any():
            share = (far[i - 1] - limit) / (far[i - 1] - far[i]) if i else 1.0
            return float(R_INDEX + direction * (i - 1 + share + _MIN_QRS // 2))
    return float(R_INDEX + direction * reach)


def _t_wave(
    signals: NDArray[np.float64], qrs_offset: int, end: int
) -> tuple[float | None, float | None]:
    """Return peak and end of T: after its steepest fall the slope of all leads dies away.

    The slope does not depend on the level before or behind T. `_T_TAIL` of the steepest slope is
    where a reader's eye and GE's 12SL end T; a tangent ends it some 20 ms earlier.
    """
    start = qrs_offset + int(0.060 * BEAT_RATE_HZ)
    if end - start < int(0.100 * BEAT_RATE_HZ):
        return None, None
    tail = signals[:, qrs_offset : end + 1]
    smooth = gaussian_filter1d(tail, 4.0, axis=1)[:, start - qrs_offset :]
    magnitude = np.sqrt(np.mean(smooth**2, axis=0))
    slope = gaussian_filter1d(tail, _T_SIGMA, axis=1, order=1)[:, start - qrs_offset :]
    slope = np.sqrt(np.mean(slope**2, axis=0))
    peak = int(magnitude[: magnitude.size - 10].argmax())
    after = slope[peak : peak + int(0.160 * BEAT_RATE_HZ)]
    if magnitude[peak] < 0.02 or after.size < 10:
        return None, None
    steepest = peak + int(after.argmax())
    floor = float(slope[steepest:].min())
    limit = floor + _T_TAIL * (slope[steepest] - floor)
    below = np.flatnonzero(slope[steepest:] < limit)
    if slope[steepest] <= 0.0 or below.size == 0:
        return float(start + peak), float(end) if slope[steepest] > 0.0 else None
    i = steepest + int(below[0])
    share = (slope[i - 1] - limit) / max(slope[i - 1] - slope[i], 1e-12)
    at = i - 1 + min(share, 1.0)
    at = min(at, steepest + _T_CAP * max(steepest - peak, _T_CAPMIN))
    return float(start + peak), float(start + at)


def _flutters(v1: NDArray[np.float64], onset: float, offset: float, rr: float) -> bool:
    """Say whether what precedes QRS in V1 is one of a train of equal waves.

    Atrial flutter is seen best in V1. Another of its waves stands out before the first, or, where
    every second one is conducted, half an interval after it, beyond QRS.
    """
    end = int(onset) - int(0.012 * BEAT_RATE_HZ)
    first, last = max(R_INDEX - 0.42 * rr, 0.0), min(R_INDEX + 0.58 * rr, BEAT_SAMPLES)
    length = min(int(0.120 * BEAT_RATE_HZ), int(end - first))
    if length < int(0.080 * BEAT_RATE_HZ):
        return False
    periods = [int(ms * BEAT_RATE_HZ / 1000.0) for ms in FLUTTER_MS]
    lags = [-lag for lag in range(periods[0], periods[1] + 1)]
    half = round(rr / 2)
    lags += [lag for lag in range(half - 4, half + 5) if periods[0] <= lag <= periods[1]]
    starts = end - length + np.array([0, *lags])
    clear = (starts + length <= onset) | (starts >= offset - 0.040 * BEAT_RATE_HZ)
    starts = starts[(starts >= first) & (starts + length <= last) & clear]
    if starts.size < 2:
        return False
    waves = without_line(gaussian_filter1d(v1, 3.0)[starts[:, None] + np.arange(length)])
    size = np.linalg.norm(waves, axis=1)
    alike = waves[1:] @ waves[0] > _SAME_WAVE * size[1:] * size[0]
    larger, smaller = np.maximum(size[1:], size[0]), np.minimum(size[1:], size[0])
    return bool((alike & (larger < _SAME_SIZE * smaller)).any())


def _p_wave(
    signals: NDArray[np.float64], qrs_onset: int, start: int, noise_mv: float
) -> tuple[float | None, float | None]:
    """Return on- and offset of P: a hump of its own between the last T and the QRS."""
    start = max(start, qrs_onset - int(0.320 * BEAT_RATE_HZ))
    end = qrs_onset
    if end - start < int(0.080 * BEAT_RATE_HZ):
        return None, None
    left = signals[:, start : start + 8].mean(axis=1, keepdims=True)
    right = signals[:, end - 4 : end + 1].mean(axis=1, keepdims=True)
    share = np.linspace(0.0, 1.0, end - start + 1)
    hump = gaussian_filter1d(
        signals[:, start : end + 1] - left * (1 - share) - right * share, 3.0, axis=1
    )
    magnitude = np.sqrt(np.mean(hump**2, axis=0))
    inner = slice(int(0.020 * BEAT_RATE_HZ), magnitude.size - int(0.024 * BEAT_RATE_HZ))
    peak = inner.start + int(magnitude[inner].argmax())
    ordered = np.sort(magnitude)
    floor = float(ordered[magnitude.size // 5])
    if magnitude[peak] < max(MIN_P_MV, 4.0 * noise_mv, 2.0 * floor):
        return None, None
    # Where T runs into P, little of the time before QRS is flat: then only the lowest is the floor.
    for level in (floor, float(ordered[magnitude.size // 20])):
        quiet = magnitude < level + _P_LEVEL * (magnitude[peak] - level)
        wave = _around(quiet, peak)
        if wave[1] - wave[0] < _SHORT_P:
            # It may be half of a biphasic wave, which is quiet where it crosses zero.
            whole = _around(binary_opening(quiet, np.ones(_P_NOTCH, bool)), peak)
            if whole[0] >= 0 and whole[1] < quiet.size and whole[1] - whole[0] <= _LONG_P:
                wave = whole
        onset, offset = max(wave[0], 0), min(wave[1], quiet.size - 1)
        if _SHORTEST_P <= offset - onset <= _LONGEST_P:
            return float(start + onset), float(start + offset)
    return None, None


def _around(quiet: NDArray[np.bool_], peak: int) -> tuple[int, int]:
    """Return the last quiet sample before `peak` and the first after it; -1 and n where none is."""
    before, after = np.flatnonzero(quiet[:peak]), np.flatnonzero(quiet[peak:])
    return (
        int(before[-1]) if before.size else -1,
        peak + int(after[0]) if after.size else quiet.size,
    )
