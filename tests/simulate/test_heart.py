"""The simulated heart, its rhythm and its noise: physiology, not snapshots."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import butter, find_peaks, sosfiltfilt

from ecg_spark.ecg import LEADS
from ecg_spark.simulate.heart import (
    PARAMETERS,
    R_INDEX,
    beat_mv,
    hearts_from_scores,
    qt_ms,
    sample_hearts,
)
from ecg_spark.simulate.noise import noise_mv
from ecg_spark.simulate.rhythm import RATE_HZ, SAMPLES, draw_rhythm, session_heart, strip_mv

NAMES = [p.name for p in PARAMETERS]


@pytest.fixture(scope="module")
def population():
    hearts = sample_hearts(np.random.default_rng(1), 1500)
    return hearts, beat_mv(hearts)


def lead(beats, name):
    return beats[:, LEADS.index(name)]


def spread(values):
    return np.subtract(*np.percentile(values, [97.5, 2.5]))


def one_heart(**scores):
    row = np.array([[scores.get(name, 0.0) for name in NAMES]])
    return hearts_from_scores(row)


def test_beats_have_the_declared_shape_and_unit(population):
    _, beats = population
    assert beats.shape == (1500, 12, 600)
    assert beats.dtype == np.float32
    largest = np.abs(beats).max(axis=(1, 2))
    assert 0.8 < np.median(largest) < 3
    assert largest.max() < 8


def test_leads_obey_einthoven_and_goldberger(population):
    _, beats = population
    one, two = lead(beats, "I"), lead(beats, "II")
    for name, expected in {
        "III": two - one,
        "aVR": -(one + two) / 2,
        "aVL": one - two / 2,
        "aVF": two - one / 2,
    }.items():
        np.testing.assert_allclose(lead(beats, name), expected, atol=1e-5)


def test_r_is_where_beats_say(population):
    _, beats = population
    magnitude = np.square(beats).sum(axis=1)
    largest = magnitude.argmax(axis=1) - R_INDEX
    assert np.mean(np.abs(largest) <= 25) > 0.95, "a T wave seldom exceeds QRS"
    offset = magnitude[:, R_INDEX - 60 : R_INDEX + 60].argmax(axis=1) - 60
    assert np.median(np.abs(offset)) <= 4
    assert np.abs(offset).max() <= 25


def test_spread_is_as_wide_as_a_population(population):
    hearts, beats = population
    qt = qt_ms(hearts, 60_000 / hearts["heart_rate"])
    assert spread(hearts["pr_interval"]) > 95
    assert spread(qt) > 100
    assert 330 < np.median(qt) < 430
    area = np.s_[:, R_INDEX - 22 : R_INDEX + 28]
    axis = np.degrees(
        np.arctan2(
            lead(beats, "aVF")[area].sum(axis=1) * 2 / np.sqrt(3),
            lead(beats, "I")[area].sum(axis=1),
        )
    )
    assert spread(axis) > 110
    t_wave = lead(beats, "V5")[:, R_INDEX + 80 : R_INDEX + 220]
    signed = np.take_along_axis(t_wave, np.abs(t_wave).argmax(axis=1)[:, None], axis=1)[:, 0]
    assert 0.01 < np.mean(signed < -0.05) < 0.15, "inverted T waves"
    assert 0.03 < np.mean(np.abs(signed) < 0.1) < 0.3, "flat T waves"
    assert np.median(lead(beats, "V2")[:, R_INDEX + 10]) < -0.4, "a deep S in V2"
    p_wave = lead(beats, "II")[:, : R_INDEX - 24].max(axis=1)
    assert 0.08 < np.median(p_wave) < 0.25


@pytest.mark.parametrize("parameter", [p for p in PARAMETERS if p.name != "heart_rate"])
def test_every_parameter_changes_the_average_beat_beyond_its_noise(parameter):
    change = beat_mv(one_heart(**{parameter.name: 1})) - beat_mv(one_heart(**{parameter.name: -1}))
    assert np.abs(change).max() > 0.05, "at least 50 µV between -1 and +1 SD, noise being 5"


def test_shape_parameters_change_no_interval():
    usual, skewed = (beat_mv(one_heart(t_asymmetry=s))[0, LEADS.index("V5")] for s in (-1, 1))
    ends = [np.flatnonzero(np.abs(t) > 0.1 * np.abs(t[300:]).max())[-1] for t in (usual, skewed)]
    assert abs(ends[0] - ends[1]) * 2 <= 15, "ms between the ends of T"
    assert abs(usual[300:].argmax() - skewed[300:].argmax()) * 2 >= 20, "ms between its peaks"


def test_beats_are_not_a_linear_model(population):
    """Scores halve nothing: the beat of a mean score is not the mean beat."""
    _, beats = population
    middle = beat_mv(one_heart())[0]
    assert np.abs(beats.mean(axis=0) - middle).max() > 0.03


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_any_person_gives_a_finite_strip_of_plausible_size(seed):
    rng = np.random.default_rng(seed)
    heart = session_heart(rng, sample_hearts(rng, 1))
    rhythm = draw_rhythm(rng, float(heart["heart_rate"][0]), bool(rng.random() < 0.2))
    strip = strip_mv(rng, heart, rhythm)
    assert strip.shape == (8, SAMPLES)
    assert np.isfinite(strip).all()
    assert 0.1 < np.ptp(strip, axis=1).max() < 15
    assert (np.diff(rhythm.r_s) > 0.2).all()


def test_a_strip_repeats_the_beat():
    rng = np.random.default_rng(3)
    heart = one_heart()
    rhythm = draw_rhythm(rng, 60.0, False)
    strip = strip_mv(rng, heart, rhythm)
    beat = beat_mv(heart)[0, LEADS.index("II")]
    inside = rhythm.r_s[(rhythm.r_s > 1) & (rhythm.r_s < 8.5) & ~rhythm.ventricular]
    for r in inside:
        middle = round(r * RATE_HZ)
        window = np.s_[middle - 100 : middle + 200]
        assert np.corrcoef(strip[1, window], beat[R_INDEX - 100 : R_INDEX + 200])[0, 1] > 0.97


def test_fibrillation_is_irregular_and_has_no_p_wave():
    rng = np.random.default_rng(4)
    variation = {
        af: np.median(
            [
                np.std(r.rr_s) / np.mean(r.rr_s)
                for r in (draw_rhythm(rng, 70, af) for _ in range(40))
            ]
        )
        for af in (True, False)
    }
    assert variation[True] > 0.12
    assert variation[False] < 0.06
    heart = one_heart(p_amplitude=2.0)
    beats = {af: [] for af in (True, False)}
    for af in beats:
        for _ in range(8):
            rhythm = draw_rhythm(rng, 60, af)
            strip = strip_mv(rng, heart, rhythm)[1]
            good = rhythm.r_s[(rhythm.r_s > 1) & (rhythm.r_s < 9) & ~rhythm.ventricular]
            beats[af] += [strip[round(r * RATE_HZ) - 110 : round(r * RATE_HZ) - 25] for r in good]
    sinus, fibrillating = (np.ptp(np.median(beats[af], axis=0)) for af in (False, True))
    assert sinus > 0.15
    assert fibrillating < sinus / 2


def test_qt_adapts_to_the_rate():
    heart = one_heart()
    assert qt_ms(heart, 1000.0)[0] == pytest.approx(heart["qtc_interval"][0])
    assert qt_ms(heart, 600.0)[0] == pytest.approx(heart["qtc_interval"][0] * 0.6 ** (1 / 3))


def test_noise_has_the_stated_size_of_wander_mains_and_muscle():
    rng = np.random.default_rng(5)
    noise = np.stack([noise_mv(rng, SAMPLES, 0.25) for _ in range(60)]).astype(float)
    assert 0.1 < np.median(np.ptp(noise, axis=2)) < 1.0, "baseline wander in mV"
    fast = sosfiltfilt(butter(2, 20, "highpass", fs=RATE_HZ, output="sos"), noise, axis=2)
    assert 0.003 < np.median(fast.std(axis=2)) < 0.02, "muscle noise in mV"
    spectrum = np.abs(np.fft.rfft(noise, axis=2)).mean(axis=(0, 1))
    peaks, _ = find_peaks(spectrum[300:], height=3 * np.median(spectrum[300:]))
    assert np.any(np.abs(peaks + 300 - 500) <= 2), "mains at 50 Hz"
