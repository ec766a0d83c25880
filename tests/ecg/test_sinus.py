"""The averaged beat is the sinus beat, whatever there is more of, and P is a wave of its own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecg_spark.ecg import R_INDEX, Recording, average_beat, measure_traits, read_recording
from tests.builders.heartbeats import GAINS, recording

T_S = np.arange(5000) / 500


def bells(at_s: float, *waves: tuple[float, float, float]) -> np.ndarray:
    """Sum of bells (time after `at_s`, width, size) in s and mV."""
    return sum(
        size * np.exp(-0.5 * ((T_S - at_s - centre) / width) ** 2) for centre, width, size in waves
    )


def strip(kinds: str, interval_s: dict[str, float], p_mv: float = 0.12) -> tuple[Recording, dict]:
    """Beats N (sinus) and V (ventricular) by turns, and the time of R of each kind in s.

    `interval_s` is the time before a beat by its kind and that of the one before it ("NV": a
    ventricular beat after a sinus beat).
    """
    signal, at, times = np.zeros((12, T_S.size)), 0.4, {"N": [], "V": []}
    beat = 0
    while at < 9.7:
        kind = kinds[beat % len(kinds)]
        times[kind].append(at)
        if kind == "N":
            waves = ((-0.16, 0.022, p_mv), (0.0, 0.012, 1.0), (0.28, 0.045, 0.3))
            signal += GAINS[:, None] * bells(at, *waves)
        else:
            signal += 1.5 * GAINS[::-1, None] * bells(at, (0.0, 0.03, 1.0), (0.24, 0.06, -0.5))
        beat += 1
        at += interval_s[kind + kinds[beat % len(kinds)]]
    return twelve(signal), {kind: np.array(value) for kind, value in times.items()}


def twelve(signal: np.ndarray) -> Recording:
    """The recording of a signal [12, n] in mV with some noise; Einthoven's identities hold."""
    one, two = signal[:2]
    limb = [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2]
    noise = np.random.default_rng(1).normal(0, 0.005, signal.shape)
    return recording(np.concatenate([limb, signal[6:]]) + noise)


@given(
    kinds=st.sampled_from(["NV", "NVV", "NNV", "NVNVV"]),
    sinus_s=st.floats(0.75, 1.05),
    coupling=st.floats(0.55, 0.65),
)
@settings(max_examples=12, deadline=None)
def test_sinus_beats_are_averaged_and_not_ventricular_ones(kinds, sinus_s, coupling):
    early = coupling * sinus_s
    between = {"NN": sinus_s, "NV": early, "VV": early, "VN": 2 * sinus_s - early}
    example, times = strip(kinds, between)
    beat = average_beat(example)
    nearest = np.abs(beat.r_samples[:, None] / 500 - times["N"]).min(axis=1)
    assert nearest.max() < 0.02
    traits = measure_traits(beat)
    assert traits["qrs_ms"] < 110
    assert traits["pr_ms"] is not None
    every = np.sort(np.concatenate([times["N"], times["V"]]))
    assert traits["heart_rate_bpm"] == pytest.approx(60 / np.diff(every).mean(), abs=3)
    assert "ectopic_beats" in beat.flags
    assert "ectopic_only" not in beat.flags


@pytest.mark.parametrize("interval_s", [0.5, 0.7, 0.95])
def test_ventricular_beats_alone_are_said_to_be_ectopic_only(interval_s):
    beat = average_beat(strip("V", {"VV": interval_s})[0])
    assert "ectopic_only" in beat.flags
    assert beat.fiducials.p_onset is None


