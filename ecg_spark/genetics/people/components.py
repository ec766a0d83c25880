"""Principal components of ancestry, computed from packed calls in blocks of variants.

Each pass over the blocks adds up matrices of people by some twenty columns, so that neither the
driver nor a task holds a matrix of people by variants. The decomposition is the block Lanczos
method from a random start. It is exact for few people and, for many, accurate for all components
that stand out.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from ecg_spark.errors import DataError
from ecg_spark.genetics.genotypes.packed import BY_BYTE, MISSING, Calls, Packed
from ecg_spark.genetics.genotypes.rows import Rows, in_order
from ecg_spark.genetics.genotypes.thresholds import tally
from ecg_spark.session import broadcast

Floats = NDArray[np.float32]
Reals = NDArray[np.float64]
Block = tuple[Floats, Floats]
"""Scaled genotypes of the reference [variants, u], and of everybody [variants, n]."""
OverBlocks = Callable[[Callable[[Block], NDArray[Any]]], NDArray[Any]]
"""Applies a function to each block and returns the sum over all blocks."""

EXACT = 2_000
"""Up to this many people are decomposed exactly: their product matrix fits into memory."""
STEPS = 8
EXTRA = 6
"""How many columns a step has in addition to one per component."""
BLOCK_BYTES = 64 << 20
BLOCKS_OF_TASK = 8


def principal_components(
    over_blocks: OverBlocks,
    unrelated: NDArray[np.bool_],
    components: int,
    variants: int,
    shared: Reals,
    seed: int,
) -> Reals:
    """Principal components of the unrelated people, with everybody projected onto them.

    Genotypes are centred and scaled by √(2p(1-p)) (Patterson et al. 2006, PLoS Genet 2:e190);
    missing calls count as the mean. Each component has variance 1 over the unrelated people.

    People who take no part in a component are projected closer to 0 than if they had taken part.
    Their scores are divided by that shrinkage (see `shrinkage`); if a relative of theirs took
    part, by a value between the shrinkage and 1.

    Args:
        over_blocks: sums over the blocks of a packed set, from `blocks_of`.
        unrelated: who takes part, [n].
        components: how many components to compute; 0 for none.
        variants: how many variants the blocks have in all.
        shared: for each other person, the share of the genome that is also an unrelated person's,
            [n]; 0.5 with a sibling among these.
        seed: of the random start.

    Returns:
        Scores [n, components].

    Raises:
        DataError: if there are no more people or variants than components.
    """
    if not components:
        return np.zeros((len(unrelated), 0))
    u = int(unrelated.sum())
    if min(u, variants) <= components:
        raise DataError(
            f"{u} unrelated samples and {variants} independent variants are too few for "
            f"{components} principal components: lower genotypes.components."
        )
    rng = np.random.default_rng(seed)
    vectors, values = _leading(over_blocks, u, components, rng)
    probes = rng.normal(size=(u, components + EXTRA))
    probes -= vectors @ (vectors.T @ probes)
    probes = np.linalg.qr(probes)[0]
    both = np.concatenate([vectors, probes], axis=1).astype(np.float32)
    found = over_blocks(lambda block: block[1].T @ (block[0] @ both))
    scores = found[:, :components].astype(float)
    of_probes = found[unrelated, components:].astype(float)
    shrunk = shrinkage(values, probes, of_probes - vectors @ (vectors.T @ of_probes))
    scores[~unrelated] /= shrunk + np.minimum(shared[~unrelated, None], 1) * (1 - shrunk)
    own = scores[unrelated]
    sign = np.sign(own[np.abs(own).argmax(axis=0), range(components)])
    return np.asarray(sign * (scores - own.mean(axis=0)) / own.std(axis=0))


def shrinkage(values: Reals, probes: Reals, products: Reals) -> Reals:
    """By which factor the projection of a new person is smaller than that of a person of the
    reference, [k].

    With the eigenvalue d in units of the noise and γ variants per person, a component with true
    variance λ among others of variance 1 has d = λ (1 + γ / (λ - 1)), and the factor is (λ - 1) /
    (λ - 1 + γ) (Lee, Zou & Wright 2010, Ann Stat 38:3605, eq. 9). Linked variants count as fewer,
    so γ and the noise are estimated from the spread of the eigenvalues that random probes see. A
    component that does not stand out from the noise gets the factor of the smallest one that
    would.

    Args:
        values: the leading eigenvalues of the product matrix A of u people, [k].
        probes: orthonormal columns orthogonal to the leading eigenvectors, [u, l].
        products: A times the probes, [u, l].
    """
    u = len(probes)
    mean = np.einsum("ij,ij->", probes, products) / probes.shape[1]
    spread = np.einsum("ij,ij->", products, products) / probes.shape[1] - mean**2
    gamma = mean**2 / max(spread, 1e-9 * mean**2)
    noise = mean / (gamma * u)
    d = np.maximum(values / (noise * u), (1 + np.sqrt(gamma)) ** 2)
    half = d + 1 - gamma
    true = (half + np.sqrt(np.maximum(half**2 - 4 * d, 0))) / 2
    return np.asarray((true - 1) / (true - 1 + gamma))


def _leading(
    over_blocks: OverBlocks, u: int, components: int, rng: np.random.Generator
) -> tuple[Reals, Reals]:
    """The leading eigenvectors [u, k] of the product matrix of the u people, and their
    eigenvalues.
    """
    if u <= EXACT:
        gram = over_blocks(lambda block: block[0].T @ block[0]).astype(float)
        basis, small = np.eye(u), gram
    else:
        basis, small = _krylov(over_blocks, u, components, rng)
    values, vectors = np.linalg.eigh(small)
    last = slice(-1, -components - 1, -1)
    return basis @ vectors[:, last], values[last]


def _krylov(
    over_blocks: OverBlocks, u: int, components: int, rng: np.random.Generator
) -> tuple[Reals, Reals]:
    """An orthonormal basis that contains the leading eigenvectors, and the product matrix
    within it.
    """
    step = np.linalg.qr(rng.normal(size=(u, components + EXTRA)))[0]
    steps, products = [], []
    for _ in range(STEPS):
        steps.append(step)
        made = over_blocks(partial(_product, step.astype(np.float32)))
        products.append(made.astype(float))
        basis = np.concatenate(steps, axis=1)
        left = products[-1]
        for _ in range(2):  # orthogonalised twice, since rounding remains after once
            left = left - basis @ (basis.T @ left)
        step = np.linalg.qr(left)[0]
    small = basis.T @ np.concatenate(products, axis=1)
    return basis, (small + small.T) / 2


def _product(columns: Floats, block: Block) -> Floats:
    """The product matrix of the reference people times some columns [u, l]."""
    return np.asarray(block[0].T @ (block[0] @ columns))


def blocks_of(
    spark: SparkSession,
    packed: Packed,
    variants: NDArray[np.int64],
    samples: NDArray[np.int64],
    unrelated: NDArray[np.bool_],
) -> OverBlocks:
    """A function that sums over blocks of variants in Spark (see `principal_components`).

    A block has at most 500 variants and 64 MB of genotypes, but at least one variant.

    Args:
        variants: places in the packed set.
        samples: the places of the people, in the order of the set, [n].
        unrelated: who of them belongs to the reference, [n].
    """
    size = max(1, min(500, BLOCK_BYTES // (4 * len(unrelated))))
    starts = range(0, len(variants), size)
    shared = broadcast(spark, (packed.calls, variants, samples, unrelated))
    count = max(spark.sparkContext.defaultParallelism, -(-len(starts) // BLOCKS_OF_TASK))

    def over_blocks(function: Callable[[Block], NDArray[Any]]) -> NDArray[Any]:
        def summed(own: Iterable[int]) -> Iterator[NDArray[Any]]:
            calls, variants, samples, unrelated = shared.value
            total: Any = None
            for start in own:
                rows = _rows(calls, variants[start : start + size], samples)
                found = function(scaled(rows, unrelated))
                total = found if total is None else total + found
            if total is not None:
                yield total

        parts = spark.sparkContext.parallelize(starts, min(count, len(starts)))
        return np.asarray(parts.mapPartitions(summed).treeReduce(np.add))

    return over_blocks


def squared_loadings(
    spark: SparkSession,
    packed: Packed,
    variants: NDArray[np.int64],
    samples: NDArray[np.int64],
    unrelated: NDArray[np.bool_],
    scores: Reals,
) -> Reals:
    """The squared correlation of each variant with each component among the unrelated, [variants,
    k].

    Args:
        variants: places in the packed set.
        samples: the places of the people, [n].
        unrelated: who of them belongs to the reference, [n].
        scores: from `principal_components`, [n, k].
    """
    size = max(1, min(500, BLOCK_BYTES // (4 * len(unrelated))))
    starts = range(0, len(variants), size)
    own = scores[unrelated].astype(np.float32) / np.float32(unrelated.sum())
    shared = broadcast(spark, (packed.calls, variants, samples, unrelated, own))

    def loaded(start: int) -> NDArray[Any]:
        calls, variants, samples, unrelated, own = shared.value
        rows = _rows(calls, variants[start : start + size], samples)
        values = scaled(rows, unrelated)[0]
        spread = np.maximum(np.mean(values**2, axis=1, keepdims=True), 1e-6)
        return np.asarray((values @ own) ** 2 / spread)

    parts = spark.sparkContext.parallelize(starts, len(starts)).map(loaded).collect()
    shared.unpersist()
    return np.concatenate(parts).astype(float)


def frequencies(
    spark: SparkSession, packed: Packed, variants: NDArray[np.int64], samples: NDArray[np.int64]
) -> Reals:
    """The frequency of each variant's alternate allele [variants] among the people at `samples`."""
    size = max(1, min(500, BLOCK_BYTES // (4 * len(packed.samples))))
    among = np.isin(np.arange(len(packed.samples)), samples)
    shared = broadcast(spark, (packed.calls, variants, among))

    def counted(start: int) -> Reals:
        calls, variants, among = shared.value
        return tally(calls.packed(variants[start : start + size]), among).af

    starts = range(0, len(variants), size)
    parts = spark.sparkContext.parallelize(starts, max(1, len(starts))).map(counted).collect()
    shared.unpersist()
    return np.concatenate([*parts, np.empty(0)])


def _rows(calls: Calls, variants: NDArray[np.int64], samples: NDArray[np.int64]) -> Rows:
    """The packed calls of variants, of the people at some places alone."""
    rows = calls.packed(variants)
    return rows if len(samples) == calls.n_samples else in_order(rows, samples)


def scaled(rows: NDArray[np.uint8], unrelated: NDArray[np.bool_]) -> Block:
    """The scaled genotypes of packed variants; 0 where a call is missing or the variant does
    not vary.
    """
    counts = tally(rows, unrelated)
    p = counts.af
    spread = np.sqrt(2 * p * (1 - p))
    inverse = np.divide(1, spread, out=np.zeros_like(spread), where=spread > 0)
    values = np.empty((*rows.shape, 4), np.float32)
    for own, centre, factor, out in zip(rows, 2 * p, inverse, values, strict=True):
        table = np.where(BY_BYTE == MISSING, 0, (BY_BYTE - centre) * factor).astype(np.float32)
        np.take(table, own, axis=0, out=out, mode="clip")
    everybody = values.reshape(len(rows), -1)[:, : len(unrelated)]
    return everybody[:, unrelated], everybody
