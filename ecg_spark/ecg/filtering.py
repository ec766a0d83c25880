"""Resampling and zero-phase filters that neither shift nor ring."""

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy import fft, signal

_ORDER = 4
"""Steepness of the band edges: that of a fourth-order Butterworth filter run both ways."""


def resample(signals: NDArray[np.float64], rate_hz: float, to_hz: float) -> NDArray[np.float64]:
    """Return `signals` [leads, n] at `to_hz`, by an anti-aliasing polyphase filter.

    The rates' ratio is taken as a fraction of at most 1000, an error below 1 ms in 10 s.
    """
    if rate_hz == to_hz:
        return signals
    ratio = Fraction(to_hz / rate_hz).limit_denominator(1000)
    return signal.resample_poly(signals, ratio.numerator, ratio.denominator, axis=1, padtype="line")


def band_pass(
    signals: NDArray[np.float64], rate_hz: float, low_hz: float, high_hz: float
) -> NDArray[np.float64]:
    """Return `signals` [leads, n] between two frequencies (half amplitude there), zero phase.

    `low_hz` = 0 keeps the mean. The ends are continued by point reflection, so that a trend does
    not leak into the first and last second.
    """
    n = signals.shape[1]
    pad = min(n - 1, int(rate_hz))
    extended = np.pad(signals, ((0, 0), (pad, pad)), mode="reflect", reflect_type="odd")
    size = fft.next_fast_len(extended.shape[1], real=True)
    frequencies = fft.rfftfreq(size, 1.0 / rate_hz)
    gain = 1.0 / (1.0 + (frequencies / high_hz) ** (2 * _ORDER))
    if low_hz > 0:
        gain -= 1.0 / (1.0 + (frequencies / low_hz) ** (2 * _ORDER))
    spectrum = fft.rfft(extended, size, axis=1) * gain
    return fft.irfft(spectrum, size, axis=1)[:, pad : pad + n]


def band_pass_at(
    signals: NDArray[np.float64], rate_hz: float, low_hz: float, high_hz: float, to_hz: float
) -> tuple[NDArray[np.float64], float, float]:
    """Return `signals` [leads, n] between two frequencies as `band_pass`, at about `to_hz`.

    The spectrum is cut at half of the new rate, far above `high_hz`. Also returns the new rate
    and the time of the first sample, in samples of the new rate after the first of `signals`.
    """
    n = signals.shape[1]
    pad = min(n - 1, int(rate_hz))
    extended = np.pad(signals, ((0, 0), (pad, pad)), mode="reflect", reflect_type="odd")
    size = fft.next_fast_len(extended.shape[1], real=True)
    small = round(size * min(to_hz / rate_hz, 1.0))
    new_rate = rate_hz * small / size
    frequencies = np.arange(small // 2 + 1) * (rate_hz / size)
    gain = 1.0 / (1.0 + (frequencies / high_hz) ** (2 * _ORDER))
    gain -= 1.0 / (1.0 + (frequencies / low_hz) ** (2 * _ORDER))
    spectrum = fft.rfft(extended, size, axis=1)[:, : gain.size] * (gain * (small / size))
    first = int(np.ceil(pad * small / size))
    last = int((pad + n) * small / size)
    return fft.irfft(spectrum, small, axis=1)[:, first:last], new_rate, first - pad * small / size
