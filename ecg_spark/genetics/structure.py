"""Population structure and relatives, from some thousand independent common variants.

The calls of these variants fit in memory as one byte each (2 GB for 500,000 people), so
everything here is NumPy over one packed matrix, spread over Spark where it is quadratic in people.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyspark.sql import SparkSession
from scipy.linalg import eigh
from scipy.stats import norm

from ecg_spark.errors import DataError
from ecg_spark.genetics.packed import MISSING, Packed, standardised

AUTOSOMES = tuple(map(str, range(1, 23)))
MAX_CANDIDATES = 8_000
MAX_BYTES = 2**31
MIN_MAF = 0.05
MAX_R2 = 0.2
LD_WINDOW_BP = 1_000_000
LD_SAMPLES = 5_000
_BLOCK = 2_048

# Regions of long-range LD, which would otherwise be components of their own (Price et al. 2008,
# Am J Hum Genet 83:132, and their positions on GRCh38): contig, start, end in Mb.
LONG_RANGE_LD = {
    "GRCh37": (
        ("1", 48.2, 52.3), ("2", 86.1, 101.2), ("2", 183.2, 190.3), ("3", 47.5, 50.1),
        ("3", 83.4, 87.0), ("5", 44.4, 50.5), ("5", 128.9, 132.0), ("6", 25.3, 33.4),
        ("6", 56.8, 64.0), ("6", 139.9, 142.5), ("7", 55.0, 66.4), ("8", 7.9, 12.0),
        ("8", 42.8, 49.9), ("8", 111.9, 115.0), ("10", 36.9, 43.7), ("11", 87.8, 90.9),
        ("12", 33.1, 41.8), ("20", 32.5, 35.1),
    ),
    "GRCh38": (
        ("1", 47.5, 51.6), ("2", 133.7, 137.3), ("2", 182.1, 189.2), ("3", 47.4, 50.0),
        ("3", 83.4, 87.0), ("5", 98.6, 101.2), ("5", 129.6, 132.7), ("5", 136.1, 139.2),
        ("6", 24.9, 35.1), ("6", 139.6, 142.2), ("8", 7.1, 13.2), ("8", 110.9, 114.0),
        ("11", 87.7, 90.8), ("12", 109.0, 111.6), ("20", 33.4, 36.0),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Structure:
    """Scores on the principal components [samples, k], who is in the unrelated set, related pairs
    [pairs, 2] with their kinship, and notes."""

    scores: NDArray[np.float64]
    unrelated: NDArray[np.bool_]
    n_variants: int
    related: NDArray[np.int64]
    kinship: NDArray[np.float64]
    notes: tuple[str, ...]


def structure(
    spark: SparkSession,
    packed: Packed,
    allele_frequency: NDArray[np.float64],
    reference_genome: str,
    components: int,
    max_kinship: float,
    seed: int,
) -> Structure:
    """Principal components and an unrelated set of the samples, in the order of the packed set.

    Variants: common (MAF ≥ 0.05) autosomal SNPs outside regions of long-range LD, a random choice
    of at most `MAX_CANDIDATES`, pruned to r² ≤ 0.2 within 1 Mb. Of each pair with a kinship over
    `max_kinship` one sample is left out of the unrelated set; components are computed on the
    unrelated and projected onto everybody.

    Raises `DataError` where fewer independent variants are left than components are wanted.
    """
    n_samples = len(packed.samples)
    most = MAX_BYTES // max(n_samples, 1)
    chosen = _candidates(packed, allele_frequency, reference_genome, most, seed)
    calls = packed.calls.read(chosen)
    kept = prune(calls, packed.sites.iloc[chosen], seed)
    calls = calls[kept]
    notes = []
    expected = chance_relatives(calls, max_kinship)
    if expected > 0.01 * n_samples:
        pairs, kinship = np.empty((0, 2), np.int64), np.empty(0)
        notes.append(
            f"{len(calls)} independent variants are too few to tell a kinship of {max_kinship:g} "
            f"from chance: relatives were not looked for"
        )
    else:
        pairs, kinship = related_pairs(spark, calls, max_kinship)
    unrelated = unrelated_set(n_samples, pairs)
    if components and len(calls) <= 2 * components:
        raise DataError(
            f"Only {len(calls)} independent common variants are left, too few for {components} "
            f"principal components: lower genotypes.components."
        )
    scores = principal_components(calls, unrelated, components)
    return Structure(scores, unrelated, len(calls), pairs, kinship, tuple(notes))


def prune(calls: NDArray[np.int8], sites: pd.DataFrame, seed: int) -> NDArray[np.int64]:
    """Indices of variants such that no two within 1 Mb have r² > 0.2, the first of each kept.

    r² is computed on at most `LD_SAMPLES` samples; variants without variation are dropped.
    """
    n_samples = calls.shape[1]
    if n_samples > LD_SAMPLES:
        chosen = np.random.default_rng(seed).choice(n_samples, LD_SAMPLES, replace=False)
        calls = calls[:, np.sort(chosen)]
    values = standardised(calls)
    contigs, positions = sites["contig"].to_numpy(), sites["position"].to_numpy()
    kept: list[int] = []
    first = 0
    for j in range(len(values)):
        if not values[j].any():
            continue
        while first < len(kept) and (
            contigs[kept[first]] != contigs[j]
            or positions[j] - positions[kept[first]] > LD_WINDOW_BP
        ):
            first += 1
        near = kept[first:]
        if not near or np.max((values[near] @ values[j]) ** 2) <= MAX_R2:
            kept.append(j)
    return np.array(kept, np.int64)


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
    return float(n_samples * (n_samples - 1) / 2 * norm.sf(max_kinship / spread))


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

    The greedy approximation of the maximal independent set; deterministic.
    """
    relatives: dict[int, set[int]] = {}
    for a, b in pairs.tolist():
        relatives.setdefault(a, set()).add(b)
        relatives.setdefault(b, set()).add(a)
    kept = np.ones(n_samples, bool)
    while relatives:
        worst = max(relatives, key=lambda sample: (len(relatives[sample]), sample))
        kept[worst] = False
        for other in relatives.pop(worst):
            relatives[other].discard(worst)
            if not relatives[other]:
                del relatives[other]
    # One may have gone for relatives that went after it.
    partners: dict[int, list[int]] = {}
    for a, b in pairs.tolist():
        partners.setdefault(a, []).append(b)
        partners.setdefault(b, []).append(a)
    for sample in sorted(partners):
        if not kept[partners[sample]].any():
            kept[sample] = True
    return kept


