"""Selects the sinus beats: of one shape, narrow, preceded by a P wave, not early.

The most common shape is that of the sinus beats in most recordings, but not in bigeminy, nor where
ventricular beats come in pairs.
"""

import statistics
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ecg_spark.ecg.beat import BEAT_RATE_HZ, BEAT_SAMPLES, R_INDEX, Fiducials
from ecg_spark.ecg.fiducials import find_fiducials, is_narrow, own_samples
from ecg_spark.ecg.filtering import Floats, Spectrum
from ecg_spark.ecg.windows import align, cut, detrended, median, shapes

MIN_BEATS = 3
"""An average of fewer beats would be dominated by the noise of one."""

BEFORE_R, AFTER_R = 0.42, 0.58
"""How the time between two R peaks is divided: the later part, which holds P, belongs to the next
beat. P fits at 130 beats per minute, and a QT of 550 ms at 60."""

_QRS_BEFORE_R_S = 0.10
"""How long before its R a wide QRS complex begins: where a beat without P wave takes over."""

PREMATURE = 0.8
"""A beat that comes earlier than this fraction of the usual interval is ectopic."""

_SHAPE_HZ, _SHAPE_STEP = (1.0, 40.0), 2  # band of the comparison, at every second sample
_CLASS_HZ = (0.5, 40.0)  # band of the mean beats in which waves are sought
_COUPLED = 0.07  # median change of intervals of one kind, as a part of them
_STEADY = 0.08  # spread of intervals of one kind, as a part of them; fibrillation has above 0.15
_MIN_KIND, _GAP = 2, 0.1  # intervals that make a kind, and the logarithm of the gap between two
_P_LATEST_S, _P_SOONEST_S, _P_SHIFT_S = 0.30, 0.06, 0.04  # where P lies before R
_SAME_P = 0.75  # correlation of two P waves of one origin, above 0.95, and of two, below 0.65
_TOLD_APART = 0.85  # share of single beats whose P wave is of their kind


@dataclass(frozen=True)
class Beats:
    """The detected beats of a recording.

    Attributes:
        positions: where R of each beat is, in samples at 500 Hz with fraction.
        used: which beats are averaged.
        before: how many samples before R belong to each beat and to no other.
        after: how many samples after R belong to each beat and to no other.
        reach: `before` and `after` of the average beat.
        border: where each beat begins that follows another, in samples: one fewer than beats.
        rr: the mean interval in samples.
    """

    positions: NDArray[np.float64]
    used: NDArray[np.bool_]
    before: NDArray[np.float64]
    after: NDArray[np.float64]
    reach: tuple[float, float]
    border: NDArray[np.float64]
    rr: float

    def windows(self, signals: Floats) -> Floats:
        """Return the beats that are used, [beats, leads, 600].

        Args:
            signals: [leads, n] at 500 Hz.
        """
        return cut(signals, self.positions[self.used], R_INDEX, BEAT_SAMPLES)

    @property
    def own(self) -> tuple[int, int]:
        """The first and last sample of the average beat that belong to it and to no other."""
        return own_samples(self.reach)


