"""The tests of one gene's rare variants against many phenotypes, in NumPy and without Spark.

Let X [n, m] be the minor alleles of the variants, R [n, k] the residual phenotypes with residual
variance σ², S = X'R / σ, and G the matrix X'X after covariates. Whatever set of variants is
tested:

- burden: the regression on the number of minor alleles of a person, Σⱼ xⱼ;
- SKAT: Q = Σⱼ wⱼ Sⱼ², whose null distribution is given by the eigenvalues of √W G √W (Wu et al.
  2011, Am J Hum Genet 89:82);
- ACAT-V: the tests of single variants, combined with weights wⱼ fⱼ (1 - fⱼ) (Liu et al. 2019, Am J
  Hum Genet 104:410);
- ACAT-O: the combination of these three.

Before SKAT and ACAT-V, variants with at most `ULTRA_RARE` minor alleles are collapsed into one
pseudo-variant, carried by whoever carries any of them (SAIGE-GENE+, Zhou et al. 2022, Nat Genet
54:1466; as in REGENIE). Everything is counted among those who have the phenotype; a missing
genotype counts as the variant's mean among them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array, hstack
from scipy.stats import beta as beta_distribution

from ecg_spark.genetics.outputs.tables import FEWEST_TOGETHER
from ecg_spark.genetics.testing.cauchy import combined
from ecg_spark.genetics.testing.kernel import LEAST_LEFT, Pattern
from ecg_spark.genetics.testing.mixture import neg_log10_p_of_mixture
from ecg_spark.genetics.testing.omnibus import Together, omnibus
from ecg_spark.genetics.testing.p_values import neg_log10_p_of_t

Reals = NDArray[np.float64]
Flags = NDArray[np.bool_]

ULTRA_RARE = 10
"""Variants with at most this many minor alleles are collapsed: their own tests have no power (the
default of REGENIE and SAIGE-GENE+)."""

MIN_ALLELES = 5
"""A set with fewer minor alleles over all of its variants is not tested (REGENIE's --minMAC)."""


@dataclass(frozen=True)
class Carried:
    """The genotypes of the variants of a gene, as sparse matrices.

    Attributes:
        minor: the number of minor alleles [n, m]; 0 where not stored.
        missing: 1 where the genotype is missing, [n, m].
    """

    minor: csc_array
    missing: csc_array


@dataclass(frozen=True)
class Found:
    """The tests of one set of variants against k phenotypes and then g groups of them, [k + g].

    NaN where there is no result: always for `beta` and `se` of a group, and for every test of a
    group if the set has fewer than `FEWEST_TOGETHER` minor alleles.

    Attributes:
        variants: how many variants are in the set.
        alleles: how many minor alleles they have among the people counted.
        n: how many people are counted.
        beta: the effect of one minor allele in the burden test.
        se: its standard error.
        burden: -log10 p of the burden test.
        q: the statistic of SKAT as the R package SKAT gives it, Q / 2.
        skat: -log10 p of SKAT.
        acat_v: -log10 p of ACAT-V.
        acat_o: -log10 p of ACAT-O.
    """

    variants: int
    alleles: float
    n: int
    beta: Reals
    se: Reals
    burden: Reals
    q: Reals
    skat: Reals
    acat_v: Reals
    acat_o: Reals


@dataclass(frozen=True)
class Gene:
    """The variants of a gene among the people who have the phenotypes of a pattern.

    Attributes:
        values: minor alleles [n, m]; missing ones at the mean.
        alleles: the minor allele count of each variant, [m].
        frequency: the minor allele frequency of each variant, [m].
        given: the weights of SKAT that the study gives, [m]; NaN for the default, which depends on
            the frequency.
        factors: the factors of the standard errors of each phenotype that correct for relatives,
            [k].
        together: for each group of phenotypes tested jointly, their places in the pattern and how
            the tests are combined.
    """

    pattern: Pattern
    values: csc_array
    alleles: Reals
    frequency: Reals
    given: Reals
    factors: Reals
    together: Mapping[str, tuple[NDArray[np.int64], Together]]


@dataclass(frozen=True)
class _Columns:
    """Products of columns x of allele counts: x'R [c, k], and x'x after covariates, either all
    of it [c, c] or its diagonal [c].
    """

    xy: Reals
    left: Reals


def gene_of(
    carried: Carried,
    given: Reals,
    pattern: Pattern,
    factors: Reals,
    together: Mapping[str, tuple[NDArray[np.int64], Together]],
) -> Gene:
    """Prepare the variants of a gene for the people of a pattern.

    Args:
        carried: the genotypes of everybody analysed.
        given: as in `Gene`, like the other arguments.
    """
    n = int(pattern.known.sum())
    minor, missing = (_rows_of(one, pattern.known) for one in (carried.minor, carried.missing))
    mean = minor.sum(axis=0) / np.maximum(n - missing.sum(axis=0), 1)
    values = csc_array(minor + missing.multiply(mean[None, :]))
    # An allele may be rare in all people but not in these: count whichever is the rarer one here.
    turned = mean > 1
    if turned.any():
        dense = values.toarray()
        dense[:, turned] = 2.0 * pattern.known[:, None] - dense[:, turned]
        values, mean = csc_array(dense), np.where(turned, 2 - mean, mean)
    return Gene(pattern, values, n * mean, mean / 2, given, factors, together)


def set_tests(gene: Gene, chosen: Flags) -> Found | None:
    """Test a set of variants of a gene.

    Args:
        chosen: which variants are in the set, [m].

    Returns:
        None if the set has fewer than `MIN_ALLELES` minor alleles.
    """
    chosen = chosen & (gene.alleles > 0)
    alleles = float(gene.alleles[chosen].sum())
    if alleles < MIN_ALLELES:
        return None
    count = csc_array(gene.values[:, np.flatnonzero(chosen)].sum(axis=1)[:, None])
    beta, se, t = _regressions(_beside(count, gene, whole=False), gene.pattern)
    columns, weights, frequency = _tested(gene, chosen)
    products = _beside(columns, gene, whole=True)
    diagonal = _Columns(products.xy, np.diag(products.left))
    single = _with_groups(_regressions(diagonal, gene.pattern)[2], gene)
    burden = _with_groups(t, gene)[0]
    acat_v = combined(single, (weights * frequency * (1 - frequency))[:, None])
    q, skat = _skat(products, weights, gene)
    groups = np.full(len(gene.together), np.nan)
    if alleles < FEWEST_TOGETHER:
        burden, q, skat, acat_v = (
            np.r_[one[: len(beta[0])], groups] for one in (burden, q, skat, acat_v)
        )
    return Found(
        int(chosen.sum()),
        alleles,
        int(gene.pattern.known.sum()),
        np.r_[beta[0], groups],
        np.r_[se[0] * gene.factors, groups],
        burden,
        q,
        skat,
        acat_v,
        combined(np.stack([burden, skat, acat_v])),
    )


def leave_one_out(gene: Gene, chosen: Flags, places: Sequence[int]) -> Reals:
    """The smallest -log10 p of ACAT-O when any single variant is left out of the set.

    Args:
        chosen: which variants are in the set, [m].
        places: which of the phenotypes and groups of `Found` to compute.

    Returns:
        [places]; 0 where the remaining variants have too few minor alleles to be tested.
    """
    least = np.full(len(places), np.inf)
    for variant in np.flatnonzero(chosen & (gene.alleles > 0)):
        others = chosen.copy()
        others[variant] = False
        found = set_tests(gene, others)
        own = np.zeros(len(places)) if found is None else found.acat_o[list(places)]
        least = np.minimum(least, np.nan_to_num(own))
    return least


def _rows_of(carried: csc_array, known: Flags) -> csc_array:
    """The matrix with the rows of people who are not `known` set to 0."""
    return csc_array(carried.multiply(known[:, None].astype(float)))


def _tested(gene: Gene, chosen: Flags) -> tuple[csc_array, Reals, Reals]:
    """The columns [n, c] that SKAT and ACAT-V test for the chosen variants, their weights and
    frequencies.

    The ultra-rare variants form one column: the largest dosage of each person.
    """
    ultra = chosen & (gene.alleles <= ULTRA_RARE)
    own = np.flatnonzero(chosen & ~ultra)
    columns, given, frequency = gene.values[:, own], gene.given[own], gene.frequency[own]
    if ultra.any():
        rare = np.flatnonzero(ultra)
        one = gene.values[:, rare].toarray().max(axis=1)
        columns = csc_array(hstack([columns, csc_array(one[:, None])], format="csc"))
        given = np.r_[given, gene.given[rare].mean()]  # NaN, the default, if any weight is NaN
        frequency = np.r_[frequency, one.sum() / 2 / gene.pattern.known.sum()]
    density = beta_distribution.pdf(frequency, 1, 25) ** 2
    return columns, np.where(np.isfinite(given), given, density), frequency


def _beside(columns: csc_array, gene: Gene, whole: bool) -> _Columns:
    """The products of columns [n, c] with the phenotypes and, after covariates, with each
    other: all of these if `whole`, else their diagonal.
    """
    pattern, n = gene.pattern, int(gene.pattern.known.sum())
    total, xq = columns.sum(axis=0), columns.T @ pattern.basis
    if whole:
        left = (columns.T @ columns).toarray() - np.outer(total, total) / n - xq @ xq.T
    else:
        left = columns.power(2).sum(axis=0) - total**2 / n - (xq**2).sum(axis=1)
    return _Columns(columns.T @ pattern.left, left)


def _regressions(columns: _Columns, pattern: Pattern) -> tuple[Reals, Reals, Reals]:
    """The effect, standard error and t of each column [c, k], as if people were independent."""
    left = columns.left[:, None]
    yy = (pattern.left**2).sum(axis=0)
    sound = left > LEAST_LEFT * pattern.known.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        beta = np.where(sound, columns.xy / left, np.nan)
        se = np.sqrt(np.maximum(yy - beta**2 * left, 0) / (pattern.df * left))
        return beta, se, beta / se


def _with_groups(t: Reals, gene: Gene) -> Reals:
    """-log10 p [c, k + g] of each phenotype, from the t statistics [c, k], and of each group
    jointly.
    """
    df = gene.pattern.df
    own = neg_log10_p_of_t(t / gene.factors, df)
    groups = [omnibus(t[:, places], how, df)[1][:, None] for places, how in gene.together.values()]
    return np.concatenate([own, *groups], axis=1)


def _skat(columns: _Columns, weights: Reals, gene: Gene) -> tuple[Reals, Reals]:
    """Q / 2 and -log10 p of SKAT [k + g]; for a group, over its decorrelated phenotypes
    jointly.
    """
    df = gene.pattern.df + 1
    root = np.sqrt(weights)
    scores = columns.xy * root[:, None] / np.sqrt((gene.pattern.left**2).sum(axis=0) / df)
    shares = np.linalg.eigvalsh(columns.left * np.outer(root, root))
    q = ((scores / gene.factors) ** 2).sum(axis=0)
    found = [neg_log10_p_of_mixture(q, shares, df=df)]
    for places, how in gene.together.values():
        all_of_it = np.atleast_1d(((scores[:, places] @ how.related.T) ** 2).sum())
        found.append(neg_log10_p_of_mixture(all_of_it, shares, freedom=len(how.related)))
        q = np.r_[q, all_of_it]
    return q / 2, np.concatenate(found)