def principal_components(
    calls: NDArray[np.int8], unrelated: NDArray[np.bool_], components: int
) -> NDArray[np.float64]:
    """Scores [samples, components] from the unrelated samples, projected onto all.

    Genotypes are centred and scaled by √(2p(1-p)) (Patterson et al. 2006); missing calls are at the
    mean. Each component has variance 1 over the unrelated, its largest loading is positive. Exact,
    by the Gram matrix over samples or over variants, whichever are fewer.
    """
    if not components:
        return np.zeros((calls.shape[1], 0))
    reference = calls[:, unrelated]
    known = reference != MISSING
    p = (reference * known).sum(axis=1) / np.maximum(2 * known.sum(axis=1), 1)
    varies = (p > 0) & (p < 1)
    calls, reference, p = calls[varies], reference[varies], p[varies, None]
    if min(reference.shape) <= components:
        raise DataError(
            f"{reference.shape[1]} unrelated samples and {reference.shape[0]} independent variants "
            f"are too few for {components} principal components: lower genotypes.components."
        )

    def scaled(matrix: NDArray[np.int8]) -> Iterator[NDArray[np.float32]]:
        """Blocks [variants, some samples] of scaled genotypes, in the order of the samples."""
        for start in range(0, matrix.shape[1], _BLOCK):
            block = matrix[:, start : start + _BLOCK]
            centred = np.where(block == MISSING, 0, block - 2 * p) / np.sqrt(2 * p * (1 - p))
            yield centred.astype(np.float32)

    def leading(gram: NDArray[np.float64]) -> NDArray[np.float64]:
        last = len(gram) - 1
        vectors = eigh(gram, subset_by_index=(last + 1 - components, last))[1]
        return np.asarray(vectors[:, ::-1])

    if reference.shape[1] < reference.shape[0]:
        whole = np.concatenate(list(scaled(reference)), axis=1)
        loadings = whole @ leading((whole.T @ whole).astype(np.float64))
    else:
        gram = np.zeros((len(p), len(p)))
        for block in scaled(reference):
            gram += block @ block.T
        loadings = leading(gram)
    loadings = loadings * np.sign(loadings[np.abs(loadings).argmax(axis=0), range(components)])
    scores = np.concatenate([block.T @ loadings for block in scaled(calls)])
    spread = scores[unrelated].std(axis=0)
    return np.asarray((scores - scores[unrelated].mean(axis=0)) / spread, dtype=np.float64)


def _candidates(
    packed: Packed,
    allele_frequency: NDArray[np.float64],
    reference_genome: str,
    most: int,
    seed: int,
) -> NDArray[np.int64]:
    """Up to `MAX_CANDIDATES` common autosomal SNPs outside long-range LD, chosen at random."""
    sites = packed.sites
    contig = sites["contig"].str.removeprefix("chr")
    maf = np.minimum(allele_frequency, 1 - allele_frequency)
    suitable = contig.isin(AUTOSOMES) & (maf >= MIN_MAF)
    suitable &= (sites["ref"].str.len() == 1) & (sites["alt"].str.len() == 1)
    for name, start, end in LONG_RANGE_LD[reference_genome]:
        within = sites["position"].between(start * 1e6, end * 1e6, inclusive="left")
        suitable &= ~((contig == name) & within)
    found = np.flatnonzero(suitable)
    wanted = min(MAX_CANDIDATES, most)
    if len(found) > wanted:
        chosen = np.random.default_rng(seed).choice(len(found), wanted, replace=False)
        found = found[np.sort(chosen)]
    return found
