"""Cuts beats out of a signal at fractional positions, aligns them and groups them by shape."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from ecg_spark.ecg.beat import BEAT_RATE_HZ
from ecg_spark.ecg.filtering import Floats

SAME_SHAPE = 0.85
"""Correlation of two QRS complexes over all leads from which they are of one shape. Ventricular
beats stay below 0.7, beats of one origin above 0.95 unless noise is as large as the QRS."""

_QRS_REACH_S, _LAG_REACH_S = 0.080, 0.030  # what is compared around R, and moved by how much
_R_REACH = int(0.070 * BEAT_RATE_HZ)  # around the centre of power of a QRS complex
_EARLIER = (int(0.130 * BEAT_RATE_HZ), int(0.055 * BEAT_RATE_HZ))  # where a first deflection is
_LARGE = 0.4
_SMOOTH = 0.006 * BEAT_RATE_HZ
_TAPS = 12  # samples that an interpolated one is made of
_MAX_COMPARED = 40  # beats with which every beat is compared: a five-minute recording has 400


def cut(signals: Floats, positions: NDArray[np.float64], before: int, length: int) -> Floats:
    """Return windows of equal length around positions in a signal.

    Positions between samples are interpolated by a windowed sinc, which is exact up to 0.8 of the
    Nyquist frequency. Outside of the signal the first or last sample is repeated.

    Args:
        signals: [leads, n].
        positions: samples with fraction, [beats].
        before: how many samples before its position each window starts.
        length: the length of the windows in samples.

    Returns:
        [beats, leads, length], in the precision of `signals`.
    """
    half = _TAPS // 2
    whole = np.floor(positions).astype(np.int64)
    offsets = np.arange(1 - half, half + 1) - (positions - whole)[:, None]
    kernel = np.sinc(offsets) * np.cos(np.pi * offsets / (_TAPS + 2)) ** 2
    kernel = (kernel / kernel.sum(axis=1, keepdims=True)).astype(signals.dtype)
    index = whole[:, None] - before + 1 - half + np.arange(length + _TAPS - 1)
    pieces = np.take(signals, index, axis=1, mode="clip").transpose(1, 0, 2)
    beats = np.empty((len(positions), len(signals), length), signals.dtype)
    product = np.empty_like(beats)
    np.multiply(pieces[:, :, :length], kernel[:, :1, None], out=beats)
    for tap in range(1, _TAPS):
        np.multiply(pieces[:, :, tap : tap + length], kernel[:, tap, None, None], out=product)
        beats += product
    return beats


def median(rows: Floats) -> Floats:
    """Return the median over the first axis, by sorting: here three times as fast as np.median."""
    ordered = np.sort(rows, axis=0)
    half = len(rows) // 2
    return ordered[half] if len(rows) % 2 else (ordered[half - 1] + ordered[half]) / 2


def detrended(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rows [..., n] without the least-squares line of each.

    Example:
        >>> bool(np.allclose(detrended(np.array([[1.0, 3.0, 5.0, 7.0]])), 0.0))
        True
    """
    line = np.linspace(-1.0, 1.0, rows.shape[-1])
    rows = rows - rows.mean(axis=-1, keepdims=True)
    return rows - (rows @ line)[..., None] * (line / (line @ line))


