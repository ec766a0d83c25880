"""Pacing spikes: detected by their sharpness, and removed before any filter."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d

from ecg_spark.ecg.beat import BEAT_RATE_HZ
from ecg_spark.ecg.filtering import Floats

PACING_SPIKE_MV = 0.25
"""How far a sample at 500 Hz must differ from the mean of its two neighbours, in three leads at
once, to be a pacing spike. R peaks of 3 mV rarely reach 0.15."""

LONE_SPIKE_MV, LONE_SPIKE = 0.10, 8.0
"""A spike shorter than the sampling interval is sampled at a different height each time. Lower ones
are recognised by being isolated: `LONE_SPIKE` times as sharp as everything 8 to 24 ms away. An R
peak with its complex around it reaches 6.6 times at most (280 recordings of LUDB and PTB-XL)."""

MIN_SPIKES = 3
"""Fewer spikes in a recording are electrode artefacts."""

_BEFORE, _AFTER = 2, 6  # samples that are bridged before and after a spike
_AWAY = tuple(int(ms * BEAT_RATE_HZ / 1000.0) for ms in (8.0, 24.0))
_LEADS = 3  # leads that must be sharp at once


def remove_pacing_spikes(signals: Floats) -> tuple[Floats, int]:
    """Remove pacing spikes and count them.

    A straight line replaces the signals from 4 ms before to 12 ms after each spike. With fewer than
    `MIN_SPIKES` the signals are returned as they are.

    Args:
        signals: [leads, n] in mV at 500 Hz, before any filter.

    Returns:
        The signals without spikes, and the number of spikes.
    """
    sharp = np.abs(signals[:, 1:-1] - 0.5 * (signals[:, :-2] + signals[:, 2:]))
    if (np.count_nonzero(sharp > LONE_SPIKE_MV, axis=0) < _LEADS).all():
        return signals, 0
    third = np.partition(sharp, -_LEADS, axis=0)[-_LEADS]
    lone = (third > LONE_SPIKE_MV) & (third > LONE_SPIKE * _around(third))
    at = np.flatnonzero((third > PACING_SPIKE_MV) | lone) + 1
    spikes = np.split(at, np.flatnonzero(np.diff(at) > _AFTER) + 1) if at.size else []
    if len(spikes) < MIN_SPIKES:
        return signals, 0
    clean = signals.copy()
    last = signals.shape[1] - 1
    for spike in spikes:
        start, end = max(int(spike[0]) - _BEFORE, 0), min(int(spike[-1]) + _AFTER, last)
        clean[:, start : end + 1] = np.linspace(
            signals[:, start], signals[:, end], end - start + 1, axis=1
        )
    return clean, len(spikes)


def _around(sharp: Floats) -> NDArray[np.floating]:
    """Return the largest of `sharp` [n] within 8 to 24 ms of every sample, on both sides."""
    near, far = _AWAY
    width = far - near + 1
    moving = maximum_filter1d(sharp, width, mode="constant")
    shift = near + width // 2
    padded = np.pad(moving, shift)
    return np.maximum(padded[: sharp.size], padded[2 * shift :])
