"""The sum of single effects (SuSiE): which variants of a region cause a signal, and how certainly.

The model of Wang et al. (2020, J R Stat Soc B 82:1273) on sufficient statistics: a phenotype is
the sum of a few effects, each of exactly one variant, and noise. Iterative Bayesian stepwise
selection (IBSS) fits one effect after the other to the residual of the others, and gives for each
effect the probability of every variant to be the causal one.

Phenotypes that are fitted jointly are uncorrelated and of variance 1. An effect is then that of
one variant on all K of them, b ~ N(0, V I). For a variant j with x'x = m, and χ²ⱼ the sum of the K
squared z-scores of the residual of the other effects,

    log BFⱼ = -K/2 log(1 + w) + χ²ⱼ/2 w / (1 + w),    w = V m / σ²,

so that the evidence for a variant depends only on its omnibus χ², however the phenotypes were
decorrelated. The prior variance V of each effect is estimated, shared by the phenotypes: with one
per phenotype, noise alone would inflate some. With K = 1 this is SuSiE as published.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

Reals = NDArray[np.float64]
Whole = NDArray[np.int64]

EFFECTS = 10
"""The most signals that are looked for in a region."""

COVERAGE = 0.95
"""The probability with which a credible set contains the causal variant."""

MIN_ABS_R = 0.5
"""The purity filter: a set with two variants of smaller |r| is uninformative and dropped."""

_TOLERANCE = 1e-3
_ROUNDS = 100
_FIRST_VARIANCE = 0.2
_LEAST_VARIANCE = 1e-9
_LOG_VARIANCE = (-30.0, 15.0)


@dataclass(frozen=True)
class CredibleSet:
    """A signal and its credible set.

    Attributes:
        variants: the smallest set that contains the causal variant with probability `COVERAGE`,
            the most probable first.
        alpha: the probability of every variant of the region to be the causal one, [p].
        log_bf: the log Bayes factor of every variant against no effect, [p].
        log_bf_of_set: the log Bayes factor of the signal.
        min_abs_r: the smallest |r| between two of its variants.
    """

    variants: Whole
    alpha: Reals
    log_bf: Reals
    log_bf_of_set: float
    min_abs_r: float


@dataclass(frozen=True)
class Fit:
    """The signals of a region.

    Attributes:
        sets: the credible sets, the strongest first.
        pip: the posterior inclusion probability of every variant, [p].
        elbo: the evidence lower bound after each round.
        has_converged: whether it changed by less than 0.001 in the last round.
        sigma2: the residual variance.
    """

    sets: list[CredibleSet]
    pip: Reals
    elbo: list[float]
    has_converged: bool
    sigma2: float


def fit(r: Reals, z: Reals, total: float, n: float, effects: int = EFFECTS) -> Fit:
    """Fit the sum of single effects to the sufficient statistics of a region.

    The prior variance of each effect and the residual variance are estimated. Rounds end when the
    evidence lower bound changes by less than 0.001, or after 100.

    Args:
        r: the correlation matrix of the variants, [p, p].
        z: products of each variant with each phenotype, both of variance 1 after covariates, over
            √(n - 1), [p, K].
        total: the sum of squares of all phenotypes after covariates.
        n: the number of people.
        effects: the most signals to look for.
    """
    p, k = z.shape
    m = n - 1
    xy = z * np.sqrt(m)
    sigma2 = total / (m * k)
    variance = np.full(effects, _FIRST_VARIANCE * sigma2)
    alpha, log_bf = np.full((effects, p), 1 / p), np.zeros((effects, p))
    log_bf_of, kl = np.zeros(effects), np.zeros(effects)
    effect, fitted = np.zeros((2, effects, p, k))  # x'x b of each effect
    square = np.zeros(effects)  # the expected sum of squares of b
    elbo = [-np.inf]
    while len(elbo) <= _ROUNDS:
        left = xy - fitted.sum(axis=0)
        for one in range(effects):
            own = left + fitted[one]
            chi2 = (own**2).sum(axis=1) / (m * sigma2)
            variance[one] = _prior_variance(chi2, k, m / sigma2, variance[one])
            w = variance[one] * m / sigma2
            log_bf[one] = _log_bf(chi2, k, w)
            log_bf_of[one] = logsumexp(log_bf[one]) - np.log(p)
            alpha[one] = np.exp(log_bf[one] - log_bf_of[one]) / p
            mean = own / m * (w / (1 + w))
            effect[one] = alpha[one][:, None] * mean
            square[one] = alpha[one] @ (mean**2).sum(axis=1) + k * variance[one] / (1 + w)
            kl[one] = -log_bf_of[one] - (-2 * (effect[one] * own).sum() + m * square[one]) / (
                2 * sigma2
            )
            fitted[one] = m * (r @ effect[one]) if w else 0.0
            left = own - fitted[one]
        together, all_fitted = effect.sum(axis=0), fitted.sum(axis=0)
        rss = total - 2 * (together * xy).sum() + (together * all_fitted).sum()
        rss += m * square.sum() - (effect * fitted).sum()
        elbo.append(-n * k / 2 * np.log(2 * np.pi * sigma2) - rss / (2 * sigma2) - float(kl.sum()))
        if abs(elbo[-1] - elbo[-2]) < _TOLERANCE:
            break
        sigma2 = float(rss) / (n * k)
    acts = variance > _LEAST_VARIANCE
    pip = 1 - np.prod(1 - alpha[acts], axis=0)
    sets: dict[tuple[int, ...], CredibleSet] = {}
    for one in np.flatnonzero(acts).tolist():
        found = _credible(alpha[one], log_bf[one], float(log_bf_of[one]), r)
        if found.min_abs_r >= MIN_ABS_R:
            sets.setdefault(tuple(np.sort(found.variants).tolist()), found)
    strongest = sorted(sets.values(), key=lambda found: -found.log_bf_of_set)
    return Fit(strongest, pip, elbo[1:], abs(elbo[-1] - elbo[-2]) < _TOLERANCE, sigma2)


def _log_bf(chi2: Reals, k: int, w: float) -> Reals:
    return np.asarray(-k / 2 * np.log1p(w) + chi2 / 2 * w / (1 + w))


def _prior_variance(chi2: Reals, k: int, weight: float, before: float) -> float:
    """The prior variance with the largest evidence for an effect; 0 if no value has any.

    `weight` is x'x / σ². The value `before` of the previous round is kept if the search finds none
    as good.
    """

    most = float(chi2.max())

    def evidence(log_variance: float) -> float:
        w = float(np.exp(log_variance)) * weight
        shrunk = w / (1 + w) / 2
        others = float(np.exp(shrunk * (chi2 - most)).sum())
        return shrunk * most + float(np.log(others)) - k / 2 * float(np.log1p(w))

    found = minimize_scalar(
        lambda value: -evidence(value), bounds=_LOG_VARIANCE, method="bounded",
        options={"xatol": 1e-6},
    ).x  # fmt: skip
    if before > 0 and evidence(np.log(before)) > evidence(found):
        found = np.log(before)
    return float(np.exp(found)) if evidence(found) > np.log(len(chi2)) else 0.0


def _credible(alpha: Reals, log_bf: Reals, log_bf_of_set: float, r: Reals) -> CredibleSet:
    """The smallest set of variants whose probabilities add up to at least `COVERAGE`."""
    order = np.argsort(-alpha, kind="stable")
    within = order[: int((np.cumsum(alpha[order]) < COVERAGE).sum()) + 1]
    linked = float(np.abs(r[np.ix_(within, within)]).min())
    return CredibleSet(within, alpha, log_bf, log_bf_of_set, linked)
