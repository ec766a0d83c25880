"""Cox regression of incident disease, with score tests of many predictors.

The partial likelihood uses Breslow's approximation for ties. With people sorted by decreasing
time, rᵢ = exp(xᵢ β), the sums S₀ = Σ r and S₁ = Σ r x over those at risk at each time t with d
events, and Λᵢ = Σ d / S₀ over the times up to i's own,

    U = Σ events x - Σ d S₁ / S₀,    I = Σᵢ rᵢ Λᵢ xᵢ xᵢ' - Σ d (S₁ / S₀)(S₁ / S₀)'

(Cox 1972, J R Stat Soc B 34:187; Breslow 1974, Biometrics 30:89), which are matrix products for
all predictors at once. Tests and intervals of a single predictor are by the likelihood ratio.
"""

from dataclasses import dataclass

import numpy as np

from ecg_spark.diseases.logistic import CHI2_95, CONVERGED, MAX_ITERATIONS, Reals, solve, usable
from ecg_spark.genetics.testing.p_values import neg_log10_p_of_chi2


class Risk:
    """Who is at risk at which time, with people sorted by decreasing time.

    Rows of arrays given to the methods are people in the order `order`.

    Args:
        time: until the event or the end of observation, [n].
        event: 1 if it is an event, 0 if the observation ended, [n].
    """

    def __init__(self, time: Reals, event: Reals) -> None:
        self.order = np.argsort(-time, kind="stable")
        falling, happened = time[self.order], event[self.order] > 0
        self.event = happened.astype(float)
        # At risk at a time is everybody with at least that time, hence up to the last of its ties.
        last = np.searchsorted(-falling, -falling[happened], side="right")
        self.ends, self.deaths = np.unique(last, return_counts=True)  # falling times
        self._first = np.searchsorted(self.ends, np.arange(len(time)) + 1, side="left")
        self._starts = np.concatenate([[0], self.ends[:-1]]).astype(int)

    def sums(self, values: Reals) -> Reals:
        """Sums of values [n, k] or [n] over the people at risk at each time of an event."""
        return (
            np.asarray(np.cumsum(np.add.reduceat(values, self._starts, axis=0), axis=0))
            if len(self.ends)
            else np.zeros((0, *values.shape[1:]))
        )

    def hazard(self, at_risk: Reals) -> Reals:
        """The cumulative hazard Λ of each person [n], from S₀ at each time of an event."""
        steps = self.deaths / at_risk
        until = np.append(np.cumsum(steps[::-1])[::-1], 0.0)
        return np.asarray(until[self._first])


@dataclass(frozen=True)
class CoxFit:
    """A fitted Cox regression.

    Attributes:
        beta: the coefficients, [c].
        covariance: of the coefficients, [c, c].
        relative: rᵢ of each person up to a common factor, [n].
        log_likelihood: the maximum of the (penalised) log partial likelihood.
        converged: whether the maximum was found.
    """

    beta: Reals
    covariance: Reals
    relative: Reals
    log_likelihood: float
    converged: bool


def fit_cox(
    risk: Risk,
    x: Reals,
    start: Reals | None = None,
    held: float | None = None,
    ridge: float = 0.0,
) -> CoxFit:
    """Fit a Cox regression by Newton's method.

    Args:
        x: covariates [n, c], in the order of `risk`; c may be 0.
        start: initial coefficients; None for 0.
        held: if given, the last coefficient is fixed at this value.
        ridge: the penalty; half of it times the sum of squared coefficients is subtracted from the
            log likelihood.
    """
    beta = np.zeros(x.shape[1]) if start is None else start.copy()
    size = x.shape[1]
    if held is not None:
        beta[-1], size = held, size - 1
    now, score, information, relative = _state(risk, x, beta, ridge)
    converged = False
    for _ in range(MAX_ITERATIONS):
        step = np.zeros(len(beta))
        step[:size] = solve(information[:size, :size], score[:size])
        if abs(score @ step) < CONVERGED:
            converged = True
            break
        for _ in range(10):
            moved = _state(risk, x, beta + step, ridge)
            if moved[0] >= now - 1e-9:
                break
            step /= 2
        beta = beta + step
        now, score, information, relative = moved
    covariance = solve(information, np.eye(len(beta)))
    return CoxFit(beta, covariance, relative, now, converged)


