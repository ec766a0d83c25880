"""The heart as a moving dipole: the beat in twelve leads that follows from a person's parameters.

The heart vector is a sum of Gaussian kernels for P, Q, R, S and T on three axes (McSharry et al.,
IEEE Trans Biomed Eng 2003; 50:289; Sameni et al., EURASIP J Adv Signal Process 2007:43407), and the
leads are its projections by Dower's matrix (Dower et al., J Electrocardiol 1980; 13:367). Axes: x
to the left, y to the feet, z to the back, in mV.

Each person's parameters are scores: standard normal numbers, on which genes, age, sex and body mass
act linearly. `hearts_from_scores` turns them into milliseconds, degrees and millivolts. Times,
angles and signs act on the signal nonlinearly, as they do in people.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from ecg_spark.ecg.beat import BEAT_RATE_HZ, BEAT_SAMPLES, R_INDEX
from ecg_spark.ecg.recording import INDEPENDENT_LEADS, derive_leads

Hearts = Mapping[str, NDArray[np.float64]]
"""Parameters of n hearts in their units: one array of shape [n] for each name in PARAMETERS."""


@dataclass(frozen=True)
class Parameter:
    """One trait of the heart: how its score becomes a physical value, and what acts on the score.

    The value is `floor + median * exp(spread * score)` if `log`, else `median + spread * score`.

    Attributes:
        name: the name.
        unit: the unit of the value.
        seen_by_interval: whether a conventional interval or rate measures it.
        description: what it is.
        median: the value of a score of 0, less `floor`.
        spread: the change of the value, or of its logarithm, by a score of 1.
        log: whether the value is log-normal.
        floor: the lowest value of a log-normal one.
        age: the effect of one standard deviation of age on the score.
        sex: the effect of being male.
        bmi: the effect of one standard deviation of BMI.
        ancestry: the shift of the score in the second population.
    """

    name: str
    unit: str
    seen_by_interval: bool
    description: str
    median: float
    spread: float
    log: bool = False
    floor: float = 0.0
    age: float = 0.0
    sex: float = 0.0
    bmi: float = 0.0
    ancestry: float = 0.0

    def value(self, score: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the physical values of scores, of the same shape.

        Example:
            >>> rate = Parameter("heart_rate", "bpm", True, "ventricular rate", 66, 0.15, log=True)
            >>> rate.value(np.array([0.0])).tolist()
            [66.0]
        """
        if self.log:
            return self.floor + self.median * np.exp(self.spread * score)
        return self.median + self.spread * score


PARAMETERS = (
    Parameter("heart_rate", "bpm", True, "mean ventricular rate",
              66, 0.15, log=True, sex=-0.25, bmi=0.15),
    Parameter("pr_interval", "ms", True, "onset of P to onset of QRS",
              72, 0.35, log=True, floor=85, age=0.2, sex=0.2, bmi=0.1, ancestry=0.25),
    Parameter("p_duration", "ms", True, "onset to end of P",
              102, 0.12, log=True, age=0.15, sex=0.2, bmi=0.2),
    Parameter("qrs_duration", "ms", True, "onset to end of QRS",
              92, 0.11, log=True, age=0.1, sex=0.5, bmi=0.1),
    Parameter("qtc_interval", "ms", True, "QT at 60 bpm (Fridericia)",
              410, 26, age=0.15, sex=-0.5, bmi=0.1),
    Parameter("p_amplitude", "1", False, "scale of the P wave",
              1.4, 0.30, log=True, age=-0.1, ancestry=0.2),
    Parameter("p_notch", "1", False,
              "logit of the delay from right to left atrium as a part of the P duration: bifid P",
              -0.75, 0.60, age=0.15, bmi=0.1),
    Parameter("qrs_axis", "degrees", False, "frontal axis of the main QRS vector",
              42, 31, age=-0.25, bmi=-0.3),
    Parameter("qrs_voltage", "1", False, "scale of all QRS vectors",
              1.0, 0.24, log=True, sex=0.3, bmi=-0.25, ancestry=0.35),
    Parameter("r_progression", "degrees", False,
              "turn of QRS about the body's long axis: where R overtakes S from V1 to V6",
              0, 14, age=0.1, bmi=-0.1),
    Parameter("septal_q", "1", False, "scale of the septal vector: q in V6, r in V1",
              1.0, 0.42, log=True, age=-0.15, sex=0.15),
    Parameter("qrs_notch", "mV", False, "extra deflection at the end of QRS",
              0.14, 0.50, log=True, age=-0.1, sex=0.25),
    Parameter("st_level", "mV", False, "level of the ST segment",
              0.03, 0.06, sex=0.4, age=-0.15, ancestry=0.3),
    Parameter("t_amplitude", "mV", False, "size of T, negative where T is inverted",
              0.25, 0.14, sex=0.3, age=-0.2, bmi=-0.2, ancestry=-0.3),
    Parameter("t_asymmetry", "1", False, "log ratio of the rise of T to its fall, QT unchanged",
              0.40, 0.40, sex=0.15, age=-0.1),
    Parameter("t_axis", "degrees", False, "frontal axis of T away from its usual place",
              0, 22, age=0.15, bmi=-0.15),
)  # fmt: skip
"""The parameters that genes act on, in the order of the columns of every array of scores."""

