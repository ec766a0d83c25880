"""Recorded hearts: how planted variants and covariates change the signal of a real recording.

A recording brings its own heart, rhythm and noise. A change is local and smooth: in every sinus
beat the time axis is stretched between fiducials, or a wave is scaled, rotated, or added to. What
lies outside of the wave, beats of another shape, and the noise stay as they were recorded.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import map_coordinates

from ecg_spark.ecg.beat import BEAT_RATE_HZ, R_INDEX, Beat, Fiducials
from ecg_spark.ecg.recording import INDEPENDENT_LEADS
from ecg_spark.simulate.heart import PROJECTION, Parameter

Signal = NDArray[np.float64]

CHANGES = (
    Parameter("pr_interval", "ms", True, "P earlier: onset of P to onset of QRS longer",
              0, 24, age=0.2, sex=0.2, bmi=0.1, ancestry=0.25),
    Parameter("p_duration", "ms", True, "P stretched from its onset",
              0, 12, age=0.15, sex=0.2, bmi=0.2),
    Parameter("qrs_duration", "ms", True, "QRS stretched about R, PR and QT as they were",
              0, 10, age=0.1, sex=0.5, bmi=0.1),
    Parameter("qtc_interval", "ms", True, "ST and T stretched: the end of T later",
              0, 24, age=0.15, sex=-0.5, bmi=0.1),
    Parameter("p_amplitude", "1", False, "P times this in all leads",
              1, 0.30, log=True, age=-0.1, ancestry=0.2),
    Parameter("p_terminal", "mV", False, "added to the second half of P in V1, half of it in V2",
              0, 0.025, age=0.15, bmi=0.1),
    Parameter("qrs_axis", "degrees", False, "QRS of the limb leads turned in the frontal plane",
              0, 25, age=-0.25, bmi=-0.3),
    Parameter("qrs_voltage", "1", False, "QRS times this in all leads",
              1, 0.24, log=True, sex=0.3, bmi=-0.25, ancestry=0.35),
    Parameter("r_progression", "leads", False, "QRS of a chest lead read so far towards V1",
              0, 0.5, age=0.1, bmi=-0.1),
    Parameter("septal_q", "mV", False, "added to the first third of QRS in V1, taken off V5 and V6",
              0, 0.07, age=-0.15, sex=0.15),
    Parameter("qrs_notch", "mV", False, "a deflection at the end of QRS, downwards and to the left",
              0, 0.06, age=-0.1, sex=0.25),
    Parameter("st_level", "mV", False, "added to ST, most in the leads from V2 to V5",
              0, 0.05, sex=0.4, age=-0.15, ancestry=0.3),
    Parameter("t_amplitude", "1", False, "T times this in all leads",
              1, 0.35, log=True, sex=0.3, age=-0.2, bmi=-0.2, ancestry=-0.3),
    Parameter("t_asymmetry", "ms", False, "peak of T later, its end where it was",
              0, 9, sex=0.15, age=-0.1),
    Parameter("t_axis", "degrees", False, "T of the limb leads turned in the frontal plane",
              0, 22, age=0.15, bmi=-0.15),
    Parameter("t_anterior", "1", False, "T times this in V1 to V3",
              1, 0.35, log=True, sex=0.2, age=-0.1),
)  # fmt: skip
"""The changes that genes and covariates make, each with a spread as wide as that of hearts.

