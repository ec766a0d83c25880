"""R peaks, found in all leads together.

The QRS energy of all leads, each weighted by how quiet it is between its beats, is combined into
one curve whose peaks are candidates. The evidence for a candidate is its height, its similarity to
the clear beats around it, and how little else stands out nearby. The beats are the chain of
candidates with the largest total evidence; an early beat, one soon after a higher one (as a T wave
is) and a long pause all cost evidence. The weights were fitted by logistic regression to the
annotated beats of 20 MIT-BIH records, and rounded.
"""

from math import log

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d, uniform_filter1d
from scipy.signal import find_peaks

from ecg_spark.ecg.filtering import Spectrum

QRS_BAND_HZ = (5.0, 30.0)
"""Where QRS complexes stand out most from P and T waves below, muscle and mains above."""

MIN_DISTANCE_S = 0.2
"""Shortest interval between two beats: the refractory period of the ventricles."""

T_WAVE_S, P_WAVE_S = 0.4, 0.3
"""How long after a beat its T wave, and before it its P wave, could be taken for a lower beat."""

MISSED_INTERVAL, PREMATURE_INTERVAL = 1.5, 0.85
"""Fractions of the usual interval above which a beat is missing, and below which it is early."""

_WORK_HZ = 125.0  # resolves a band up to 30 Hz with a quarter of the samples at 500 Hz
_ENVELOPE_S = 0.06  # width of each of the two averages that make the envelope
_CHUNK_S = 1.5  # holds a beat at 40 per minute: its largest value is the height of a QRS
_BLOCK_S = 0.25  # blocks whose smallest values show what a lead carries between beats
_QRS_REACH_S, _LAG_S = 0.08, 0.024  # what is compared around a candidate, and moved by how much
# Placing a peak: band, reach, and the fraction of its even share of the weight below which the
# first lead is lost in noise.
_PLACE_BAND_HZ, _PLACE_REACH_S, _LOST = (3.0, 30.0), 0.07, 0.1
_CLEAR = 0.4  # of the usual height: a candidate above it is a clear beat
_NEIGHBOURS = 6  # clear beats on each side with which a candidate is compared
_LOOK_BACK = 16  # candidates that may lie between two beats of the chain
# Weights of the evidence: see the module's docstring for how they were fitted.
_BIAS, _HEIGHT, _LIKENESS, _CLUTTER = 0.8, 3.3, 7.0, 8.0
_LOW, _LOW_HEIGHT, _ALONE, _ALONE_SLOPE = 3.0, 0.35, 0.9, 1.0
_CLUTTERED, _LEAST_SUSPECT = 0.3, 0.4
_PAUSE, _EARLY, _SHADOW, _MOST = 4.0, 5.0, 4.5, 6.0


def detect_r_peaks(signal_mv: NDArray[np.floating], sampling_rate_hz: float) -> NDArray[np.int64]:
    """Return the positions of the R peaks.

    Beats are found in all leads together, whatever their order. A peak is then placed on the first
    lead, as annotators do, at the centre of the QRS complex's power, or on all leads if the first
    is lost in noise.

    Args:
        signal_mv: [leads, n]. The unit of amplitude does not matter; missing samples are not
            allowed.
        sampling_rate_hz: its sampling rate.

    Returns:
        Samples in ascending order; empty if there is no beat or less than a second of signal.
    """
    signals = np.atleast_2d(np.asarray(signal_mv, dtype=np.float64))
    if signals.shape[1] < int(sampling_rate_hz):
        return np.zeros(0, dtype=np.int64)
    return find_r_peaks(Spectrum.of(signals, sampling_rate_hz))


def find_r_peaks(whole: Spectrum) -> NDArray[np.int64]:
    """Return the R peaks as `detect_r_peaks` does, of signals whose transform is known already."""
    band, rate, start = whole.band_at(*QRS_BAND_HZ, _WORK_HZ)
    beating = np.ptp(band, axis=1) > 1e-9 * max(float(np.ptp(band)), 1e-12)
    if not beating.any():
        return np.zeros(0, dtype=np.int64)
    scaled, weight = _scaled(band[beating], rate)
    envelope = np.sqrt(_smooth_power(scaled, rate))
    fused = np.einsum("ln,ln->n", weight, np.minimum(envelope, 2.0))
    fused /= np.maximum(_usual_height(fused[None], rate)[0], 1e-9)
    candidates, _ = find_peaks(fused, height=0.08, distance=int(0.12 * rate))
    if candidates.size == 0:
        return candidates
    height = fused[candidates]
    likeness = _likeness(scaled * np.sqrt(weight), candidates, height, rate)
    chosen = candidates[_choose(candidates / rate, height, likeness)]
    all_leads = _centres(np.einsum("ln,ln->n", weight, scaled**2), chosen, rate)
    first = whole.lead(np.flatnonzero(beating)[0]).band_at(*_PLACE_BAND_HZ, _WORK_HZ)[0][0]
    lost = weight[0, chosen] < _LOST / len(weight)
    centre = np.where(lost, all_leads, _centres(first**4, chosen, rate))
    peaks = np.rint((centre + start) * (whole.rate_hz / rate)).astype(np.int64)
    return np.unique(np.clip(peaks, 0, whole.n - 1))


