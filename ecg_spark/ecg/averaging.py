"""The average beat: dominant beats, aligned, cleaned of wander and mains, robustly averaged."""

from dataclasses import dataclass, replace
from statistics import median

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicHermiteSpline
from scipy.ndimage import gaussian_filter1d

from ecg_spark.ecg.artefacts import artefacts, without_mains
from ecg_spark.ecg.beat import BEAT_RATE_HZ, BEAT_SAMPLES, R_INDEX, Beat
from ecg_spark.ecg.fiducials import conducted, find_fiducials, qrs_bounds, qrs_onset
from ecg_spark.ecg.filtering import Floats, Spectrum, resample
from ecg_spark.ecg.pacing import remove_pacing_spikes
from ecg_spark.ecg.quality import Findings, Limits, assess, check_arm_electrodes, saturated_share
from ecg_spark.ecg.recording import INDEPENDENT_ROWS, Reason, Recording, RecordingError
from ecg_spark.ecg.rpeaks import find_r_peaks
from ecg_spark.ecg.windows import align, cut, middle, r_position, same_shape, without_line

MIN_BEATS = 3
"""An average of fewer beats shows one beat's noise."""

BEFORE_R, AFTER_R = 0.42, 0.58
"""How the time between two R peaks is shared: the latter part of it, up to P, belongs to the next
beat. It holds P at 130 beats a minute and a QT of 550 ms at 60."""

PREMATURE = 0.8
"""A beat that follows sooner than this part of the usual interval is ectopic."""

_SHAPE_HZ, _SHAPE_STEP = (1.0, 40.0), 2
_SMOOTH_HZ = 130.0
_SMOOTH_BESIDE_HZ = 45.0
_LEVEL = int(0.024 * BEAT_RATE_HZ)
_FADE = int(0.040 * BEAT_RATE_HZ)
_OUTLIER = 3.0
_LEAST_NOISE_MV = 0.003


@dataclass(frozen=True)
class _Beats:
    """The detected beats: `positions` of R in samples, and which of them are averaged.

    `before`, `after`: how many samples of each belong to it and to no other beat.
    """

    positions: NDArray[np.float64]
    used: NDArray[np.bool_]
    before: NDArray[np.float64]
    after: NDArray[np.float64]
    rr: float

    def windows(self, signals: Floats) -> Floats:
        """The used beats, [beats, leads, 600]."""
        return cut(signals, self.positions[self.used], R_INDEX, BEAT_SAMPLES)


def average_beat(recording: Recording, limits: Limits | None = None) -> Beat:
    """Return the average beat of a recording's dominant beats.

    The eight independent leads are averaged at 500 Hz; III, aVR, aVL and aVF follow from I and II.
    Beats of another shape, premature or much noisier than the others are left out. `limits` are
    the thresholds of the flags. Raises `RecordingError`: too_few_beats below `MIN_BEATS`,
    arm_electrodes_swapped.
    """
    limits = limits or Limits()
    signals = resample(_eight(recording), recording.sampling_rate_hz, BEAT_RATE_HZ)
    signals, n_spikes = remove_pacing_spikes(signals)
    signals = signals - signals.mean(axis=1, keepdims=True)
    whole = Spectrum.of(signals, BEAT_RATE_HZ)
    peaks = find_r_peaks(whole)
    if peaks.size < MIN_BEATS:
        raise RecordingError(Reason.TOO_FEW_BEATS, f"{peaks.size} beats found")
    beats, ectopic = _dominant(whole, peaks)
    humless = without_mains(whole)
    clean = humless - _spline_through(humless, beats)
    windows = beats.windows(clean)
    mean, _, quiet = _robust_mean(windows, beats, middle(windows), rounds=2)
    beats, mean = _centred(beats, mean)
    disturbed, wander_mv, mains_mv = _disturbance(signals, mean, replace(beats, used=quiet))
    windows = beats.windows(signals - disturbed)
    mean, noise_mv, quiet = _robust_mean(windows, beats, mean, rounds=1)
    eight, onset = _smoothed(mean)
    eight = _fade(eight - _level(eight, onset), beats.rr)
    rr_ms = float(np.median(np.diff(beats.positions))) * 1000.0 / BEAT_RATE_HZ
    noise = float(np.median(noise_mv))
    agreement = _p_agreement(windows[quiet[beats.used]], beats.rr, onset)
    fiducials = find_fiducials(eight, rr_ms, noise, agreement)
    findings = Findings(
        peaks_s=peaks / BEAT_RATE_HZ,
        ectopic=ectopic,
        n_used=int(quiet.sum()),
        noise_uv=1000.0 * noise,
        mains_uv=1000.0 * mains_mv,
        wander_uv=1000.0 * wander_mv,
        saturated_share=saturated_share(recording.samples),
        smallest_lead_uv=1000.0 * float(np.ptp(eight, axis=1).min()),
        paced=n_spikes > 0,
        ectopic_only=n_spikes == 0 and not conducted(fiducials),
    )
    flags, score = assess(findings, limits)
    beat = Beat(
        signal_mv=_twelve(eight).astype(np.float32),
        fiducials=fiducials,
        n_beats=findings.n_used,
        n_detected=int(peaks.size),
        rr_ms=rr_ms,
        noise_uv=findings.noise_uv,
        flags=flags,
        quality=score,
        r_samples=beats.positions[quiet],
        p_agreement=agreement,
    )
    check_arm_electrodes(beat, limits)
    return beat