DOWER = {
    "I": (0.632, -0.235, 0.059),
    "II": (0.235, 1.066, -0.132),
    "V1": (-0.515, 0.157, -0.917),
    "V2": (0.044, 0.164, -1.387),
    "V3": (0.882, 0.098, -1.277),
    "V4": (1.213, 0.127, -0.601),
    "V5": (1.125, 0.127, -0.086),
    "V6": (0.831, 0.076, 0.230),
}
PROJECTION = np.array([DOWER[lead] for lead in INDEPENDENT_LEADS])
"""Heart vector to the eight independent leads, [8, 3]."""

# x and y as leads I and aVF see them. An axis in degrees means: I = cos, aVF = sin * sqrt(3) / 2.
_FRONTAL = np.array([PROJECTION[0, :2], PROJECTION[1, :2] - PROJECTION[0, :2] / 2])
_FRONTAL_TO_XY = np.linalg.inv(np.diag([1, 2 / sqrt(3)]) @ _FRONTAL)
_XY_TO_FRONTAL = np.linalg.inv(_FRONTAL_TO_XY)

# Where QRS begins and ends around R, as parts of its duration.
QRS_ONSET = -0.44
QRS_END = 0.56
_QRS_AXIS = 42.0

# Vectors of an average heart in mV; centre and width as parts of the QRS duration.
_QRS_KERNELS = {
    "q": (-0.23, 0.080, (-0.20, -0.08, -0.32)),
    "r": (0.00, 0.105, (1.10, 0.50, 0.22)),
    "s": (0.24, 0.110, (-0.22, -0.10, 0.70)),
}
_NOTCH = (0.46, 0.075, (0.75, 0.75, -0.10))
_RIGHT_ATRIUM = np.array([0.050, 0.100, -0.075])
_LEFT_ATRIUM = np.array([0.090, 0.055, 0.065])
_ST = np.array([0.35, 0.35, -0.65])
_T_AXIS = 45.0
_T_DEPTH = -0.65
_T_LEAD_MS = np.array([0.0, 0.0, 12.0])


def hearts_from_scores(
    scores: NDArray[np.float64], parameters: tuple[Parameter, ...] = PARAMETERS
) -> Hearts:
    """Return physical parameters by name, each [n].

    Args:
        scores: standard normal, [n, len(parameters)].
        parameters: what the columns of the scores are.
    """
    return {p.name: p.value(scores[:, k]) for k, p in enumerate(parameters)}


def sample_hearts(rng: np.random.Generator, n: int) -> Hearts:
    """Return the parameters of n unrelated hearts, on which neither covariates nor genes act."""
    return hearts_from_scores(rng.standard_normal((n, len(PARAMETERS))))


