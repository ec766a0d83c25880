"""The average beat: dominant beats only, aligned, cleaned of wander and mains, robustly averaged.

Wander and mains are estimated from what remains of the signal once the average beat is taken out
of it. A filter therefore never sees a QRS complex or a T wave: it can neither ring nor bend the ST
segment, and may cut off far above the usual 0.05 Hz.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter1d
from scipy.signal import detrend

from ecg_spark.ecg.beat import BEAT_RATE_HZ, BEAT_SAMPLES, R_INDEX, Beat
from ecg_spark.ecg.fiducials import fiducials_of, qrs_bounds, qrs_onset
from ecg_spark.ecg.filtering import band_pass, resample
from ecg_spark.ecg.pacing import remove_pacing_spikes
from ecg_spark.ecg.quality import Findings, Limits, assess, check_arm_electrodes, saturated_share
from ecg_spark.ecg.recording import INDEPENDENT_ROWS, Reason, Recording, RecordingError
from ecg_spark.ecg.rpeaks import detect_r_peaks
from ecg_spark.ecg.windows import align, cut, r_position, same_shape

MIN_BEATS = 3
"""An average of fewer beats shows one beat's noise."""

BEFORE_R, AFTER_R = 0.42, 0.58
"""How the time between two R peaks is shared: the latter part of it, up to P, belongs to the next
beat. It holds P at 130 beats a minute and a QT of 550 ms at 60."""

PREMATURE = 0.8
"""A beat that follows sooner than this part of the usual interval is ectopic."""

WANDER_HZ = 0.7
MAINS_HZ = (50.0, 60.0)
_MAINS_WIDTH_HZ = 0.4
_BAND_HZ = (1.0, 40.0)
_SMOOTH_HZ = 130.0
_SMOOTH_BESIDE_HZ = 80.0
_ROUNDS = 2
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


def average_beat(recording: Recording, limits: Limits | None = None) -> Beat:
    """Return the average beat of a recording's dominant beats.

    The eight independent leads are averaged at 500 Hz; III, aVR, aVL and aVF follow from I and II.
    Beats of another shape, premature or much noisier than the others are left out. `limits` are
    the thresholds of the flags. Raises `RecordingError`: too_few_beats below `MIN_BEATS`,
    arm_electrodes_swapped.
    """
    limits = limits or Limits()
    signals = resample(
        recording.signal_mv[INDEPENDENT_ROWS], recording.sampling_rate_hz, BEAT_RATE_HZ
    )
    signals, n_spikes = remove_pacing_spikes(signals)
    signals = signals - np.median(signals, axis=1, keepdims=True)
    humless = signals - _interference(signals, wander=False)[0]
    peaks = detect_r_peaks(humless, BEAT_RATE_HZ)
    if peaks.size < MIN_BEATS:
        raise RecordingError(Reason.TOO_FEW_BEATS, f"{peaks.size} beats found")
    beats, ectopic = _dominant(band_pass(humless, BEAT_RATE_HZ, *_BAND_HZ), peaks)
    clean = humless - _spline_through(humless, beats)
    beats = _centred(clean, beats)
    mean, noise_mv, quiet = _robust_mean(clean, beats)
    for _ in range(_ROUNDS):
        disturbed, wander_mv, mains_mv = _artefacts(signals, mean, replace(beats, used=quiet))
        clean = signals - disturbed
        mean, noise_mv, quiet = _robust_mean(clean, beats, start=mean)
    eight, onset = _smoothed(mean)
    eight = _fade(eight - eight[:, onset - 8 : onset + 1].mean(axis=1, keepdims=True), beats.rr)
    findings = Findings(
        peaks_s=peaks / BEAT_RATE_HZ,
        ectopic=ectopic,
        n_used=int(quiet.sum()),
        noise_uv=1000.0 * float(np.median(noise_mv)),
        mains_uv=1000.0 * mains_mv,
        wander_uv=1000.0 * wander_mv,
        saturated_share=saturated_share(recording.samples),
        smallest_lead_uv=1000.0 * float(np.ptp(eight, axis=1).min()),
        paced=n_spikes > 0,
    )
    flags, score = assess(findings, limits)
    beat = Beat(
        signal_mv=_twelve(eight).astype(np.float32),
        n_beats=findings.n_used,
        n_detected=int(peaks.size),
        rr_ms=_usual_rr_ms(beats.positions),
        noise_uv=findings.noise_uv,
        flags=flags,
        quality=score,
        r_samples=beats.positions[quiet],
        p_agreement=_p_agreement(clean, replace(beats, used=quiet), onset),
    )
    check_arm_electrodes(beat, fiducials_of(beat), limits)
    return beat