def _eight(recording: Recording) -> Floats:
    """Return the independent leads in mV; single precision holds 10 mV to the nanovolt."""
    samples = recording.samples[INDEPENDENT_ROWS].astype(np.float32)
    return samples * np.float32(recording.microvolts_per_unit / 1000.0)


def _smoothed(mean: Floats) -> tuple[NDArray[np.float64], int]:
    """Return the mean beat without noise above 130 Hz in QRS and 45 Hz elsewhere, and QRS's onset.

    P, ST and T hold nothing above 40 Hz; the change takes 20 ms on both sides of QRS.
    """
    spectrum = Spectrum.of(mean.astype(np.float64), BEAT_RATE_HZ)
    sharp, smooth = spectrum.band(0.0, _SMOOTH_HZ), spectrum.band(0.0, _SMOOTH_BESIDE_HZ)
    onset, offset = qrs_bounds(sharp)
    time = np.arange(mean.shape[1])
    outside = np.maximum(np.maximum(onset - time, time - offset), 0.0) / (0.02 * BEAT_RATE_HZ)
    share = 0.5 * (1.0 + np.cos(np.pi * np.minimum(outside, 1.0)))
    return share * sharp + (1.0 - share) * smooth, round(onset)


def _p_agreement(windows: Floats, rr: float, onset: int) -> float:
    """Return the correlation, over all leads, of the time before QRS in every other beat with that
    in the rest; 1 where the beats are too few or too fast to say."""
    first = max(R_INDEX - int(BEFORE_R * rr), onset - int(0.26 * BEAT_RATE_HZ))
    last = onset - int(0.010 * BEAT_RATE_HZ)
    if len(windows) < 4 or last - first < int(0.060 * BEAT_RATE_HZ):
        return 1.0
    halves = np.stack([windows[start::2, :, first:last].mean(axis=0) for start in (0, 1)])
    halves = without_line(gaussian_filter1d(halves.astype(np.float64), 4.0, axis=2))
    return float(np.corrcoef(halves[0].ravel(), halves[1].ravel())[0, 1])


