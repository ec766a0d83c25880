"""Ten seconds of one heart: when it beats, which beats are ectopic, and the signal that results."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecg_spark.simulate.heart import PARAMETERS, PROJECTION, Hearts, dipole_mv, qt_ms

RATE_HZ = 500.0
SECONDS = 10.0
SAMPLES = int(RATE_HZ * SECONDS)

ECTOPY_SHARE = 0.10
"""Of the strips of a biobank's people in sinus rhythm: those with premature beats."""

_BEFORE_R_S, _AFTER_R_S = 0.42, 0.78
_MARGIN_S = 2.0  # beats outside of the strip whose P or T reaches into it

# What one recording differs from the next of the same person: posture, electrodes, the day.
_SESSION_SD = {
    "pr_interval": 3.0,
    "qrs_axis": 3.0,
    "r_progression": 2.5,
    "qtc_interval": 5.0,
    "st_level": 0.006,
    "t_amplitude": 0.015,
    "t_axis": 3.0,
}
_SESSION_LOG_SD = {"heart_rate": 0.05, "qrs_voltage": 0.03, "p_amplitude": 0.05}
_ELECTRODE_GAIN_SD = 0.025


@dataclass(frozen=True)
class Rhythm:
    """The beats in and around a strip.

    Attributes:
        r_s: the time of R in s, [n].
        rr_s: the interval before it in s, [n].
        ventricular: marks premature ventricular beats, [n].
        fibrillation: whether the strip has no P waves.
        breaths_hz: the frequency of breathing.
    """

    r_s: NDArray[np.float64]
    rr_s: NDArray[np.float64]
    ventricular: NDArray[np.bool_]
    fibrillation: bool
    breaths_hz: float

    @property
    def mean_rr_s(self) -> float:
        """The mean RR interval in s."""
        return float(self.rr_s.mean())


def session_heart(rng: np.random.Generator, heart: Hearts) -> Hearts:
    """Return one person's parameters on the day of one recording; values of shape [1].

    Posture, electrodes and the day change them a little from one recording to the next.

    Args:
        rng: the random numbers.
        heart: the person's parameters, each [1].
    """
    day = {name: np.array(heart[name], dtype=np.float64) for name in heart}
    for name, sd in _SESSION_SD.items():
        day[name] = day[name] + rng.normal(0, sd)
    for name, sd in _SESSION_LOG_SD.items():
        day[name] = day[name] * np.exp(rng.normal(0, sd))
    return day


def draw_rhythm(
    rng: np.random.Generator,
    heart_rate: float,
    fibrillation: bool,
    ectopy: float = ECTOPY_SHARE,
) -> Rhythm:
    """Draw the beat times of a strip: sinus rhythm with its variability, or fibrillation.

    In sinus rhythm RR follows the breath and a slower wave (Task Force, Circulation 1996; 93:1043);
    in atrial fibrillation successive RR intervals are independent.

    Args:
        rng: the random numbers.
        heart_rate: in beats per minute.
        fibrillation: whether the atria fibrillate.
        ectopy: the probability of premature beats in sinus rhythm.
    """
    mean_rr = 60 / heart_rate
    n = int((SECONDS + 2 * _MARGIN_S) / (0.45 * mean_rr)) + 4
    breaths_hz = rng.uniform(0.18, 0.32)
    if fibrillation:
        rr = np.maximum(0.85 * mean_rr * np.exp(rng.normal(0, 0.2, n)), 0.34)
        ventricular = np.zeros(n, dtype=bool)
    else:
        breath, slow = rng.uniform(0.005, 0.045), rng.uniform(0.005, 0.025)
        when = np.arange(n) * mean_rr
        phases = rng.uniform(0, 2 * np.pi, 2)
        rr = mean_rr * (
            1
            + breath * np.sin(2 * np.pi * breaths_hz * when + phases[0])
            + slow * np.sin(2 * np.pi * 0.1 * when + phases[1])
            + rng.normal(0, 0.006, n)
        )
        ventricular = _add_ectopy(rng, rr, ectopy)
    r_s = np.cumsum(rr) - _MARGIN_S - rng.uniform(0, mean_rr)
    near = (r_s > -_AFTER_R_S) & (r_s < SECONDS + _BEFORE_R_S)
    return Rhythm(r_s[near], rr[near], ventricular[near], fibrillation, breaths_hz)