def qt_ms(hearts: Hearts, rr_ms: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Return QT in ms at a given RR interval by Fridericia's cube root.

    Args:
        hearts: the parameters, each [n].
        rr_ms: the RR intervals, [n], or one for all.

    Example:
        >>> qt_ms({"qtc_interval": np.array([400.0])}, 1000.0).tolist()
        [400.0]
    """
    return np.asarray(hearts["qtc_interval"] * np.cbrt(np.asarray(rr_ms) / 1000))


def dipole_mv(
    hearts: Hearts,
    t_ms: NDArray[np.float64],
    qt: NDArray[np.float64],
    atria: NDArray[np.float64] | float = 1.0,
) -> NDArray[np.float64]:
    """Return the heart vector of n beats, [n, 3, samples] in mV.

    Args:
        hearts: the parameters, each [n].
        t_ms: the time from R, [samples] or [n, samples].
        qt: the QT interval of each beat in ms, [n].
        atria: scales P; 0 for a beat without P wave.
    """
    t = np.broadcast_to(t_ms, (len(qt), np.shape(t_ms)[-1]))
    p = {name: np.asarray(value)[..., None] for name, value in hearts.items()}
    qrs = p["qrs_duration"]
    return (
        _atrial(p, t, QRS_ONSET * qrs - p["pr_interval"]) * np.reshape(atria, (-1, 1, 1))
        + _ventricular(p, t)
        + _repolarisation(p, t, QRS_ONSET * qrs + qt[:, None])
    )


def beat_mv(hearts: Hearts) -> NDArray[np.float32]:
    """Return a noise-free beat of each heart, float32 [n, 12, 600] in mV at 500 Hz, R at 248."""
    t_ms = (np.arange(BEAT_SAMPLES) - R_INDEX) * 1000 / BEAT_RATE_HZ
    dipole = dipole_mv(hearts, t_ms, qt_ms(hearts, 60_000 / hearts["heart_rate"]))
    return derive_leads(PROJECTION @ dipole).astype(np.float32)


def _bell(
    t: NDArray[np.float64], centre: NDArray[np.float64], width: NDArray[np.float64]
) -> NDArray[np.float64]:
    return np.exp(-0.5 * ((t - centre) / width) ** 2)


def _atrial(p: Hearts, t: NDArray[np.float64], onset: NDArray[np.float64]) -> NDArray[np.float64]:
    duration = np.minimum(p["p_duration"], p["pr_interval"] - 6)
    width = duration * (1 - expit(p["p_notch"])) / 4.4
    right = _bell(t, onset + 2.2 * width, width)
    left = _bell(t, onset + duration - 2.2 * width, width)
    wave = right[:, None] * _RIGHT_ATRIUM[:, None] + left[:, None] * _LEFT_ATRIUM[:, None]
    return p["p_amplitude"][..., None] * wave


def _ventricular(p: Hearts, t: NDArray[np.float64]) -> NDArray[np.float64]:
    duration = p["qrs_duration"]
    turn = _frontal_turn(p["qrs_axis"] - _QRS_AXIS) @ _horizontal_turn(p["r_progression"])
    scale: dict[str, NDArray[np.float64] | float] = {"q": p["septal_q"], "r": 1.0, "s": 1.0}
    loop = sum(
        (scale[name] * _bell(t, centre * duration, width * duration))[:, None]
        * np.array(vector)[:, None]
        for name, (centre, width, vector) in _QRS_KERNELS.items()
    )
    centre, width, vector = _NOTCH
    notch = p["qrs_notch"] * _bell(t, centre * duration, width * duration)
    notch_vector = _frontal_turn((p["qrs_axis"] - _QRS_AXIS) / 2) @ np.array(vector)[:, None]
    return p["qrs_voltage"][..., None] * (turn @ loop) + notch[:, None] * notch_vector


def _repolarisation(
    p: Hearts, t: NDArray[np.float64], end: NDArray[np.float64]
) -> NDArray[np.float64]:
    onset = QRS_ONSET * p["qrs_duration"]
    both_widths = 0.24 * (end - onset)
    fall = both_widths * expit(-p["t_asymmetry"])
    rise = both_widths - fall
    peak = end - 2.1 * fall
    axis = np.deg2rad(_T_AXIS + 0.3 * (p["qrs_axis"] - _QRS_AXIS) + p["t_axis"])
    xy = np.concatenate([np.cos(axis), np.sin(axis)], axis=-1) @ _FRONTAL_TO_XY.T
    vector = np.concatenate([xy, np.full((*xy.shape[:-1], 1), _T_DEPTH)], axis=-1)
    early = (t - peak)[:, None] + _T_LEAD_MS[:, None]
    width = np.where(early < 0, rise[..., None], fall[..., None])
    wave = p["t_amplitude"][..., None] * vector[..., None] * np.exp(-0.5 * (early / width) ** 2)
    plateau = expit((t - QRS_END * p["qrs_duration"]) / 6) * expit((peak - rise - t) / 20)
    return wave + (p["st_level"] * plateau)[:, None] * _ST[:, None]


def _frontal_turn(degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return matrices [n, 3, 3] that rotate the limb leads' frontal axis by degrees [n, 1]."""
    a = np.deg2rad(degrees[..., 0])
    turn = np.stack([np.cos(a), -np.sin(a), np.sin(a), np.cos(a)], axis=-1).reshape(*a.shape, 2, 2)
    out = np.zeros((*a.shape, 3, 3))
    out[..., :2, :2] = _FRONTAL_TO_XY @ turn @ _XY_TO_FRONTAL
    out[..., 2, 2] = 1
    return out


def _horizontal_turn(degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return matrices [n, 3, 3] that rotate from back to left about y by degrees [n, 1]."""
    a = np.deg2rad(degrees[..., 0])
    zero, one = np.zeros_like(a), np.ones_like(a)
    rows = [np.cos(a), zero, np.sin(a), zero, one, zero, -np.sin(a), zero, np.cos(a)]
    return np.stack(rows, axis=-1).reshape(*a.shape, 3, 3)
