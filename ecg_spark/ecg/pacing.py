"""Pacing spikes: found by their sharpness, and taken out before anything is filtered."""

import numpy as np

from ecg_spark.ecg.filtering import Floats

PACING_SPIKE_MV = 0.25
"""How far a sample at 500 Hz must stick out from the mean of its neighbours, in three leads at
once, to be a pacing spike. The sharpest R peaks of 3 mV stay below 0.15."""

MIN_SPIKES = 3
"""Fewer spikes in a recording are sparks of an electrode."""

_BEFORE, _AFTER = 2, 6
_LEADS = 3


def remove_pacing_spikes(signals: Floats) -> tuple[Floats, int]:
    """Return `signals` [leads, n] in mV at 500 Hz without pacing spikes, and how many there were.

    A straight line bridges 4 ms before to 12 ms after each spike. With fewer than `MIN_SPIKES` the
    signals are returned as they are.
    """
    sharp = np.abs(signals[:, 1:-1] - 0.5 * (signals[:, :-2] + signals[:, 2:]))
    if np.partition(sharp.max(axis=1), -_LEADS)[-_LEADS] <= PACING_SPIKE_MV:
        return signals, 0
    third = np.partition(sharp, -_LEADS, axis=0)[-_LEADS]
    at = np.flatnonzero(third > PACING_SPIKE_MV) + 1
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
