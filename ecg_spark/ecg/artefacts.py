"""Baseline wander and mains, estimated from the signal after its beats are subtracted.

The filters never see a QRS complex or a T wave, so they can neither ring nor bend the ST segment,
and their cut-off can be far above the usual 0.05 Hz.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from ecg_spark.ecg.beat import BEAT_RATE_HZ
from ecg_spark.ecg.filtering import Floats, Spectrum

WANDER_HZ = 0.7
"""Cut-off of the wander (half amplitude); breathing at rest, 12 to 20 per minute, lies below it."""

MAINS_HZ = (50.0, 60.0)
"""Both mains frequencies are removed with two harmonics: files do not say where they were made."""

_MAINS_WIDTH_HZ = 0.4  # standard deviation of the gain around each harmonic
_NONE = 1e-3  # frequencies with less gain add nothing to the size of the mains


def without_mains(whole: Spectrum) -> Floats:
    """Return the signals without mains interference, [leads, n].

    The notch filters make QRS complexes ring by some µV, so this is a first estimate only.
    """
    return whole.times(1.0 - _gains(whole.size)[1])


def artefacts(rest: Floats) -> tuple[Floats, float, float]:
    """Estimate wander and mains in signals from which their beats have been subtracted.

    Args:
        rest: what remains without the beats, [leads, n] in mV at 500 Hz.

    Returns:
        The sum of wander and mains [leads, n] in mV; and the root mean square of wander and of
        mains in mV, each in the lead where it is largest. A lead's mean is not part of its wander's
        size.
    """
    spectrum = Spectrum.of(rest, BEAT_RATE_HZ)
    slow, hum = _gains(spectrum.size)
    # Wander is measured within the recording only: the reflected ends would count a curve that ends
    # far from its mean with twice that distance. Ten samples per second resolve it.
    curve, _, _ = spectrum.band_at(0.0, WANDER_HZ, 10.0)
    wander = float(curve.std(axis=1).max())
    scale = 2.0 / (spectrum.size * (spectrum.n + 2 * spectrum.pad))
    at = np.flatnonzero(hum > _NONE)
    power = ((np.abs(spectrum.values[:, at]) * hum[at]) ** 2).sum(axis=1)  # by Parseval
    mains = float(np.sqrt(scale * power.max()))
    return spectrum.times(slow + hum), wander, mains


@lru_cache(maxsize=16)
def _gains(size: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the gains of wander and mains at the frequencies of a transform of `size` samples."""
    hz = fft.rfftfreq(size, 1.0 / BEAT_RATE_HZ)
    hum = np.zeros(hz.size)
    for mains in MAINS_HZ:
        for harmonic in range(1, 4):
            hum += np.exp(-0.5 * ((hz - harmonic * mains) / _MAINS_WIDTH_HZ) ** 2)
    slow = 1.0 / (1.0 + (hz / WANDER_HZ) ** 8)
    return slow.astype(np.float32), hum.astype(np.float32)