def _scaled(
    band: NDArray[np.float64], rate: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the leads scaled to QRS complexes of height one, and their weights at every sample.

    A lead weighs by the square of how far its QRS complexes rise above what it carries between
    them at the time; the weights of a sample add up to one.
    """
    envelope = np.sqrt(_smooth_power(band, rate))
    height = np.maximum(_usual_height(envelope, rate), 1e-12)
    block = max(1, int(_BLOCK_S * rate))
    n = band.shape[1]
    padded = np.pad(envelope, ((0, 0), (0, -n % block)), mode="edge")
    quiet = _rolling_median(padded.reshape(len(band), -1, block).min(axis=2), 2)
    quiet = np.repeat(maximum_filter1d(quiet, 3, axis=1), block, axis=1)[:, :n]
    clarity = np.clip(height / np.maximum(quiet, 1e-12), 1.0, 20.0)
    weight = (clarity - 1.0 + 1e-3) ** 2
    return band / height, weight / weight.sum(axis=0)


def _smooth_power(signals: NDArray[np.float64], rate: float) -> NDArray[np.float64]:
    """Return the power [leads, n] under a triangle as wide as a QRS complex."""
    width = max(1, round(_ENVELOPE_S * rate))
    power = uniform_filter1d(uniform_filter1d(signals**2, width, axis=1), width, axis=1)
    return np.maximum(power, 0.0)


def _usual_height(envelope: NDArray[np.float64], rate: float) -> NDArray[np.float64]:
    """Return the usual height of QRS complexes around every sample, [leads, n].

    The median, over some 12 s, of the largest value in 1.5 s: neither a burst of noise nor a run
    of larger beats hides the others.
    """
    n = envelope.shape[1]
    chunk = min(n, int(_CHUNK_S * rate))
    step = max(1, chunk // 2)
    tops = sliding_window_view(envelope, chunk, axis=1)[:, ::step].max(axis=2)
    overall = np.median(tops, axis=1, keepdims=True)
    local = np.clip(_rolling_median(tops, 8), 0.3 * overall, 3.0 * overall)
    centres = chunk // 2 + step * np.arange(tops.shape[1])
    return np.stack([np.interp(np.arange(n), centres, row) for row in local])


def _rolling_median(rows: NDArray[np.float64], half: int) -> NDArray[np.float64]:
    """Return the median over `half` values on both sides, [rows, n]."""
    if rows.shape[1] > half:
        ends = rows[:, half:0:-1], rows[:, -2 : -2 - half : -1]
    else:
        ends = (np.repeat(rows[:, :1], half, axis=1), np.repeat(rows[:, -1:], half, axis=1))
    padded = np.concatenate([ends[0], rows, ends[1]], axis=1)
    return np.sort(sliding_window_view(padded, 2 * half + 1, axis=1), axis=2)[:, :, half]


def _likeness(
    signals: NDArray[np.float64],
    candidates: NDArray[np.int64],
    height: NDArray[np.float64],
    rate: float,
) -> NDArray[np.float64]:
    """Return how similar every candidate is to the clear beats around it, 0 to 1.

    It is the second largest of its correlations, over all leads and a small lag, with six clear
    beats on both sides: one beat of the same shape may be chance, or noise that repeats itself.
    """
    clear = np.flatnonzero(height > _CLEAR)
    if clear.size < 4:
        return np.full(candidates.size, 0.7)
    reach, lags = int(_QRS_REACH_S * rate), int(_LAG_S * rate)
    index = candidates[:, None] + np.arange(-reach - lags, reach + lags + 1)
    cuts = signals[:, np.clip(index, 0, signals.shape[1] - 1)].transpose(1, 0, 2)
    slides = sliding_window_view(cuts, 2 * reach + 1, axis=2).transpose(0, 2, 1, 3)
    slides = slides.reshape(candidates.size, 2 * lags + 1, -1)
    slides = slides / np.maximum(np.linalg.norm(slides, axis=2, keepdims=True), 1e-12)
    first = np.searchsorted(clear, np.arange(candidates.size)) - _NEIGHBOURS
    near = first[:, None] + np.arange(2 * _NEIGHBOURS + 1)
    other = clear[np.clip(near, 0, clear.size - 1)]
    found = np.matmul(slides, slides[other, lags].transpose(0, 2, 1)).max(axis=1)
    outside = (near < 0) | (near >= clear.size) | (other == np.arange(candidates.size)[:, None])
    found[outside] = 0.0
    return np.maximum(np.partition(found, -2, axis=1)[:, -2], 0.0)


def _choose(
    time: NDArray[np.float64], height: NDArray[np.float64], likeness: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return which candidates, at `time` in s, are beats: the chain with the most evidence.

    The chain is found twice, because after the first time it is known what else stands out around a
    candidate.
    """
    chosen = np.flatnonzero(height > _CLEAR)
    chosen = chosen[np.diff(time[chosen], prepend=-1.0) > 0.25]
    tall = _BIAS + _HEIGHT * np.log(np.minimum(height, 1.5))
    tall -= _LOW * np.maximum(np.log(_LOW_HEIGHT / height), 0.0)
    clutter = np.full(time.size, 0.15)
    for _ in range(2):
        usual, regular = _rhythm(time, time[chosen])
        # Where little else stands out, a beat need not be like the others.
        like = np.maximum(likeness, _ALONE - _ALONE_SLOPE * clutter)
        total = np.clip(tall + _LIKENESS * like - _CLUTTER * clutter, -_MOST, _MOST)
        # An early beat is suspect where other things stand out too.
        suspect = regular * np.clip(clutter / _CLUTTERED, _LEAST_SUSPECT, 1.0)
        chosen = _best_chain(time, height, total, usual, suspect)
        rest = np.setdiff1d(np.arange(time.size), chosen)
        if rest.size:
            near = np.searchsorted(rest, np.arange(time.size))[:, None] + np.arange(-8, 8)
            around = np.minimum(height[rest], 0.6)[np.clip(near, 0, rest.size - 1)]
            clutter = np.sort(around, axis=1)[:, 12]
        else:
            clutter = np.zeros(time.size)
    return chosen


def _rhythm(
    time: NDArray[np.float64], beats: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the usual interval in s and its regularity (0.1 to 1) at each time."""
    interval = np.diff(beats)
    if interval.size == 0:
        return np.full(time.size, 0.8), np.full(time.size, 0.5)
    usual = _rolling_median(interval[None], min(4, (interval.size - 1) // 2))[0]
    usual = np.clip(np.interp(time, (beats[1:] + beats[:-1]) / 2, usual), 0.3, 1.6)
    if interval.size < 4:
        return usual, np.full(time.size, 0.5)
    change = np.abs(np.diff(np.log(interval)))
    change = _rolling_median(change[None], min(6, (change.size - 1) // 2))[0]
    return usual, np.clip(1.0 - np.interp(time, beats[1:-1], change) / 0.2, 0.1, 1.0)


def _best_chain(
    time: NDArray[np.float64],
    height: NDArray[np.float64],
    evidence: NDArray[np.float64],
    usual: NDArray[np.float64],
    regular: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Return the chain of candidates whose evidence minus its costs is largest."""

    def pause(gap: float, interval: float) -> float:
        missed = gap / (MISSED_INTERVAL * interval)
        return _PAUSE * min(log(missed), 1.5) if missed > 1.0 else 0.0

    at, own, every, steady = time.tolist(), evidence.tolist(), usual.tolist(), regular.tolist()
    level = np.log(np.minimum(height, 1.5)).tolist()
    best: list[float] = []
    back: list[int] = []
    for j, now in enumerate(at):
        top, before = -pause(now - at[0], every[j]), -1
        for i in range(max(0, j - _LOOK_BACK), j):
            gap = now - at[i]
            if gap < MIN_DISTANCE_S:
                break
            interval = 0.5 * (every[i] + every[j])
            cost = pause(gap, interval)
            early = PREMATURE_INTERVAL * interval / gap
            if early > 1.0:
                cost += _EARLY * steady[j] * log(early)
            if gap < T_WAVE_S and level[i] > level[j]:
                cost += _SHADOW * (level[i] - level[j])
            elif gap < P_WAVE_S and level[j] > level[i]:
                cost += _SHADOW * (level[j] - level[i])
            if best[i] - cost > top:
                top, before = best[i] - cost, i
        best.append(top + own[j])
        back.append(before)
    ends = [value - pause(at[-1] - at[i], every[i]) for i, value in enumerate(best)]
    here, chain = int(np.argmax(ends)), []
    while here >= 0:
        chain.append(here)
        here = back[here]
    return np.array(chain[::-1], dtype=np.int64)


def _centres(
    power: NDArray[np.float64], peaks: NDArray[np.int64], rate: float
) -> NDArray[np.float64]:
    """Return the centres of power within the reach of a QRS complex around each peak."""
    reach = int(_PLACE_REACH_S * rate)
    centre = peaks.astype(np.float64)
    for _ in range(3):
        index = np.rint(centre).astype(np.int64)[:, None] + np.arange(-reach, reach + 1)
        index = np.clip(index, 0, power.size - 1)
        share = power[index]
        mean = (share * index).sum(axis=1) / np.maximum(share.sum(axis=1), 1e-300)
        centre = np.clip(mean, peaks - reach, peaks + reach)
    return centre
