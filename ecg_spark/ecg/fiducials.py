"""On- and offsets of P, QRS and T in an average beat, from all leads together."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from ecg_spark.ecg.beat import BEAT_RATE_HZ, BEAT_SAMPLES, R_INDEX, Fiducials
from ecg_spark.ecg.recording import INDEPENDENT_LEADS
from ecg_spark.ecg.windows import detrended

MIN_P_MV = 0.010
"""Smallest P wave (magnitude over all leads at its peak); below it is atrial noise or flutter."""

MIN_P_AGREEMENT = 0.75
"""Below this `Beat.p_agreement` the time before QRS does not repeat between beats: no P wave."""

WIDE_QRS_MS = 120.0
"""Duration above which a QRS complex is wide (Surawicz et al., J Am Coll Cardiol 2009; 53:976)."""

FLUTTER_MS = (150.0, 250.0)
"""Periods of atrial flutter: 240 to 400 waves per minute."""

_SAME_WAVE, _SAME_SIZE = 0.93, 1.45  # correlation and ratio of sizes of two flutter waves
_V1 = INDEPENDENT_LEADS.index("V1")
_QUIET, _STEEP = 0.05, 0.4  # fractions of QRS's steepest slope: below it is over, above it is not
_QUIET_SAMPLES = int(0.008 * BEAT_RATE_HZ)
_MIN_QRS = int(0.030 * BEAT_RATE_HZ)  # half of it on each side of R is QRS in any case
_MAX_QRS_BEFORE = int(0.110 * BEAT_RATE_HZ)  # how far from R its ends are sought
_MAX_QRS_BEFORE_S = int(0.160 * BEAT_RATE_HZ)  # the same where `R_INDEX` is on a late S wave
_MAX_QRS_AFTER = int(0.150 * BEAT_RATE_HZ)
_SHORTEST_P, _LONGEST_P, _LEAST_P_ROOM = (
    int(ms * BEAT_RATE_HZ / 1000.0) for ms in (40.0, 220.0, 90.0)
)
# Bends are seen over twice 44 ms; P's flank is at most 170 ms long.
_P_HALF, _P_MARGIN, _P_FLANK, _P_LOBES = (
    int(ms * BEAT_RATE_HZ / 1000.0) for ms in (44.0, 22.0, 170.0, 70.0)
)
# Knees lie a little inside of a wave, whose end is shallower than its beginning: P is sought from
# so many samples before them to so many after, and ends below this fraction of its height.
_P_BEFORE, _P_AFTER, _P_LEVEL = 8, 15, 0.17
_TP, _TP_STEEP = 20, 90.0  # samples of TP; continued if it would change by P's height in so many
_AFTER_QRS = int(0.040 * BEAT_RATE_HZ)
# As fractions of the curvature at P's top: what P must rise and fall; how curved another hump must
# be to be looked at, and to belong to P (of the largest); how deep the dip between T and P must be.
_P_RISE, _P_SECOND, _P_BESIDE, _P_APART = 0.35, 0.5, 0.75, 0.4
_T_TAIL, _T_SIGMA = 0.13, 5.0  # of the steepest slope, at which T ends; smoothing in samples
# T ends after its steepest fall by at most so many times what separates that from the peak, which
# counts as 12 samples or more.
_T_CAP, _T_CAPMIN = 1.6, 12


def qrs_onset(eight: NDArray[np.floating]) -> int:
    """Return the sample where the QRS complex begins.

    Searching back from R, it is the first place where all leads are quiet: their slope stays below
    a small fraction of the largest slope in the QRS for 8 ms. R may lie on a late deep S wave; the
    search then reaches further back.

    Args:
        eight: a beat, [leads, 600], with R at `R_INDEX`.
    """
    slope = _slope(eight)
    near, far = (slope[R_INDEX - at : R_INDEX] for at in (_MIN_QRS * 2, _MAX_QRS_BEFORE))
    within = float(far[: _MIN_QRS // 2].max()) > _STEEP * float(near.max())
    return round(_quiet(slope, -1, _MAX_QRS_BEFORE_S if within else _MAX_QRS_BEFORE))


def qrs_bounds(eight: NDArray[np.floating]) -> tuple[float, float]:
    """Return on- and offset of QRS in samples with fraction, found as `qrs_onset` is.

    Args:
        eight: a beat, [leads, 600], with R at `R_INDEX`.
    """
    slope = _slope(eight)
    return _quiet(slope, -1, _MAX_QRS_BEFORE), _quiet(slope, +1, _MAX_QRS_AFTER)


def find_fiducials(
    eight: NDArray[np.floating],
    reach: tuple[float, float],
    noise_mv: float,
    p_agreement: float,
) -> Fiducials:
    """Return the on- and offsets of the waves of a beat.

    Args:
        eight: the beat in the eight independent leads, [8, 600] in mV, with R at `R_INDEX`.
        reach: how many samples before and after R belong to no other beat; P and T lie within.
        noise_mv: the beat's standard error: a P wave must exceed four times that and `MIN_P_MV`.
        p_agreement: how well the P wave repeats between beats (see `Beat`); below `MIN_P_AGREEMENT`
            there is no P wave, nor is there one in atrial flutter.
    """
    signals = np.asarray(eight, dtype=np.float64)
    onset, offset = qrs_bounds(signals)
    own = own_samples(reach)
    t_peak, t_offset = _t_wave(signals, round(offset), own[1])
    p_onset, p_offset = None, None
    if p_agreement >= MIN_P_AGREEMENT and not _flutters(signals[_V1], onset, offset, reach):
        p_onset, p_offset = _p_wave(signals, round(onset), round(offset), own, noise_mv)
    return Fiducials(p_onset, p_offset, onset, offset, t_peak, t_offset)


def own_samples(reach: tuple[float, float]) -> tuple[int, int]:
    """Return the first and last sample of a beat that belong to it and to no other.

    Args:
        reach: how many samples before and after R belong to the beat.

    Example:
        >>> own_samples((200.0, 300.0))
        (48, 548)
    """
    return max(R_INDEX - int(reach[0]), 0), min(R_INDEX + int(reach[1]), BEAT_SAMPLES - 1)


def conducted(at: Fiducials) -> bool:
    """Return whether a beat was conducted from the atria: it has a narrow QRS or a P wave.

    A wide beat is ventricular or has a bundle branch block; the latter has a P wave.
    """
    return is_narrow(at) or at.p_onset is not None


def is_narrow(at: Fiducials) -> bool:
    """Return whether a QRS complex is shorter than `WIDE_QRS_MS`."""
    return at.qrs_offset - at.qrs_onset < WIDE_QRS_MS * BEAT_RATE_HZ / 1000.0


def _slope(signals: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the root mean square over leads of the slope, in mV per sample."""
    change = gaussian_filter1d(np.asarray(signals, dtype=np.float64), 1.2, axis=1, order=1)
    return np.sqrt(np.mean(change**2, axis=0))


