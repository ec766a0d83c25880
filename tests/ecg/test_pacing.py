"""Pacing spikes are found however the sampling meets them, and sharp R peaks are none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecg_spark.ecg import Recording, average_beat, read_recording
from tests.builders.heartbeats import GAINS, recording

T_S = np.arange(5000) / 500
R_S = np.arange(0.4, 9.9, 0.85)


def heart(waves, spikes_mv=0.0, phases=(0.0,), rng=None) -> Recording:
    """Beats of bells (centre and width in s, size in mV), 60 ms after a spike of 2 ms each.

    A spike begins at one of the `phases`, parts of a sample, in turn.
    """
    signal = np.zeros(T_S.size)
    for i, r in enumerate(R_S):
        for centre, width, size in waves:
            signal += size * np.exp(-0.5 * ((T_S - r - centre) / width) ** 2)
        at = round((r - 0.06) * 500) + phases[i % len(phases)]
        signal += spikes_mv * np.clip(1.0 - np.abs(np.arange(T_S.size) - at), 0.0, None)
    signal = GAINS[:, None] * signal
    if rng is not None:
        signal += rng.normal(0, 0.005, signal.shape)
    return recording(signal)


@given(
    spike_mv=st.floats(0.5, 3.0),
    phases=st.lists(st.floats(0, 1), min_size=2, max_size=11),
    seed=st.integers(0, 99),
)
@settings(max_examples=15, deadline=None)
def test_a_spike_that_the_sampling_meets_at_any_height_is_one(spike_mv, phases, seed):
    waves = ((0.0, 0.028, 1.0), (0.33, 0.05, -0.3))
    clean = average_beat(heart(waves, rng=np.random.default_rng(seed)))
    beat = average_beat(heart(waves, spike_mv, phases, np.random.default_rng(seed)))
    assert "paced" not in clean.flags
    assert "paced" in beat.flags
    assert beat.fiducials.qrs_onset == pytest.approx(clean.fiducials.qrs_onset, abs=5)
    assert np.sqrt(np.mean((beat.signal_mv - clean.signal_mv) ** 2)) < 0.02


@given(
    width_ms=st.floats(5.5, 12),
    size_mv=st.floats(0.5, 3.0),
    s=st.floats(-0.8, 0.3),
    seed=st.integers(0, 99),
)
@settings(max_examples=15, deadline=None)
def test_a_sharp_r_peak_is_no_pacing_spike(width_ms, size_mv, s, seed):
    width = width_ms / 1000
    waves = ((-0.16, 0.022, 0.12), (0.0, width, size_mv), (3 * width, width, s * size_mv))
    beat = average_beat(heart((*waves, (0.28, 0.045, 0.3)), rng=np.random.default_rng(seed)))
    assert "paced" not in beat.flags


def test_recordings_of_pacemakers_are_told(shared_data):
    """LUDB: its cardiologists named the pacemaker, in record 72 by its P-synchrony."""
    named = {8, 34, 45, 72, 74, 93, 95}
    others = {5, 29, 43, 64, 99}  # with the sharpest QRS complexes of the rest
    for number in named | others:
        flags = average_beat(read_recording(shared_data / "ludb" / f"{number}.hea")).flags
        assert ("paced" in flags) == (number in named), number
