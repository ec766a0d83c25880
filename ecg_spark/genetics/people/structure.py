"""Population structure and relatives, from independent common variants.

Relatives stand on some thousand of them, whose calls fit in memory as one byte each (2 GB for
500,000 people); components on up to a hundred thousand, which are read in blocks.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from ecg_spark.errors import DataError
from ecg_spark.genetics.genotypes.contigs import AUTOSOMES
from ecg_spark.genetics.genotypes.long_range import outside_long_range
from ecg_spark.genetics.genotypes.packed import Packed
from ecg_spark.genetics.genotypes.view import IS_SNP
from ecg_spark.genetics.people.components import (
    blocks_of,
    principal_components,
    squared_loadings,
)
from ecg_spark.genetics.people.kinship import chance_relatives, related_pairs, unrelated_set
from ecg_spark.genetics.people.pruning import at_most, pruned

MAX_CANDIDATES = 200_000
MAX_VARIANTS = 100_000
KINSHIP_VARIANTS = 8_000
MAX_BYTES = 2**31
MIN_MAF = 0.05
MAX_R2 = 0.2

WINDOW_BP = 5_000_000
LARGE_PART, LARGE_RATIO = 0.1, 10.0
"""A stretch as long as `WINDOW_BP` makes a large part of a component with such a share of its
squared loadings, and with so many times its share of the variants."""


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
    if components:
        loadings = squared_loadings(spark, packed, chosen, unrelated, scores)
        notes += regional(packed.sites.iloc[chosen], loadings)
    return Structure(scores, unrelated, len(chosen), pairs, kinship, tuple(notes))


def regional(sites: pd.DataFrame, loadings: NDArray[np.float64]) -> list[str]:
    """Notes on components [variants, k] of which one stretch of the genome makes a large part.

    `sites`: contig and position of the variants. A component of ancestry is made everywhere.
    """
    window = sites["position"].to_numpy() // WINDOW_BP
    _, first, place = np.unique(
        [sites["contig"].cat.codes.to_numpy(), window], axis=1, return_index=True,
        return_inverse=True,
    )  # fmt: skip
    place = place.ravel()
    share_of_variants = np.bincount(place) / len(sites)
    notes = []
    for k, column in enumerate(loadings.T, 1):
        share = np.bincount(place, column) / column.sum()
        most = int(share.argmax())
        if share[most] >= LARGE_PART and share[most] >= LARGE_RATIO * share_of_variants[most]:
            contig, start = sites["contig"].iloc[first[most]], window[first[most]] * WINDOW_BP / 1e6
            notes.append(
                f"principal component {k} may be linkage rather than ancestry: "
                f"{share[most]:.0%} of its squared loadings are those of {contig}:{start:.0f} to "
                f"{start + WINDOW_BP / 1e6:.0f} Mb, where {share_of_variants[most]:.1%} of the "
                f"variants are"
            )
    return notes


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
    return np.flatnonzero(suitable & outside_long_range(packed, reference_genome))