def _smoothed(mean: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    """Return the mean beat without noise above 130 Hz in QRS and 80 Hz elsewhere, and QRS's onset.

    P, ST and T hold nothing above 40 Hz, and the filter must not touch them; the change takes
    20 ms on both sides of QRS.
    """
    sharp = band_pass(mean, BEAT_RATE_HZ, 0.0, _SMOOTH_HZ)
    smooth = band_pass(mean, BEAT_RATE_HZ, 0.0, _SMOOTH_BESIDE_HZ)
    onset, offset = qrs_bounds(sharp)
    time = np.arange(mean.shape[1])
    outside = np.maximum(np.maximum(onset - time, time - offset), 0.0) / (0.02 * BEAT_RATE_HZ)
    share = 0.5 * (1.0 + np.cos(np.pi * np.minimum(outside, 1.0)))
    return share * sharp + (1.0 - share) * smooth, round(onset)


def _usual_rr_ms(positions: NDArray[np.float64]) -> float:
    """Return the median interval between R peaks, aligned to a fraction of a sample, in ms."""
    return float(np.median(np.diff(positions))) * 1000.0 / BEAT_RATE_HZ


def _p_agreement(clean: NDArray[np.float64], beats: _Beats, onset: int) -> float:
    """Return the correlation, over all leads, of the time before QRS in every other beat with that
    in the rest; 1 where the beats are too few or too fast to say."""
    first = max(R_INDEX - int(BEFORE_R * beats.rr), onset - int(0.26 * BEAT_RATE_HZ))
    length = onset - int(0.010 * BEAT_RATE_HZ) - first
    positions = beats.positions[beats.used]
    if positions.size < 4 or length < int(0.060 * BEAT_RATE_HZ):
        return 1.0
    windows = gaussian_filter1d(cut(clean, positions, R_INDEX - first, length), 4.0, axis=2)
    windows = detrend(windows, axis=2)
    return float(
        np.corrcoef(windows[::2].mean(axis=0).ravel(), windows[1::2].mean(axis=0).ravel())[0, 1]
    )


def _dominant(
    band: NDArray[np.float64], peaks: NDArray[np.int64]
) -> tuple[_Beats, NDArray[np.bool_]]:
    """Return the beats, the dominant ones aligned and marked as used, and which are ectopic."""
    interval = np.diff(peaks).astype(np.float64)
    rr = float(np.median(interval))
    alike = same_shape(band, peaks)
    usual = np.array([np.median(interval[max(i - 3, 0) : i + 3]) for i in range(interval.size)])
    regular = np.median(np.abs(np.diff(interval, prepend=interval[0]))) < 0.1 * rr
    premature = np.zeros(peaks.size, dtype=bool)
    premature[1:] = (interval < PREMATURE * usual) & regular
    last = band.shape[1] - 1
    whole = (peaks > 0.1 * BEAT_RATE_HZ) & (peaks < last - 0.1 * BEAT_RATE_HZ)
    used = alike & whole
    if (used & ~premature).sum() >= MIN_BEATS:
        used &= ~premature
    if used.sum() < MIN_BEATS:
        raise RecordingError(
            Reason.TOO_FEW_BEATS, f"{used.sum()} of {peaks.size} beats are of one shape"
        )
    positions = peaks.astype(np.float64)
    positions[used] = align(band, positions[used])
    # The signal's ends count as neighbours: what lies outside of it belongs to no beat.
    before = np.minimum(np.diff(peaks, prepend=-2 * last) - AFTER_R * rr, peaks)
    after = np.minimum(np.diff(peaks, append=3 * last) - BEFORE_R * rr, last - peaks)
    before = np.maximum(before, np.minimum(0.15 * rr, peaks))
    after = np.maximum(after, np.minimum(0.3 * rr, last - peaks))
    return _Beats(positions, used, before, after, rr), (~alike | premature) & whole


def _spline_through(signals: NDArray[np.float64], beats: _Beats) -> NDArray[np.float64]:
    """Return a first estimate of the wander: a curve through every beat just before its QRS.

    The level there need not be the isoelectric one, only the same in every beat.
    """
    at = beats.positions[beats.used] - 0.07 * BEAT_RATE_HZ
    half = int(0.010 * BEAT_RATE_HZ)
    levels = cut(signals, at, half, 2 * half + 1).mean(axis=2).T
    time = np.clip(np.arange(signals.shape[1]), at[0], at[-1])
    return PchipInterpolator(at, levels, axis=1)(time)


def _centred(clean: NDArray[np.float64], beats: _Beats) -> _Beats:
    """Return the beats moved together so that R of their average is at `R_INDEX`."""
    windows = cut(clean, beats.positions[beats.used], R_INDEX, BEAT_SAMPLES)
    typical = np.median(windows, axis=0)
    typical -= typical[:, [qrs_onset(typical)]]
    return replace(beats, positions=beats.positions + r_position(typical, R_INDEX) - R_INDEX)


def _robust_mean(
    clean: NDArray[np.float64], beats: _Beats, start: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Return the mean beat [8, 600], its standard error by lead in mV, and the beats in it.

    Every beat and lead counts by the inverse of its variance about the mean; samples further than
    `_OUTLIER` standard deviations are pulled in; beats three times as noisy as usual are left out.
    A sample counts only where it belongs to the beat. `start` is an earlier estimate.
    """
    index = np.flatnonzero(beats.used)
    windows = cut(clean, beats.positions[index], R_INDEX, BEAT_SAMPLES)
    time = np.arange(BEAT_SAMPLES) - R_INDEX
    own = (time >= -beats.before[index, None]) & (time <= beats.after[index, None])
    # Where no beat owns a sample, all do: the window fades there.
    own = np.where(own.any(axis=0), own, True)[:, None, :].astype(np.float64)
    centre = np.median(windows, axis=0) if start is None else start
    for _ in range(2 if start is None else 1):
        rest = windows - centre
        variance = (own * rest**2).sum(axis=2) / own.sum(axis=2)
        usual = np.maximum(np.median(variance, axis=0), _LEAST_NOISE_MV**2)
        quiet = np.median(variance / usual, axis=1) < _OUTLIER**2
        if quiet.sum() < MIN_BEATS:
            quiet[:] = True
        weight = quiet[:, None] / np.maximum(variance, 0.5 * usual)
        weight = weight[:, :, None] * own
        limit = _OUTLIER * np.sqrt(usual)[:, None]
        total = np.maximum(weight.sum(axis=0), 1e-12 * weight.max())
        centre = centre + (weight * np.clip(rest, -limit, limit)).sum(axis=0) / total
    rest = windows - centre
    n = max(int(quiet.sum()), 2)
    error = np.sum((weight * rest) ** 2, axis=0) / total**2 * n / (n - 1)
    kept = beats.used.copy()
    kept[index] = quiet
    return centre, np.sqrt(np.median(error, axis=1)), kept


def _artefacts(
    signals: NDArray[np.float64], mean: NDArray[np.float64], beats: _Beats
) -> tuple[NDArray[np.float64], float, float]:
    """Return wander and mains, [8, n]: the slow and the mains part of the signal without its beats;
    and the root mean square of each in the largest lead.

    Beats that were not averaged have no model; a straight line takes their place.
    """
    n = signals.shape[1]
    rest = signals - _sequence(mean, beats, n)
    for i in np.flatnonzero(~beats.used):
        start = int(max(beats.positions[i] - beats.before[i], 0))
        end = int(min(beats.positions[i] + beats.after[i] + 1, n))
        _bridge(rest, start, end)
    return _interference(rest, wander=True)


def _interference(
    rest: NDArray[np.float64], *, wander: bool
) -> tuple[NDArray[np.float64], float, float]:
    """Return the mains part of `rest` [8, n], with what is below `WANDER_HZ` if asked for; and the
    root mean square of wander and mains in the largest lead."""
    n = rest.shape[1]
    pad = min(n - 1, int(2 * BEAT_RATE_HZ))
    extended = np.pad(rest, ((0, 0), (pad, pad)), mode="reflect", reflect_type="odd")
    size = fft.next_fast_len(extended.shape[1], real=True)
    slow, hum = _gains(size)
    spectrum = fft.rfft(extended, size, axis=1)
    # By Parseval; the mean of a lead is nobody's disturbance.
    power = (2.0 / (size * extended.shape[1])) * (spectrum.real**2 + spectrum.imag**2)
    wander_rms, mains_rms = (
        float(np.sqrt((power[:, 1:] @ gain[1:] ** 2).max())) for gain in (slow, hum)
    )
    both = fft.irfft(spectrum * (slow + hum if wander else hum), size, axis=1)
    return both[:, pad : pad + n], wander_rms, mains_rms


@lru_cache(maxsize=16)
def _gains(size: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the gains of wander and of mains at the frequencies of a transform of `size`."""
    hz = fft.rfftfreq(size, 1.0 / BEAT_RATE_HZ)
    hum = np.zeros(hz.size)
    for mains in MAINS_HZ:
        for harmonic in range(1, 4):
            hum += np.exp(-0.5 * ((hz - harmonic * mains) / _MAINS_WIDTH_HZ) ** 2)
    return 1.0 / (1.0 + (hz / WANDER_HZ) ** 8), hum


def _sequence(mean: NDArray[np.float64], beats: _Beats, n: int) -> NDArray[np.float64]:
    """Return the signal that the mean beat makes at the beats' positions, [8, n].

    Between two beats it changes over from the one to the other where the time is shared.
    """
    centres = np.rint(beats.positions).astype(np.int64)
    borders = np.rint(centres[:-1] + AFTER_R * np.diff(centres)).astype(np.int64)
    owner = np.searchsorted(borders, np.arange(n), side="right")
    within = np.arange(n) - centres[owner] + R_INDEX
    first = max(R_INDEX - int(BEFORE_R * beats.rr), 0)
    last = min(R_INDEX + int(AFTER_R * beats.rr), BEAT_SAMPLES - 1)
    return mean[:, np.clip(within, first, last)]


def _bridge(rest: NDArray[np.float64], start: int, end: int) -> None:
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