A score here has no part of chance: that is the recorded heart itself.
"""

_LEAST_GAP = 0.4  # what must be left of the time between two fiducials
_QRS_BEFORE_R, _QRS_AFTER_R = 0.44, 0.56
_EDGE = int(0.012 * BEAT_RATE_HZ)
_MARGIN = int(0.016 * BEAT_RATE_HZ)
_LEVEL = 4
_V1 = INDEPENDENT_LEADS.index("V1")
_DOWN_LEFT = PROJECTION @ np.array([0.75, 0.75, -0.10])
_ST = PROJECTION @ np.array([0.35, 0.35, -0.65])


def changed(signal_mv: Signal, beat: Beat, change: Mapping[str, float]) -> Signal:
    """Return a recording's independent leads with planted changes.

    A wave that is absent is not changed. Times change by no more than leaves 40 % of what lies
    between two fiducials.

    Args:
        signal_mv: [8, n] in mV at 500 Hz.
        beat: its average beat, whose fiducials say where the waves of each averaged beat lie.
        change: a value for each of `CHANGES`, in its unit.

    Returns:
        [8, n] in mV.
    """
    before = beat.fiducials
    after = _moved(before, beat.reach, change)
    signal = _stretched(signal_mv, beat, before, after)
    for r in beat.r_samples:
        _change_waves(signal, float(r), after, change)
    return signal


def _moved(at: Fiducials, reach: tuple[float, float], change: Mapping[str, float]) -> Fiducials:
    """Return the fiducials after the change."""
    ms = BEAT_RATE_HZ / 1000
    pr, p, qrs, qt, peak = (
        change[name] * ms
        for name in ("pr_interval", "p_duration", "qrs_duration", "qtc_interval", "t_asymmetry")
    )
    early = -_QRS_BEFORE_R * qrs
    names, shifts = ["qrs_onset", "qrs_offset"], [early, _QRS_AFTER_R * qrs]
    if at.p_onset is not None and at.p_offset is not None:
        names, shifts = ["p_onset", "p_offset", *names], [early - pr, early - pr + p, *shifts]
    if at.t_peak is not None and at.t_offset is not None:
        part = (at.t_peak - at.qrs_offset) / (at.t_offset - at.qrs_offset)
        names, shifts = (
            [*names, "t_peak", "t_offset"],
            [*shifts, early + qt * part + peak, early + qt],
        )
    old = np.array([getattr(at, name) for name in names])
    gap, closer = map(np.diff, _pinned(old, -np.array(shifts), reach))
    most = np.min(np.where(closer > 0, (1 - _LEAST_GAP) * gap / np.maximum(closer, 1e-9), 1.0))
    new = old + np.array(shifts) * min(1.0, float(most))
    return replace(at, **dict(zip(names, new.tolist(), strict=True)))


def _pinned(at: Signal, shift: Signal, reach: tuple[float, float]) -> tuple[Signal, Signal]:
    """Return positions in a beat and how far each moves; R and the beat's borders do not."""
    inner = np.searchsorted(at, R_INDEX)
    first, last = min(R_INDEX - reach[0], at[0] - 1), max(R_INDEX + reach[1], at[-1] + 1)
    places = np.concatenate([[first], np.insert(at, inner, R_INDEX), [last]])
    return places, np.concatenate([[0.0], np.insert(shift, inner, 0.0), [0.0]])


def _stretched(signal: Signal, beat: Beat, before: Fiducials, after: Fiducials) -> Signal:
    """Return the signal with every averaged beat's fiducials moved, read by cubic splines."""
    pairs = [
        (getattr(before, name), getattr(after, name))
        for name in ("p_onset", "p_offset", "qrs_onset", "qrs_offset", "t_peak", "t_offset")
    ]
    known = [(old, new) for old, new in pairs if old is not None]
    old, new = (np.array(side) for side in zip(*known, strict=True))
    n = signal.shape[1]
    at, back = _pinned(new, old - new, beat.reach)
    first, last = at[0], at[-1]
    curve = PchipInterpolator([first - 1, *at, last + 1], [0.0, *back, 0.0])
    read = np.arange(n, dtype=np.float64)
    for r in beat.r_samples:
        start, stop = max(int(r - R_INDEX + first), 0), min(int(r - R_INDEX + last) + 1, n)
        here = np.arange(start, stop)
        within = here - r + R_INDEX
        read[here] += np.where((within > first) & (within < last), curve(within), 0.0)
    return np.stack([map_coordinates(row, [read], order=3, mode="nearest") for row in signal])


