"""What electrodes, muscles and the mains add to an ECG, before the leads are formed."""

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, lfilter

from ecg_spark.simulate.rhythm import RATE_HZ

ELECTRODES = ("RA", "LA", "LL", "V1", "V2", "V3", "V4", "V5", "V6")

_MUSCLE_FILTER = butter(1, [15, 150], btype="bandpass", fs=RATE_HZ)
_MUSCLE_GAIN = 1.25  # brings the filtered noise back to unit variance
_MAINS_HZ = 50.0

_WILSON = np.zeros((8, 9))
_WILSON[0, [1, 0]] = 1, -1  # I = LA - RA
_WILSON[1, [2, 0]] = 1, -1  # II = LL - RA
_WILSON[2:, 3:] = np.eye(6)
_WILSON[2:, :3] = -1 / 3  # chest leads against Wilson's central terminal


def noise_mv(rng: np.random.Generator, samples: int, breaths_hz: float) -> NDArray[np.float32]:
    """Return the noise of the eight independent leads, [8, samples] in mV at 500 Hz.

    Every source acts on the nine electrodes, so that Einthoven's identities hold: offset and slow
    wander of the electrodes, with a part that follows the breath (typically 0.1 mV), mains hum
    (some µV), and muscle noise from 15 to 150 Hz (typically 6 µV RMS, more in some people).

    Args:
        rng: the random numbers.
        samples: the length.
        breaths_hz: the frequency of breathing.
    """
    n = len(ELECTRODES)
    t = np.arange(samples) / RATE_HZ
    hz = np.concatenate([rng.uniform(0.05, 0.5, 4), [breaths_hz, _MAINS_HZ + rng.normal(0, 0.02)]])
    size = np.concatenate([np.full(4, 0.03), [0.04, 0.0025]]) * np.exp(rng.normal(0, 0.5, 6))
    waves = np.concatenate(
        [np.sin(2 * np.pi * hz[:, None] * t), np.cos(2 * np.pi * hz[:, None] * t)]
    )
    mixing = rng.normal(0, 1, (n, 12)) * np.tile(size, 2)
    muscle_mv = 0.006 * np.exp(rng.normal(0, 0.4) + rng.normal(0, 0.25, (n, 1)))
    white = rng.standard_normal((n, samples), dtype=np.float32)
    muscle = lfilter(*_MUSCLE_FILTER, white, axis=1) * (_MUSCLE_GAIN * muscle_mv)
    offset = rng.normal(0, 0.15, (n, 1))
    return (_WILSON @ (mixing @ waves + muscle + offset)).astype(np.float32)
