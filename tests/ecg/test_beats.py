"""R peaks, average beats and traits, on real recordings and against the device's own."""

from dataclasses import replace

import numpy as np
import pytest
import wfdb
from hypothesis import given, settings
from hypothesis import strategies as st

from ecg_spark.ecg import (
    BEAT_SAMPLES,
    INDEPENDENT_ROWS,
    LEADS,
    R_INDEX,
    Beat,
    Limits,
    Reason,
    RecordingError,
    average_beat,
    beat_of,
    detect_r_peaks,
    measure_traits,
    read_recording,
)
from ecg_spark.ecg.fiducials import find_fiducials
from tests.bench.bench_accuracy import against_vendor, ludb_errors
from tests.bench.bench_invariance import swapped
from tests.builders.heartbeats import GAINS, recording


def heart(rr_s: np.ndarray, rate: float = 500.0, seconds: float = 10.0) -> np.ndarray:
    """P, QRS and T at every beat, Einthoven's identities kept, [12, n] in mV."""
    t = np.arange(int(seconds * rate)) / rate
    signal = np.zeros(t.size)
    for r in np.cumsum(rr_s) - 0.6:
        for centre, width, size in ((-0.16, 0.022, 0.12), (0.0, 0.012, 1.0), (0.28, 0.045, 0.3)):
            signal += size * np.exp(-0.5 * ((t - r - centre) / width) ** 2)
    gains = GAINS.copy()
    one, two = gains[0], gains[1]
    gains[2:6] = two - one, -(one + two) / 2, one - two / 2, two - one / 2
    return gains[:, None] * signal


def correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.array([np.corrcoef(x, y)[0, 1] for x, y in zip(a, b, strict=True)])


def rms_uv(a: np.ndarray, b: np.ndarray) -> float:
    return 1000 * float(np.sqrt(np.mean((a.astype(float) - b) ** 2)))


# --- against GE ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "least_r", "tolerance_ms"),
    [
        ("cardiosoft/*.xml", 0.98, {"pr_ms": 10, "p_ms": 10, "qrs_ms": 10, "qt_ms": 10}),
        ("muse/example1.xml", 0.987, {"pr_ms": 20, "p_ms": 10, "qrs_ms": 10, "qt_ms": 10}),
        # Paced: GE takes the spikes out, as we do.
        ("muse/example4.xml", 0.985, {"qrs_ms": 15, "qt_ms": 10}),
    ],
)
def test_average_beats_and_intervals_are_ges(shared_data, file, least_r, tolerance_ms):
    example = read_recording(next(shared_data.glob(file)))
    _, r, rmse_uv = against_vendor(example)
    assert r.min() > least_r
    assert r.mean() > 0.995
    assert rmse_uv.max() < 20
    beat = average_beat(example)
    assert ("paced" in beat.flags) == ("example4" in file)
    traits = measure_traits(beat)
    assert traits["heart_rate_bpm"] == pytest.approx(example.vendor["heart_rate_bpm"], abs=1)
    assert traits["axis_deg"] == pytest.approx(example.vendor["axis_deg"], abs=10)
    for name, tolerance in tolerance_ms.items():
        assert traits[name] == pytest.approx(example.vendor[name], abs=tolerance)


def test_the_devices_own_beat_is_used_where_asked_for(shared_data, real):
    example = read_recording(shared_data / "muse" / "example1.xml")
    device = beat_of(example, "vendor")
    assert device.source == "vendor"
    assert np.abs(np.corrcoef(device.signal_mv[1], average_beat(example).signal_mv[1])[0, 1]) > 0.99
    assert measure_traits(device)["qrs_ms"] == pytest.approx(example.vendor["qrs_ms"], abs=10)
    assert beat_of(example).source == "computed"
    assert beat_of(real[0], "vendor_else_computed").source == "computed"
    with pytest.raises(RecordingError) as error:
        beat_of(real[0], "vendor")
    assert error.value.reason == Reason.NO_VENDOR_BEAT


def test_fiducials_of_ludb(shared_data):
    """Against the marks in lead II of every second record; see the benchmark for all of them."""
    errors, missed, invented = ludb_errors(shared_data / "ludb", range(1, 101, 2))
    assert invented[0] <= 0.05 * invented[1]
    limits = {"p_onset": 16, "p_offset": 18, "qrs_onset": 12, "qrs_offset": 14, "t_offset": 35}
    for name, most_ms in limits.items():
        assert np.std(errors[name]) < most_ms
        assert abs(np.mean(errors[name])) < 12
        assert missed[name][0] <= 0.03 * missed[name][1]


