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

_PAD_S = 2.0  # seconds of reflected signal that are added at each end

Floats = NDArray[np.floating[Any]]


def resample(signals: Floats, rate_hz: float, to_hz: float) -> Floats:
    """Return signals at another sampling rate, by an anti-aliasing polyphase filter.

    The ratio of the rates is approximated by a fraction with a denominator of at most 1000, which
    is off by less than 1 ms in 10 s.

    Args:
        signals: [leads, n].
        rate_hz: their sampling rate.
        to_hz: the sampling rate that is wanted.
    """
    if rate_hz == to_hz:
        return signals
    ratio = Fraction(to_hz / rate_hz).limit_denominator(1000)
    return signal.resample_poly(signals, ratio.numerator, ratio.denominator, axis=1, padtype="line")


@dataclass(frozen=True)
class Spectrum:
    """The Fourier transform of signals, to which any number of zero-phase filters can be applied.

    Both ends of the signals are continued by point reflection, so that a trend does not distort the
    first and last second.

    Attributes:
        values: the transform, [leads, size // 2 + 1].
        rate_hz: the sampling rate of the signals.
        n: the number of their samples.
        pad: the number of samples added on either side.
        size: the length of the transform.
    """

    values: NDArray[np.complexfloating[Any, Any]]
    rate_hz: float
    n: int
    pad: int
    size: int

    @classmethod
    def of(cls, signals: Floats, rate_hz: float) -> "Spectrum":
        """Return the transform of signals in their own precision.

        Args:
            signals: [leads, n].
            rate_hz: their sampling rate.
        """
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
        """Return the signals [leads, n] with every frequency multiplied by its gain.

        Args:
            gain: one value for each frequency of the transform, [size // 2 + 1].
        """
        gain = gain.astype(self.values.real.dtype, copy=False)
        back = fft.irfft(self.values * gain, self.size, axis=1)
        return back[:, self.pad : self.pad + self.n]

    def band(self, low_hz: float, high_hz: float) -> Floats:
        """Return the signals [leads, n] between two frequencies, at which the amplitude is halved.

        Args:
            low_hz: the lower frequency; 0 keeps the mean.
            high_hz: the upper frequency.
        """
        return self.times(_band_gain(self.size, self.rate_hz, low_hz, high_hz))

    def band_at(self, low_hz: float, high_hz: float, to_hz: float) -> tuple[Floats, float, float]:
        """Return the signals between two frequencies as `band` does, at a lower sampling rate.

        The spectrum is cut at half of the new rate, which must lie far above `high_hz`.

        Args:
            low_hz: the lower frequency; 0 keeps the mean.
            high_hz: the upper frequency.
            to_hz: the new rate; it is rounded so that the transform has a whole number of samples.

        Returns:
            The signals, the exact new rate in Hz, and by how many samples of the new rate their
            first sample is later than the first of the original.
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
