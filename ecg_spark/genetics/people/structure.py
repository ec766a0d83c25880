"""Population structure and relatives, from some thousand independent common variants.

The calls of these variants fit in memory as one byte each (2 GB for 500,000 people), so
everything here is NumPy over one packed matrix, spread over Spark where it is quadratic in people.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from ecg_spark.errors import DataError
from ecg_spark.genetics.genotypes.contigs import AUTOSOMES, CONTIGS
from ecg_spark.genetics.genotypes.packed import Packed, standardised
from ecg_spark.genetics.people.components import principal_components
from ecg_spark.genetics.people.kinship import chance_relatives, related_pairs, unrelated_set

MAX_CANDIDATES = 8_000
MAX_BYTES = 2**31
MIN_MAF = 0.05
MAX_R2 = 0.2
LD_WINDOW_BP = 1_000_000
LD_SAMPLES = 5_000

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


def _candidates(
    packed: Packed,
    allele_frequency: NDArray[np.float64],
    reference_genome: str,
    most: int,
    seed: int,
) -> NDArray[np.int64]:
    """Up to `MAX_CANDIDATES` common autosomal SNPs outside long-range LD, chosen at random."""
    sites = packed.sites
    contig = sites["contig"].map(CONTIGS)
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