def _add_ectopy(
    rng: np.random.Generator, rr: NDArray[np.float64], share: float
) -> NDArray[np.bool_]:
    """Make a few beats premature, in place; return which of them are ventricular."""
    ventricular = np.zeros(rr.size, dtype=bool)
    kind = rng.choice(["none", "ventricular", "atrial"], p=[1 - share, 0.6 * share, 0.4 * share])
    if kind == "none":
        return ventricular
    inside = np.flatnonzero((np.cumsum(rr) > _MARGIN_S + 1) & (np.cumsum(rr) < SECONDS + 1))
    candidates = inside[::3]
    many = min(int(rng.integers(1, 3)), candidates.size)
    for beat in rng.choice(candidates, size=many, replace=False):
        early = rr[beat] * rng.uniform(0.35, 0.42)
        rr[beat] -= early
        if kind == "ventricular":  # the sinus node keeps its pace: a full pause follows
            rr[beat + 1] += early
            ventricular[beat] = True
    return ventricular


def strip_mv(rng: np.random.Generator, heart: Hearts, rhythm: Rhythm) -> NDArray[np.float64]:
    """Return the eight independent leads of a strip without noise, [8, 5000] in mV.

    QT adapts to RR, mostly to its mean; the breath rotates and scales the heart a little.

    Args:
        rng: the random numbers.
        heart: the parameters on that day, each [1].
        rhythm: the beats.
    """
    n = rhythm.r_s.size
    beats = {p.name: np.repeat(heart[p.name], n) for p in PARAMETERS}
    breath = np.sin(2 * np.pi * rhythm.breaths_hz * rhythm.r_s + rng.uniform(0, 2 * np.pi))
    beats["qrs_axis"] = beats["qrs_axis"] + 2 * breath
    beats["qrs_voltage"] = beats["qrs_voltage"] * (1 + 0.02 * breath)
    _widen(beats, rhythm.ventricular)
    atria = np.where(rhythm.ventricular | rhythm.fibrillation, 0.0, 1.0)
    rr_ms = 1000 * (0.8 * rhythm.mean_rr_s + 0.2 * rhythm.rr_s)
    qt = qt_ms(beats, rr_ms)
    first = np.floor((rhythm.r_s - _BEFORE_R_S) * RATE_HZ).astype(int)
    width = int((_BEFORE_R_S + _AFTER_R_S) * RATE_HZ)
    t_ms = ((first[:, None] + np.arange(width)) / RATE_HZ - rhythm.r_s[:, None]) * 1000
    waves = dipole_mv(beats, t_ms, qt, atria)
    padded = np.zeros((3, SAMPLES + 4 * width))
    for start, wave in zip(first + 2 * width, waves, strict=True):
        padded[:, start : start + width] += wave
    dipole = padded[:, 2 * width : 2 * width + SAMPLES]
    if rhythm.fibrillation:
        dipole = dipole + _fibrillatory_waves(rng)
    gain = 1 + rng.normal(0, _ELECTRODE_GAIN_SD, (PROJECTION.shape[0], 1))
    gain[:2] = 1  # the limb leads hardly depend on where on the limb an electrode is
    return (gain * PROJECTION) @ dipole


def _widen(beats: dict[str, NDArray[np.float64]], ventricular: NDArray[np.bool_]) -> None:
    """Give premature ventricular beats their wide, rotated QRS and opposite T, in place."""
    change = {"qrs_duration": 1.7, "qrs_voltage": 1.4, "septal_q": 0.2, "t_amplitude": -1.5}
    for name, factor in change.items():
        beats[name] = np.where(ventricular, beats[name] * factor, beats[name])
    beats["qrs_axis"] = np.where(ventricular, beats["qrs_axis"] + 130, beats["qrs_axis"])


def _fibrillatory_waves(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return f waves of atrial fibrillation, [3, samples] in mV: 4 to 8 Hz, largest towards V1."""
    t = np.arange(SAMPLES) / RATE_HZ
    drift = np.cumsum(rng.normal(0, 0.03, SAMPLES))
    wave = np.sin(2 * np.pi * rng.uniform(4.5, 7.5) * t + drift)
    wave = wave + 0.4 * np.sin(2 * (2 * np.pi * 5.9 * t + 1.3 * drift))
    return rng.uniform(0.02, 0.06) * np.array([[-0.3], [0.6], [-0.7]]) * wave
