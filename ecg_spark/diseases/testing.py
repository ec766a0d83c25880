"""Every predictor against one disease: one null model, score tests of all, and fits where they
matter.

If the score test has p < 0.1, or if there are few cases, the test is by likelihood: Firth's
penalised logistic regression, or Cox's. Otherwise the estimate is a single Newton step from no
effect, U / V.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecg_spark.diseases.cox import Risk, cox_estimate, cox_score_tests, fit_cox
from ecg_spark.diseases.firth import firth, null_firth
from ecg_spark.diseases.logistic import Flags, Reals, fit_logistic, score_tests
from ecg_spark.diseases.outcomes import Outcome
from ecg_spark.diseases.panels import Panel
from ecg_spark.genetics.testing.p_values import neg_log10_p_of_z

FIT_BELOW = 0.1
FEW_CASES = 30
"""With fewer cases every test is by likelihood."""

TOGETHER = 16
"""How many predictors are fitted side by side."""

SCORE, FIRTH, COX = "score", "firth", "cox"
DEPENDENT = 1e-6


@dataclass(frozen=True)
class Tested:
    """The tests of all predictors against an outcome.

    Attributes:
        null_model: logistic, firth or cox.
        expected: the linear predictor of each person from the covariates.
        rows: one row of disease_associations for each predictor that could be tested.
    """

    null_model: str
    expected: Reals
    rows: list[dict[str, Any]]


def assess(panel: Panel, outcome: Outcome) -> Tested:
    """Test the predictors of a panel against an outcome."""
    if outcome.time is None:
        return _logistic(panel, outcome)
    return _cox(panel, outcome, outcome.time)


def independent_terms(covariates: Reals) -> NDArray[np.int64]:
    """The places of the covariates [n, c] that vary and do not follow from those before them.

    Example:
        >>> x = np.array([[1.0, 2.0, 1.0, 0.0], [2.0, 4.0, 1.0, 0.0], [3.0, 6.0, 1.0, 1.0]])
        >>> independent_terms(x).tolist()
        [0, 3]
    """
    centred = covariates - covariates.mean(axis=0)
    gram = centred.T @ centred
    held: list[int] = []
    for k in range(len(gram)):
        left = gram[k, k]
        if held:
            cross = gram[held, k]
            left -= cross @ np.linalg.solve(gram[np.ix_(held, held)], cross)
        if left > DEPENDENT * max(gram[k, k], len(covariates) * DEPENDENT):
            held.append(k)
    return np.array(held, int)


def _logistic(panel: Panel, outcome: Outcome) -> Tested:
    rows, y = outcome.rows, outcome.is_case.astype(float)
    covariates = panel.covariates[rows]
    x = np.column_stack([np.ones(len(rows)), covariates[:, independent_terms(covariates)]])
    g, known = panel.filled[rows], panel.known[rows]
    null = fit_logistic(x, y)
    coefficients, probability, name = null.beta, null.probability, "logistic"
    if not null.converged:  # a covariate separates cases from controls, or nearly
        coefficients, probability = null_firth(x, y)
        name = FIRTH
    places = panel.tested
    score, variance = score_tests(x, g[:, places], y, probability)
    table = _one_step(panel, places, score, variance, outcome, known)
    chosen = _chosen(table, outcome.cases)
    whole = [k for k in chosen if known[:, k].all()]
    for start in range(0, len(whole), TOGETHER):
        some = whole[start : start + TOGETHER]
        found = firth(x, g[:, some], y, coefficients)
        for j, k in enumerate(some):
            _put(table[k], FIRTH, *(values[j] for values in vars(found).values()))
    for k in set(chosen) - set(whole):
        own = known[:, k]
        kept = np.append(0, 1 + independent_terms(x[own, 1:]))  # the intercept is the first
        found = firth(x[own][:, kept], g[own][:, [k]], y[own], coefficients[kept])
        _put(table[k], FIRTH, *(values[0] for values in vars(found).values()))
    return Tested(name, x @ coefficients, list(table.values()))


def _cox(panel: Panel, outcome: Outcome, time: Reals) -> Tested:
    rows, event = outcome.rows, outcome.is_case.astype(float)
    covariates = panel.covariates[rows]
    x = covariates[:, independent_terms(covariates)]
    g, known = panel.filled[rows], panel.known[rows]
    risk = Risk(time, event)
    order = risk.order
    null = fit_cox(risk, x[order])
    places = panel.tested
    score, variance = cox_score_tests(risk, x[order], g[order][:, places], null)
    table = _one_step(panel, places, score, variance, outcome, known)
    for k in _chosen(table, outcome.cases):
        own = known[:, k]
        if own.all():
            found = cox_estimate(risk, x[order], g[order, k], null)
        else:
            part = Risk(time[own], event[own])
            kept = independent_terms(x[own])
            mine = x[own][:, kept][part.order]
            start = fit_cox(part, mine, null.beta[kept])
            found = cox_estimate(part, mine, g[own, k][part.order], start)
        _put(table[k], COX, *vars(found).values())
    return Tested(COX, x @ null.beta, list(table.values()))


def _one_step(
    panel: Panel,
    places: NDArray[np.int64],
    score: Reals,
    variance: Reals,
    outcome: Outcome,
    known: Flags,
) -> dict[int, dict[str, Any]]:
    """A row for each predictor that can be tested, from its score test, by its place in the
    panel.
    """
    found = {}
    with np.errstate(invalid="ignore", divide="ignore"):
        strength = neg_log10_p_of_z(score / np.sqrt(variance))
    for k, u, v, p in zip(places.tolist(), score, variance, strength, strict=True):
        own = known[:, k]
        if not np.isfinite(v) or not outcome.is_case[own].any():
            continue
        found[k] = {
            "predictor": panel.predictors[k].name,
            "group": panel.predictors[k].group,
            "beta": float(u / v),
            "se": float(1 / np.sqrt(v)),
            "lower": None,
            "upper": None,
            "neg_log10_p": float(p),
            "test": SCORE,
            "cases": int(outcome.is_case[own].sum()),
            "n": int(own.sum()),
        }
    return found


def _chosen(table: dict[int, dict[str, Any]], cases: int) -> list[int]:
    if cases < FEW_CASES:
        return list(table)
    return [k for k, row in table.items() if row["neg_log10_p"] > -np.log10(FIT_BELOW)]


def _put(
    row: dict[str, Any], test: str, beta: float, se: float, lower: float, upper: float, p: float
) -> None:
    """Replace the score test in a row by the result of a fit.

    If the fit did not converge, the effect is unknown and the p-value of the score test stays.
    """
    if not np.isfinite(p):
        row |= {"beta": None, "se": None}
        return
    limits = [float(one) if np.isfinite(one) else None for one in (lower, upper)]
    row |= {"beta": float(beta), "se": float(se), "lower": limits[0], "upper": limits[1]}
    row |= {"neg_log10_p": float(p), "test": test}
