"""The average beat: the sinus beats, aligned, cleaned of wander and mains, robustly averaged."""

from dataclasses import replace

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
from ecg_spark.ecg.sinus import MIN_BEATS, Beats, sinus_beats
from ecg_spark.ecg.windows import cut, detrended, median, r_position

_SMOOTH_HZ = 130.0  # cut-offs of the finished beat within QRS and beside it: see `_smoothed`
_SMOOTH_BESIDE_HZ = 45.0
_LEVEL = int(0.024 * BEAT_RATE_HZ)  # the time before QRS whose mean is the beat's zero
_FADE = int(0.040 * BEAT_RATE_HZ)  # over which a beat fades to zero where its neighbours begin
_BRIDGE = int(0.050 * BEAT_RATE_HZ)  # on both sides of a beat without a model: gives its level
_OUTLIER = 3.0  # standard deviations: samples beyond are clipped, noisier beats lose their weight
_LEAST_NOISE_MV = 0.003  # keeps a beat or lead without noise from getting all of the weight


def average_beat(recording: Recording, limits: Limits | None = None) -> Beat:
    """Return the average beat of a recording's sinus beats (see `sinus_beats`).

    The eight independent leads are averaged at 500 Hz; III, aVR, aVL and aVF follow from I and II.
    Beats that have another shape, are premature or are much noisier than the others are left out.

    Args:
        recording: at least some seconds long; all leads without missing samples.
        limits: the thresholds of the quality flags; None takes the defaults.

    Raises:
        RecordingError: `too_few_beats` if fewer than `MIN_BEATS` beats are found or are of one
            shape; `arm_electrodes_swapped`.
    """
    limits = limits or Limits()
    signals = resample(_eight(recording), recording.sampling_rate_hz, BEAT_RATE_HZ)
    # Before the filters, which would smear spikes over the beat.
    signals, n_spikes = remove_pacing_spikes(signals)
    signals = signals - signals.mean(axis=1, keepdims=True)
    whole = Spectrum.of(signals, BEAT_RATE_HZ)
    peaks = find_r_peaks(whole)
    if peaks.size < MIN_BEATS:
        raise RecordingError(Reason.TOO_FEW_BEATS, f"{peaks.size} beats found")
    beats, ectopic = sinus_beats(whole, peaks)
    if beats.used.sum() < MIN_BEATS:
        raise RecordingError(
            Reason.TOO_FEW_BEATS, f"{beats.used.sum()} of {peaks.size} beats are of one shape"
        )
    # Two passes, because wander and mains are estimated from what remains without the beats: the
    # first mean beat, of roughly cleaned signals, is subtracted; the second is the result.
    mains_removed = without_mains(whole)
    clean = mains_removed - _spline_through(mains_removed, beats)
    windows = beats.windows(clean)
    mean, _, quiet = _robust_mean(windows, beats, median(windows), rounds=2)
    beats, mean = _centred(beats, mean)
    disturbed, wander_mv, mains_mv = _disturbance(signals, mean, replace(beats, used=quiet))
    windows = beats.windows(signals - disturbed)
    mean, noise_mv, quiet = _robust_mean(windows, beats, mean, rounds=1)
    eight, onset = _smoothed(mean)
    eight = _fade(eight - _level(eight, onset), beats.own)
    noise = float(np.median(noise_mv))
    agreement = _p_agreement(windows[quiet[beats.used]], beats.own[0], onset)
    fiducials = find_fiducials(eight, beats.reach, noise, agreement)
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
        rr_ms=beats.rr * 1000.0 / BEAT_RATE_HZ,
        noise_uv=findings.noise_uv,
        flags=flags,
        quality=score,
        reach=beats.reach,
        r_samples=beats.positions[quiet],
        p_agreement=agreement,
    )
    check_arm_electrodes(beat, limits)
    return beat


def _eight(recording: Recording) -> Floats:
    """Return the independent leads in mV; single precision resolves a nanovolt at 10 mV."""
    samples = recording.samples[INDEPENDENT_ROWS].astype(np.float32)
    return samples * np.float32(recording.microvolts_per_unit / 1000.0)


def _smoothed(mean: Floats) -> tuple[NDArray[np.float64], int]:
    """Return the mean beat, low-passed at 130 Hz within QRS and 45 Hz elsewhere, and QRS's onset.

    P, ST and T contain nothing above 40 Hz. The two filters are cross-faded over 20 ms on both
    sides of QRS.
    """
    spectrum = Spectrum.of(mean.astype(np.float64), BEAT_RATE_HZ)
    sharp, smooth = spectrum.band(0.0, _SMOOTH_HZ), spectrum.band(0.0, _SMOOTH_BESIDE_HZ)
    onset, offset = qrs_bounds(sharp)
    time = np.arange(mean.shape[1])
    outside = np.maximum(np.maximum(onset - time, time - offset), 0.0) / (0.02 * BEAT_RATE_HZ)
    share = 0.5 * (1.0 + np.cos(np.pi * np.minimum(outside, 1.0)))
    return share * sharp + (1.0 - share) * smooth, round(onset)


def _p_agreement(windows: Floats, start: int, onset: int) -> float:
    """Return how well the P wave repeats: the correlation of the means of odd and even beats.

    It is taken over all leads and the time before QRS; 1 if there are too few beats or the rate is
    too fast to tell.
    """
    first = max(start, onset - int(0.26 * BEAT_RATE_HZ))
    last = onset - int(0.010 * BEAT_RATE_HZ)
    if len(windows) < 4 or last - first < int(0.060 * BEAT_RATE_HZ):
        return 1.0
    halves = np.stack([windows[start::2, :, first:last].mean(axis=0) for start in (0, 1)])
    halves = detrended(gaussian_filter1d(halves.astype(np.float64), 4.0, axis=2))
    return float(np.corrcoef(halves[0].ravel(), halves[1].ravel())[0, 1])


