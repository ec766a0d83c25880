"""How well a disease is predicted by covariates, and what intervals, factors and components add.

Each model is fitted with a ridge penalty to four fifths of the people and judged in the remaining
fifth, five times. The area under the ROC curve, and Harrell's C for incident disease (Harrell et
al. 1982, JAMA 247:2543), are the share of pairs of people that the model ranks correctly:

    C = Σ hᵢⱼ / D,    se² = Σᵢ (Σⱼ (hᵢⱼ - C))² / D²

over the D pairs in which it is known who is ill (first), where hᵢⱼ is 1, ½ for equal risks, or 0.
The variance is that of DeLong et al. (1988, Biometrics 44:837) for both; that of the difference of
two models follows from the differences.
"""

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import rankdata

from ecg_spark.diseases.cox import Risk, fit_cox
from ecg_spark.diseases.logistic import Flags, Reals, fit_logistic
from ecg_spark.diseases.outcomes import Outcome
from ecg_spark.diseases.panels import Panel
from ecg_spark.diseases.testing import independent_terms
from ecg_spark.tables import OWN, PEER

COVARIATES = "covariates"
MODELS: dict[str, tuple[str, tuple[str, ...]]] = {
    COVARIATES: ("", ()),
    "intervals": (COVARIATES, ("traits",)),
    "factors": (COVARIATES, ("vae",)),
    "components": (COVARIATES, (PEER,)),
    "own phenotypes": (COVARIATES, (OWN,)),
    "intervals and factors": ("intervals", ("traits", "vae")),
}
"""For each model, the model that it extends and its groups of predictors."""

FEWEST_CASES = 100
"""With fewer cases there is no prediction: their ranks would be too uncertain."""

FOLDS = 5
RIDGE = 10.0
"""The ridge penalty: it corresponds to a prior standard deviation of 0.3 for a coefficient."""

TENTHS = 10
_CHUNK = 256


@dataclass(frozen=True)
class Concordance:
    """The share of pairs that are ranked correctly, and each person's influence on it, [n]."""

    value: float
    influence: Reals

    @property
    def se(self) -> float:
        """The standard error."""
        return float(np.sqrt((self.influence**2).sum()))


