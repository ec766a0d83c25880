"""LD-score regression: heritability, its intercept, and genetic correlation from test statistics.

A variant's chi-squared grows with the variation that it tags if the trait is polygenic, and does
not if the statistics are inflated by structure (Bulik-Sullivan et al. 2015, Nat Genet 47:291):

    E χ²ⱼ = N h² lⱼ / M + a,      E z₁ⱼ z₂ⱼ = √(N₁N₂) ρ lⱼ / M + b

for the LD score lⱼ, M variants and the genetic covariance ρ (Nat Genet 47:1236). Standard errors
come from a jackknife over blocks of neighbouring variants. Variants are in the order of the genome.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from ecg_spark.genetics.genotypes.packed import Packed, centred
from ecg_spark.genetics.null_model.projection import basis_of
from ecg_spark.session import broadcast

WINDOW_BP = 1_000_000
LD_SAMPLES = 5_000
BLOCKS = 200
TWO_STEP = 30.0
"""The intercept stands on variants with a smaller chi-squared."""

_CHUNK = 512
_ROUNDS = 3

Reals = NDArray[np.float64]


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
    """Genetic correlation of two phenotypes; NaN where one of them has no heritability."""

    rg: float
    rg_se: float
    covariance: float
    covariance_se: float
    intercept: float


def ld_scores(
    spark: SparkSession,
    packed: Packed,
    variants: NDArray[np.int64],
    samples: NDArray[np.int64],
    covariates: Reals,
    window_bp: int = WINDOW_BP,
) -> Reals:
    """The sum of each variant's adjusted r² with all `variants` within `window_bp` and itself.

    `samples` are places in the set; `covariates` [samples, c] are projected out first, so that
    ancestry makes no LD (Luo et al. 2021, Hum Mol Genet 30:1521). At most `LD_SAMPLES` samples,
    evenly spread, are used. r² is adjusted for chance, r² - (1 - r²) / (n - c - 2).
    """
    step = -(-len(samples) // LD_SAMPLES)
    samples, covariates = samples[::step], covariates[::step]
    basis = basis_of(covariates).astype(np.float32)
    contigs = packed.sites["contig"].cat.codes.to_numpy()[variants]
    positions = packed.sites["position"].to_numpy()[variants]
    tasks = []
    for start, stop in _runs(contigs):
        for first in range(start, stop, _CHUNK):
            last = min(first + _CHUNK, stop)
            near = slice(
                start + np.searchsorted(positions[start:stop], positions[first] - window_bp),
                start
                + np.searchsorted(positions[start:stop], positions[last - 1] + window_bp, "right"),
            )
            tasks.append((first, last, near))
    shared = broadcast(spark, (packed.calls, variants, positions, samples, basis))

    def score(parts: Iterable[tuple[int, int, slice]]) -> Iterable[tuple[int, Reals]]:
        calls, variants, positions, samples, basis = shared.value
        for first, last, near in parts:
            values = centred(calls.read(variants[near], samples))
            values -= (values @ basis) @ basis.T
            length = np.linalg.norm(values, axis=1, keepdims=True)
            np.divide(values, length, out=values, where=length > 1e-3)
            own = slice(first - near.start, last - near.start)
            r2 = (values[own] @ values.T).astype(np.float64) ** 2
            r2 -= (1 - r2) / (len(samples) - basis.shape[1] - 1)
            far = np.abs(positions[near] - positions[first:last, None]) > window_bp
            r2[far] = 0
            yield first, r2.sum(axis=1)

    rdd = spark.sparkContext.parallelize(tasks, max(1, min(len(tasks), 4 * 1024)))
    scores = np.zeros(len(variants))
    for first, values in rdd.mapPartitions(score).collect():
        scores[first : first + len(values)] = values
    shared.unpersist()
    return scores


def heritability(chi2: Reals, n: float, scores: Reals, blocks: int = BLOCKS) -> Heritability:
    """Univariate regression of `chi2` [m] of `n` people on LD `scores` [m], in the two steps of
    Hail's `ld_score_regression`, of which many phenotypes would take hours.

    The intercept comes from variants with a chi-squared below `TWO_STEP`, the slope from all with
    the intercept held. Both by three rounds of reweighting. NaN where fewer than ten variants
    are in the first step, or all tag alike.
    """
    m, floor, low = len(chi2), np.maximum(scores, 1), chi2 < TWO_STEP
    blocks = min(blocks, int(low.sum()))
    if blocks < 10 or not _informative(scores):
        return Heritability(float(chi2.mean()), *[float("nan")] * 4)
    before: NDArray[np.int64] = np.cumsum(low) - low
    cuts = np.floor(np.arange(blocks + 1) * (low.sum() / blocks)).astype(int)
    block: NDArray[np.int64] = np.searchsorted(cuts, before, "right") - 1
    block = np.clip(block - (~low & np.isin(before, cuts)), 0, blocks - 1)
    design = np.column_stack([np.ones(m), scores])
    start = np.array([1.0, (chi2.mean() - 1) / scores.mean()])
    per_h2 = n / m

    def held(slope: float) -> float:
        return float(np.clip(slope / per_h2, 0, 1) * per_h2)

    def weights(beta: Reals) -> Reals:
        return np.asarray(1 / (floor * 2 * (beta[0] + beta[1] * floor) ** 2))

    step_1 = start
    for _ in range(_ROUNDS):
        own = weights(step_1) * low
        fit, deleted_1 = _jackknifed(design, chi2, own, block, blocks)
        step_1 = np.array([fit[0], held(fit[1])])
    intercept = float(step_1[0])
    step_2 = start
    for _ in range(_ROUNDS):
        own = weights(step_2)
        fit, deleted_2 = _jackknifed(design[:, 1:], chi2 - intercept, own, block, blocks)
        step_2 = np.array([intercept, held(fit[0])])
    first = weights(start)
    share = (first * scores).sum() / (first * scores**2).sum()
    deleted = deleted_2[:, 0] - share * (deleted_1[:, 0] - intercept)
    return Heritability(
        float(chi2.mean()),
        float(step_2[1] / per_h2),
        _spread(step_2[1], deleted) / per_h2,
        intercept,
        _spread(intercept, deleted_1[:, 0]),
    )


@dataclass(frozen=True)
class Univariate:
    """What the regression of one phenotype's z² over the blocks gives to those of its pairs: `n`
    people, intercept and slope [2], the slope without each block [blocks]."""

    n: float
    beta: Reals
    deleted: Reals

    def expected(self, floor: Reals) -> Reals:
        """χ² at LD scores over the number of variants [m]."""
        return np.asarray(max(self.beta[0], 0.1) + np.clip(self.beta[1], 0, self.n) * floor)


def enough(scores: Reals) -> bool:
    """Whether there are 50 variants, and not all tag alike: else no correlation can be told."""
    return len(scores) >= 50 and _informative(scores)


def univariate(z: Reals, n: float, scores: Reals, blocks: int = BLOCKS) -> Univariate:
    """What `correlation` needs of each phenotype of a pair."""
    design, floor, block, blocks = _in_blocks(scores, blocks)
    beta, without = np.array([1.0, ((z**2).mean() - 1) / design[:, 1].mean()]), np.empty(0)
    for _ in range(_ROUNDS):
        scale = Univariate(n, beta, without).expected(floor)
        weights = 1 / (np.maximum(scores, 1) * scale**2)
        beta, without = _jackknifed(design, z**2, weights, block, blocks)
    return Univariate(n, beta, without[:, 1])


def correlation(
    z: Reals,
    other_z: Reals,
    own: Univariate,
    other: Univariate,
    scores: Reals,
    blocks: int = BLOCKS,
) -> GeneticCorrelation:
    """The genetic correlation of a pair of phenotypes, from z and `other_z` [m] at LD `scores` [m],
    which are `enough`: the bivariate regression of their product.

    The intercept takes what shared people make. Both heritabilities, `own` and `other`, and the
    covariance are estimated over the same blocks, whose jackknife carries their common error into
    that of the correlation.
    """
    design, floor, block, blocks = _in_blocks(scores, blocks)
    product, size = z * other_z, np.sqrt(own.n * other.n)
    expected = own.expected(floor) * other.expected(floor)
    beta, without = np.array([product.mean(), 0.0]), np.empty(0)
    for _ in range(_ROUNDS):
        variance = expected + (beta[0] + beta[1] * floor) ** 2
        weights = 1 / (np.maximum(scores, 1) * variance)
        beta, without = _jackknifed(design, product, weights, block, blocks)
    covariance, spread = beta[1] / size, without[:, 1] / size
    rg = rg_se = float("nan")
    h2, other_h2 = own.beta[1] / own.n, other.beta[1] / other.n
    if h2 > 0 and other_h2 > 0:
        rg = float(covariance / np.sqrt(h2 * other_h2))
        products = (own.deleted / own.n) * (other.deleted / other.n)
        if (products > 0).all():
            rg_se = _spread(rg, spread / np.sqrt(products))
    return GeneticCorrelation(
        rg, rg_se, float(covariance), _spread(covariance, spread), float(beta[0])
    )


def _in_blocks(scores: Reals, blocks: int) -> tuple[Reals, Reals, NDArray[np.int64], int]:
    """The design [m, 2], the scores over m and at least 1 / m, each variant's block, and how many
    blocks there are."""
    m = len(scores)
    blocks = min(blocks, m // 5)
    design = np.column_stack([np.ones(m), scores / m])
    return design, np.maximum(scores, 1) / m, np.arange(m) * blocks // m, blocks


def _jackknifed(
    design: Reals, y: Reals, weights: Reals, block: NDArray[np.int64], blocks: int
) -> tuple[Reals, Reals]:
    """Weighted least squares, and the same without each block [blocks, columns]."""
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
    """Whether variants differ in what they tag, without which no slope can be told."""
    return bool(scores.std() > 1e-3 * np.abs(scores).mean())


def _spread(whole: float, deleted: Reals) -> float:
    """The jackknife's standard error of an estimate."""
    count = len(deleted)
    pseudo = count * whole - (count - 1) * deleted
    return float(np.sqrt(pseudo.var(ddof=1) / count))


def _runs(contigs: NDArray[np.int8]) -> list[tuple[int, int]]:
    """Start and end of each contig's variants."""
    ends = np.flatnonzero(contigs[1:] != contigs[:-1]) + 1
    bounds = [0, *ends.tolist(), len(contigs)]
    return list(pairwise(bounds))
