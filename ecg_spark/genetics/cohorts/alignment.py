"""Alignment of alleles: whether two cohorts report the effect of the same allele.

A variant is identified by its position and its two alleles (see `outputs.alleles`).

A/T and C/G are their own complements, so only the frequency shows which strand is meant. Within
`UNCLEAR` of one half it does not, and the cohort's results for the variant are left out.
Elsewhere, a cohort whose frequency lies on the other side of one half than that of most cohorts is
taken to name the other strand. Cohorts of one genotype set, such as the populations of a study,
mean the same strand whatever their frequencies, and are looked at together.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Whole = NDArray[np.int64]
Reals = NDArray[np.float64]
Truths = NDArray[np.bool_]

UNCLEAR = 0.1
"""Within this distance of one half, a frequency does not reveal the strand."""


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
    sets: Whole,
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
        sets: the number of each cohort's genotype set, from 0, [cohorts]; the same for cohorts of
            one set.
    """
    n, cohorts = len(ambiguous), len(sets)

    def mostly(says: Truths) -> Truths:
        """Whether the condition holds for most results of each variant."""
        return np.bincount(variant, np.where(says, 1, -1) * results, n) > 0

    strand, effect = mostly(complemented), mostly(effect_first)
    swapped = effect_first != effect[variant]
    other_strand = complemented != strand[variant]
    sign = np.where(swapped, -1, 1)

    def seen(rows: Truths) -> Truths:
        """The cells [variants, cohorts] in which some of the rows lie."""
        cell = variant[rows] * cohorts + cohort[rows]
        return np.bincount(cell, minlength=n * cohorts).reshape(n, cohorts) > 0

    here = seen(np.ones(len(variant), bool))
    by_set = (n, int(sets.max(initial=-1)) + 1)
    cell = variant * by_set[1] + sets[cohort]
    present = np.bincount(cell, minlength=by_set[0] * by_set[1]).reshape(by_set) > 0
    af = mean_by_cell(np.where(swapped, 1 - frequency, frequency), cell, by_set)
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
        (seen(swapped) & ~doubtful[:, sets]).sum(axis=0),
        (seen(other_strand) & ~doubtful[:, sets]).sum(axis=0),
        (here & turned[:, sets]).sum(axis=0),
        (here & unclear[:, sets]).sum(axis=0),
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