def _change_waves(signal: Signal, r: float, at: Fiducials, change: Mapping[str, float]) -> None:
    """Scale, rotate and add to the waves of one beat, in place."""
    for first, last, act in _waves(at, change):
        start, stop = (round(r - R_INDEX + edge) for edge in (first, last))
        if start < _LEVEL or stop > signal.shape[1] - _LEVEL or stop - start < 2 * _EDGE:
            continue
        levels = [
            signal[:, edge - _LEVEL // 2 : edge + _LEVEL // 2].mean(axis=1)
            for edge in (start, stop)
        ]
        part = np.linspace(0, 1, stop - start)
        wave = signal[:, start:stop] - np.outer(levels[0], 1 - part) - np.outer(levels[1], part)
        near = np.minimum(np.arange(stop - start) + 0.5, np.arange(stop - start)[::-1] + 0.5)
        share = 0.5 - 0.5 * np.cos(np.pi * np.minimum(near / _EDGE, 1.0))
        signal[:, start:stop] += share * (act(wave) - wave)


def _waves(
    at: Fiducials, change: Mapping[str, float]
) -> Iterator[tuple[float, float, Callable[[Signal], Signal]]]:
    """Yield where each wave of a beat begins and ends, and the function that changes it."""
    if at.p_onset is not None and at.p_offset is not None:
        yield at.p_onset - _MARGIN, at.p_offset + _MARGIN / 2, lambda wave: _p(wave, change)
    yield at.qrs_onset - _MARGIN / 2, at.qrs_offset + _MARGIN, lambda wave: _qrs(wave, change)
    if at.t_peak is not None and at.t_offset is not None:
        start = at.qrs_offset
        peak = (at.t_peak - start) / (at.t_offset - start)
        yield start, at.t_offset + 2 * _MARGIN, lambda wave: _st_t(wave, peak, change)


def _p(wave: Signal, change: Mapping[str, float]) -> Signal:
    out = wave * change["p_amplitude"]
    late = change["p_terminal"] * _bell(wave, 0.68, 0.12)
    out[_V1] += late
    out[_V1 + 1] += late / 2
    return out


def _qrs(wave: Signal, change: Mapping[str, float]) -> Signal:
    out = wave * change["qrs_voltage"]
    out[:2] = _turned(out[:2], change["qrs_axis"])
    chest = np.arange(len(out) - _V1)
    read = np.clip(chest - change["r_progression"], 0, chest[-1])
    left = np.minimum(read.astype(int), chest[-1] - 1)
    part = (read - left)[:, None]
    out[_V1:] = (1 - part) * out[_V1 + left] + part * out[_V1 + left + 1]
    septal = change["septal_q"] * _bell(wave, 0.28, 0.09)
    out[_V1] += septal
    out[-2:] -= septal
    return out + np.outer(change["qrs_notch"] * _DOWN_LEFT, _bell(wave, 0.72, 0.07))


def _st_t(wave: Signal, peak: float, change: Mapping[str, float]) -> Signal:
    out = wave * change["t_amplitude"]
    out[:2] = _turned(out[:2], change["t_axis"])
    out[_V1 : _V1 + 3] *= change["t_anterior"]
    return out + np.outer(change["st_level"] * _ST, _bell(wave, 0.5 * peak, 0.2 * peak))


def _turned(limb: Signal, degrees: float) -> Signal:
    """Return leads I and II [2, n] rotated in the frontal plane: I = cos, aVF = sin sqrt(3) / 2."""
    angle = np.deg2rad(degrees)
    left, down = limb[0], (2 * limb[1] - limb[0]) / np.sqrt(3)
    one = np.cos(angle) * left - np.sin(angle) * down
    foot = np.sin(angle) * left + np.cos(angle) * down
    return np.stack([one, (np.sqrt(3) * foot + one) / 2])


def _bell(wave: Signal, centre: float, width: float) -> NDArray[np.float64]:
    """Return a bell over a wave, with centre and SD as fractions of the wave's length."""
    at = np.linspace(0, 1, wave.shape[1])
    return np.asarray(np.exp(-0.5 * ((at - centre) / width) ** 2))
