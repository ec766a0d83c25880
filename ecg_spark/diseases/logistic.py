"""Logistic regression on covariates, and score tests of many predictors given it, in NumPy.

With p the probabilities that covariates X alone give, W = diag(p (1 - p)) and g a predictor,

    U = g' (y - p) - g'W X (X'W X)⁻¹ X' (y - p),    V = g'W g - g'W X (X'W X)⁻¹ X'W g

and U² / V is chi-squared with one degree of freedom (Rao 1948, Math Proc Camb Phil Soc 44:50; Cox
and Hinkley 1974, Theoretical Statistics, 9.3). The second term of U is zero at the maximum of the
likelihood. For all predictors together, U and V are products of matrices.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Reals = NDArray[np.float64]
Flags = NDArray[np.bool_]

MAX_ITERATIONS = 30
CONVERGED = 1e-10
"""Of the decrement of Newton's method, about twice what the log likelihood still lacks."""

FARTHEST = 20.0
"""A linear predictor beyond this tells of groups of people of whom all, or none, are cases."""

CHI2_95 = 3.841458820694124
"""Of one degree of freedom: the drop of 2 log L at the ends of an interval of 95 %."""

EXPLAINED = 1e-6
"""A predictor of which covariates leave a smaller share is not tested."""


@dataclass(frozen=True)
class Fit:
    """A logistic regression: `beta` [c], their `covariance` [c, c], the `probability` of each
    person [n], and the log likelihood; `converged` is false where the likelihood has no maximum
    that could be found, as where a covariate tells cases from controls perfectly."""

    beta: Reals
    covariance: Reals
    probability: Reals
    log_likelihood: float
    converged: bool


def fit_logistic(x: Reals, y: Reals, ridge: float = 0.0, start: Reals | None = None) -> Fit:
    """Fit P(y = 1) = 1 / (1 + exp(-x beta)) by Newton's method with step halving.

    `x` [n, c] has the intercept first; `y` [n] is 0 or 1. `ridge` is taken times half the square of
    every coefficient but the intercept off the log likelihood. `start`: coefficients to begin with.
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
    """The solution of a symmetric system; of one that is singular, the shortest."""
    try:
        return np.asarray(np.linalg.solve(matrix, right))
    except np.linalg.LinAlgError:
        return np.asarray(np.linalg.lstsq(matrix, right, rcond=1e-12)[0])


def _value(x: Reals, y: Reals, beta: Reals, penalty: Reals) -> float:
    eta = x @ beta
    return float(y @ eta - np.logaddexp(0, eta).sum() - penalty @ beta**2 / 2)


def score_tests(x: Reals, g: Reals, y: Reals, probability: Reals) -> tuple[Reals, Reals]:
    """U and V [k] of every predictor `g` [n, k], given the probabilities [n] by `x` [n, c] alone.

    V is NaN for a predictor that does not vary, or of which covariates leave nothing.
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
    """What is `left` of predictors' information when covariates are known, of their `own`.

    NaN where that is next to nothing.
    """
    return np.where(left > EXPLAINED * own, left, np.nan)
