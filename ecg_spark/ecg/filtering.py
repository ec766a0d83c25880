"""Resampling and zero-phase filters that neither shift nor ring."""

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, signal

_ORDER = 4
"""Order of the band edges: as a fourth-order Butterworth filter run forwards and backwards."""

_PAD_S = 2.0

Floats = NDArray[np.floating[Any]]


def resample(signals: Floats, rate_hz: float, to_hz: float) -> Floats:
    """Return `signals` [leads, n] at `to_hz`, by an anti-aliasing polyphase filter.

    The ratio of the rates is approximated by a fraction with a denominator of at most 1000: an
    error below 1 ms in 10 s.
    """
    if rate_hz == to_hz:
        return signals
    ratio = Fraction(to_hz / rate_hz).limit_denominator(1000)
    return signal.resample_poly(signals, ratio.numerator, ratio.denominator, axis=1, padtype="line")


@dataclass(frozen=True)
class Spectrum:
    """The Fourier transform of signals, shared by any number of zero-phase filters.

    `values` [leads, size // 2 + 1] is that of `n` samples at `rate_hz`, with `pad` samples on both
    sides that continue the ends by point reflection, so that a trend does not distort the first and
    last second.
    """

    values: NDArray[np.complexfloating[Any, Any]]
    rate_hz: float
    n: int
    pad: int
    size: int

    @classmethod
    def of(cls, signals: Floats, rate_hz: float) -> "Spectrum":
        """Return the transform of `signals` [leads, n], in their precision."""
        n = signals.shape[1]
        pad = min(n - 1, int(_PAD_S * rate_hz)) // 4 * 4
        before = 2 * signals[:, :1] - signals[:, pad:0:-1]
        after = 2 * signals[:, -1:] - signals[:, -2 : -2 - pad : -1]
        extended = np.concatenate([before, signals, after], axis=1)
        # A multiple of four: half and a quarter of the rate then fall on whole samples.
        size = 4 * fft.next_fast_len(-(-extended.shape[1] // 4), real=True)
        return cls(fft.rfft(extended, size, axis=1), rate_hz, n, pad, size)

    def lead(self, row: int) -> "Spectrum":
        """Return the transform of one of the leads."""
        return replace(self, values=self.values[row : row + 1])

    def times(self, gain: Floats) -> Floats:
        """Return the signals [leads, n] with every frequency multiplied by its gain."""
        gain = gain.astype(self.values.real.dtype, copy=False)
        back = fft.irfft(self.values * gain, self.size, axis=1)
        return back[:, self.pad : self.pad + self.n]

    def band(self, low_hz: float, high_hz: float) -> Floats:
        """Return the signals between two frequencies (half amplitude there).

        `low_hz` = 0 keeps the mean.
        """
        return self.times(_band_gain(self.size, self.rate_hz, low_hz, high_hz))

    def band_at(self, low_hz: float, high_hz: float, to_hz: float) -> tuple[Floats, float, float]:
        """Return the signals between two frequencies as `band` does, at about `to_hz`.

        The spectrum is cut at half of the new rate, far above `high_hz`. Also returns the new rate
        and the time of the first sample, in samples of the new rate after the first of the signals.
        """
        small = round(self.size * min(to_hz / self.rate_hz, 1.0))
        rate = self.rate_hz * small / self.size
        gain = _band_gain(self.size, self.rate_hz, low_hz, high_hz)[: small // 2 + 1]
        gain = (gain * (small / self.size)).astype(self.values.real.dtype)
        first = int(np.ceil(self.pad * small / self.size))
        last = int((self.pad + self.n) * small / self.size)
        back = fft.irfft(self.values[:, : gain.size] * gain, small, axis=1)[:, first:last]
        return back, rate, first - self.pad * small / self.size


@lru_cache(maxsize=64)
def _band_gain(size: int, rate_hz: float, low_hz: float, high_hz: float) -> NDArray[np.float64]:
    frequencies = fft.rfftfreq(size, 1.0 / rate_hz)
    gain = 1.0 / (1.0 + (frequencies / high_hz) ** (2 * _ORDER))
    if low_hz > 0:
        gain -= 1.0 / (1.0 + (frequencies / low_hz) ** (2 * _ORDER))
    return gain