def predictions(panel: Panel, outcome: Outcome, disease: str, seed: int) -> list[dict[str, Any]]:
    """One row per model whose predictors the panel has; none with fewer than `FEWEST_CASES`
    cases or controls.
    """
    if outcome.cases < FEWEST_CASES or outcome.cases > len(outcome.rows) - FEWEST_CASES:
        return []
    folds = _folds(outcome, disease, seed)
    covariates = panel.covariates[outcome.rows]
    covariates = covariates[:, independent_terms(covariates)]
    judged: dict[str, Concordance] = {}
    rows = []
    for name, (extends, groups) in MODELS.items():
        if any(not len(panel.columns(group)) for group in groups):
            continue
        x = np.column_stack([covariates, panel.filled[outcome.rows][:, panel.columns(*groups)]])
        risk = _out_of_fold(x, outcome, folds)
        judged[name] = found = concordance(risk, outcome.is_case, outcome.time)
        slope, slope_se, expected = _calibration(risk, outcome)
        tenth = np.minimum(TENTHS * (rankdata(risk, "ordinal") - 1) // len(risk), TENTHS - 1)
        by_tenth = [
            np.bincount(tenth.astype(int), weights, TENTHS)
            for weights in (expected, outcome.is_case.astype(float))
        ]
        row = {"model": name, "cases": outcome.cases, "n": len(risk)}
        row |= {"concordance": found.value, "se": found.se, "gain": None, "gain_se": None}
        if extends:
            other = judged[extends]
            row["gain"] = found.value - other.value
            row["gain_se"] = Concordance(0, found.influence - other.influence).se
        row |= {"slope": slope, "slope_se": slope_se}
        row |= {"expected": by_tenth[0].tolist(), "observed": by_tenth[1].tolist()}
        rows.append(row)
    return rows


def _folds(outcome: Outcome, disease: str, seed: int) -> NDArray[np.int64]:
    """The fold of each person, with cases and controls spread evenly; the same in every run."""
    rng = np.random.default_rng([seed, zlib.crc32(f"{disease} {outcome.kind}".encode())])
    folds = np.empty(len(outcome.rows), int)
    for side in (outcome.is_case, ~outcome.is_case):
        folds[side] = rng.permutation(int(side.sum())) % FOLDS
    return folds


def _out_of_fold(x: Reals, outcome: Outcome, folds: NDArray[np.int64]) -> Reals:
    """The linear predictor of each person, from a model that was fitted to others."""
    risk = np.empty(len(x))
    y = outcome.is_case.astype(float)
    start: Reals | None = None
    for fold in range(FOLDS):
        held = folds == fold
        seen = ~held
        if outcome.time is None:
            with_intercept = np.column_stack([np.ones(len(x)), x])
            start = fit_logistic(with_intercept[seen], y[seen], RIDGE, start).beta
            risk[held] = with_intercept[held] @ start
        else:
            order = Risk(outcome.time[seen], y[seen])
            start = fit_cox(order, x[seen][order.order], start, ridge=RIDGE).beta
            risk[held] = x[held] @ start
    return risk


def _calibration(risk: Reals, outcome: Outcome) -> tuple[float, float, Reals]:
    """The slope of the outcome on the linear predictor, its standard error, and the expected cases
    per person.

    For incident disease the expected cases add up to those observed.
    """
    y = outcome.is_case.astype(float)
    if outcome.time is None:
        fit = fit_logistic(np.column_stack([np.ones(len(risk)), risk]), y)
        return float(fit.beta[1]), float(np.sqrt(fit.covariance[1, 1])), np.asarray(expit(risk))
    order = Risk(outcome.time, y)
    own = fit_cox(order, risk[order.order, None])
    relative = np.exp(risk[order.order] - risk.max())
    expected = np.empty(len(risk))
    expected[order.order] = relative * order.hazard(order.sums(relative))
    return float(own.beta[0]), float(np.sqrt(own.covariance[0, 0])), expected


def concordance(risk: Reals, is_case: Flags, time: Reals | None = None) -> Concordance:
    """How often, of two people, the one with the larger risk is the case (or the earlier one).

    Args:
        risk: [n].
        is_case: [n].
        time: if given, each case is compared with everybody whose time is longer; otherwise with
            every control.

    Example:
        >>> concordance(np.array([0.9, 0.2, 0.4, 0.1]), np.array([True, True, False, False])).value
        0.75
    """
    if time is None:
        return _area(risk, is_case)
    n = len(risk)
    right, pairs = np.zeros(n), np.zeros(n)
    for start in range(0, n, _CHUNK):
        some = start + np.flatnonzero(is_case[start : start + _CHUNK])
        if not len(some):
            continue
        later = time[None, :] > time[some, None]
        above, same = risk[some, None] > risk[None, :], risk[some, None] == risk[None, :]
        won = (above + 0.5 * same) * later
        right[some] += won.sum(axis=1)
        pairs[some] += later.sum(axis=1)
        right += won.sum(axis=0)
        pairs += later.sum(axis=0)
    total = pairs.sum() / 2
    value = right.sum() / pairs.sum()
    return Concordance(float(value), (right - value * pairs) / total)


def _area(risk: Reals, is_case: Flags) -> Concordance:
    """The area under the ROC curve, from ranks."""
    cases, controls = risk[is_case], risk[~is_case]
    among_all = rankdata(risk)
    below = (among_all[is_case] - rankdata(cases)) / len(controls)  # controls below each case
    above = 1 - (among_all[~is_case] - rankdata(controls)) / len(cases)
    value = float(below.mean())
    influence = np.empty(len(risk))
    influence[is_case] = (below - value) / len(cases)
    influence[~is_case] = (above - value) / len(controls)
    return Concordance(value, influence)
