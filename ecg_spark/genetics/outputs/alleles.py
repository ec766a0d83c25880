"""What identifies a variant, whichever of its alleles a file calls the effect allele.

A variant is identified by its position and its two alleles, on whichever strand a file names them.
For single bases, the name on the other strand is the complement. Longer alleles must be spelled
alike, since on the other strand they would lie at another position.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

AMBIGUOUS = ("A/T", "C/G")
"""Pairs that are their own complements: their names tell no strand."""

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


def alleles(pairs: Sequence[str], coding: NDArray[np.int64]) -> tuple[list[str], list[str]]:
    """The ref and alt alleles of variants.

    Args:
        pairs: the column `pair` of `keyed`.
        coding: the coding of each variant: 2 if it is on the strand on which the pair does not come
            first, plus 1 if its effect allele, alt, is the first of the pair.

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