def _spline_through(signals: Floats, beats: Beats) -> Floats:
    """Return a first estimate of the wander: a spline through the level just before each QRS.

    That level need not be the isoelectric one, only the same in every beat.
    """
    at = beats.positions[beats.used] - 0.07 * BEAT_RATE_HZ
    half = int(0.010 * BEAT_RATE_HZ)
    levels = cut(signals, at, half, 2 * half + 1).mean(axis=2).T
    slopes = np.gradient(levels, at, axis=1)
    curve = CubicHermiteSpline(at, levels, slopes, axis=1)
    # Linear between points 20 ms apart, which is faster: far less than a microvolt from the spline.
    n, step = signals.shape[1], int(0.020 * BEAT_RATE_HZ)
    points = curve(np.clip(np.arange(0, n + step, step), at[0], at[-1]))[:, :, None]
    lines = points[:, :-1] + np.diff(points, axis=1) * (np.arange(step) / step)
    return lines.reshape(len(signals), -1)[:, :n].astype(signals.dtype)


def _centred(beats: Beats, mean: Floats) -> tuple[Beats, Floats]:
    """Return the beats and their mean, both shifted so that the mean's R is at `R_INDEX`."""
    at = r_position(mean - _level(mean, qrs_onset(mean)), R_INDEX)
    moved = replace(beats, positions=beats.positions + at - R_INDEX)
    return moved, cut(mean, np.array([at]), R_INDEX, BEAT_SAMPLES)[0]


def _level(beat: Floats, onset: int) -> Floats:
    """Return every lead's level before the onset of QRS, [leads, 1]: the beat's zero."""
    return beat[:, onset - _LEVEL : onset + 1].mean(axis=1, keepdims=True)


def _robust_mean(
    windows: Floats, beats: Beats, centre: Floats, rounds: int
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Return the mean beat [8, 600], its standard error by lead in mV, and the beats in it.

    Every beat and lead is weighted by the inverse of its variance about the mean. Samples further
    than `_OUTLIER` standard deviations away are clipped to that distance. The weight of a beat
    falls smoothly to nothing around three times the usual noise, so that a small change of the data
    never adds or drops a beat at once. A sample counts only where it belongs to the beat. `centre`
    is an earlier estimate.
    """
    index = np.flatnonzero(beats.used)
    time = np.arange(BEAT_SAMPLES) - R_INDEX
    own = (time >= -beats.before[index, None]) & (time <= beats.after[index, None])
    # Samples that belong to no beat are averaged over all: the window fades out there.
    own = np.where(own.any(axis=0), own, True).astype(windows.dtype)
    for _ in range(rounds):
        rest = windows - centre
        variance = np.einsum("bln,bln,bn->bl", rest, rest, own) / own.sum(axis=1)[:, None]
        usual = np.maximum(median(variance), np.float32(_LEAST_NOISE_MV**2))
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


def _disturbance(signals: Floats, mean: Floats, beats: Beats) -> tuple[Floats, float, float]:
    """Return wander and mains of the signals [8, n], estimated after subtracting the beats.

    Beats that were not averaged have no model; they are replaced by a straight line.
    """
    n = signals.shape[1]
    rest = signals - _sequence(mean, beats, n)
    spans: list[tuple[int, int]] = []
    for i in np.flatnonzero(~beats.used):
        start = int(max(beats.positions[i] - beats.before[i], 0))
        end = int(min(beats.positions[i] + beats.after[i] + 1, n))
        # One line for several such beats in a row: the level between them is unknown.
        if spans and start <= spans[-1][1] + 2 * _BRIDGE:
            start = spans.pop()[0]
        spans.append((start, end))
    for start, end in spans:
        _bridge(rest, start, end)
    return artefacts(rest)


def _sequence(mean: Floats, beats: Beats, n: int) -> Floats:
    """Return the mean beat repeated at the beats' positions, [8, n].

    Two neighbouring beats meet at their border.
    """
    centres = np.rint(beats.positions).astype(np.int64)
    owner = np.searchsorted(beats.border, np.arange(n), side="right")
    within = np.arange(n) - centres[owner] + R_INDEX
    return np.take(mean, np.clip(within, *beats.own), axis=1)


def _bridge(rest: Floats, start: int, end: int) -> None:
    """Replace [start, end) by a line between the levels on both sides, in place."""
    left, right = rest[:, max(start - _BRIDGE, 0) : start], rest[:, end : end + _BRIDGE]
    level = [side.mean(axis=1) if side.shape[1] else None for side in (left, right)]
    begin = level[0] if level[0] is not None else level[1]
    finish = level[1] if level[1] is not None else level[0]
    if begin is not None and finish is not None and end > start:
        rest[:, start:end] = np.linspace(begin, finish, end - start, axis=1)


def _fade(eight: NDArray[np.float64], own: tuple[int, int]) -> NDArray[np.float64]:
    """Outside the beat's own part of the RR interval, hold its last level and fade it to 0."""
    first, last = own
    time = np.arange(BEAT_SAMPLES)
    outside = np.maximum(np.maximum(first - time, time - last), 0)
    fade = 0.5 * (1.0 + np.cos(np.pi * np.minimum(outside / _FADE, 1.0)))
    return eight[:, np.clip(time, first, last)] * fade


def _twelve(eight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return all leads in the order of `LEADS` from the eight independent ones."""
    one, two = eight[0], eight[1]
    limb = [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2]
    return np.concatenate([np.stack(limb), eight[2:]])