def _quiet(slope: NDArray[np.float64], direction: int, reach: int) -> float:
    """Return where, going from R in `direction`, the slope becomes small and stays so for 8 ms."""
    near = slope[R_INDEX - _MIN_QRS * 2 : R_INDEX + _MIN_QRS * 2]
    far = slope[R_INDEX + direction * np.arange(_MIN_QRS // 2, reach + _QUIET_SAMPLES)]
    floor = float(np.sort(far)[far.size // 5])
    limit = max(_QUIET * float(near.max()), 1.5 * floor)
    loud = far > limit
    # A wide complex may pause between two deflections: anything as steep as QRS is part of it.
    steep = np.flatnonzero(far[: reach - _MIN_QRS // 2] > _STEEP * float(near.max()))
    steep = steep[: steep.size * (direction > 0)]
    for i in range(int(steep[-1]) if steep.size else 0, reach - _MIN_QRS // 2):
        if not loud[i : i + _QUIET_SAMPLES].any():
            share = (far[i - 1] - limit) / (far[i - 1] - far[i]) if i else 1.0
            return float(R_INDEX + direction * (i - 1 + share + _MIN_QRS // 2))
    return float(R_INDEX + direction * reach)


def _t_wave(
    signals: NDArray[np.float64], qrs_offset: int, end: int
) -> tuple[float | None, float | None]:
    """Return peak and end of T: the end is where the slope has died away after the steepest fall.

    The slope does not depend on the level before or after T. At `_T_TAIL` of the steepest slope it
    agrees with annotators and GE's 12SL; a tangent would end T about 20 ms earlier.
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


def _flutters(
    v1: NDArray[np.float64], onset: float, offset: float, reach: tuple[float, float]
) -> bool:
    """Return whether the wave before QRS in V1 is one of a train of equal waves.

    Atrial flutter is clearest in V1. A second wave precedes the first, or, if every second wave is
    conducted, follows it by half an interval, after QRS.
    """
    end = int(onset) - int(0.012 * BEAT_RATE_HZ)
    first, last = own_samples(reach)
    length = min(int(0.120 * BEAT_RATE_HZ), int(end - first))
    if length < int(0.080 * BEAT_RATE_HZ):
        return False
    periods = [int(ms * BEAT_RATE_HZ / 1000.0) for ms in FLUTTER_MS]
    lags = [-lag for lag in range(periods[0], periods[1] + 1)]
    half = round(sum(reach) / 2)
    lags += [lag for lag in range(half - 4, half + 5) if periods[0] <= lag <= periods[1]]
    starts = end - length + np.array([0, *lags])
    clear = (starts + length <= onset) | (starts >= offset - 0.040 * BEAT_RATE_HZ)
    starts = starts[(starts >= first) & (starts + length <= last) & clear]
    if starts.size < 2:
        return False
    waves = detrended(gaussian_filter1d(v1, 3.0)[starts[:, None] + np.arange(length)])
    size = np.linalg.norm(waves, axis=1)
    alike = waves[1:] @ waves[0] > _SAME_WAVE * size[1:] * size[0]
    larger, smaller = np.maximum(size[1:], size[0]), np.minimum(size[1:], size[0])
    return bool((alike & (larger < _SAME_SIZE * smaller)).any())


def _p_wave(
    signals: NDArray[np.float64],
    qrs_onset: int,
    qrs_offset: int,
    own: tuple[int, int],
    noise_mv: float,
) -> tuple[float | None, float | None]:
    """Return on- and offset of P: a hump of its own between the last T and the QRS.

    It is where the signals are most curved, and they must rise and fall there: a T wave that runs
    into the QRS only falls, and a TP segment only rises or falls. P begins and ends near the knees
    on both sides, which do not depend on the slope of what precedes it.
    """
    start = max(own[0], qrs_onset - int(0.320 * BEAT_RATE_HZ))
    smooth = gaussian_filter1d(signals[:, start : qrs_onset - 1], 3.0, axis=1)
    n = smooth.shape[1]
    at = np.arange(_P_MARGIN, n - _P_MARGIN)
    if n < _LEAST_P_ROOM:
        return None, None
    lobes = _lobes(smooth, at)
    on_t = None
    if lobes:
        first, hump = lobes[0]
        left = max(first - _P_FLANK, 0)
        knee = left + _knee(hump[left : first + 1])
        last, falling = lobes[-1]
    else:
        after = signals[:, qrs_offset + _AFTER_QRS : own[1] + 1]
        on_t = _second_hump(after, signals[:, start : qrs_onset - 1], noise_mv)
        if on_t is None or start > own[0]:
            return None, None
        knee, first, hump = on_t
        last, falling = first, hump
    end = last + _knee(falling[last:])
    height = abs(hump[first] - hump[knee])
    begin, end = max(knee - _P_BEFORE, 0), min(end + _P_AFTER, n - 1)
    wave = smooth[:, begin : end + 1] - _without_p(smooth, begin, knee, end, height)
    magnitude = np.sqrt(np.mean(wave**2, axis=0))
    top = float(magnitude.max())
    quiet = np.flatnonzero(magnitude < _P_LEVEL * top)
    # On the slope of T only the knee shows where P begins, no level does.
    onset = int(quiet[quiet < first - begin].max(initial=0)) if on_t is None else 0
    offset = int(quiet[quiet > last - begin].min(initial=end - begin))
    if top < max(MIN_P_MV, 4.0 * noise_mv) or not _SHORTEST_P <= offset - onset <= _LONGEST_P:
        return None, None
    return float(start + begin + onset), float(start + begin + offset)


def _lobes(
    smooth: NDArray[np.float64], at: NDArray[np.int64]
) -> list[tuple[int, NDArray[np.float64]]]:
    """Return the humps of P in `smooth` [leads, n], found among the samples `at`, in order of time.

    Each is its top and the signal along the direction of its leads. A biphasic or notched P wave
    has more than one, each next to the largest.
    """
    bend = _bend(smooth, at, _P_HALF)
    size = np.linalg.norm(bend, axis=0)
    tops = np.flatnonzero(np.diff(np.sign(np.diff(size, prepend=0.0, append=0.0))) < 0)
    tops = tops[size[tops] > _P_SECOND * size.max(initial=0.0)]
    lobes: list[tuple[int, NDArray[np.float64]]] = []
    largest = 0.0
    for most in tops[np.argsort(-size[tops])]:
        along = bend[:, most] / max(float(size[most]), 1e-12)
        hump, bent = along @ smooth, along @ bend
        near = slice(max(int(at[most]) - _P_MARGIN, 0), int(at[most]) + _P_MARGIN)
        peak = near.start + int(hump[near].argmax())
        beside = not lobes or (
            abs(peak - lobes[0][0]) <= _P_LOBES and size[most] > _P_BESIDE * largest
        )
        if beside and _rises_and_falls(hump, bent, most, peak):
            largest = max(largest, float(size[most]))
            lobes.append((peak, hump))
    return sorted(lobes, key=lambda lobe: lobe[0])


def _bend(rows: NDArray[np.float64], at: NDArray[np.int64], half: int) -> NDArray[np.float64]:
    """Return the curvature of `rows` [..., n]: how far, `at` samples, they lie above the chord
    between the samples `half` before and after."""
    before, after = np.maximum(at - half, 0), np.minimum(at + half, rows.shape[-1] - 1)
    share = (at - before) / (after - before)
    return rows[..., at] - rows[..., before] * (1.0 - share) - rows[..., after] * share


def _rises_and_falls(
    hump: NDArray[np.float64], bent: NDArray[np.float64], most: int, peak: int
) -> bool:
    """Return whether a wave is a hump of its own, neither the top of T nor the slope after it.

    On the slope of a T wave P need not rise, but there is a dip between the two.
    """
    rise, fall = (float(hump[peak] - part.min()) for part in (hump[: peak + 1], hump[peak:]))
    hollow = float(-bent[:most].min(initial=0.0))
    least = _P_RISE * float(bent[most])
    return fall >= least and max(rise, 1.5 * hollow) >= least


def _second_hump(
    after: NDArray[np.float64], before: NDArray[np.float64], noise_mv: float
) -> tuple[int, int, NDArray[np.float64]] | None:
    """Return foot and top of P, and the signal along it, where it stands on the slope of T.

    The signals `after` QRS and `before` the next QRS are joined into one run [leads, n], in which T
    is one hump and P another with a dip in between; a single hump is T. Indices count in `before`.
    """
    joint, half = after.shape[1], _P_HALF // 2
    if joint == 0:
        return None
    level = before[:, :4].mean(axis=1, keepdims=True) - after[:, -4:].mean(axis=1, keepdims=True)
    run = gaussian_filter1d(np.concatenate([after + level, before], axis=1), 3.0, axis=1)
    at = np.arange(half, run.shape[1] - half)
    fine = _bend(run, at, half)
    size = np.sqrt(np.mean(fine**2, axis=0))
    late = np.flatnonzero(at >= joint)
    top = int(late[size[late].argmax()])
    if top in (late[0], late[-1]) or size[top] < max(0.5 * MIN_P_MV, 2.0 * noise_mv):
        return None
    along = fine[:, top] / np.linalg.norm(fine[:, top])
    bent, beyond = np.split(along @ fine, [top + 1])
    depth = np.minimum.accumulate(bent[::-1])[::-1]
    least = _P_APART * float(bent[top])
    other = np.flatnonzero((bent - depth > least) & (bent[top] - depth > least))
    # The end of T is curved, too, but only once; after P there is another dip.
    if other.size == 0 or beyond.min() > -_P_RISE * float(bent[top]):
        return None
    foot = int(at[other[-1] + int(bent[other[-1] :].argmin())])
    return max(foot - joint, 0), int(at[top]) - joint, along @ run[:, joint:]


def _without_p(
    smooth: NDArray[np.float64], begin: int, knee: int, end: int, height: float
) -> NDArray[np.float64]:
    """Return what `smooth` [leads, n] would be from `begin` to `end` without a P wave.

    A straight line; but if the TP segment is as steep as a flank of P, it is continued to the knee.
    """
    line = np.array([begin, end]), smooth[:, [begin, end]]
    if begin >= _TP:
        before = smooth[:, begin - _TP : begin + 1]
        time = np.arange(-_TP, 1) + _TP / 2
        slope = before @ time / (time @ time)
        if _TP_STEEP * float(np.linalg.norm(slope)) > height:
            level = before.mean(axis=1) + slope * _TP / 2
            knees = [level, level + slope * (knee - begin), smooth[:, end]]
            line = np.array([begin, max(knee, begin + 1), end]), np.stack(knees, axis=1)
    own = np.arange(begin, end + 1)
    return np.stack([np.interp(own, line[0], levels) for levels in line[1]])


def _knee(flank: NDArray[np.float64]) -> int:
    """Return where a flank is furthest below the line from its first to its last sample."""
    return int((flank - np.linspace(flank[0], flank[-1], flank.size)).argmin())
