"""Cutting beats out of a signal: at fractions of a sample, aligned, and sorted by shape."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ecg_spark.ecg.beat import BEAT_RATE_HZ

SAME_SHAPE = 0.85
"""Correlation of two QRS complexes over all leads from which they are of one shape. Ventricular
beats stay below 0.7, beats of one origin above 0.95 unless noise is as large as the QRS."""

_QRS_REACH = int(0.080 * BEAT_RATE_HZ)
_LAG_REACH = int(0.030 * BEAT_RATE_HZ)
_R_REACH = int(0.070 * BEAT_RATE_HZ)
_TAPS = 12
_MAX_COMPARED = 40


def cut(
    signals: NDArray[np.float64], positions: NDArray[np.float64], before: int, length: int
) -> NDArray[np.float64]:
    """Return windows [beats, leads, length] that start `before` samples before each position.

    Positions between samples are interpolated by a windowed sinc, exact up to 0.8 of the Nyquist
    frequency. Outside of the signal the first or last sample is repeated.
    """
    half = _TAPS // 2
    whole = np.floor(positions).astype(np.int64)
    offsets = np.arange(1 - half, half + 1) - (positions - whole)[:, None]
    kernel = np.sinc(offsets) * np.cos(np.pi * offsets / (_TAPS + 2)) ** 2
    kernel /= kernel.sum(axis=1, keepdims=True)
    index = whole[:, None] - before + 1 - half + np.arange(length + _TAPS - 1)
    pieces = signals[:, np.clip(index, 0, signals.shape[1] - 1)]
    beats = kernel[:, :1] * pieces[:, :, :length]
    for tap in range(1, _TAPS):
        beats += kernel[:, tap : tap + 1] * pieces[:, :, tap : tap + length]
    return np.ascontiguousarray(beats.transpose(1, 0, 2))


def same_shape(band: NDArray[np.float64], peaks: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say which beats have the shape of the most common QRS complex, over all leads together.

    `band` is the signal [leads, n] without wander. Every beat is compared with every other at its
    best lag; the beat with most equals, then with the largest correlations, leads the class.
    """
    chosen = np.unique(np.linspace(0, peaks.size - 1, _MAX_COMPARED).round().astype(np.int64))
    correlation = _correlation(band, peaks[chosen], peaks)
    alike = np.minimum((correlation > SAME_SHAPE).sum(axis=1), peaks.size)
    leader = np.lexsort((correlation.sum(axis=1), alike))[-1]
    return correlation[leader] > SAME_SHAPE


def _correlation(
    band: NDArray[np.float64], first: NDArray[np.int64], second: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the largest correlation over small lags, [first, second], at half the rate."""
    reach, lags, step = _QRS_REACH // 2, _LAG_REACH // 2, 2
    inner = step * np.arange(-reach, reach + 1)
    outer = step * np.arange(-reach - lags, reach + lags + 1)
    last = band.shape[1] - 1
    reference = band[:, np.clip(first[:, None] + inner, 0, last)].transpose(1, 0, 2)
    reference = reference.reshape(first.size, -1)
    moving = sliding_window_view(
        band[:, np.clip(second[:, None] + outer, 0, last)], inner.size, axis=2
    )
    moving = moving.transpose(1, 2, 0, 3).reshape(second.size * (2 * lags + 1), -1)
    norms = np.outer(np.linalg.norm(reference, axis=1), np.linalg.norm(moving, axis=1))
    product = reference @ moving.T / np.maximum(norms, 1e-12)
    return product.reshape(first.size, second.size, -1).max(axis=2)


def align(band: NDArray[np.float64], positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the positions moved so that the QRS complexes coincide, to a fraction of a sample.

    Each beat is moved to the largest covariance with the mean of all, twice; the mean move is
    nil, so that the beats do not wander off together.
    """
    length = 2 * (_QRS_REACH + _LAG_REACH) + 1
    for _ in range(2):
        windows = cut(band, positions, _QRS_REACH + _LAG_REACH, length)
        template = np.median(windows, axis=0)[:, _LAG_REACH:-_LAG_REACH]
        width = template.shape[1]
        covariance = np.stack(
            [
                np.tensordot(windows[:, :, lag : lag + width], template, 2)
                for lag in range(2 * _LAG_REACH + 1)
            ],
            axis=1,
        )
        power = np.cumsum(np.pad(np.sum(windows**2, axis=1), ((0, 0), (1, 0))), axis=1)
        energy = power[:, width:] - power[:, :-width]
        match = covariance / np.sqrt(np.maximum(energy, 1e-12))
        moves = _peak(match) - _LAG_REACH
        positions = positions + moves - np.median(moves)
    return positions


def _peak(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where each row is largest, between the samples by a parabola."""
    top = np.clip(rows.argmax(axis=1), 1, rows.shape[1] - 2)
    index = np.arange(len(rows))
    left, middle, right = rows[index, top - 1], rows[index, top], rows[index, top + 1]
    bend = left - 2 * middle + right
    shift = np.where(bend < 0, 0.5 * (left - right) / np.minimum(bend, -1e-300), 0.0)
    return top + np.clip(shift, -1.0, 1.0)


def r_position(beat: NDArray[np.float64], near: int) -> float:
    """Return where R is in `beat` [leads, n], zero before the QRS complex: a sample, with fraction.

    It is the centre of the fourth power of the magnitude over the leads, which a single R peak
    decides alone. Where R and S are about as large it lies between them, so that like hearts get
    like beats; the largest sample itself would jump from the one to the other.
    """
    power = np.sum(beat**2, axis=0) ** 2
    centre = float(near)
    for _ in range(4):
        start = max(round(centre) - _R_REACH, 0)
        around = power[start : start + 2 * _R_REACH + 1]
        total = float(around.sum())
        if total <= 0.0:
            return float(near)
        centre = start + float(np.arange(around.size) @ around) / total
    return centre