def _dominant(whole: Spectrum, peaks: NDArray[np.int64]) -> tuple[_Beats, NDArray[np.bool_]]:
    """Return the beats, the dominant ones aligned and marked as used, and which are ectopic."""
    band, rate, _ = whole.band_at(*_SHAPE_HZ, BEAT_RATE_HZ / _SHAPE_STEP)
    interval = np.diff(peaks).astype(np.float64)
    rr = float(np.median(interval))
    alike = same_shape(band, rate, peaks // _SHAPE_STEP)
    near = [interval[max(i - 3, 0) : i + 3].tolist() for i in range(interval.size)]
    usual = np.array([median(values) for values in near])
    regular = np.median(np.abs(np.diff(interval, prepend=interval[0]))) < 0.1 * rr
    premature = np.zeros(peaks.size, dtype=bool)
    premature[1:] = (interval < PREMATURE * usual) & regular
    last = whole.n - 1
    inside = (peaks > 0.1 * BEAT_RATE_HZ) & (peaks < last - 0.1 * BEAT_RATE_HZ)
    used = alike & inside
    if (used & ~premature).sum() >= MIN_BEATS:
        used &= ~premature
    if used.sum() < MIN_BEATS:
        raise RecordingError(
            Reason.TOO_FEW_BEATS, f"{used.sum()} of {peaks.size} beats are of one shape"
        )
    positions = peaks.astype(np.float64)
    positions[used] = _SHAPE_STEP * align(band, rate, positions[used] / _SHAPE_STEP)
    # The signal's ends count as neighbours: what lies outside of it belongs to no beat.
    before = np.minimum(np.diff(peaks, prepend=-2 * last) - AFTER_R * rr, peaks)
    after = np.minimum(np.diff(peaks, append=3 * last) - BEFORE_R * rr, last - peaks)
    before = np.maximum(before, np.minimum(0.15 * rr, peaks))
    after = np.maximum(after, np.minimum(0.3 * rr, last - peaks))
    return _Beats(positions, used, before, after, rr), (~alike | premature) & inside


def _spline_through(signals: Floats, beats: _Beats) -> Floats:
    """Return a first estimate of the wander: a curve through every beat just before its QRS.

    The level there need not be the isoelectric one, only the same in every beat.
    """
    at = beats.positions[beats.used] - 0.07 * BEAT_RATE_HZ
    half = int(0.010 * BEAT_RATE_HZ)
    levels = cut(signals, at, half, 2 * half + 1).mean(axis=2).T
    slopes = np.gradient(levels, at, axis=1)
    curve = CubicHermiteSpline(at, levels, slopes, axis=1)
    # Straight between points 20 ms apart: far below a microvolt from the curve, and faster.
    n, step = signals.shape[1], int(0.020 * BEAT_RATE_HZ)
    points = curve(np.clip(np.arange(0, n + step, step), at[0], at[-1]))[:, :, None]
    lines = points[:, :-1] + np.diff(points, axis=1) * (np.arange(step) / step)
    return lines.reshape(len(signals), -1)[:, :n].astype(signals.dtype)


def _centred(beats: _Beats, mean: Floats) -> tuple[_Beats, Floats]:
    """Return the beats and their mean moved together so that its R is at `R_INDEX`."""
    at = r_position(mean - _level(mean, qrs_onset(mean)), R_INDEX)
    moved = replace(beats, positions=beats.positions + at - R_INDEX)
    return moved, cut(mean, np.array([at]), R_INDEX, BEAT_SAMPLES)[0]


def _level(beat: Floats, onset: int) -> Floats:
    """Return every lead's level before the onset of QRS, [leads, 1]: the beat's zero."""
    return beat[:, onset - _LEVEL : onset + 1].mean(axis=1, keepdims=True)


def _robust_mean(
    windows: Floats, beats: _Beats, centre: Floats, rounds: int
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Return the mean beat [8, 600], its standard error by lead in mV, and the beats in it.

    Every beat and lead counts by the inverse of its variance about the mean; samples further than
    `_OUTLIER` standard deviations are pulled in; beats three times as noisy as usual fade out, so
    that no beat's coming or going is a jump. A sample counts only where it belongs to the beat.
    `centre` is an earlier estimate.
    """
    index = np.flatnonzero(beats.used)
    time = np.arange(BEAT_SAMPLES) - R_INDEX
    own = (time >= -beats.before[index, None]) & (time <= beats.after[index, None])
    # Where no beat owns a sample, all do: the window fades there.
    own = np.where(own.any(axis=0), own, True).astype(windows.dtype)
    for _ in range(rounds):
        rest = windows - centre
        variance = np.einsum("bln,bln,bn->bl", rest, rest, own) / own.sum(axis=1)[:, None]
        usual = np.maximum(middle(variance), np.float32(_LEAST_NOISE_MV**2))
        excess = np.median(variance / usual, axis=1, keepdims=True) / _OUTLIER**2
        if (excess < 1.0).sum() < MIN_BEATS:
            excess[:] = 0.0
        weight = 1.0 / (1.0 + excess**4) / np.maximum(variance, 0.5 * usual)
        limit = _OUTLIER * np.sqrt(usual)[:, None]
        total = np.maximum(np.einsum("bl,bn->ln", weight, own), 1e-12 * weight.max())
        pulled = np.clip(rest, -limit, limit)
        centre = centre + np.einsum("bl,bn,bln->ln", weight, own, pulled) / total
    rest = windows - centre
    quiet = excess[:, 0] < 1.0
    n = max(int(quiet.sum()), 2)
    error = np.einsum("bl,bn,bln,bln->ln", weight**2, own, rest, rest) / total**2 * n / (n - 1)
    kept = beats.used.copy()
    kept[index] = quiet
    return centre, np.sqrt(np.median(error, axis=1)), kept


def _disturbance(signals: Floats, mean: Floats, beats: _Beats) -> tuple[Floats, float, float]:
    """Return wander and mains of the signals [8, n] by what remains without the beats.

    Beats that were not averaged have no model; a straight line takes their place.
    """
    n = signals.shape[1]
    rest = signals - _sequence(mean, beats, n)
    for i in np.flatnonzero(~beats.used):
        start = int(max(beats.positions[i] - beats.before[i], 0))
        end = int(min(beats.positions[i] + beats.after[i] + 1, n))
        _bridge(rest, start, end)
    return artefacts(rest)


def _sequence(mean: Floats, beats: _Beats, n: int) -> Floats:
    """Return the signal that the mean beat makes at the beats' positions, [8, n].

    Between two beats it changes over from the one to the other where the time is shared.
    """
    centres = np.rint(beats.positions).astype(np.int64)
    borders = np.rint(centres[:-1] + AFTER_R * np.diff(centres)).astype(np.int64)
    owner = np.searchsorted(borders, np.arange(n), side="right")
    within = np.arange(n) - centres[owner] + R_INDEX
    first = max(R_INDEX - int(BEFORE_R * beats.rr), 0)
    last = min(R_INDEX + int(AFTER_R * beats.rr), BEAT_SAMPLES - 1)
    return np.take(mean, np.clip(within, first, last), axis=1)


def _bridge(rest: Floats, start: int, end: int) -> None:
    """Replace [start, end) by a line between the levels on both sides, in place."""
    width = int(0.050 * BEAT_RATE_HZ)
    left, right = rest[:, max(start - width, 0) : start], rest[:, end : end + width]
    level = [side.mean(axis=1) if side.shape[1] else None for side in (left, right)]
    begin = level[0] if level[0] is not None else level[1]
    finish = level[1] if level[1] is not None else level[0]
    if begin is not None and finish is not None and end > start:
        rest[:, start:end] = np.linspace(begin, finish, end - start, axis=1)


def _fade(eight: NDArray[np.float64], rr: float) -> NDArray[np.float64]:
    """Hold the beat's level outside of its own share of the RR interval, and let it fade to 0."""
    first = max(R_INDEX - int(BEFORE_R * rr), 0)
    last = min(R_INDEX + int(AFTER_R * rr), BEAT_SAMPLES - 1)
    time = np.arange(BEAT_SAMPLES)
    outside = np.maximum(np.maximum(first - time, time - last), 0)
    fade = 0.5 * (1.0 + np.cos(np.pi * np.minimum(outside / _FADE, 1.0)))
    return eight[:, np.clip(time, first, last)] * fade


def _twelve(eight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return all leads in the order of `LEADS` from the eight independent ones."""
    one, two = eight[0], eight[1]
    limb = [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2]
    return np.concatenate([np.stack(limb), eight[2:]])