@pytest.mark.parametrize("slope_mv_s", [-1.0, -0.6, 0.6, 1.0])
def test_a_slope_before_p_is_not_p(slope_mv_s):
    """A ramp of 0.12 s leads from the end of T to the foot of P."""
    example, times = strip("N", {"NN": 0.75})
    ramp = np.zeros(T_S.size)
    for at in times["N"]:
        before = T_S - (at - 0.16 - 0.05)
        ramp += np.where((before > -0.12) & (before < 0), slope_mv_s * before, 0.0)
    signal = example.signal_mv + GAINS[:, None] * ramp
    plain = measure_traits(average_beat(example))
    sloping = measure_traits(average_beat(recording(signal)))
    assert sloping["pr_ms"] == pytest.approx(plain["pr_ms"], abs=15)


@pytest.mark.parametrize("rate", [190, 210, 230])
def test_reentry_has_no_p_wave(rate):
    """Without P the end of T runs into QRS: it falls, but does not rise before it."""
    beat = average_beat(strip("N", {"NN": 60 / rate}, p_mv=0.0)[0])
    assert beat.fiducials.p_onset is None


@pytest.mark.parametrize("rate", [150, 165, 180])
@pytest.mark.parametrize("t_mv", [0.3, -0.3])
def test_the_t_wave_of_a_fast_rhythm_is_no_p_wave(rate, t_mv):
    """T shortens with the interval (QT by the root of it), and ends before the next QRS."""
    short = np.sqrt(60 / rate) / 0.9
    signal = np.zeros((12, T_S.size))
    for at in np.arange(0.3, 10, 60 / rate):
        waves = ((0.0, 0.012, 1.0), (0.28 * short, 0.045 * short, t_mv))
        signal += GAINS[:, None] * bells(at, *waves)
    assert average_beat(twelve(signal)).fiducials.p_onset is None


@pytest.mark.parametrize("rate", [100, 110, 120])
def test_p_on_the_slope_of_t_is_found(rate):
    short = np.sqrt(60 / rate) / 0.9
    signal = np.zeros((12, T_S.size))
    for at in np.arange(0.3, 10, 60 / rate):
        waves = ((-0.16, 0.022, 0.12), (0.0, 0.012, 1.0), (0.28 * short, 0.045, 0.3))
        signal += GAINS[:, None] * bells(at, *waves)
    assert measure_traits(average_beat(twelve(signal)))["pr_ms"] == pytest.approx(165, abs=15)


@given(apart_ms=st.floats(45, 65), turned=st.floats(0, 1), rate=st.floats(50, 85))
@settings(max_examples=10, deadline=None)
def test_both_lobes_of_a_notched_p_wave_are_measured(apart_ms, turned, rate):
    """The second lobe points from the direction of the first to one across it."""
    across = GAINS[::-1] - GAINS * (GAINS @ GAINS[::-1]) / (GAINS @ GAINS)
    second = np.sqrt(1 - turned**2) * GAINS / np.linalg.norm(GAINS)
    second = (second + turned * across / np.linalg.norm(across)) * np.linalg.norm(GAINS)
    signal = np.zeros((12, T_S.size))
    for at in np.arange(0.4, 10, 60 / rate):
        waves = ((-0.2, 0.013, 0.12), (0.0, 0.012, 1.0), (0.28, 0.045, 0.3))
        signal += GAINS[:, None] * bells(at, *waves)
        signal += second[:, None] * bells(at, (-0.2 + apart_ms / 1000, 0.013, 0.12))
    at = average_beat(twelve(signal)).fiducials
    begin, end = (2 * (place - R_INDEX) for place in (at.p_onset, at.p_offset))
    assert begin == pytest.approx(-230, abs=15)
    assert end == pytest.approx(-200 + apart_ms + 30, abs=15)


