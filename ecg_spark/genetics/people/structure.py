"""Population structure and relatives, from independent common variants.

Relatives stand on some thousand of them, whose calls fit in memory as one byte each (2 GB for
500,000 people); components on up to a hundred thousand, which are read in blocks.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from ecg_spark.errors import DataError
from ecg_spark.genetics.genotypes.contigs import AUTOSOMES
from ecg_spark.genetics.genotypes.packed import Packed
from ecg_spark.genetics.genotypes.view import IS_SNP
from ecg_spark.genetics.people.components import blocks_of, principal_components
from ecg_spark.genetics.people.kinship import chance_relatives, related_pairs, unrelated_set
from ecg_spark.genetics.people.pruning import at_most, pruned

MAX_CANDIDATES = 200_000
MAX_VARIANTS = 100_000
KINSHIP_VARIANTS = 8_000
MAX_BYTES = 2**31
MIN_MAF = 0.05
MAX_R2 = 0.2

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
    """Principal components and an unrelated set of the samples, in the order of the packed set, of
    whose sites `IS_SNP` is known.

    Variants: common (MAF ≥ 0.05) autosomal SNPs outside regions of long-range LD, of a random
    choice of `MAX_CANDIDATES` those that are left after pruning to r² ≤ 0.2 within 1 Mb, at most
    `MAX_VARIANTS`, and of these at most `KINSHIP_VARIANTS` for relatives. Of each pair with a
    kinship over `max_kinship` one sample is left out of the unrelated set; components are computed
    on the unrelated and projected onto everybody.

    Raises `DataError` where fewer independent variants are left than components are wanted.
    """
    n_samples = len(packed.samples)
    chosen = at_most(_candidates(packed, allele_frequency, reference_genome), MAX_CANDIDATES, seed)
    chosen = pruned(spark, packed, chosen, np.arange(n_samples), MAX_R2, seed)
    chosen = at_most(chosen, MAX_VARIANTS, seed)
    most = min(KINSHIP_VARIANTS, MAX_BYTES // max(n_samples, 1))
    calls = packed.calls.read(at_most(chosen, most, seed))
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
    if components and len(chosen) <= 2 * components:
        raise DataError(
            f"Only {len(chosen)} independent common variants are left, too few for {components} "
            f"principal components: lower genotypes.components."
        )
    over_blocks = blocks_of(spark, packed, chosen, unrelated)
    shared = _shared(pairs, kinship, unrelated)
    scores = principal_components(over_blocks, unrelated, components, len(chosen), shared, seed)
    return Structure(scores, unrelated, len(chosen), pairs, kinship, tuple(notes))


def _shared(
    pairs: NDArray[np.int64], kinship: NDArray[np.float64], unrelated: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """The share of each sample's genome that unrelated ones have as well: twice the kinship."""
    shared = np.zeros(len(unrelated))
    for one, other in (pairs.T, pairs.T[::-1]):
        np.add.at(shared, one, 2 * kinship * unrelated[other])
    return shared


def _candidates(
    packed: Packed, allele_frequency: NDArray[np.float64], reference_genome: str
) -> NDArray[np.int64]:
    """The common autosomal SNPs outside long-range LD."""
    sites = packed.sites
    maf = np.minimum(allele_frequency, 1 - allele_frequency)
    suitable = packed.on(AUTOSOMES) & (maf >= MIN_MAF) & sites[IS_SNP].to_numpy()
    for name, start, end in LONG_RANGE_LD[reference_genome]:
        within = sites["position"].between(start * 1e6, end * 1e6, inclusive="left")
        suitable &= ~(packed.on([name]) & within.to_numpy())
    return np.flatnonzero(suitable)
