"""Which samples are relatives, and of whom a set without relatives consists."""

from collections.abc import Iterable
from heapq import heapify, heappop, heappush

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import SparkSession
from scipy.special import ndtr

from ecg_spark.genetics.genotypes.packed import MISSING

_BLOCK = 2_048


def chance_relatives(calls: NDArray[np.int8], max_kinship: float) -> float:
    """How many unrelated pairs are expected to seem more closely related than `max_kinship`.

    For independent variants the numerator of the KING estimate has variance Σ 12 p²q² and the
    denominator is 4 Σ pq.
    """
    n_samples = calls.shape[1]
    known = calls != MISSING
    p = (calls * known).sum(axis=1) / np.maximum(2 * known.sum(axis=1), 1)
    pq = p * (1 - p)
    if not pq.sum():
        return float("inf")
    spread = np.sqrt(12 * (pq**2).sum()) / (4 * pq.sum())
    return float(n_samples * (n_samples - 1) / 2 * ndtr(-max_kinship / spread))


def related_pairs(
    spark: SparkSession, calls: NDArray[np.int8], max_kinship: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Pairs of samples [pairs, 2] whose KING-robust kinship exceeds `max_kinship`, and theirs.

    The between-family estimate of Manichaikul et al. (2010, Bioinformatics 26:2867), eq. 11, which
    holds with several populations in the sample. Blocks of samples are spread over Spark.
    """
    by_sample = np.ascontiguousarray(calls.T)
    starts = range(0, len(by_sample), _BLOCK)
    tasks = [(i, j) for i in starts for j in starts if i <= j]
    shared = spark.sparkContext.broadcast(by_sample)

    def compare(blocks: Iterable[tuple[int, int]]) -> Iterable[tuple[int, int, float]]:
        for i, j in blocks:
            kinship = king_robust(shared.value[i : i + _BLOCK], shared.value[j : j + _BLOCK])
            if i == j:
                kinship = np.triu(kinship, 1)
            for a, b in np.argwhere(kinship > max_kinship):
                yield int(a) + i, int(b) + j, float(kinship[a, b])

    found = spark.sparkContext.parallelize(tasks, len(tasks)).mapPartitions(compare).collect()
    shared.unpersist()
    table = np.array(sorted(found), float).reshape(-1, 3)
    return table[:, :2].astype(np.int64), table[:, 2]


def king_robust(left: NDArray[np.int8], right: NDArray[np.int8]) -> NDArray[np.float32]:
    """KING-robust kinship [a, b] of samples `left` [a, variants] with `right` [b, variants]."""

    def is_code(samples: NDArray[np.int8], code: int) -> NDArray[np.float32]:
        return (samples == code).astype(np.float32)

    het_left, het_right = is_code(left, 1), is_code(right, 1)
    ref_left, ref_right = is_code(left, 0), is_code(right, 0)
    alt_left, alt_right = is_code(left, 2), is_code(right, 2)
    both_het = het_left @ het_right.T
    opposite = ref_left @ alt_right.T + alt_left @ ref_right.T
    n_het_left = het_left @ (het_right + ref_right + alt_right).T
    n_het_right = (het_left + ref_left + alt_left) @ het_right.T
    fewer = np.maximum(np.minimum(n_het_left, n_het_right), 1)
    kinship: NDArray[np.float32] = (
        (both_het - 2 * opposite) / (2 * fewer) + 0.5 - (n_het_left + n_het_right) / (4 * fewer)
    )
    return kinship


def unrelated_set(n_samples: int, pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Samples of which no two are a pair: the one with most relatives goes first, then the later.

    The greedy approximation of the maximal independent set; deterministic. `pairs` [pairs, 2] are
    numbers of two different samples. Time grows as pairs x log(pairs).
    """
    partners: dict[int, set[int]] = {}
    for a, b in pairs.tolist():
        partners.setdefault(a, set()).add(b)
        partners.setdefault(b, set()).add(a)
    kept = [True] * n_samples
    left = {sample: len(own) for sample, own in partners.items()}
    # A sample stands in the queue once for every count of relatives that it has had; only the
    # last of them is true.
    queue = [(-count, -sample) for sample, count in left.items()]
    heapify(queue)
    while queue:
        count, worst = (-one for one in heappop(queue))
        if not kept[worst] or count != left[worst]:
            continue
        kept[worst] = False
        for other in partners[worst]:
            left[other] -= 1
            if kept[other] and left[other]:
                heappush(queue, (-left[other], -other))
    # One may have gone for relatives that went after it.
    for sample in sorted(partners):
        if not any(kept[other] for other in partners[sample]):
            kept[sample] = True
    return np.array(kept, bool)