@given(sinus_s=st.floats(0.7, 1.1), coupling=st.floats(0.55, 0.7), triplets=st.booleans())
@settings(max_examples=8, deadline=None)
def test_early_beats_from_the_atria_are_left_out(sinus_s, coupling, triplets):
    """Atrial bigeminy and trigeminy: every beat is narrow, and the early ones are not averaged."""
    signal = np.zeros((12, T_S.size))
    at, times, early = 0.4, [], []
    while at < 9.7:
        here = len(times) % (3 if triplets else 2) == (2 if triplets else 1)
        times.append(at)
        early.append(here)
        p = (-0.13, 0.02, -0.1) if here else (-0.16, 0.022, 0.12)
        signal += GAINS[:, None] * bells(at, p, (0.0, 0.012, 1.0), (0.24, 0.045, 0.3))
        after = len(times) % (3 if triplets else 2) == (2 if triplets else 1)
        at += coupling * sinus_s if after else (1.1 * sinus_s if here else sinus_s)
    beat = average_beat(twelve(signal))
    nearest = np.abs(beat.r_samples[:, None] / 500 - np.array(times)).argmin(axis=1)
    assert not np.array(early)[nearest].any()
    traits = measure_traits(beat)
    assert traits["heart_rate_bpm"] == pytest.approx(60 / np.diff(times).mean(), abs=3)
    assert traits["p_axis_deg"] == pytest.approx(traits["axis_deg"], abs=15)
    assert "ectopic_beats" in beat.flags


def test_wide_beats_of_a_fibrillating_heart_are_not_ectopic_only():
    rng = np.random.default_rng(8)
    signal = np.zeros((12, T_S.size))
    for at in np.cumsum(0.7 * np.exp(0.2 * rng.standard_normal(18))):
        signal += GAINS[:, None] * bells(at, (0.0, 0.032, 1.2), (0.3, 0.05, -0.3))
    signal += 0.06 * GAINS[:, None] * np.sin(2 * np.pi * 6.3 * T_S + np.sin(2 * T_S))
    beat = average_beat(twelve(signal))
    assert beat.fiducials.p_onset is None
    assert "rhythm_irregular" in beat.flags
    assert "ectopic_only" not in beat.flags


@given(rate=st.floats(45, 110), s_mv=st.floats(-3.0, -1.6), later_ms=st.floats(85, 110))
@settings(max_examples=10, deadline=None)
def test_r_of_a_paced_beat_is_its_first_large_deflection(rate, s_mv, later_ms):
    signal = np.zeros((12, T_S.size))
    times = np.arange(0.4, 9.9, 60 / rate)
    for at in times:
        waves = ((0.0, 0.015, 1.4), (later_ms / 1000, 0.025, s_mv), (0.36, 0.06, 0.6))
        signal += GAINS[:, None] * bells(at, *waves)
        signal[:, int((at - 0.05) * 500)] += 2.5 * GAINS
    beat = average_beat(twelve(signal))
    assert np.abs(beat.r_samples[:, None] / 500 - times).min(axis=1).max() <= 0.050
    assert "paced" in beat.flags
    assert measure_traits(beat)["heart_rate_bpm"] == pytest.approx(rate, abs=2)


def test_a_longer_run_of_ventricular_beats_bends_no_t_wave():
    """The level between two beats that are not averaged is not known, nor taken for wander."""
    sinus, _ = strip("N", {"NN": 1.0})
    mixed, _ = strip("NVV", {"NV": 0.55, "VV": 0.55, "VN": 1.45})
    plain, beat = average_beat(sinus), average_beat(mixed)
    assert "baseline_wander" not in beat.flags
    own = slice(R_INDEX - 100, R_INDEX + 190)
    assert np.abs(beat.signal_mv[:, own] - plain.signal_mv[:, own]).max() < 0.05


def test_a_long_interval_makes_no_other_beat_early_where_the_atria_fibrillate(shared_data):
    """LUDB 38 and 44, fibrillation with 15 and 11 beats of one kind, by chance in two groups."""
    for number, least in ((38, 14), (44, 10)):
        beat = average_beat(read_recording(shared_data / "ludb" / f"{number}.hea"))
        assert beat.n_beats >= least
        assert "rhythm_irregular" in beat.flags
        assert "ectopic_only" not in beat.flags
