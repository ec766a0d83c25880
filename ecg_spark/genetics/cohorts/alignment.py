"""Alignment of alleles: whether two cohorts report the effect of the same allele.

A variant is identified by its position and its two alleles, whichever of them a file calls the
effect allele and on whichever strand it names them. For single bases, the name on the other strand
is the complement. Longer alleles must be spelled alike, since on the other strand they would lie
at another position.

A/T and C/G are their own complements, so only the frequency shows which strand is meant. Within
`UNCLEAR` of one half it does not, and the cohort's results for the variant are left out.
Elsewhere, a cohort whose frequency lies on the other side of one half than that of most cohorts is
taken to name the other strand.
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
"""Within this distance of one half, a frequency does not reveal the strand."""

AMBIGUOUS = ("A/T", "C/G")

KEY = ("chromosome", "position", "pair")
"""The columns that identify a variant in every cohort."""

COMPLEMENT = {"A": "T", "C": "G", "G": "C", "T": "A"}


def keyed(rows: DataFrame) -> DataFrame:
    """Identify variants by `KEY` instead of ref and alt, of which alt is the effect allele.

    `pair` holds the two alleles in alphabetical order, on the strand on which they come first in
    the alphabet. `complemented` is whether the file names the other strand, and `effect_first`
    whether the effect allele is the first of the pair.
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
    """The ref and alt alleles of variants.

    Args:
        pairs: the column `pair` of `keyed`.
        coding: the coding of each variant (see `Aligned`).

    Example:
        >>> alleles(["A/G", "A/G", "A/G"], np.array([0, 1, 3]))
        (['A', 'G', 'C'], ['G', 'A', 'T'])
    """
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
    """The rows of several cohorts, brought to one coding per variant.

    Attributes:
        coding: [variants]: 2 if the coding is on the strand on which the pair does not come first,
            plus 1 if its effect allele is the first of the pair.
        sign: [rows]: -1 if a row's effect is that of the other allele, 0 if that is uncertain,
            else 1.
        swapped: [cohorts]: at how many variants the cohort has the alleles swapped.
        other_strand: [cohorts]: at how many variants it names the other strand.
        by_frequency: [cohorts]: at how many A/T or C/G variants it was turned because of its
            frequency.
        unclear: [cohorts]: at how many A/T or C/G variants it was left out.
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
    """Align rows, each of one variant in one cohort.

    A variant gets the strand and the effect allele of most results. In a tie it gets the pair's
    own strand and second allele, so the order of the cohorts makes no difference.

    Args:
        variant: the number of each row's variant, [rows].
        cohort: the number of each row's cohort, [rows].
        complemented: as in `keyed`, [rows].
        effect_first: as in `keyed`, [rows].
        frequency: of each row's effect allele, [rows]; NaN where unknown.
        results: how many phenotypes each row has, [rows].
        ambiguous: whether a variant is A/T or C/G, [variants].
        cohorts: how many cohorts there are.
    """
    n = len(ambiguous)

    def mostly(says: Truths) -> Truths:
        """Whether the condition holds for most results of each variant."""
        return np.bincount(variant, np.where(says, 1, -1) * results, n) > 0

    strand, effect = mostly(complemented), mostly(effect_first)
    swapped = effect_first != effect[variant]
    other_strand = complemented != strand[variant]
    sign = np.where(swapped, -1, 1)
    cell = variant * cohorts + cohort

    def seen(rows: Truths) -> Truths:
        """The cells [variants, cohorts] in which some of the rows lie."""
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
    """The mean of the known values in each cell of a table; NaN where there are none.

    Args:
        values: NaN where unknown.
        cell: the number of each value's cell, row by row.
        shape: of the table.

    Example:
        >>> mean_by_cell(np.array([1.0, 3.0, np.nan]), np.array([0, 0, 1]), (1, 2)).tolist()
        [[2.0, nan]]
    """
    known = np.isfinite(values)
    size = shape[0] * shape[1]
    counts = np.bincount(cell[known], minlength=size)
    sums = np.bincount(cell[known], values[known], size)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)).reshape(shape)
