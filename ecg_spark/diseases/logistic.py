"""Logistic regression on covariates, and score tests of many predictors given it, in NumPy.

With p the probabilities from the covariates X alone, W = diag(p (1 - p)) and g a predictor,

    U = g' (y - p) - g'W X (X'W X)⁻¹ X' (y - p),    V = g'W g - g'W X (X'W X)⁻¹ X'W g

and U² / V is chi-squared with one degree of freedom (Rao 1948, Math Proc Camb Phil Soc 44:50; Cox
& Hinkley 1974, Theoretical Statistics, 9.3). The second term of U is 0 at the maximum of the
likelihood. For all predictors together, U and V are matrix products.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Reals = NDArray[np.float64]
Flags = NDArray[np.bool_]

MAX_ITERATIONS = 30
CONVERGED = 1e-10
"""Newton's method ends at this decrement, about twice what the log likelihood still lacks."""

FARTHEST = 20.0
"""A larger linear predictor means that in some group of people all, or none, are cases."""

CHI2_95 = 3.841458820694124
"""The 95 % point of chi-squared with one degree of freedom: the drop of 2 log L at the ends of a
95 % interval."""

EXPLAINED = 1e-6
"""A predictor is not tested if covariates leave a smaller share of its information."""


@dataclass(frozen=True)
class Fit:
    """A fitted logistic regression.

    Attributes:
        beta: the coefficients, [c].
        covariance: of the coefficients, [c, c].
        probability: of each person, [n].
        log_likelihood: the maximum of the (penalised) log likelihood.
        converged: false if no maximum was found, for example because a covariate separates cases
            from controls.
    """

    beta: Reals
    covariance: Reals
    probability: Reals
    log_likelihood: float
    converged: bool


def fit_logistic(x: Reals, y: Reals, ridge: float = 0.0, start: Reals | None = None) -> Fit:
    """Fit P(y = 1) = 1 / (1 + exp(-x beta)) by Newton's method with step halving.

    Args:
        x: covariates [n, c] with the intercept first.
        y: 1 or 0, [n].
        ridge: the penalty; half of it times the sum of squared coefficients, without the
            intercept, is subtracted from the log likelihood.
        start: initial coefficients; None for 0 and the intercept of the mean.

    Example:
        >>> fit = fit_logistic(np.ones((4, 1)), np.array([1.0, 0.0, 0.0, 0.0]))
        >>> fit.probability.round(3).tolist()
        [0.25, 0.25, 0.25, 0.25]
    """
    beta = np.zeros(x.shape[1]) if start is None else start.copy()
    penalty = np.full(x.shape[1], ridge)
    penalty[0] = 0.0
    if start is None:
        share = np.clip(y.mean(), 1e-9, 1 - 1e-9)
        beta[0] = np.log(share / (1 - share))
    now = _value(x, y, beta, penalty)
    converged = False
    for _ in range(MAX_ITERATIONS):
        p = expit(x @ beta)
        score = x.T @ (y - p) - penalty * beta
        information = (x * (p * (1 - p))[:, None]).T @ x + np.diag(penalty)
        step = solve(information, score)
        if abs(score @ step) < CONVERGED:
            converged = True
            break
        for _ in range(10):
            moved = _value(x, y, beta + step, penalty)
            if moved >= now - 1e-9:
                break
            step /= 2
        beta, now = beta + step, moved
    eta = x @ beta
    p = expit(eta)
    information = (x * (p * (1 - p))[:, None]).T @ x + np.diag(penalty)
    likely = converged and bool(np.abs(eta).max() < FARTHEST)
    return Fit(beta, solve(information, np.eye(len(beta))), p, now, likely)


def solve(matrix: Reals, right: Reals) -> Reals:
    """Solve a symmetric linear system; if it is singular, the solution of smallest norm."""
    try:
        return np.asarray(np.linalg.solve(matrix, right))
    except np.linalg.LinAlgError:
        return np.asarray(np.linalg.lstsq(matrix, right, rcond=1e-12)[0])


def _value(x: Reals, y: Reals, beta: Reals, penalty: Reals) -> float:
    eta = x @ beta
    return float(y @ eta - np.logaddexp(0, eta).sum() - penalty @ beta**2 / 2)


def score_tests(x: Reals, g: Reals, y: Reals, probability: Reals) -> tuple[Reals, Reals]:
    """Score tests of many predictors, each added to the covariates.

    Args:
        x: covariates [n, c], including the intercept.
        g: predictors [n, k].
        y: 1 or 0, [n].
        probability: from the covariates alone, [n].

    Returns:
        The score U and its variance V, each [k]. V is NaN for a predictor that does not vary, or
        that the covariates explain.
    """
    left = y - probability
    weight = probability * (1 - probability)
    weighted = x * weight[:, None]
    inverse = solve(weighted.T @ x, np.eye(x.shape[1]))
    cross = weighted.T @ g
    score = g.T @ left - cross.T @ (inverse @ (x.T @ left))
    own = np.einsum("ij,ij,i->j", g, g, weight)
    return score, usable(own, own - np.einsum("ck,ck->k", cross, inverse @ cross))


def usable(own: Reals, left: Reals) -> Reals:
    """The information of predictors that remains after covariates, or NaN where that is next to
    nothing.

    Args:
        own: the information without covariates, [k].
        left: the information that remains, [k].

    Example:
        >>> usable(np.array([1.0, 1.0]), np.array([0.5, 1e-9])).tolist()
        [0.5, nan]
    """
    return np.where(left > EXPLAINED * own, left, np.nan)
