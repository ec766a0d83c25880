"""How well a polygenic score predicts a phenotype, and how well it could at best."""

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
"""How many groups of families the jackknife leaves out in turn."""

FEWEST_GROUPS = 20
"""With fewer groups there is no confidence interval."""

PEOPLE_COMPARED = 1_000
"""How many people are compared with as many others."""


@dataclass(frozen=True)
class Accuracy:
    """How well a score predicts a phenotype.

    Attributes:
        n: how many people have the phenotype.
        r: the correlation of score and phenotype after covariates.
        r2: r |r|, the share of the variance after covariates that the score explains; negative if
            the score points the wrong way.
        r2_low: lower limit of the 95 % confidence interval of `r2`; None with too few families.
        r2_high: upper limit of that interval.
        slope: of the phenotype on the score; 1 if the score is calibrated.
        r2_covariates: the adjusted R² of the covariates alone.
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
    """How well a score predicts the phenotype of people whom it was not fitted to.

    The confidence interval is that of Fisher's z = artanh r. Its standard error is estimated by a
    jackknife over `GROUPS` groups of whole families, since relatives carry less information than
    the same number of unrelated people.

    Args:
        phenotype: [n], like `score` without missing values.
        covariates: [n, c].
        families: the number of each person's family, [n].
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
    """r from sums of squares and products; 0 where a variable does not vary."""
    return np.asarray(ys / np.sqrt(np.maximum(yy * ss, 1e-300)))


def expected_r2(h2: float, n: float, segments: float) -> float:
    """The R² that theory expects of a score fitted to `n` people: h² N h² / (N h² + M).

    Daetwyler, Villanueva & Woolliams 2008, PLoS ONE 3:e3395.

    Args:
        h2: the heritability of the phenotype.
        segments: M, the effective number of independent segments.

    Example:
        >>> round(expected_r2(0.4, 30_000, 12_000), 3)
        0.2
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
    """The effective number of independent segments that the variants of some blocks represent.

    One over the variance of the relationship of two unrelated people, Σ x x' / m over m
    standardised variants (Goddard, Hayes & Meuwissen 2011, J Anim Breed Genet 128:409).

    Args:
        samples: ids of unrelated people. At most `PEOPLE_COMPARED` of them are compared with as
            many others.
        covariates: [n, c], projected out of the genotypes.
        seed: for the choice of people.
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