def _state(
    risk: Risk, x: Reals, beta: Reals, ridge: float = 0.0
) -> tuple[float, Reals, Reals, Reals]:
    """The log likelihood, its score and information, and rᵢ; rows in the order of `risk`."""
    eta = x @ beta
    shift = float(eta.max(initial=0.0))
    relative = np.exp(eta - shift)
    at_risk = risk.sums(relative)
    mean = risk.sums(relative[:, None] * x) / at_risk[:, None]
    value = float(risk.event @ (eta - shift) - risk.deaths @ np.log(at_risk))
    score = x.T @ risk.event - mean.T @ risk.deaths
    weight = relative * risk.hazard(at_risk)
    information = (x * weight[:, None]).T @ x - (mean * risk.deaths[:, None]).T @ mean
    if ridge:
        value -= ridge * float(beta @ beta) / 2
        score, information = score - ridge * beta, information + ridge * np.eye(len(beta))
    return value, score, information, relative


def cox_score_tests(risk: Risk, x: Reals, g: Reals, null: CoxFit) -> tuple[Reals, Reals]:
    """Score tests of many predictors, each added to the covariates.

    Args:
        x: covariates [n, c], in the order of `risk`.
        g: predictors [n, k], in the order of `risk`.
        null: the fit of `x` alone.

    Returns:
        The score U and its variance V, each [k]. V is NaN for a predictor that does not vary among
        those at risk, or that the covariates explain.
    """
    relative = null.relative
    at_risk = risk.sums(relative)
    mean_x = risk.sums(relative[:, None] * x) / at_risk[:, None]
    mean_g = risk.sums(relative[:, None] * g) / at_risk[:, None]
    deaths = risk.deaths[:, None]
    weight = relative * risk.hazard(at_risk)
    score = g.T @ risk.event - mean_g.T @ risk.deaths
    own = np.einsum("ij,ij,i->j", g, g, weight)
    spread = own - (deaths * mean_g**2).sum(axis=0)
    cross = (x * weight[:, None]).T @ g - (deaths * mean_x).T @ mean_g
    left = spread - np.einsum("ck,ck->k", cross, null.covariance @ cross)
    return score, usable(own, left)


@dataclass(frozen=True)
class CoxEstimate:
    """The log hazard ratio per unit of a predictor, with the fields of `firth.Estimates`."""

    beta: float
    se: float
    lower: float
    upper: float
    neg_log10_p: float


_NAN = float("nan")
NO_ESTIMATE = CoxEstimate(_NAN, _NAN, _NAN, _NAN, _NAN)


def cox_estimate(risk: Risk, x: Reals, g: Reals, null: CoxFit) -> CoxEstimate:
    """Fit one predictor together with the covariates.

    Args:
        x: covariates [n, c], in the order of `risk`.
        g: the predictor [n], in the order of `risk`.
        null: the fit without the predictor.

    Returns:
        NaN in every field if the likelihood has no maximum, for example because nobody who has the
        predictor gets the disease.
    """
    both = np.column_stack([x, g])
    start = np.append(null.beta, 0.0)
    best = fit_cox(risk, both, start)
    se = float(np.sqrt(max(best.covariance[-1, -1], 0.0)))
    beta = float(best.beta[-1])
    if not best.converged or not 0 < se < 1e3 * abs(beta) + 1e3 or abs(beta) * g.std() > 20:
        return NO_ESTIMATE
    chi2 = max(2 * (best.log_likelihood - null.log_likelihood), 0.0)
    lower, upper = (_limit(risk, both, best, beta, se, sign) for sign in (-1.0, 1.0))
    return CoxEstimate(beta, se, lower, upper, float(neg_log10_p_of_chi2(chi2, 1)))


def _limit(risk: Risk, both: Reals, best: CoxFit, beta: float, se: float, sign: float) -> float:
    """One end of the 95 % profile likelihood interval; NaN if it is not found.

    Newton's method on the root of the deviance, as in `firth`.
    """
    target = float(np.sqrt(CHI2_95))
    at, start = beta + sign * target * se, best.beta
    for _ in range(15):
        fit = fit_cox(risk, both, start, held=at)
        if not fit.converged:
            break
        root = float(np.sqrt(max(2 * (best.log_likelihood - fit.log_likelihood), 1e-12)))
        if abs(target - root) < 1e-5:
            return at
        slope = -sign * _state(risk, both, fit.beta)[1][-1] / root
        move = (target - root) / max(slope, 1e-12)
        reach = abs(at - beta)
        at += sign * float(np.clip(move, -0.5 * reach, 2 * reach))
        start = fit.beta
    return float("nan")