# --- many real recordings ------------------------------------------------------------------------


def test_nearly_all_ptbxl_recordings_give_a_beat(shared_data):
    headers = sorted((shared_data / "ptbxl").glob("*_hr.hea"))
    beats, reasons = [], []
    for header in headers:
        try:
            beats.append(average_beat(read_recording(header)))
        except RecordingError as error:
            reasons.append(error.reason)
    assert len(beats) >= 0.97 * len(headers)
    assert Reason.ARM_ELECTRODES_SWAPPED not in reasons
    for beat in beats:
        assert beat.signal_mv.shape == (12, BEAT_SAMPLES)
        assert beat.signal_mv.dtype == np.float32
        assert np.isfinite(beat.signal_mv).all()
        magnitude = np.sqrt((beat.signal_mv**2).mean(axis=0))
        assert abs(int(magnitude[R_INDEX - 60 : R_INDEX + 60].argmax()) - 60) < 25
    one, two, three, right, left, foot = np.stack([beat.signal_mv[:6] for beat in beats], axis=1)
    np.testing.assert_allclose(three, two - one, atol=1e-5)
    np.testing.assert_allclose(right, -(one + two) / 2, atol=1e-5)
    np.testing.assert_allclose(left, one - two / 2, atol=1e-5)
    np.testing.assert_allclose(foot, two - one / 2, atol=1e-5)
    measured = [measure_traits(beat) for beat in beats]
    for name, low, high in (
        ("heart_rate_bpm", 55, 85), ("pr_ms", 130, 190), ("qrs_ms", 80, 110), ("qt_ms", 330, 420),
    ):  # fmt: skip
        values = [traits[name] for traits in measured if traits[name] is not None]
        assert low < np.median(values) < high
        assert len(values) > 0.9 * len(beats)


def test_r_peaks_of_ludb(shared_data):
    """Every QRS that cardiologists marked in lead II is found within 100 ms, and few others."""
    hits = missed = invented = 0
    for number in range(1, 101, 4):
        path = shared_data / "ludb" / str(number)
        signal = read_recording(path.with_suffix(".hea")).signal_mv
        marks = wfdb.rdann(str(path), "ii")
        marked = np.array(
            [s for s, kind in zip(marks.sample, marks.symbol, strict=True) if kind == "N"]
        )
        found = detect_r_peaks(signal, 500.0)
        found = found[(found > marked[0] - 60) & (found < marked[-1] + 60)]
        near = np.abs(marked[:, None] - found).min(axis=1) < 0.1 * 500
        hits += near.sum()
        missed += (~near).sum()
        invented += max(found.size - near.sum(), 0)
    assert missed <= 0.005 * hits
    assert invented <= 0.01 * hits


def test_r_peaks_of_mitdb_with_ectopy_and_noise(shared_data):
    """Five minutes of each record, both channels: se and +P at 150 ms."""
    hits = missed = invented = 0
    for header in sorted((shared_data / "mitdb").glob("*.hea")):
        path = str(header.with_suffix(""))
        record = wfdb.rdrecord(path, sampto=5 * 60 * 360)
        marks = wfdb.rdann(path, "atr", sampto=5 * 60 * 360)
        beats = [symbol in "NLRBAaJSVrFejnE/fQ" for symbol in marks.symbol]
        if "[" in marks.symbol:
            continue
        marked = marks.sample[beats]
        found = detect_r_peaks(record.p_signal.T, 360.0)
        near = np.abs(marked[:, None] - found).min(axis=1) < 0.15 * 360
        hits += near.sum()
        missed += (~near).sum()
        invented += max(found.size - near.sum(), 0)
    assert hits / (hits + missed) > 0.998
    assert hits / (hits + invented) > 0.997


# --- what must not matter ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(shared_data):
    """Recordings of PTB-XL in sinus rhythm, with enough beats to lose one."""
    return [
        read_recording(shared_data / "ptbxl" / f"{number:05d}_hr.hea") for number in range(1, 40, 6)
    ]


