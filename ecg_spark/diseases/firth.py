"""Firth's penalised logistic regression of many predictors, each with the same covariates.

The penalised log likelihood is

    l*(γ, β) = l(γ, β) + ½ log |I(γ, β)|

with the coefficients γ of the covariates, β of one predictor, and their information I (Firth 1993,
Biometrika 80:27). Its maximum is finite even if a predictor separates cases from controls, and is
less biased with few cases. Tests and intervals are by the penalised likelihood ratio, with γ at
its maximum for each β (Heinze & Schemper 2002, Stat Med 21:2409), as in R's logistf: a restricted
fit keeps the predictor in I.

Each of the predictors [n, m] is a problem of its own. They are solved side by side, so that the
work on the covariates becomes matrix products.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from ecg_spark.diseases.logistic import CHI2_95, Reals
from ecg_spark.genetics.testing.p_values import neg_log10_p_of_chi2

Whole = NDArray[np.int64]

MAX_ITERATIONS = 60
MAX_STEP = 5.0
CONVERGED = 1e-11
_HELD_BYTES = 256 << 20
_BLOCK = 8192


@dataclass(frozen=True)
class Estimates:
    """The effects of predictors, each [m]; NaN where the fit, or the search for a limit, did not
    converge.

    Attributes:
        beta: log odds ratio per unit of the predictor.
        se: its standard error.
        lower: lower limit of the 95 % profile likelihood interval.
        upper: upper limit.
        neg_log10_p: -log10 p of the penalised likelihood ratio test.
    """

    beta: Reals
    se: Reals
    lower: Reals
    upper: Reals
    neg_log10_p: Reals


@dataclass
class _State:
    """The penalised log likelihood [m] at some coefficients, its modified score [m, c + 1] and
    the information [m, c + 1, c + 1]; the predictor comes last.
    """

    value: Reals
    score: Reals
    information: Reals

    def put(self, at: Whole, other: "_State") -> None:
        """Replace some problems by those of another state."""
        self.value[at], self.score[at] = other.value, other.score
        self.information[at] = other.information


class _People:
    """The covariates x [n, c], the predictors g [n, m], and who is a case, y [n]."""

    def __init__(self, x: Reals, g: Reals, y: Reals) -> None:
        self.x, self.g, self.y = x, g, y
        c = x.shape[1]
        self._one, self._two = np.triu_indices(c)
        self._twice = np.where(self._one == self._two, 1.0, 2.0)
        self._blocks = [slice(k, k + _BLOCK) for k in range(0, len(x), _BLOCK)]
        self._held: list[Reals] | None = None
        if len(x) * len(self._one) * 8 <= _HELD_BYTES:
            self._held = [self._products(block) for block in self._blocks]

    def _products(self, block: slice) -> Reals:
        """The products of all pairs of covariates, [rows, c (c + 1) / 2]."""
        rows = self.x[block]
        return rows[:, self._one] * rows[:, self._two]

    def _parts(self) -> list[tuple[slice, Reals | None]]:
        return [
            (block, self._held[k] if self._held else None) for k, block in enumerate(self._blocks)
        ]

    def state(self, gamma: Reals, beta: Reals, which: Whole) -> _State:
        """The state of the predictors `which` [m], at coefficients gamma [c, m] and beta [m]."""
        x, y, c, m = self.x, self.y, self.x.shape[1], len(which)
        value = np.zeros(m)
        pairs = np.zeros((len(self._one), m))
        information = np.zeros((m, c + 1, c + 1))
        probabilities = []
        for block, held in self._parts():
            products = self._products(block) if held is None else held
            g = self.g[block][:, which]
            eta = x[block] @ gamma + g * beta
            p = expit(eta)
            probabilities.append(p)
            value += y[block] @ eta - np.logaddexp(0, eta).sum(axis=0)
            weight = p * (1 - p)
            pairs += products.T @ weight
            weighted = weight * g
            information[:, :c, c] += (x[block].T @ weighted).T
            information[:, c, c] += (weighted * g).sum(axis=0)
        information[:, self._one, self._two] = pairs.T
        information[:, self._two, self._one] = pairs.T
        information[:, c, :c] = information[:, :c, c]
        value += np.linalg.slogdet(information)[1] / 2
        inverse = np.linalg.inv(information)
        of_pairs = (inverse[:, self._one, self._two] * self._twice).T
        score = np.zeros((m, c + 1))
        for (block, held), p in zip(self._parts(), probabilities, strict=True):
            products = self._products(block) if held is None else held
            g = self.g[block][:, which]
            leverage = products @ of_pairs + g * (
                2 * (x[block] @ inverse[:, :c, c].T) + g * inverse[:, c, c]
            )
            left = y[block, None] - p + p * (1 - p) * leverage * (0.5 - p)
            score[:, :c] += (x[block].T @ left).T
            score[:, c] += (g * left).sum(axis=0)
        return _State(value, score, information)


def firth(
    x: Reals, g: Reals, y: Reals, start: Reals | None = None, intervals: bool = True
) -> Estimates:
    """Fit each predictor together with the covariates.

    Args:
        x: covariates [n, c], including the intercept; nothing may be missing.
        g: predictors [n, m]; nothing may be missing.
        y: 1 for cases and 0 for controls, [n].
        start: initial coefficients of the covariates; None for 0.
        intervals: whether to compute the limits; NaN if not.
    """
    people, m = _People(x, g, y), g.shape[1]
    each = np.arange(m)
    gamma = np.tile((np.zeros(x.shape[1]) if start is None else start)[:, None], (1, m))
    base, _, without, ended = _maximise(people, gamma, np.zeros(m), each, free=False)
    gamma, beta, best, also_ended = _maximise(people, base, np.zeros(m), each, free=True)
    chi2 = np.maximum(2 * (best.value - without.value), 0)
    se = np.sqrt(np.linalg.inv(best.information)[:, -1, -1])
    known = ended & also_ended
    limits = np.full((2, m), np.nan)
    if intervals and known.any():
        at = each[known]
        for side, sign in enumerate((-1.0, 1.0)):
            limits[side, at] = _limit(
                people, gamma[:, at], beta[at], se[at], best.value[at], at, sign
            )
    return Estimates(
        np.where(known, beta, np.nan),
        np.where(known, se, np.nan),
        limits[0],
        limits[1],
        np.where(known, neg_log10_p_of_chi2(chi2, 1), np.nan),
    )


def null_firth(x: Reals, y: Reals) -> tuple[Reals, Reals]:
    """The penalised fit of the covariates alone, finite even if one of them separates cases from
    controls.

    Args:
        x: covariates [n, c], including the intercept.
        y: 1 for cases and 0 for controls, [n].

    Returns:
        The coefficients [c] and the probabilities [n].
    """
    people = _People(x[:, :-1], x[:, -1:], y)
    start = np.zeros((x.shape[1] - 1, 1))
    gamma, beta, _, _ = _maximise(people, start, np.zeros(1), np.zeros(1, int), free=True)
    coefficients = np.append(gamma[:, 0], beta)
    return coefficients, expit(x @ coefficients)


def _maximise(
    people: _People, gamma: Reals, beta: Reals, which: Whole, free: bool
) -> tuple[Reals, Reals, _State, NDArray[np.bool_]]:
    """The coefficients at the maximum, the state there, and which problems converged.

    beta stays where it is unless it is `free`.
    """
    gamma, beta = gamma.copy(), beta.copy()
    c = len(gamma)
    state = people.state(gamma, beta, which)
    live = np.arange(len(which))
    for _ in range(MAX_ITERATIONS):
        size = c + free
        score = state.score[live, :size]
        step = np.linalg.solve(state.information[live, :size, :size], score[..., None])[..., 0]
        going = np.abs((step * score).sum(axis=1)) >= CONVERGED
        live, step = live[going], step[going]
        if not len(live):
            break
        step *= np.minimum(1, MAX_STEP / np.abs(step).max(axis=1))[:, None]
        trial = live
        for _ in range(8):
            new_gamma = gamma[:, trial] + step[:, :c].T
            new_beta = beta[trial] + (step[:, c] if free else 0)
            found = people.state(new_gamma, new_beta, which[trial])
            better = found.value >= state.value[trial] - 1e-9
            at = trial[better]
            gamma[:, at], beta[at] = new_gamma[:, better], new_beta[better]
            state.put(at, _State(*(part[better] for part in vars(found).values())))
            trial, step = trial[~better], step[~better] / 2
            if not len(trial):
                break
        live = live[~np.isin(live, trial)]  # no step improves these: they do not converge
        if len(trial):
            state.value[trial] = np.nan
    ended = np.ones(len(which), bool)
    ended[live] = False
    ended &= np.isfinite(state.value)
    return gamma, beta, state, ended


def _limit(
    people: _People, gamma: Reals, beta: Reals, se: Reals, best: Reals, which: Whole, sign: float
) -> Reals:
    """The value of beta on one side where 2 (l* - best) is the 95 % point of chi-squared.

    Newton's method on the signed root of the deviance, which is nearly linear in beta; its slope
    is that of l*, since γ is at its maximum there.
    """
    target = np.sqrt(CHI2_95)
    at = beta + sign * target * se
    limit = np.full(len(beta), np.nan)
    live = np.arange(len(beta))
    for _ in range(20):
        own, _, state, ended = _maximise(people, gamma[:, live], at[live], which[live], free=False)
        gamma[:, live] = own
        root = np.sqrt(np.maximum(2 * (best[live] - state.value), 1e-12))
        slope = sign * state.score[:, -1] / root  # of the root outwards, negated
        move = (target - root) / np.maximum(-slope, 1e-12)
        reach = 2 * np.abs(at[live] - beta[live])
        move = np.clip(move, -0.5 * np.abs(at[live] - beta[live]), reach)
        done = ended & (np.abs(target - root) < 1e-5)
        limit[live[done]] = at[live[done]]
        live, move = live[ended & ~done], move[ended & ~done]
        if not len(live):
            break
        at[live] += sign * move
    return limit
