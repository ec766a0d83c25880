"""LD scores: how much variation each variant tags, the basis of LD-score regression.

Variants are in the order of the genome.
"""

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from ecg_spark.genetics.genotypes.packed import Packed, centred
from ecg_spark.genetics.null_model.projection import basis_of
from ecg_spark.session import broadcast

WINDOW_BP = 1_000_000
LD_SAMPLES = 5_000

_CHUNK = 512

Reals = NDArray[np.float64]


def ld_scores(
    spark: SparkSession,
    packed: Packed,
    variants: NDArray[np.int64],
    samples: NDArray[np.int64],
    covariates: Reals,
    window_bp: int = WINDOW_BP,
) -> Reals:
    """The LD score of each variant: the sum of its adjusted r² with all `variants` within
    `window_bp`, itself included.

    The covariates are projected out first, so that ancestry does not count as LD (Luo et al. 2021,
    Hum Mol Genet 30:1521). r² is adjusted for chance: r² - (1 - r²) / (n - c - 2).

    Args:
        variants: places in the set, in the order of the genome.
        samples: places in the set; at most `LD_SAMPLES` of them, evenly spaced, are used.
        covariates: [samples, c].
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


def _runs(contigs: NDArray[np.int8]) -> list[tuple[int, int]]:
    """Start and end of each contig's variants."""
    ends = np.flatnonzero(contigs[1:] != contigs[:-1]) + 1
    bounds = [0, *ends.tolist(), len(contigs)]
    return list(pairwise(bounds))
