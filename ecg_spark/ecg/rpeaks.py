"""R peaks, found in all leads together."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d, uniform_filter1d
from scipy.signal import find_peaks

from ecg_spark.ecg.filtering import band_pass

QRS_BAND_HZ = (6.0, 25.0)
"""Where QRS complexes stand out most from P and T waves below, muscle and mains above."""

MIN_DISTANCE_S = 0.24
"""Shortest interval between two beats (250 per minute)."""

_ENVELOPE_S = 0.12
_REFINE_S = 0.06
_THRESHOLD = 0.45
_SEARCH_BACK_THRESHOLD = 0.15
_MISSED_INTERVAL = 1.6
_T_WAVE_S = 0.36
_CHUNK_S = 1.5


def detect_r_peaks(signal_mv: NDArray[np.floating], sampling_rate_hz: float) -> NDArray[np.int64]:
    """Return the samples of the R peaks in `signal_mv` [leads, samples], ascending.

    Every lead is weighted by how clearly its QRS complexes stand out, so that one bad lead neither
    hides nor invents beats. An R peak is the largest magnitude over the leads near a peak of QRS
    energy; it is empty where nothing beats. The unit of amplitude does not matter, missing samples
    are not allowed.
    """
    signals = np.atleast_2d(np.asarray(signal_mv, dtype=np.float64))
    signals = signals - np.median(signals, axis=1, keepdims=True)
    n = signals.shape[1]
    if n < int(sampling_rate_hz):
        return np.zeros(0, dtype=np.int64)
    band = band_pass(signals, sampling_rate_hz, *QRS_BAND_HZ)
    energy, clarity = _qrs_energy(band, sampling_rate_hz)
    candidates, _ = find_peaks(energy, distance=max(1, int(MIN_DISTANCE_S * sampling_rate_hz)))
    peaks = _choose(candidates, energy, sampling_rate_hz)
    return _refine(peaks, signals, clarity, sampling_rate_hz)


def _qrs_energy(
    band: NDArray[np.float64], rate_hz: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the smoothed magnitude over leads, each lead scaled to QRS peaks of one, and how
    clearly QRS complexes stand out in each lead."""
    chunk = int(_CHUNK_S * rate_hz)
    n_chunks = band.shape[1] // chunk
    magnitude = np.abs(band)
    if n_chunks:
        chunks = magnitude[:, : n_chunks * chunk].reshape(len(band), n_chunks, chunk)
        peak = np.median(chunks.max(axis=2), axis=1)
    else:
        peak = magnitude.max(axis=1)
    floor = np.median(magnitude, axis=1)
    usable = peak > 1e-9 * max(float(peak.max(initial=0.0)), 1e-12)
    clarity = np.where(usable, peak / np.maximum(floor, 1e-3 * peak + 1e-300), 0.0)
    clarity = np.minimum(clarity, 20.0)
    if not clarity.any():
        return np.zeros(band.shape[1]), clarity
    scaled = np.minimum(magnitude / np.where(usable, peak, np.inf)[:, None], 3.0) ** 2
    mean_square = clarity**2 @ scaled / (clarity**2).sum()
    smooth = uniform_filter1d(mean_square, max(1, int(_ENVELOPE_S * rate_hz)))
    return np.sqrt(np.maximum(smooth, 0.0)), clarity


def _choose(
    candidates: NDArray[np.int64], energy: NDArray[np.float64], rate_hz: float
) -> NDArray[np.int64]:
    """Keep the candidates that are QRS complexes: high enough among their neighbours in time."""
    if candidates.size == 0:
        return candidates
    level = _local_level(energy, rate_hz)[candidates]
    height = energy[candidates]
    keep = height > _THRESHOLD * level
    keep &= ~_t_waves(candidates, height, keep, rate_hz)
    chosen = candidates[keep]
    if chosen.size < 3:
        return chosen
    # Where an interval is much longer than usual, look there again with a lower threshold.
    interval = float(np.median(np.diff(chosen)))
    weaker = ~keep & (height > _SEARCH_BACK_THRESHOLD * level)
    found = []
    for start, end in pairwise(chosen):
        if end - start > _MISSED_INTERVAL * interval:
            margin = 0.45 * interval
            inside = weaker & (candidates > start + margin) & (candidates < end - margin)
            if inside.any():
                found.append(candidates[inside][np.argmax(height[inside])])
    return np.sort(np.concatenate([chosen, np.array(found, dtype=np.int64)]))


def _local_level(energy: NDArray[np.float64], rate_hz: float) -> NDArray[np.float64]:
    """Return the usual height of QRS energy around every sample.

    The median over nine chunks of 1.5 s of the largest value of each: a burst of noise or a run of
    larger beats does not hide the others.
    """
    chunk = int(_CHUNK_S * rate_hz)
    tops = maximum_filter1d(energy, chunk)[chunk // 2 :: chunk]
    half = 4
    padded = np.pad(tops, half, mode="reflect" if tops.size > half else "edge")
    local = np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1), axis=1)
    overall = float(np.median(tops))
    local = np.clip(local, 0.3 * overall, 3.0 * overall)
    centres = chunk // 2 + chunk * np.arange(tops.size)
    return np.interp(np.arange(energy.size), centres, local)


def _t_waves(
    candidates: NDArray[np.int64],
    height: NDArray[np.float64],
    keep: NDArray[np.bool_],
    rate_hz: float,
) -> NDArray[np.bool_]:
    """Mark kept candidates that follow a kept and much higher one as its T wave would."""
    marked = np.zeros(candidates.size, dtype=bool)
    kept = np.flatnonzero(keep)
    for before, here in pairwise(kept):
        close = candidates[here] - candidates[before] < _T_WAVE_S * rate_hz
        if close and not marked[before] and height[here] < 0.5 * height[before]:
            marked[here] = True
    return marked


def _refine(
    peaks: NDArray[np.int64],
    signals: NDArray[np.float64],
    clarity: NDArray[np.float64],
    rate_hz: float,
) -> NDArray[np.int64]:
    """Move every peak to the largest magnitude over the leads within `_REFINE_S`."""
    if peaks.size == 0:
        return peaks
    smooth = band_pass(signals, rate_hz, 1.0, 40.0)
    scale = np.median(np.abs(smooth[:, peaks]), axis=1)
    weight = clarity * np.minimum(scale, 3.0 * np.median(scale)) / np.maximum(scale, 1e-12)
    magnitude = np.sum((smooth * weight[:, None]) ** 2, axis=0)
    reach = int(_REFINE_S * rate_hz)
    around = np.clip(peaks[:, None] + np.arange(-reach, reach + 1), 0, magnitude.size - 1)
    refined = around[np.arange(peaks.size), magnitude[around].argmax(axis=1)]
    return np.unique(refined)
