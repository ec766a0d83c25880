"""Where early beats from the atria come in runs, there may be more of them than sinus beats."""

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ecg_spark.ecg import Beat, Recording, average_beat, measure_traits
from tests.builders.heartbeats import GAINS, recording

T_S = np.arange(5000) / 500
SINUS_P, NO_P = (-0.16, 0.022, 0.12), (-0.16, 0.022, 0.0)


def beats_of(beats: list[tuple[float, tuple[float, float, float]]]) -> Recording:
    """A recording of narrow beats, each the time of its R in s and its P wave.

    QT goes by the root of the shortest interval.
    """
    signal = np.zeros((12, T_S.size))
    usual = np.sqrt(np.diff([at for at, _ in beats]).min() / 0.9)
    for at, p in beats:
        for centre, width, size in (p, (0.0, 0.012, 1.0), (0.28 * usual, 0.045 * usual, 0.3)):
            bell = size * np.exp(-0.5 * ((T_S - at - centre) / width) ** 2)
            signal += GAINS[:, None] * bell
    one, two = signal[:2]
    limb = [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2]
    noise = np.random.default_rng(1).normal(0, 0.005, signal.shape)
    return recording(np.concatenate([limb, signal[6:]]) + noise)


def runs(
    length: int, short_s: float, pause_s: float, first_p: tuple, other_p: tuple, start_s: float
) -> tuple[list, np.ndarray]:
    """A beat after a pause, then `length` that follow soon, over and over; which are the first."""
    beats, first, at = [], [], start_s
    while at < 9.6:
        is_first = len(beats) % (length + 1) == 0
        beats.append((at, first_p if is_first else other_p))
        first.append(is_first)
        at += pause_s if len(beats) % (length + 1) == 0 else short_s
    return beats, np.array(first)


def averaged(beat: Beat, beats: list) -> np.ndarray:
    """The numbers of the beats that were averaged."""
    times = np.array([at for at, _ in beats])
    return np.abs(beat.r_samples[:, None] / 500 - times).argmin(axis=1)


@given(
    length=st.integers(2, 4),
    short_s=st.floats(0.6, 0.8),
    pause=st.floats(1.5, 2.5),
    inverted=st.booleans(),
    start_s=st.floats(0.3, 0.6),
)
@settings(max_examples=12, deadline=None)
def test_runs_of_atrial_beats_are_left_out(length, short_s, pause, inverted, start_s):
    """At up to 100 beats a minute: faster, T lies where P would."""
    other_p = (-0.14, 0.02, -0.1) if inverted else NO_P
    beats, first = runs(length, short_s, pause * short_s, SINUS_P, other_p, start_s)
    assume(first.sum() >= 3)
    beat = average_beat(beats_of(beats))
    assert first[averaged(beat, beats)].all()
    traits = measure_traits(beat)
    assert traits["pr_ms"] is not None
    assert traits["p_axis_deg"] is not None
    assert abs(traits["p_axis_deg"] - traits["axis_deg"]) < 15
    assert "ectopic_beats" in beat.flags
    assert "ectopic_only" not in beat.flags


@given(length=st.integers(2, 4), pause=st.floats(1.5, 2.5), inverted=st.booleans())
@settings(max_examples=8, deadline=None)
def test_escape_beats_after_a_pause_are_not_the_sinus_beats(length, pause, inverted):
    escape_p = (-0.1, 0.02, -0.1) if inverted else NO_P
    beats, first = runs(length, 0.7, 0.7 * pause, escape_p, SINUS_P, 0.4)
    beat = average_beat(beats_of(beats))
    assert not first[averaged(beat, beats)].any()
    assert "ectopic_beats" in beat.flags
    assert measure_traits(beat)["pr_ms"] is not None


@given(
    length=st.integers(2, 4),
    short_s=st.floats(0.6, 0.9),
    pause=st.floats(1.5, 2.1),
    longer_ms=st.floats(0, 50),
)
@settings(max_examples=10, deadline=None)
def test_sinus_beats_before_a_blocked_one_are_no_ectopic_beats(length, short_s, pause, longer_ms):
    """The P wave is the same; in block of Wenckebach's type it comes earlier before QRS."""
    moved = (SINUS_P[0] - longer_ms / 1000, *SINUS_P[1:])
    beats, first = runs(length, short_s, pause * short_s, SINUS_P, moved, 0.4)
    beat = average_beat(beats_of(beats))
    assert not first[averaged(beat, beats)].all()
    assert "ectopic_beats" not in beat.flags
