"""LD-score regression: heritability, its intercept, and genetic correlation from test statistics.

The chi-squared of a variant grows with the variation that it tags if the trait is polygenic, but
does not if the statistics are inflated by population structure (Bulik-Sullivan et al. 2015, Nat
Genet 47:291; genetic correlation: Nat Genet 47:1236):

    E χ²ⱼ = N h² lⱼ / M + a,      E z₁ⱼ z₂ⱼ = √(N₁N₂) ρ lⱼ / M + b

with the LD score lⱼ, M variants and the genetic covariance ρ. A few large loci are not a polygenic
background, and a single one outweighs thousands of variants. Variants with a chi-squared above
`large`, as in LDSC, are therefore left out with everything within reach of their LD; the estimate
is of the rest, over all M variants. The intercept is estimated from variants with a chi-squared
below `TWO_STEP`, and the slope from all that are used, with the intercept fixed. Standard errors
are by a jackknife over blocks of neighbouring variants. Variants are in the order of the genome.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecg_spark.genetics.findings.ld_score import WINDOW_BP

BLOCKS = 200
TWO_STEP = 30.0
"""The intercept is estimated from variants with a smaller chi-squared."""

_ROUNDS = 3

Reals = NDArray[np.float64]
Bools = NDArray[np.bool_]
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Heritability:
    """h² of one phenotype on the observed scale and the intercept, with standard errors."""

    mean_chi2: float
    h2: float
    h2_se: float
    intercept: float
    intercept_se: float


@dataclass(frozen=True)
class GeneticCorrelation:
    """The genetic correlation of two phenotypes; NaN if one of them has no heritability."""

    rg: float
    rg_se: float
    covariance: float
    covariance_se: float
    intercept: float


def large(n: float) -> float:
    """The chi-squared above which a variant belongs to a large locus, in a study of `n` people
    (LDSC's rule).

    Example:
        >>> large(31_000), large(500_000)
        (80.0, 500.0)
    """
    return max(0.001 * n, 80.0)


def are_polygenic(chi2: Reals, n: float, places: Places) -> Bools:
    """Which variants are farther than `WINDOW_BP` from every variant of a large locus, [m].

    Args:
        chi2: [m].
        n: the number of people.
        places: positions in bp [m] that increase over the contigs, with more than the window
            between two contigs.

    Example:
        >>> places = np.array([100, 500_000, 5_000_000])
        >>> are_polygenic(np.array([1.0, 200.0, 3.0]), 31_000, places).tolist()
        [False, False, True]
    """
    loci = places[chi2 > large(n)]
    if not len(loci):
        return np.ones(len(places), bool)
    after = np.searchsorted(loci, places)
    ends = loci[np.clip([after - 1, after], 0, len(loci) - 1)]
    return np.asarray((np.abs(ends - places) > WINDOW_BP).all(axis=0))


def heritability(
    chi2: Reals, n: float, scores: Reals, variants: int, blocks: int = BLOCKS
) -> Heritability:
    """The univariate regression of chi-squared on LD scores.

    The two steps are those of Hail's `ld_score_regression`, which would take hours for many
    phenotypes. If there is no heritability, the estimate is negative as often as positive; Hail
    reports 0 there.

    Args:
        chi2: of the polygenic variants, [m].
        n: the number of people.
        scores: LD scores of the same variants, [m].
        variants: M, the number of variants over which h² is estimated.
        blocks: of the jackknife.

    Returns:
        NaN if fewer than ten variants are in the first step, or all variants have the same LD
        score.
    """
    low = chi2 < TWO_STEP
    blocks = min(blocks, int(low.sum()))
    if blocks < 10 or not _informative(scores):
        return Heritability(float(chi2.mean()) if len(chi2) else np.nan, *[np.nan] * 4)
    before: Places = np.cumsum(low) - low
    cuts = np.floor(np.arange(blocks + 1) * (low.sum() / blocks)).astype(int)
    block: Places = np.searchsorted(cuts, before, "right") - 1
    block = np.clip(block - (~low & np.isin(before, cuts)), 0, blocks - 1)
    floor, per_h2 = np.maximum(scores, 1), n / variants

    def weights(beta: Reals) -> Reals:
        slope = float(np.clip(beta[1], 0, per_h2))
        return np.asarray(1 / (floor * 2 * (beta[0] + slope * floor) ** 2))

    start = np.array([1.0, (chi2.mean() - 1) / scores.mean()])
    fit = _two_steps(chi2, scores, low, weights, start, block, blocks)
    return Heritability(
        float(chi2.mean()),
        fit.slope / per_h2,
        _spread(fit.slope, fit.slopes) / per_h2,
        fit.intercept,
        _spread(fit.intercept, fit.intercepts),
    )


@dataclass(frozen=True)
class Univariate:
    """The regression of one phenotype's z² on LD scores, as the regressions of its pairs need it.

    Attributes:
        n: the number of people.
        beta: intercept and slope, [2].
        deleted: the slope without each block, [blocks].
    """

    n: float
    beta: Reals
    deleted: Reals

    def expected(self, floor: Reals) -> Reals:
        """The expected χ² at LD scores divided by the number of variants, [m]."""
        return np.asarray(max(self.beta[0], 0.1) + np.clip(self.beta[1], 0, self.n) * floor)


def enough(scores: Reals) -> bool:
    """Whether there are at least 50 variants with different LD scores: otherwise no
    correlation can be estimated.
    """
    return len(scores) >= 50 and _informative(scores)


def univariate(
    z: Reals, n: float, scores: Reals, polygenic: Bools, blocks: int = BLOCKS
) -> Univariate:
    """The regression of one phenotype that `correlation` needs.

    Args:
        z: [m].
        n: the number of people.
        scores: LD scores, [m].
        polygenic: the variants to use, [m].
        blocks: of the jackknife.
    """
    x, floor, block, blocks = _in_blocks(scores, blocks)
    chi2 = z**2

    def weights(beta: Reals) -> Reals:
        scale = Univariate(n, beta, np.empty(0)).expected(floor)
        return np.asarray(polygenic / (np.maximum(scores, 1) * scale**2))

    start = np.array([1.0, (chi2[polygenic].mean() - 1) / x[polygenic].mean()])
    fit = _two_steps(chi2, x, chi2 < TWO_STEP, weights, start, block, blocks)
    return Univariate(n, np.array([fit.intercept, fit.slope]), fit.slopes)


def correlation(
    z: tuple[Reals, Reals],
    of: tuple[Univariate, Univariate],
    scores: Reals,
    polygenic: tuple[Bools, Bools],
    blocks: int = BLOCKS,
) -> GeneticCorrelation:
    """The genetic correlation of two phenotypes, by the bivariate regression of the product of
    their z.

    The intercept absorbs what shared people contribute. Both heritabilities and the covariance are
    estimated over the same blocks, so that the jackknife carries their common error into the
    standard error of the correlation.

    Args:
        z: of each phenotype, [m].
        of: the univariate regression of each phenotype.
        scores: LD scores [m], of which there must be `enough`.
        polygenic: for each phenotype, the variants outside its large loci; only variants in both
            are used.
        blocks: of the jackknife.
    """
    x, floor, block, blocks = _in_blocks(scores, blocks)
    own, other = of
    product, size = z[0] * z[1], np.sqrt(own.n * other.n)
    used = polygenic[0] & polygenic[1]
    expected = own.expected(floor) * other.expected(floor)
    low = (z[0] ** 2 < TWO_STEP) & (z[1] ** 2 < TWO_STEP)

    def weights(beta: Reals) -> Reals:
        variance = expected + (beta[0] + beta[1] * floor) ** 2
        return np.asarray(used / (np.maximum(scores, 1) * variance))

    start = np.array([product[used].mean(), 0.0])
    fit = _two_steps(product, x, low, weights, start, block, blocks)
    covariance, spread = fit.slope / size, fit.slopes / size
    rg = rg_se = float("nan")
    h2, other_h2 = own.beta[1] / own.n, other.beta[1] / other.n
    if h2 > 0 and other_h2 > 0:
        rg = float(covariance / np.sqrt(h2 * other_h2))
        products = (own.deleted / own.n) * (other.deleted / other.n)
        if (products > 0).all():
            rg_se = _spread(rg, spread / np.sqrt(products))
    return GeneticCorrelation(
        rg, rg_se, float(covariance), _spread(covariance, spread), fit.intercept
    )


@dataclass(frozen=True)
class _Fit:
    """Intercept and slope, and both without each block, [blocks]."""

    intercept: float
    slope: float
    intercepts: Reals
    slopes: Reals


def _two_steps(
    y: Reals,
    x: Reals,
    low: Bools,
    weights: Callable[[Reals], Reals],
    start: Reals,
    block: Places,
    blocks: int,
) -> _Fit:
    """The regression of `y` on `x` [m] in two steps, each in three rounds of reweighting from
    `start`.

    `low` [m] marks the variants of the first step; `weights` gives the weights of variants for an
    intercept and slope.
    """
    design = np.column_stack([np.ones(len(x)), x])
    first = start
    for _ in range(_ROUNDS):
        first, deleted = _jackknifed(design, y, weights(first) * low, block, blocks)
    intercept, intercepts = float(first[0]), deleted[:, 0]
    second = start
    for _ in range(_ROUNDS):
        slope, deleted = _jackknifed(x[:, None], y - intercept, weights(second), block, blocks)
        second = np.array([intercept, slope[0]])
    own = weights(start)
    share = (own * x).sum() / (own * x**2).sum()  # how an error of the intercept moves the slope
    slopes = deleted[:, 0] - share * (intercepts - intercept)
    return _Fit(intercept, float(second[1]), intercepts, slopes)


def _in_blocks(scores: Reals, blocks: int) -> tuple[Reals, Reals, Places, int]:
    """The scores over m, the same but at least 1 / m, the block of each variant, and the
    number of blocks.
    """
    m = len(scores)
    blocks = min(blocks, m // 5)
    return scores / m, np.maximum(scores, 1) / m, np.arange(m) * blocks // m, blocks


def _jackknifed(
    design: Reals, y: Reals, weights: Reals, block: NDArray[np.int64], blocks: int
) -> tuple[Reals, Reals]:
    """Weighted least squares, and the same without each block, [blocks, columns]."""
    k = design.shape[1]
    weighted = design * weights[:, None]
    grams = np.empty((blocks, k, k))
    crosses = np.empty((blocks, k))
    for i in range(k):
        crosses[:, i] = np.bincount(block, weighted[:, i] * y, blocks)
        for j in range(k):
            grams[:, i, j] = np.bincount(block, weighted[:, i] * design[:, j], blocks)
    gram, cross = grams.sum(axis=0), crosses.sum(axis=0)
    beta = np.linalg.solve(gram, cross)
    deleted = np.linalg.solve(gram - grams, (cross - crosses)[:, :, None])[:, :, 0]
    return beta, deleted


def _informative(scores: Reals) -> bool:
    """Whether LD scores differ between variants; otherwise no slope can be estimated."""
    return bool(scores.std() > 1e-3 * np.abs(scores).mean())


def _spread(whole: float, deleted: Reals) -> float:
    """The jackknife standard error of an estimate."""
    count = len(deleted)
    pseudo = count * whole - (count - 1) * deleted
    return float(np.sqrt(pseudo.var(ddof=1) / count))
