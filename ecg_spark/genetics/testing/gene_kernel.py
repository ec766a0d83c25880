"""The tests of the rare variants of one gene against many phenotypes, in NumPy: no Spark.

With X [n, m] the minor alleles of the variants, R [n, k] the residual phenotypes of residual
variance σ², S = X'R / σ and G what the covariates leave of X'X, whatever set of variants is tested:

- burden: the regression on the number of minor alleles of a person, Σⱼ xⱼ;
- SKAT: Q = Σⱼ wⱼ Sⱼ² over the eigenvalues of √W G √W (Wu et al. 2011, Am J Hum Genet 89:82);
- ACAT-V: the tests of single variants, combined with weights wⱼ fⱼ (1 - fⱼ) (Liu et al. 2019, Am J
  Hum Genet 104:410);
- ACAT-O: the three combined.

Before SKAT and ACAT-V, variants with at most `ULTRA_RARE` minor alleles are collapsed into one,
whose carriers are theirs (SAIGE-GENE+, Zhou et al. 2022, Nat Genet 54:1466; as in REGENIE). All is
counted in those who have the phenotype, a missing genotype at the variant's mean among them.
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
"""Minor alleles: with fewer, a variant's own test says nothing (REGENIE's and SAIGE's default)."""

MIN_ALLELES = 5
"""Fewer minor alleles in all variants of a set are not tested (REGENIE's --minMAC)."""


@dataclass(frozen=True)
class Carried:
    """What people have of the variants of a gene.

    `minor` [n, m]: their minor alleles, 0 where not stored; `missing` [n, m]: 1 where the genotype
    is not known.
    """

    minor: csc_array
    missing: csc_array


@dataclass(frozen=True)
class Found:
    """The tests of one set of variants against phenotypes [k] and groups of them [g], in this
    order; NaN where there is no result, as in `beta` and `se` of groups, and for groups in all if
    the set has fewer than `FEWEST_TOGETHER` minor alleles.

    `variants`: how many are in the set; `alleles`: of the minor kind, among all who are counted;
    `q`: of SKAT as the R package gives it, Q / 2.
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
    """The variants of a gene among those who have the phenotypes of a `pattern`.

    `values` [n, m]: minor alleles, missing ones at the mean; `alleles` and `frequency` [m];
    `given` [m]: weights of SKAT, NaN where they are those of the frequency; `factors` [k]: of the
    standard errors, for relatives; `together`: the phenotypes that are tested together by their
    places in the pattern, and how.
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
    """Columns x of numbers of alleles beside the phenotypes: x'R [c, k] and what the covariates
    leave of x'x, all of it [c, c] or its diagonal [c]."""

    xy: Reals
    left: Reals


def gene_of(
    carried: Carried,
    given: Reals,
    pattern: Pattern,
    factors: Reals,
    together: Mapping[str, tuple[NDArray[np.int64], Together]],
) -> Gene:
    """The variants of a gene in the people of a pattern; the arguments are the fields of `Gene`."""
    n = int(pattern.known.sum())
    minor, missing = (_rows_of(one, pattern.known) for one in (carried.minor, carried.missing))
    mean = minor.sum(axis=0) / np.maximum(n - missing.sum(axis=0), 1)
    values = csc_array(minor + missing.multiply(mean[None, :]))
    # Rare in all people and common in these: the rarer allele is counted.
    turned = mean > 1
    if turned.any():
        dense = values.toarray()
        dense[:, turned] = 2.0 * pattern.known[:, None] - dense[:, turned]
        values, mean = csc_array(dense), np.where(turned, 2 - mean, mean)
    return Gene(pattern, values, n * mean, mean / 2, given, factors, together)


def set_tests(gene: Gene, chosen: Flags) -> Found | None:
    """The tests of some variants [m] of a gene; None where they have too few minor alleles."""
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
    """The smallest -log10 p of ACAT-O, at some `places` of `Found`, when any one variant of a set
    is left out; 0 where the others have too few minor alleles."""
    least = np.full(len(places), np.inf)
    for variant in np.flatnonzero(chosen & (gene.alleles > 0)):
        others = chosen.copy()
        others[variant] = False
        found = set_tests(gene, others)
        own = np.zeros(len(places)) if found is None else found.acat_o[list(places)]
        least = np.minimum(least, np.nan_to_num(own))
    return least


def _rows_of(carried: csc_array, known: Flags) -> csc_array:
    """The rows of those who are known, the others empty."""
    return csc_array(carried.multiply(known[:, None].astype(float)))


def _tested(gene: Gene, chosen: Flags) -> tuple[csc_array, Reals, Reals]:
    """What SKAT and ACAT-V test of the chosen variants: columns [n, c], weights and frequencies.

    The ultra-rare ones are one column, of the largest dosage of each person.
    """
    ultra = chosen & (gene.alleles <= ULTRA_RARE)
    own = np.flatnonzero(chosen & ~ultra)
    columns, given, frequency = gene.values[:, own], gene.given[own], gene.frequency[own]
    if ultra.any():
        rare = np.flatnonzero(ultra)
        one = gene.values[:, rare].toarray().max(axis=1)
        columns = csc_array(hstack([columns, csc_array(one[:, None])], format="csc"))
        given = np.r_[given, gene.given[rare].mean()]  # NaN where one has none
        frequency = np.r_[frequency, one.sum() / 2 / gene.pattern.known.sum()]
    density = beta_distribution.pdf(frequency, 1, 25) ** 2
    return columns, np.where(np.isfinite(given), given, density), frequency


def _beside(columns: csc_array, gene: Gene, whole: bool) -> _Columns:
    """The products of columns [n, c]; the `whole` of what is left of them, or its diagonal."""
    pattern, n = gene.pattern, int(gene.pattern.known.sum())
    total, xq = columns.sum(axis=0), columns.T @ pattern.basis
    if whole:
        left = (columns.T @ columns).toarray() - np.outer(total, total) / n - xq @ xq.T
    else:
        left = columns.power(2).sum(axis=0) - total**2 / n - (xq**2).sum(axis=1)
    return _Columns(columns.T @ pattern.left, left)


def _regressions(columns: _Columns, pattern: Pattern) -> tuple[Reals, Reals, Reals]:
    """beta, standard error and t [c, k] of each column, as among independent people."""
    left = columns.left[:, None]
    yy = (pattern.left**2).sum(axis=0)
    sound = left > LEAST_LEFT * pattern.known.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        beta = np.where(sound, columns.xy / left, np.nan)
        se = np.sqrt(np.maximum(yy - beta**2 * left, 0) / (pattern.df * left))
        return beta, se, beta / se


def _with_groups(t: Reals, gene: Gene) -> Reals:
    """-log10 p [c, k + g] of the tests t [c, k] of each phenotype, and of each group's together."""
    df = gene.pattern.df
    own = neg_log10_p_of_t(t / gene.factors, df)
    groups = [omnibus(t[:, places], how, df)[1][:, None] for places, how in gene.together.values()]
    return np.concatenate([own, *groups], axis=1)


def _skat(columns: _Columns, weights: Reals, gene: Gene) -> tuple[Reals, Reals]:
    """Q / 2 and -log10 p of SKAT [k + g]; of a group, of its decorrelated phenotypes together."""
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