def test_the_amplitude_unit_does_not_matter(real):
    for example in real:
        beat = average_beat(example)
        twice = average_beat(replace(example, microvolts_per_unit=2.0))
        np.testing.assert_allclose(twice.signal_mv, 2 * beat.signal_mv, atol=1e-5)


def test_a_shift_of_the_recording_hardly_matters(real):
    """The first or last beat may come or go; what remains is below the noise of the average."""
    alike = []
    for example in real:
        beat = average_beat(example)
        later = average_beat(replace(example, samples=example.samples[:, 100:]))
        assert rms_uv(beat.signal_mv, later.signal_mv) < 1.5 * beat.noise_uv
        alike.append(np.corrcoef(beat.signal_mv.ravel(), later.signal_mv.ravel())[0, 1])
    assert min(alike) > 0.9995
    assert np.median(alike) > 0.9999


def test_added_mains_wander_and_noise_hardly_matter(real):
    rng = np.random.default_rng(1)
    t = np.arange(5000) / 500
    mains = 0.1 * np.sin(2 * np.pi * 50.03 * t + 1)
    wander = 0.5 * np.sin(2 * np.pi * 0.3 * t + 2)
    muscle = rng.normal(0, 0.05, (12, 5000))
    for added, limit_uv in ((mains, 10), (wander, 10), (muscle, 12)):
        changes = []
        for example in real:
            changed = example.samples + np.rint(1000 * added / example.microvolts_per_unit)
            disturbed = average_beat(replace(example, samples=changed.astype(np.int16)))
            changes.append(rms_uv(average_beat(example).signal_mv, disturbed.signal_mv))
        assert max(changes) < limit_uv


@pytest.mark.parametrize("rate", [250.0, 360.0, 1000.0])
def test_other_sampling_rates_give_the_same_beat(rate):
    rr = np.full(12, 0.9)
    expected = average_beat(recording(heart(rr)))
    other = average_beat(recording(heart(rr, rate), rate))
    assert rms_uv(expected.signal_mv, other.signal_mv) < 8
    assert other.rr_ms == pytest.approx(900, abs=4)


