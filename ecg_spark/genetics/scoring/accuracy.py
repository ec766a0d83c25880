"""How much of a phenotype a polygenic score tells, and how much it could tell at most."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from ecg_spark.genetics.genotypes.packed import Packed, centred
from ecg_spark.genetics.null_model.levels import Block
from ecg_spark.genetics.null_model.projection import basis_of
from ecg_spark.genetics.testing.p_values import WITHIN
from ecg_spark.session import broadcast

Reals = NDArray[np.float64]

GROUPS = 200
"""Of families, which the jackknife leaves out one after the other."""

FEWEST_GROUPS = 20
"""With fewer there is no interval."""

PEOPLE_COMPARED = 1_000
"""On either side of the pairs of people whose genomes are compared."""


@dataclass(frozen=True)
class Accuracy:
    """What a score tells of a phenotype of `n` people.

    `r`: their correlation beside the covariates; `r2`: the share of what the covariates leave that
    the score tells, r |r|, below 0 where it tells the opposite, with the limits `r2_low` and
    `r2_high` of its interval of 95 % (None for too few families); `slope`: of the phenotype on the
    score, 1 where the score is neither too bold nor too timid; `r2_covariates`: the share that the
    covariates tell alone, adjusted for their number.
    """

    n: int
    r: float
    r2: float
    r2_low: float | None
    r2_high: float | None
    slope: float
    r2_covariates: float


def accuracy(
    phenotype: Reals, score: Reals, covariates: Reals, families: NDArray[np.int64]
) -> Accuracy:
    """How well a score of people who did not fit it tells their phenotype, all [n] and complete.

    `covariates` [n, c]. The interval is that of Fisher's z = artanh r, whose standard error is by
    the jackknife over `GROUPS` of whole `families`: relatives count as less than as many strangers.
    """
    n, design = len(phenotype), basis_of(covariates)
    y, s = (one - design @ (design.T @ one) for one in (phenotype - phenotype.mean(), score))
    sums = np.stack([y * y, s * s, y * s])
    total = sums.sum(axis=1)
    r = float(_correlation(*total))
    group = np.unique(families, return_inverse=True)[1] % GROUPS
    count = int(group.max()) + 1
    low = high = None
    if count >= FEWEST_GROUPS:
        without = total[:, None] - np.stack([np.bincount(group, one, count) for one in sums])
        z = np.arctanh(_correlation(*without))
        error = np.sqrt((count - 1) / count * ((z - z.mean()) ** 2).sum())
        limits = np.tanh(np.arctanh(r) + np.array([-WITHIN, WITHIN]) * error)
        low, high = (float(one * abs(one)) for one in limits)
    free = n - design.shape[1]
    whole = ((phenotype - phenotype.mean()) ** 2).sum()
    return Accuracy(
        n, r, r * abs(r), low, high,
        float(total[2] / total[1]) if total[1] else 0.0,
        float(1 - (total[0] / free) / (whole / (n - 1))),
    )  # fmt: skip


def _correlation(yy: Reals, ss: Reals, ys: Reals) -> Reals:
    """r of sums of squares and products; 0 where one does not vary."""
    return np.asarray(ys / np.sqrt(np.maximum(yy * ss, 1e-300)))


def expected_r2(h2: float, n: float, segments: float) -> float:
    """The R² that theory expects of a score that `n` people fit to a phenotype of heritability h².

    R² = h² N h² / (N h² + M): Daetwyler, Villanueva and Woolliams (2008, PLoS ONE 3:e3395).
    `segments`: M, of how many independent pieces the variants effectively are.
    """
    return h2 * n * h2 / (n * h2 + segments) if h2 > 0 else 0.0


def effective_segments(
    spark: SparkSession,
    packed: Packed,
    blocks: Sequence[Block],
    samples: Sequence[str],
    covariates: Reals,
    seed: int,
) -> float:
    """Of how many independent pieces the variants of some blocks effectively are.

    One over the variance of the likeness of two unrelated people, Σ x x' / m over m standardised
    variants (Goddard, Hayes and Meuwissen 2011, J Anim Breed Genet 128:409). `samples` are
    unrelated, with their `covariates` [n, c], which are taken off; of them at most
    `PEOPLE_COMPARED` are compared with as many others.
    """
    half = min(PEOPLE_COMPARED, len(samples) // 2)
    chosen = np.random.default_rng(seed).permutation(len(samples))[: 2 * half]
    people = packed.places([samples[k] for k in chosen])
    basis = basis_of(covariates[chosen]).astype(np.float32)
    shared = broadcast(spark, (packed.calls, people, basis, [own for _, own in blocks]))

    def likeness(number: int) -> NDArray[np.float64]:
        calls, people, basis, places = shared.value
        x = centred(calls.read(places[number], people))
        x -= (x @ basis) @ basis.T
        spread = np.sqrt((x**2).sum(axis=1, keepdims=True) / (len(people) - basis.shape[1]))
        x = np.divide(x, spread, out=np.zeros_like(x), where=spread > 1e-4)
        product = (x[:, :half].T @ x[:, half:]).astype(float)
        return np.append(product.ravel(), np.count_nonzero(spread > 1e-4))

    tasks = spark.sparkContext.parallelize(range(len(blocks)), len(blocks))
    found = tasks.map(likeness).treeReduce(np.add)
    shared.unpersist()
    return float(1 / np.mean((found[:-1] / found[-1]) ** 2))