def sinus_beats(whole: Spectrum, peaks: NDArray[np.int64]) -> tuple[Beats, NDArray[np.bool_]]:
    """Select the sinus beats and align them.

    Args:
        whole: the transform of the recording at 500 Hz.
        peaks: the samples of all R peaks, ascending.

    Returns:
        The beats, of which sinus beats are marked as used (fewer than `MIN_BEATS` if no shape is
        that common); and for each beat whether it is ectopic.
    """
    band, rate, _ = whole.band_at(*_SHAPE_HZ, BEAT_RATE_HZ / _SHAPE_STEP)
    interval = np.diff(peaks).astype(np.float64)
    last = whole.n - 1
    inside = (peaks > 0.1 * BEAT_RATE_HZ) & (peaks < last - 0.1 * BEAT_RATE_HZ)
    shape = shapes(band, rate, peaks // _SHAPE_STEP)
    alike = shape == _sinus_shape(whole, band, rate, peaks, np.where(inside, shape, -1))
    early = _early(interval, alike)
    if not early.any():
        early = _of_other_atria(whole, band, rate, peaks, alike)
    used = alike & inside
    if (used & ~early).sum() >= MIN_BEATS:
        used &= ~early
    positions = peaks.astype(np.float64)
    if used.sum() >= MIN_BEATS:
        positions[used] = _SHAPE_STEP * align(band, rate, positions[used] / _SHAPE_STEP)
    led = np.flatnonzero(used[1:])
    rr = float(np.median(interval[led] if led.size else interval))
    # A beat of another shape has no P wave of its own: the time up to its QRS belongs to the beat
    # before it.
    qrs = _QRS_BEFORE_R_S * BEAT_RATE_HZ
    start = np.where(alike[1:], BEFORE_R * rr, qrs)
    least = np.where(alike[1:], 0.15 * rr, qrs)
    before = np.concatenate([[np.inf], np.maximum(interval - AFTER_R * rr, least)])
    after = np.maximum(interval - start, 0.3 * np.minimum(interval, rr))
    after = np.append(after, np.inf)
    later = alike & np.append(alike[1:], False)
    after[later] = np.maximum(after, AFTER_R * np.append(interval, 0.0))[later]
    followed = used & ~np.append(alike[1:], True)
    cut_short = 2 * followed.sum() > used.sum()
    reach = (BEFORE_R * rr, float(np.median(after[followed])) if cut_short else AFTER_R * rr)
    # What lies outside of the signal belongs to no beat.
    beats = Beats(
        positions=positions,
        used=used,
        before=np.minimum(before, peaks),
        after=np.minimum(after, last - peaks),
        reach=reach,
        border=np.asarray(peaks[1:] - np.where(alike[1:], (1.0 - AFTER_R) * interval, qrs)),
        rr=float(interval.mean()),
    )
    return beats, (~alike | early) & inside


def _sinus_shape(
    whole: Spectrum,
    band: Floats,
    rate: float,
    peaks: NDArray[np.int64],
    shape: NDArray[np.int64],
) -> int:
    """Return the shape of the sinus beats.

    It is the most common one, unless that is wide or early. Otherwise it is, among shapes of at
    least `MIN_BEATS` beats, the one that meets most of three conditions: narrow, not early compared
    with the other shapes, preceded by a P wave. On a tie it is the more common one.
    """
    labels = [k for k in range(int(shape.max()) + 1) if (shape == k).sum() >= MIN_BEATS]
    if len(labels) < 2:
        return 0
    interval = np.diff(peaks, prepend=peaks[0] - np.diff(peaks)[0]).astype(np.float64)
    usual = [float(np.median(interval[shape == k])) for k in labels]
    signals = whole.band(*_CLASS_HZ)
    points = []
    for label, mean_rr in zip(labels, usual, strict=True):
        own = shape == label
        found = _measured(signals, band, rate, peaks[own], mean_rr)[1]
        narrow = is_narrow(found)
        # Coupled beats keep their distance; where the atria fibrillate no beat is early.
        spread = float(np.median(np.abs(interval[own] - mean_rr)))
        late = mean_rr > PREMATURE * max(usual) or spread > _COUPLED * mean_rr
        if label == labels[0] and narrow and late:
            return label
        points.append(int(narrow) + int(late) + int(found.p_onset is not None))
    return labels[int(np.argmax(points))]


def _measured(
    signals: Floats, band: Floats, rate: float, peaks: NDArray[np.int64], rr: float
) -> tuple[NDArray[np.float64], Fiducials]:
    """Return the mean beat [8, 600] at some `peaks` that are `rr` samples apart, and its waves."""
    at = _SHAPE_STEP * align(band, rate, peaks / _SHAPE_STEP)
    beat = median(cut(signals, at, R_INDEX, BEAT_SAMPLES)).astype(np.float64)
    return beat, find_fiducials(beat, (BEFORE_R * rr, AFTER_R * rr), 0.0, 1.0)


def _early(interval: NDArray[np.float64], alike: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which beats are early, if the rhythm has a usual interval.

    In a steady rhythm that is the median of the intervals around a beat. In atrial bigeminy the
    intervals between narrow beats are of two kinds, each steady, and early beats follow the short
    ones. In fibrillation intervals are of all kinds, and no beat is early.
    """
    early = np.zeros(alike.size, dtype=bool)
    change = np.median(np.abs(np.diff(interval, prepend=interval[0])))
    if change < 0.1 * np.median(interval):
        near = [interval[max(i - 3, 0) : i + 3].tolist() for i in range(interval.size)]
        early[1:] = interval < PREMATURE * np.array([statistics.median(values) for values in near])
        return early
    pairs = alike[:-1] & alike[1:]
    kinds = _two_kinds(interval[pairs])
    if kinds is None or pairs.sum() < 2 * MIN_BEATS:
        return early
    short, long = kinds
    soon = pairs & (interval <= short[-1])
    # An early beat resets the sinus node, so two early beats in a row contradict this.
    alone = not (soon[1:] & soon[:-1]).any()
    if alone and long.std() < _STEADY * long.mean():
        early[1:] = soon
    return early


def _two_kinds(
    interval: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return the sorted intervals in two parts: steady short ones, and long ones.

    They are divided at the largest gap below which the intervals are steady. None if there is no
    such gap.
    """
    ordered = np.sort(interval)
    gaps = np.diff(np.log(ordered))
    places = np.argsort(-gaps)[: int((gaps > _GAP).sum())] + 1
    for at in places[(places >= _MIN_KIND) & (places <= ordered.size - _MIN_KIND)]:
        short, long = ordered[:at], ordered[at:]
        if short.std() < _STEADY * short.mean() and short.mean() < PREMATURE * long.mean():
            return short, long
    return None


def _of_other_atria(
    whole: Spectrum,
    band: Floats,
    rate: float,
    peaks: NDArray[np.int64],
    alike: NDArray[np.bool_],
) -> NDArray[np.bool_]:
    """Return which of the beats that are `alike` come from elsewhere in the atria.

    Some beats follow soon and steadily, others after a pause. Where the sinus node pauses or a beat
    is not conducted, all have the same P wave, though in some it is earlier before QRS. Otherwise
    the sinus beats are those after a pause, and the others are runs of atrial beats, of which there
    may be more; but where no upright P wave follows the pause, the beats after it are escape beats
    and the others are sinus beats.
    """
    early = np.zeros(alike.size, dtype=bool)
    interval = np.diff(peaks).astype(np.float64)
    pairs = alike[:-1] & alike[1:]
    kinds = _two_kinds(interval[pairs])
    if kinds is None:
        return early
    soon, late = early.copy(), early.copy()
    soon[1:] = pairs & (interval <= kinds[0][-1])
    late[1:] = pairs & ~soon[1:]
    reach = min(_P_LATEST_S, BEFORE_R * kinds[0].mean() / BEAT_RATE_HZ)
    before = np.arange(-int(reach * rate), -int(_P_SOONEST_S * rate))
    shift = int(_P_SHIFT_S * rate)
    index = (peaks // _SHAPE_STEP)[:, None] + np.arange(before[0] - shift, before[-1] + 1)
    wide = band[:, np.clip(index, 0, band.shape[1] - 1)].transpose(1, 0, 2).astype(np.float64)
    p = detrended(wide[..., shift:]).reshape(peaks.size, -1)
    sums = np.stack([p[late].sum(axis=0), p[soon].sum(axis=0)])
    count = np.array([late.sum(), soon.sum()])
    moved = sliding_window_view(wide[soon].mean(axis=0), before.size, axis=1).transpose(1, 0, 2)
    moved = detrended(moved).reshape(len(moved), -1)
    same = np.corrcoef([sums[0], *moved])[0, 1:].max()
    # Every beat against the means of the others of both kinds.
    kind = np.stack([late, soon], axis=1)
    means = (sums - kind[..., None] * p[:, None]) / (count - kind)[..., None]
    is_soon = np.argmin(np.linalg.norm(p[:, None] - means, axis=2), axis=1) == 1
    right = np.mean(is_soon[late | soon] == soon[late | soon])
    if same > _SAME_P or right < _TOLD_APART:
        return early
    is_soon = np.where(late | soon, soon, is_soon)
    signals = whole.band(*_CLASS_HZ)
    if _has_upright_p(signals, band, rate, peaks[late], float(np.median(kinds[1]))):
        return alike & is_soon
    if _has_upright_p(signals, band, rate, peaks[soon], float(np.median(kinds[0]))):
        return alike & ~is_soon
    return early


def _has_upright_p(
    signals: Floats, band: Floats, rate: float, peaks: NDArray[np.int64], rr: float
) -> bool:
    """Return whether the mean beat has a P wave upright in I and II, as the sinus node's is."""
    beat, at = _measured(signals, band, rate, peaks, rr)
    if at.p_onset is None or at.p_offset is None:
        return False
    wave = beat[:2, round(at.p_onset) : round(at.p_offset) + 1].sum(axis=0)
    return bool(wave.mean() > 0.5 * (wave[0] + wave[-1]))
