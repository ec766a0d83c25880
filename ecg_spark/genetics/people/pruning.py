"""LD pruning by the correlation of packed calls.

Along a contig, the first variant is kept, and then each variant that is in LD with none of the
kept ones. A task holds the calls of one run of variants, and of the variants kept before it within
the window.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from ecg_spark.genetics.genotypes.packed import Packed, decode, standardised
from ecg_spark.session import broadcast

WINDOW_BP = 1_000_000
RUN = 500
LD_SAMPLES = 2_000
"""In this many people r² is estimated to about 0.03."""


def at_most(variants: NDArray[np.int64], most: int, seed: int) -> NDArray[np.int64]:
    """The variants, or a random choice of `most` of them, in their order.

    Example:
        >>> at_most(np.array([3, 5, 8]), 3, seed=1).tolist()
        [3, 5, 8]
    """
    if len(variants) <= most:
        return variants
    return np.sort(np.random.default_rng(seed).choice(variants, most, replace=False))


def pruned(
    spark: SparkSession,
    packed: Packed,
    variants: NDArray[np.int64],
    samples: NDArray[np.int64],
    max_r2: float,
    seed: int,
) -> NDArray[np.int64]:
    """Prune variants so that no two within 1 Mb have r² above `max_r2`.

    Variants that do not vary among the samples are left out. There is one task per contig, and the
    driver holds only places of variants.

    Args:
        variants: places in the packed set.
        samples: places of samples; r² is computed in at most `LD_SAMPLES` of them, drawn with
            `seed`.

    Returns:
        The places that are kept.
    """
    samples = np.sort(at_most(samples, LD_SAMPLES, seed))
    sites = packed.sites.iloc[variants]
    contigs, positions = sites["contig"].to_numpy(), sites["position"].to_numpy()
    tasks = [
        (variants[contigs == one], positions[contigs == one]) for one in dict.fromkeys(contigs)
    ]
    shared = broadcast(spark, (packed.calls, samples))

    def prune_contig(task: tuple[NDArray[np.int64], NDArray[np.int64]]) -> bytes:
        calls, samples = shared.value
        places, positions = task
        runs = (
            (standardised(decode(calls.packed(places[i : i + RUN]), samples)), positions[i:][:RUN])
            for i in range(0, len(places), RUN)
        )
        return np.packbits(np.concatenate(list(prune(runs, max_r2)))).tobytes()

    found = spark.sparkContext.parallelize(tasks, max(1, len(tasks))).map(prune_contig).collect()
    shared.unpersist()
    kept = [
        places[np.unpackbits(np.frombuffer(bits, np.uint8), count=len(places)).astype(bool)]
        for bits, (places, _) in zip(found, tasks, strict=True)
    ]
    return np.concatenate([*kept, np.empty(0, np.int64)])


def prune(
    runs: Iterable[tuple[NDArray[np.float32], NDArray[np.int64]]], max_r2: float
) -> Iterator[NDArray[np.bool_]]:
    """Which variants of each run are kept; the runs follow each other along one contig.

    Args:
        runs: the genotypes of each run [variants, people], centred and of length 1 (or all zero),
            and the positions of its variants in bp.
    """
    before = np.empty((0, 0), np.float32)
    places = np.empty(0, np.int64)
    for values, positions in runs:
        keep = np.asarray(values.any(axis=1))
        near = places >= positions[0] - WINDOW_BP
        before, places = before[near], places[near]
        if len(before):
            keep &= ~_linked(values, positions, before, places, max_r2).any(axis=1)
        linked = _linked(values, positions, values, positions, max_r2)
        for j in range(len(keep)):
            if keep[j]:
                keep[j + 1 :] &= ~linked[j, j + 1 :]
        yield keep
        before = np.concatenate([before, values[keep]]) if len(before) else values[keep]
        places = np.concatenate([places, positions[keep]])


def _linked(
    values: NDArray[np.float32],
    positions: NDArray[np.int64],
    others: NDArray[np.float32],
    other_positions: NDArray[np.int64],
    max_r2: float,
) -> NDArray[np.bool_]:
    """Which variants are in LD with which others, within the window."""
    is_near = np.abs(np.subtract.outer(positions, other_positions)) <= WINDOW_BP
    return np.asarray(((values @ others.T) ** 2 > max_r2) & is_near)
