"""Colocalisation: whether two signals of a region have the same causal variant.

From the Bayes factors of each variant for one signal and for the other, each assumed to have a
single cause, follow the posterior probabilities of five hypotheses (Giambartolomei et al. 2014,
PLoS Genet 10:e1004383): neither signal is real (H0), only the first (H1), only the second (H2),
both with different causes (H3), both with the same cause (H4). The signals are those that SuSiE
separated (Wallace 2021, PLoS Genet 17:e1009440), so that several in a region do not mask each
other. For published statistics, whose LD is unknown, a single cause is assumed. All of this holds
among the variants that were tested.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import logsumexp

from ecg_spark.genetics.findings.finemapping import Signal
from ecg_spark.tables import PEER

Reals = NDArray[np.float64]

P1 = P2 = 1e-4
"""The prior probability that a variant is causal for one trait."""

P12 = 5e-6
"""The prior probability that it is causal for both (Wallace 2020, PLoS Genet 16:e1008720)."""

LEAST_SHARED = 0.5
"""Two signals are only compared if the cause of each is among the variants of both with at least
this probability."""

SD_PRIOR = 0.15
"""The prior standard deviation of an effect on a trait of variance 1 (Giambartolomei)."""


Evidence = tuple[Reals, Reals, NDArray[np.int64]]
"""The evidence for a signal: for each variant the probability that it is the cause, its log Bayes
factor, and its place among the sites of the region."""


def posteriors(first: Reals, second: Reals) -> Reals:
    """The posterior probabilities of H0 to H4.

    Args:
        first: log Bayes factors of the variants for the first signal, [p].
        second: log Bayes factors of the same variants for the second signal, [p].

    Example:
        >>> posteriors(np.array([20.0, 0.0]), np.array([20.0, 0.0])).round(3).tolist()
        [0.0, 0.0, 0.0, 0.0, 1.0]
    """
    one, other, both = logsumexp(first), logsumexp(second), logsumexp(first + second)
    # The sum over pairs of two different variants: over all pairs, minus each variant with itself.
    apart = one + other
    with np.errstate(divide="ignore"):
        differ = apart + np.log(-np.expm1(min(both - apart, 0.0)))
    p1, p2, p12 = (np.log(min(prior, 1 / (len(first) + 1))) for prior in (P1, P2, P12))
    logs = np.array([0.0, p1 + one, p2 + other, p1 + p2 + differ, p12 + both])
    return np.asarray(np.exp(logs - logsumexp(logs)))


def log_bf_of_published(beta: Reals, se: Reals, af: Reals, n: Reals) -> Reals:
    """The log Bayes factor of each variant to be the only cause, from published statistics, [p].

    Wakefield's approximation (2009, Genet Epidemiol 33:79) for a trait scaled to variance 1. The
    variance of the trait follows from 2 n f (1 - f) = var(y) / se², fitted over the variants.

    Args:
        beta: effects [p], in the unit of the trait.
        se: their standard errors.
        af: allele frequencies.
        n: numbers of people.
    """
    spread, precision = 2 * n * af * (1 - af), 1 / se**2
    variance = float(spread @ precision) / float(precision @ precision)
    share = SD_PRIOR**2 / (SD_PRIOR**2 + se**2 / variance)
    return np.asarray(0.5 * (np.log1p(-share) + share * (beta / se) ** 2))


def rows_of_pairs(
    signals: Sequence[Signal],
    groups: Mapping[str, str],
    published: Mapping[str, Evidence],
    sites: pd.DataFrame,
    stretch: tuple[int, int],
) -> Iterator[dict[str, Any]]:
    """The rows of the table colocalisation of a region.

    Each signal is compared with every signal of a phenotype of another group; within the traits,
    and within the study's own phenotypes, also with those of other phenotypes of the group; and
    with each published trait.

    Args:
        groups: the group of every phenotype and omnibus test; those of the group pca are left out.
        published: the evidence of each published trait.
        sites: the variants of the region.
        stretch: start and end of the region.
    """
    asked = [one for one in signals if groups[one.phenotype] != PEER]
    for k, one in enumerate(asked):
        for other in asked[k + 1 :]:
            latents = groups[one.phenotype] == groups[other.phenotype] == "vae"
            if one.phenotype == other.phenotype or latents:
                continue
            own = (one.found.alpha, one.found.log_bf, one.places)
            theirs = (other.found.alpha, other.found.log_bf, other.places)
            if told := _pair(own, theirs, sites):
                yield {
                    **_named(one, stretch),
                    "phenotype_2": other.phenotype,
                    "signal_2": other.number,
                    **told,
                }
        for trait, evidence in published.items():
            own = (one.found.alpha, one.found.log_bf, one.places)
            if told := _pair(own, evidence, sites):
                yield {**_named(one, stretch), "phenotype_2": trait, "signal_2": None, **told}


def _pair(one: Evidence, other: Evidence, sites: pd.DataFrame) -> dict[str, Any] | None:
    """The columns of two signals; None if one signal's cause is probably not among the
    variants of both.
    """
    shared, first, second = np.intersect1d(one[2], other[2], return_indices=True)
    if min(one[0][first].sum(), other[0][second].sum()) < LEAST_SHARED:
        return None
    log_bfs = one[1][first], other[1][second]
    both = log_bfs[0] + log_bfs[1]
    best = int(both.argmax())
    told = dict(zip((f"h{k}" for k in range(5)), posteriors(*log_bfs), strict=True))
    return {
        **sites.iloc[int(shared[best])].to_dict(),
        "n_variants": len(shared),
        **told,
        "shared_pip": float(np.exp(both[best] - logsumexp(both))),
    }


def _named(one: Signal, stretch: tuple[int, int]) -> dict[str, Any]:
    return {
        "region_start": stretch[0],
        "region_end": stretch[1],
        "phenotype_1": one.phenotype,
        "signal_1": one.number,
    }
