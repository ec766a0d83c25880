"""Changes of recorded hearts: each acts on what it says, and on nothing else."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecg_spark.ecg import Recording, average_beat, derive_leads, measure_traits
from ecg_spark.simulate.heart import sample_hearts
from ecg_spark.simulate.noise import noise_mv
from ecg_spark.simulate.recorded import CHANGES, changed
from ecg_spark.simulate.rhythm import SAMPLES, draw_rhythm, strip_mv

NONE = {one.name: float(one.value(np.array(0.0))) for one in CHANGES}
INTERVALS = {
    "pr_interval": "pr_ms",
    "p_duration": "p_ms",
    "qrs_duration": "qrs_ms",
    "qtc_interval": "qt_ms",
}
AXES = {"qrs_axis": "axis_deg", "t_axis": "t_axis_deg"}


def strip(seed, fibrillation=False):
    """A recording's independent leads [8, 5000] in mV, of a heart of its own."""
    rng = np.random.default_rng(seed)
    heart = sample_hearts(rng, 1)
    rhythm = draw_rhythm(rng, float(heart["heart_rate"][0]), fibrillation)
    return strip_mv(rng, heart, rhythm) + noise_mv(rng, SAMPLES, rhythm.breaths_hz)


def beat_of(signal):
    samples = np.rint(1000 * derive_leads(signal)).astype(np.int16)
    return average_beat(Recording(samples, 1.0, 500.0, "test"))


@pytest.fixture(scope="module")
def people():
    """Strips with their average beats."""
    strips = [strip(seed) for seed in range(6)]
    return [(signal, beat_of(signal)) for signal in strips]


def median_change(people, name, trait, score=1.0):
    """What a score of a change does to a trait, the middle of all people."""
    value = float(next(one for one in CHANGES if one.name == name).value(np.array(score)))
    differences = []
    for signal, beat in people:
        after = measure_traits(beat_of(changed(signal, beat, NONE | {name: value})))[trait]
        before = measure_traits(beat)[trait]
        if before is not None and after is not None:
            differences.append(after - before)
    return float(np.median(differences))


def test_no_change_leaves_every_sample_as_it_was(people):
    for signal, beat in people:
        assert changed(signal, beat, NONE) == pytest.approx(signal, abs=1e-9)


@pytest.mark.parametrize("name", INTERVALS | AXES)
def test_a_time_or_axis_changes_by_what_was_planted_and_no_other_interval_does(people, name):
    spread = next(one for one in CHANGES if one.name == name).spread
    own = (INTERVALS | AXES)[name]
    assert median_change(people, name, own) == pytest.approx(spread, rel=0.25)
    for other in set(INTERVALS.values()) - {own}:
        assert abs(median_change(people, name, other)) <= 2


@pytest.mark.parametrize("name", [one.name for one in CHANGES if not one.seen_by_interval])
def test_a_change_of_shape_changes_the_beat_and_no_interval(people, name):
    value = float(next(one for one in CHANGES if one.name == name).value(np.array(2.0)))
    for signal, beat in people[:2]:
        after = beat_of(changed(signal, beat, NONE | {name: value}))
        assert np.abs(after.signal_mv - beat.signal_mv).max() > 0.015
    for trait in INTERVALS.values():
        assert abs(median_change(people, name, trait)) <= 4


@given(st.integers(0, 50), st.lists(st.floats(-6, 6), min_size=16, max_size=16))
@settings(max_examples=10)
def test_however_large_the_changes_waves_keep_their_order(seed, scores):
    signal = strip(seed)
    change = {
        one.name: float(one.value(np.array(score)))
        for one, score in zip(CHANGES, scores, strict=True)
    }
    times = {name: change[name] for name in (*INTERVALS, "t_asymmetry")}
    after = changed(signal, beat_of(signal), change)
    assert np.isfinite(after).all()
    assert after.shape == signal.shape
    # Stretched in time alone, nothing comes in that was not there.
    stretched = changed(signal, beat_of(signal), NONE | times)
    slack = 0.05 * np.ptp(signal, axis=1)
    assert (stretched.max(axis=1) <= signal.max(axis=1) + slack).all()
    assert (stretched.min(axis=1) >= signal.min(axis=1) - slack).all()


def test_without_a_p_wave_nothing_is_changed_before_qrs():
    signal = strip(3, fibrillation=True)
    beat = beat_of(signal)
    assert beat.fiducials.p_onset is None
    change = NONE | {"pr_interval": 40.0, "p_amplitude": 3.0, "p_terminal": 0.3}
    assert changed(signal, beat, change) == pytest.approx(signal, abs=1e-9)


def test_beats_that_were_not_averaged_stay_as_recorded(people):
    signal, beat = people[0]
    some = replace(beat, r_samples=beat.r_samples[:3])
    last = int(beat.r_samples[3] - beat.reach[0])
    after = changed(signal, some, NONE | {"qrs_voltage": 2.0})
    assert after[:, last:] == pytest.approx(signal[:, last:], abs=1e-9)
    assert np.abs(after[:, :last] - signal[:, :last]).max() > 0.3
