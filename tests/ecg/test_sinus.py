"""The averaged beat is the sinus beat, whatever there is more of, and P is a wave of its own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecg_spark.ecg import Recording, average_beat, measure_traits, read_recording
from tests.ecg.test_beats import GAINS, recording

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
    # Einthoven's identities hold although the gains of V are another order of leads.
    one, two = signal[:2]
    signal[2:6] = two - one, -(one + two) / 2, one - two / 2, two - one / 2
    noise = np.random.default_rng(1).normal(0, 0.005, signal.shape)
    return recording(signal + noise), {kind: np.array(value) for kind, value in times.items()}


@given(
    kinds=st.sampled_from(["NV", "NVV", "NNV", "NVNVV"]),
    sinus_s=st.floats(0.75, 1.05),
    coupling=st.floats(0.55, 0.65),
)
@settings(max_examples=12, deadline=None)
def test_of_sinus_and_ventricular_beats_the_sinus_beat_is_averaged(kinds, sinus_s, coupling):
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


def test_ventricular_beats_alone_are_said_to_be_ectopic_only():
    beat = average_beat(strip("V", {"VV": 0.7})[0])
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


def test_bigeminy_and_p_of_the_field(shared_data):
    field = shared_data / "field" / "ecg"
    rates = {"228-20": 73, "228-400": 73, "228-410": 73, "106-750": 85}
    rates |= {"made-bigeminy": 78, "made-couplets": 99}
    for name, rate in rates.items():
        traits = measure_traits(average_beat(read_recording(field / "bigeminy" / f"{name}.hea")))
        assert traits["heart_rate_bpm"] == pytest.approx(rate, abs=5)
        assert 70 <= traits["qrs_ms"] <= 115
    for name in ("tp-falling", "tp-rising"):
        traits = measure_traits(average_beat(read_recording(field / "p-wave" / f"{name}.hea")))
        assert 129 <= traits["pr_ms"] <= 159
        assert 60 <= traits["p_ms"] <= 110
    for name in ("svt-220", "af"):
        traits = measure_traits(average_beat(read_recording(field / "p-wave" / f"{name}.hea")))
        assert traits["pr_ms"] is None