def shapes(band: Floats, rate_hz: float, peaks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Group beats by the shape of their QRS complexes over all leads.

    Every beat is compared with every other at the best lag, in long recordings with 40 of them.
    Among the beats that have no group yet, the one with the most similar beats (on a tie, with the
    largest correlations) founds the next group.

    Args:
        band: the signal without wander, [leads, n].
        rate_hz: its sampling rate.
        peaks: the samples of the R peaks.

    Returns:
        For each beat 0 for the most common shape, 1 for the next and so on; -1 without a similar
        beat.
    """
    chosen = np.unique(np.linspace(0, peaks.size - 1, _MAX_COMPARED).round().astype(np.int64))
    correlation = _correlation(band, rate_hz, peaks[chosen], peaks)
    shape = np.full(peaks.size, -1)
    for label in range(peaks.size):
        alike = (correlation > SAME_SHAPE) & (shape < 0)
        alike[shape[chosen] >= 0] = False
        count = alike.sum(axis=1)
        leader = np.lexsort((correlation.sum(axis=1), count))[-1]
        if label and count[leader] < 2:
            break
        shape[alike[leader]] = label
    return shape


def _correlation(
    band: Floats, rate_hz: float, first: NDArray[np.int64], second: NDArray[np.int64]
) -> Floats:
    """Return the largest correlation over small lags, [first, second]."""
    reach, lags = int(_QRS_REACH_S * rate_hz), int(_LAG_REACH_S * rate_hz)
    inner, outer = np.arange(-reach, reach + 1), np.arange(-reach - lags, reach + lags + 1)
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


def align(band: Floats, rate_hz: float, positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Move positions so that the QRS complexes coincide to a fraction of a sample.

    Each beat is moved to its largest correlation with the median beat, twice. The median shift is
    subtracted, so that the beats do not all drift in one direction.

    Args:
        band: the signal without wander, [leads, n].
        rate_hz: its sampling rate.
        positions: samples with fraction.
    """
    reach, lags = int(_QRS_REACH_S * rate_hz), int(_LAG_REACH_S * rate_hz)
    width = 2 * reach + 1
    for _ in range(2):
        windows = cut(band, positions, reach + lags, width + 2 * lags)
        template = median(windows)[:, lags : lags + width]
        slides = sliding_window_view(windows, width, axis=2)
        covariance = np.einsum("blkw,lw->bk", slides, template)
        power = np.cumsum(np.pad(np.sum(windows**2, axis=1), ((0, 0), (1, 0))), axis=1)
        energy = power[:, width:] - power[:, :-width]
        moves = _peak(covariance / np.sqrt(np.maximum(energy, 1e-12))) - lags
        positions = positions + moves - np.median(moves)
    return positions


def _peak(rows: Floats) -> NDArray[np.float64]:
    """Return where each row is largest, between the samples by a parabola."""
    top = np.clip(rows.argmax(axis=1), 1, rows.shape[1] - 2)
    index = np.arange(len(rows))
    left, centre, right = (rows[index, top + k].astype(np.float64) for k in (-1, 0, 1))
    bend = left - 2 * centre + right
    shift = np.where(bend < 0, 0.5 * (left - right) / np.minimum(bend, -1e-300), 0.0)
    return top + np.clip(shift, -1.0, 1.0)


def _first_deflection(magnitude: NDArray[np.float64], centre: float) -> float:
    """Return where the first large deflection of a QRS complex is, given its `centre` of power.

    Readers mark a wide or paced complex at its first large deflection, not at a deeper one that
    follows 60 ms later or more. Large is `_LARGE` of the largest, and apart from it.
    """
    at = round(centre)
    start, end = (max(at - reach, 0) for reach in _EARLIER)
    if end - start < 3:
        return centre
    first = start + int(magnitude[start:end].argmax())
    largest = float(magnitude[max(at - 2, 0) : at + 3].max())
    between = float(magnitude[first:at].min(initial=np.inf))
    apart = start < first < end - 1 and between < 0.5 * float(magnitude[first])
    return float(first) if apart and magnitude[first] > _LARGE * largest else centre


def r_position(beat: Floats, near: int) -> float:
    """Return where R is in a beat, in samples with fraction.

    It is the centre of mass of the fourth power of the magnitude over leads; a single R peak
    dominates it. If R and S are about equally large it lies between them, so that similar hearts
    give similar beats: the largest sample itself would jump from one to the other.

    Args:
        beat: [leads, n], zero before the QRS complex.
        near: the sample where the search starts, which is returned if the beat is zero around it.
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
    # Smoothing keeps what is left of a pacing spike from looking like a large deflection.
    smooth = gaussian_filter1d(np.asarray(beat, dtype=np.float64), _SMOOTH, axis=1)
    return _first_deflection(np.sqrt(np.sum(smooth**2, axis=0)), centre)
