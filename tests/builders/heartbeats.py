"""Signals as recordings, and how large a wave is in each of the twelve leads."""

import numpy as np

from ecg_spark.ecg import Recording

GAINS = np.array([0.9, 1.2, 0.3, -1.05, 0.3, 0.75, -0.5, 0.4, 0.8, 1.4, 1.3, 1.0])


def recording(signal_mv: np.ndarray, rate: float = 500.0) -> Recording:
    """The recording of a signal [12, n] in mV, in whole µV."""
    return Recording(np.rint(signal_mv * 1000).astype(np.int16), 1.0, rate, "test")
