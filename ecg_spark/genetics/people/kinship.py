"""Which samples are related, and a set of samples without relatives."""

from collections.abc import Iterable
from heapq import heapify, heappop, heappush

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import SparkSession
from scipy.special import ndtr

from ecg_spark.genetics.genotypes.packed import MISSING
from ecg_spark.genetics.genotypes.rows import as_calls, pack
from ecg_spark.session import broadcast

_BLOCK = 2_048
_SIGNED = np.array([-1, 0, 1, 0], np.float32)
_ROUNDING = 1e-6
_PAIR_BYTES = 32 << 20
"""How many bytes of genotypes of pairs are compared at a time."""


def chance_relatives(calls: NDArray[np.int8], max_kinship: float) -> float:
    """How many unrelated pairs are expected to exceed `max_kinship` by chance.

    For independent variants the numerator of the KING estimate has variance Σ 12 p²q², and the
    denominator is 4 Σ pq.

    Args:
        calls: [variants, samples], `MISSING` where unknown.
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
    """Find the pairs of samples whose KING-robust kinship exceeds `max_kinship`.

    Blocks of samples are compared in Spark tasks, which receive the calls at two bits each. For a
    block, one matrix product gives an upper bound on the kinship of each pair (see `_at_most`);
    only pairs whose bound exceeds the limit are computed exactly.

    Args:
        calls: [variants, samples], `MISSING` where unknown.

    Returns:
        The pairs as numbers of samples [pairs, 2], and their kinship [pairs].
    """
    n_samples, n_variants = calls.shape[::-1]
    packed = np.concatenate(
        [pack(calls[:, i : i + _BLOCK].T) for i in range(0, n_samples, _BLOCK)]
        or [np.empty((0, 0), np.uint8)]
    )
    starts = range(0, n_samples, _BLOCK)
    tasks = [(i, j) for i in starts for j in starts if i <= j]
    shared = broadcast(spark, packed)

    def block(start: int) -> NDArray[np.int8]:
        return as_calls(shared.value[start : start + _BLOCK], n_variants)

    def compare(blocks: Iterable[tuple[int, int]]) -> Iterable[tuple[int, int, float]]:
        for i, j in blocks:
            left, right = block(i), block(j)
            may_be = _at_most(left, right) > max_kinship
            a, b = np.nonzero(np.triu(may_be, 1) if i == j else may_be)
            kinship = king_robust(left, right, a, b)
            for k in np.flatnonzero(kinship > max_kinship):
                yield int(a[k]) + i, int(b[k]) + j, float(kinship[k])

    found = spark.sparkContext.parallelize(tasks, max(1, len(tasks))).mapPartitions(compare)
    table = np.array(sorted(found.collect()), float).reshape(-1, 3)
    shared.unpersist()
    return table[:, :2].astype(np.int64), table[:, 2]


def king_robust(
    left: NDArray[np.int8], right: NDArray[np.int8], a: NDArray[np.int64], b: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The KING-robust kinship of pairs of samples, [pairs].

    The between-family estimate of Manichaikul et al. 2010, Bioinformatics 26:2867, eq. 11, which
    is valid with several populations in the sample.

    Args:
        left: calls [samples, variants], `MISSING` where unknown.
        right: calls [samples, variants] of the same variants.
        a: for each pair, the first sample's place in `left`.
        b: for each pair, the second sample's place in `right`.
    """
    step = max(1, _PAIR_BYTES // max(left.shape[1], 1))
    found = [np.empty(0)]
    for start in range(0, len(a), step):
        one, other = left[a[start : start + step]], right[b[start : start + step]]
        known = (one != MISSING) & (other != MISSING)
        both_het = ((one == 1) & (other == 1)).sum(axis=1)
        opposite = (known & (np.abs(one - other) == 2)).sum(axis=1)
        n_het = [(known & (each == 1)).sum(axis=1) for each in (one, other)]
        fewer = np.maximum(np.minimum(*n_het), 1)
        found.append(
            (both_het - 2 * opposite) / (2 * fewer) + 0.5 - (n_het[0] + n_het[1]) / (4 * fewer)
        )
    return np.concatenate(found)


def _at_most(left: NDArray[np.int8], right: NDArray[np.int8]) -> NDArray[np.float32]:
    """An upper bound on the KING-robust kinship of samples `left` with samples `right`, [a, b].

    With g = -1, 0 and 1 for no, one and two alternate alleles (0 also where missing), and of n
    variants h heterozygous and m missing ones per sample, two samples i and j have

        both heterozygous - 2 opposite homozygous <= g_i g_j' + h_i + h_j + m_i + m_j - n,

    with equality if no call is missing. Of the heterozygous calls of i, j has at least h_i - m_j.
    """
    (g_left, h_left, m_left), (g_right, h_right, m_right) = map(_counted, (left, right))
    m = m_left[:, None] + m_right
    shared = g_left @ g_right.T + h_left[:, None] + h_right + m - left.shape[1]
    fewest = np.minimum(h_left[:, None] - m_right, h_right - m_left[:, None])
    apart = np.maximum(np.abs(h_left[:, None] - h_right) - m, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        most = (2 * shared - apart) / (4 * fewest) * (1 + _ROUNDING)
    # `fewest` bounds the denominator from below, which bounds a positive kinship from above. For a
    # negative one it would not, but 0 is then a bound.
    return np.asarray(np.where(fewest < 1, np.inf, np.maximum(most, 0)))


def _counted(
    samples: NDArray[np.int8],
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """For each sample its calls as -1, 0 and 1, and the number of heterozygous and of missing
    calls.
    """
    het, missing = ((samples == code).sum(axis=1, dtype=np.float32) for code in (1, MISSING))
    return _SIGNED[samples], het, missing


def unrelated_set(n_samples: int, pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
    """A large set of samples without related pairs, by a deterministic greedy algorithm.

    The sample with the most remaining relatives is removed first; among equals, the later one.
    This approximates a maximum independent set, in time proportional to pairs × log(pairs).

    Args:
        pairs: numbers of two different samples, [pairs, 2].

    Example:
        >>> unrelated_set(4, np.array([[0, 1], [1, 2]])).tolist()
        [True, False, True, True]
    """
    partners: dict[int, set[int]] = {}
    for a, b in pairs.tolist():
        partners.setdefault(a, set()).add(b)
        partners.setdefault(b, set()).add(a)
    kept = [True] * n_samples
    left = {sample: len(own) for sample, own in partners.items()}
    # The queue holds a sample once for every count of relatives that it has had; only the entry
    # with its present count is valid.
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
    # A sample may have been removed for relatives that were removed later: put it back.
    for sample in sorted(partners):
        if not any(kept[other] for other in partners[sample]):
            kept[sample] = True
    return np.array(kept, bool)