@given(rate=st.floats(45, 120), spread=st.floats(0, 0.025), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_every_beat_is_found_and_rate_and_waves_are_measured(rate, spread, seed):
    rng = np.random.default_rng(seed)
    rr = 60 / rate * (1 + spread * rng.standard_normal(30))
    signal = heart(rr) + rng.normal(0, 0.01, (12, 1))
    noise = rng.normal(0, 0.01, signal.shape)
    beats_s = np.cumsum(rr) - 0.6
    peaks = detect_r_peaks(signal + noise, 500.0) / 500
    inside = beats_s[(beats_s > 0.2) & (beats_s < 9.8)]
    assert np.abs(inside[:, None] - peaks).min(axis=1).max() < 0.02
    assert peaks.size <= inside.size + 2
    beat = average_beat(recording(signal + noise))
    assert "ectopic_beats" not in beat.flags
    assert "rhythm_irregular" not in beat.flags
    traits = measure_traits(beat)
    assert traits["heart_rate_bpm"] == pytest.approx(60 / np.median(rr), rel=0.05)
    assert traits["pr_ms"] is not None
    assert abs(beat.signal_mv[1].argmax() - R_INDEX) <= 2


# --- rhythm, ectopy, noise -----------------------------------------------------------------------


def test_noise_falls_with_the_number_of_beats():
    rng = np.random.default_rng(0)
    clean = average_beat(recording(heart(np.full(40, 0.8), seconds=30)))
    errors = {}
    for seconds in (6, 30):
        rr = np.full(40, 0.8)
        signal = heart(rr, seconds=seconds)
        beat = average_beat(recording(signal + rng.normal(0, 0.03, signal.shape)))
        errors[seconds] = rms_uv(
            beat.signal_mv[[0, 1, *range(6, 12)]], clean.signal_mv[[0, 1, *range(6, 12)]]
        )
        expected_uv = 30 / np.sqrt(beat.n_beats)
        assert beat.noise_uv == pytest.approx(expected_uv, rel=0.35)
        assert errors[seconds] < 1.1 * expected_uv
    assert errors[30] < 0.65 * errors[6]


def test_ectopic_beats_are_left_out():
    rr = np.full(12, 0.9)
    signal = heart(rr)
    plain = average_beat(recording(signal))
    t = np.arange(5000) / 500
    early = np.cumsum(rr)[4] - 0.6 + 0.5
    wide = np.exp(-0.5 * ((t - early) / 0.03) ** 2) - 0.6 * np.exp(
        -0.5 * ((t - early - 0.2) / 0.06) ** 2
    )
    beat = average_beat(recording(signal + 1.5 * GAINS[::-1, None] * wide))
    assert "ectopic_beats" in beat.flags
    assert beat.n_beats < beat.n_detected
    assert rms_uv(plain.signal_mv, beat.signal_mv) < 20


def test_neighbouring_beats_do_not_reach_into_the_window():
    beat = average_beat(recording(heart(np.full(30, 0.5))))
    magnitude = np.abs(beat.signal_mv).max(axis=0)
    assert magnitude[: R_INDEX - 135].max() < 0.02
    assert magnitude[R_INDEX + 185 :].max() < 0.02
    assert magnitude[R_INDEX - 100 : R_INDEX - 60].max() > 0.1


def test_an_irregular_rhythm_is_flagged():
    rng = np.random.default_rng(3)
    beat = average_beat(recording(heart(0.75 * np.exp(0.2 * rng.standard_normal(30)))))
    assert "rhythm_irregular" in beat.flags


def test_one_bad_lead_changes_no_r_peak():
    rng = np.random.default_rng(4)
    signal = heart(np.full(12, 0.9))
    expected = detect_r_peaks(signal, 500.0)
    signal[8] += 3 * rng.standard_normal(5000)
    found = detect_r_peaks(signal, 500.0)
    assert found.size == expected.size
    assert np.abs(found - expected).max() <= 5


def test_recording_without_beats_is_refused_as_too_few_beats():
    assert detect_r_peaks(np.zeros((12, 5000)), 500.0).size == 0
    assert detect_r_peaks(np.zeros((12, 10)), 500.0).size == 0
    for signal in (np.zeros((12, 5000)), heart(np.array([5.0, 3.0]))):
        with pytest.raises(RecordingError) as error:
            average_beat(recording(signal))
        assert error.value.reason == Reason.TOO_FEW_BEATS


def test_swapped_arm_electrodes_are_detected(shared_data):
    told = 0
    headers = sorted((shared_data / "ptbxl").glob("*_hr.hea"))[::6]
    for header in headers:
        example = read_recording(header)
        try:
            average_beat(replace(example, samples=swapped(example.samples)))
        except RecordingError as error:
            told += error.reason == Reason.ARM_ELECTRODES_SWAPPED
    assert told > 0.9 * len(headers)


def test_a_right_axis_or_an_inverted_t_is_no_swap():
    signal = heart(np.full(12, 0.9))
    t = np.arange(5000) / 500
    right = signal.copy()
    for r in np.cumsum(np.full(12, 0.9)) - 0.6:
        right[0] -= 1.6 * np.exp(-0.5 * ((t - r) / 0.012) ** 2)
    inverted = signal.copy()
    for r in np.cumsum(np.full(12, 0.9)) - 0.6:
        inverted[[0, 9, 10, 11]] -= 0.8 * np.exp(-0.5 * ((t - r - 0.28) / 0.045) ** 2)
    for healthy in (right, inverted):
        assert average_beat(recording(healthy)).n_beats >= 8
    turned = signal.copy()
    turned[0] = -turned[0]
    with pytest.raises(RecordingError) as error:
        average_beat(recording(turned))
    assert error.value.reason == Reason.ARM_ELECTRODES_SWAPPED


def test_without_a_p_wave_there_is_no_pr():
    t = np.arange(5000) / 500
    signal = heart(np.full(12, 0.9))
    for r in np.cumsum(np.full(12, 0.9)) - 0.6:
        signal -= GAINS[:, None] * 0.12 * np.exp(-0.5 * ((t - r + 0.16) / 0.022) ** 2)
    beat = average_beat(recording(signal))
    traits = measure_traits(beat)
    assert traits["pr_ms"] is None
    assert traits["p_ms"] is None
    assert traits["qrs_ms"] is not None
    assert traits["qt_ms"] is not None


def test_flat_beat_has_no_waves():
    empty = np.zeros((12, BEAT_SAMPLES), np.float32)
    at = find_fiducials(empty[INDEPENDENT_ROWS], (210.0, 290.0), 0.0, 1.0)
    nothing = Beat(empty, at, 5, 5, 1000.0, 0.0)
    traits = measure_traits(nothing)
    assert traits["heart_rate_bpm"] == 60
    assert [traits[name] for name in ("pr_ms", "p_ms", "qt_ms", "axis_deg")] == [None] * 4


def test_flags_say_what_is_wrong_and_their_limits_can_be_set():
    rng = np.random.default_rng(5)
    t = np.arange(5000) / 500
    clean = heart(np.full(12, 0.9))
    assert average_beat(recording(clean)).flags == ()
    assert average_beat(recording(clean)).quality > 0.8
    disturbed = {
        "mains": clean + 0.1 * np.sin(2 * np.pi * 50 * t),
        "baseline_wander": clean + np.sin(2 * np.pi * 0.2 * t),
        "muscle_noise": clean + rng.normal(0, 0.1, clean.shape),
        "saturated": np.clip(clean, None, 0.35),
        "few_beats": heart(np.full(12, 2.3)),
    }
    for name, signal in disturbed.items():
        beat = average_beat(recording(signal))
        assert name in beat.flags
        assert average_beat(recording(clean)).quality >= beat.quality
    quiet = Limits(mains_uv=1000)
    assert "mains" not in average_beat(recording(disturbed["mains"]), quiet).flags


def test_pacing_spikes_are_removed_and_flagged():
    clean = heart(np.full(12, 0.9))
    paced = clean.copy()
    for r in np.cumsum(np.full(12, 0.9)) - 0.6:
        at = int((r - 0.06) * 500)
        if 0 <= at < 4999:
            paced[:, at] += 2.0 * GAINS
    beat = average_beat(recording(paced))
    assert "paced" in beat.flags
    assert rms_uv(beat.signal_mv, average_beat(recording(clean)).signal_mv) < 10


def test_amplitudes_and_corrected_qt():
    signal = heart(np.full(12, 0.9))
    beat = average_beat(recording(signal))
    traits = measure_traits(beat)
    lead = LEADS.index("II")
    assert traits["r_mv"][lead] == pytest.approx(GAINS[1], rel=0.05)
    assert traits["t_mv"][lead] == pytest.approx(0.3 * GAINS[1], rel=0.1)
    assert traits["sokolov_lyon_mv"] == pytest.approx(1.3 + 0.5, rel=0.05)
    assert traits["qtc_ms"] == pytest.approx(traits["qt_ms"] / np.sqrt(0.9), rel=1e-3)
    assert traits["qtcf_ms"] == pytest.approx(traits["qt_ms"] / np.cbrt(0.9), rel=1e-3)
    for name in ("p_axis_deg", "t_axis_deg"):
        assert traits[name] == pytest.approx(traits["axis_deg"], abs=3)


def test_both_halves_of_a_biphasic_p_wave_are_measured():
    t = np.arange(5000) / 500
    signal = heart(np.full(12, 0.9))
    plain = measure_traits(average_beat(recording(signal)))["p_ms"]
    for r in np.cumsum(np.full(12, 0.9)) - 0.6:
        at = (t - r + 0.16) / 0.022
        signal += GAINS[:, None] * 0.12 * (-1.5 * at - 1.0) * np.exp(-0.5 * at**2)
    traits = measure_traits(average_beat(recording(signal)))
    assert traits["p_ms"] == pytest.approx(1.2 * plain, rel=0.25)


def test_atrial_flutter_has_no_p_wave(shared_data):
    """The recordings among the first 40 of PTB-XL that its cardiologists called flutter."""
    for number in range(1, 41):
        beat = average_beat(read_recording(shared_data / "ptbxl" / f"{number:05d}_hr.hea"))
        assert (measure_traits(beat)["pr_ms"] is None) == (number in (17, 18, 20, 23, 34))


def test_atrial_fibrillation_has_no_p_wave():
    rng = np.random.default_rng(6)
    rr = 0.75 * np.exp(0.2 * rng.standard_normal(30))
    t = np.arange(5000) / 500
    signal = heart(rr)
    for r in np.cumsum(rr) - 0.6:
        signal -= GAINS[:, None] * 0.12 * np.exp(-0.5 * ((t - r + 0.16) / 0.022) ** 2)
    signal += 0.08 * GAINS[:, None] * np.sin(2 * np.pi * 6.1 * t)
    assert measure_traits(average_beat(recording(signal)))["pr_ms"] is None
