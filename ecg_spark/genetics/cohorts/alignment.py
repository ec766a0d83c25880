"""Whether two cohorts speak of the same allele.

A variant is told by its place and its two alleles, whichever of them a file calls the effect
allele and on whichever strand it names them. For single bases a name on the other strand is the
complement; longer alleles must be spelled alike, since on the other strand they would lie at
another position.

A/T and C/G are their own complements: which strand is meant only the frequency tells. Where it is
within `UNCLEAR` of one half, nothing is certain, and the cohort's results at the variant are left
out. Elsewhere a cohort whose frequency lies on the other side of one half than that of most cohorts
names the other strand.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

Whole = NDArray[np.int64]
Reals = NDArray[np.float64]
Truths = NDArray[np.bool_]

UNCLEAR = 0.1
"""A frequency so near to one half tells no strand."""

AMBIGUOUS = ("A/T", "C/G")

KEY = ("chromosome", "position", "pair")
"""What tells a variant in every cohort."""

COMPLEMENT = {"A": "T", "C": "G", "G": "C", "T": "A"}


def keyed(rows: DataFrame) -> DataFrame:
    """Rows with ref and alt, the effect allele, by `KEY` in place of them.

    `pair` holds the two alleles in the order of the alphabet, on the strand on which they come
    first; `complemented` says whether the file names the other strand, and `effect_first` whether
    the effect allele is the first of the pair.
    """
    ref, alt = F.upper("ref"), F.upper("alt")
    single = ref.rlike("^[ACGT]$") & alt.rlike("^[ACGT]$")
    own, other = _pair(ref, alt), _pair(_complement(ref), _complement(alt))
    complemented = single & (other < own)
    first = F.when(complemented, _complement(alt) < _complement(ref)).otherwise(alt < ref)
    return (
        rows.withColumn("pair", F.when(complemented, other).otherwise(own))
        .withColumn("complemented", complemented)
        .withColumn("effect_first", first)
        .drop("ref", "alt")
    )


def _pair(ref: Column, alt: Column) -> Column:
    return F.concat_ws("/", F.least(ref, alt), F.greatest(ref, alt))


def _complement(allele: Column) -> Column:
    return F.translate(allele, "ACGT", "TGCA")


def alleles(pairs: Sequence[str], coding: Whole) -> tuple[list[str], list[str]]:
    """ref and alt of variants by their pairs and their codings (see `Aligned`)."""
    refs, alts = [], []
    for pair, code in zip(pairs, coding.tolist(), strict=True):
        both = pair.split("/")
        if code & 2:
            both = [COMPLEMENT[one] for one in both]
        first = code & 1
        alts.append(both[1 - first])
        refs.append(both[first])
    return refs, alts


@dataclass(frozen=True)
class Aligned:
    """Rows of variants in the terms of one coding each.

    `coding` [variants]: 2 where it names the strand on which the pair does not come first, plus 1
    where its effect allele is the pair's first. `sign` [rows]: -1 where a row's effect is that of
    the other allele, 0 where it is not certain. `swapped`, `other_strand`, `by_frequency` and
    `unclear` [cohorts]: at how many variants a cohort has the alleles the other way round, names
    the other strand, and A/T or C/G was turned by the frequency or left out.
    """

    coding: Whole
    sign: Whole
    swapped: Whole
    other_strand: Whole
    by_frequency: Whole
    unclear: Whole


def align(
    variant: Whole,
    cohort: Whole,
    complemented: Truths,
    effect_first: Truths,
    frequency: Reals,
    results: Whole,
    ambiguous: Truths,
    cohorts: int,
) -> Aligned:
    """Align rows [rows], each of a variant and a cohort by their numbers.

    `frequency` is that of a row's effect allele, NaN where it is not known, `results` how many
    phenotypes it has. `ambiguous` [variants] marks A/T and C/G. A variant has the strand and the
    effect allele of most results; of two that are as frequent as each other the pair's own strand,
    and its second allele: another order of the cohorts changes nothing.
    """
    n = len(ambiguous)

    def mostly(says: Truths) -> Truths:
        """What most results of each variant say."""
        return np.bincount(variant, np.where(says, 1, -1) * results, n) > 0

    strand, effect = mostly(complemented), mostly(effect_first)
    swapped = effect_first != effect[variant]
    other_strand = complemented != strand[variant]
    sign = np.where(swapped, -1, 1)
    cell = variant * cohorts + cohort

    def seen(rows: Truths) -> Truths:
        """The cells [variants, cohorts] of some rows."""
        return np.bincount(cell[rows], minlength=n * cohorts).reshape(n, cohorts) > 0

    present = seen(np.ones(len(variant), bool))
    af = mean_by_cell(np.where(swapped, 1 - frequency, frequency), cell, (n, cohorts))
    doubtful = present & (ambiguous & (present.sum(axis=1) > 1))[:, None]
    clear = np.abs(af - 0.5) > UNCLEAR
    above = doubtful & clear & (af > 0.5)
    below = doubtful & clear & (af < 0.5)
    mostly_above = above.sum(axis=1) > below.sum(axis=1)
    turned = np.where(mostly_above[:, None], below, above)
    unclear = doubtful & ~clear
    sign = np.where(turned.ravel()[cell], -sign, sign)
    sign = np.where(unclear.ravel()[cell], 0, sign)
    return Aligned(
        2 * strand + effect.astype(np.int64),
        sign,
        (seen(swapped) & ~doubtful).sum(axis=0),
        (seen(other_strand) & ~doubtful).sum(axis=0),
        turned.sum(axis=0),
        unclear.sum(axis=0),
    )


def mean_by_cell(values: Reals, cell: Whole, shape: tuple[int, int]) -> Reals:
    """The mean of the values that are known in each cell of a table; NaN where none is."""
    known = np.isfinite(values)
    size = shape[0] * shape[1]
    counts = np.bincount(cell[known], minlength=size)
    sums = np.bincount(cell[known], values[known], size)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)).reshape(shape)
