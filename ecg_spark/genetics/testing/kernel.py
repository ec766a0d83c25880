"""Linear regression of many phenotypes on packed calls, in NumPy: no Hail, no Spark.

A variant's calls, two bits each, become numbers through a table of its own, 256 bytes by 4 calls,
in which a call is its difference from the mean of the first pattern and a missing one is 0. One
product with the phenotypes and, for each set of people who have the same phenotypes (a pattern), an
orthonormal basis of their covariates gives all tests; how many have each call is counted in the
bits themselves. With x centred among the people of a pattern, y what the covariates leave of a
phenotype and Q their basis, both 0 elsewhere,

    β = x'y / s,    s = x'x - |Q'x|²,    se² = (y'y - β² s) / (s df),    t = β / se.

A missing call is at the mean over the people of the pattern: where that differs from the mean in
the table, the difference counts for the missing calls alone, which are few.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ecg_spark.genetics.genotypes.packed import BY_BYTE, MISSING
from ecg_spark.genetics.genotypes.thresholds import Tally
from ecg_spark.genetics.null_model.projection import basis_of

Reals = NDArray[np.float64]
Packed = NDArray[np.uint8]

BATCH_BYTES = 32 << 20
"""Calls that are numbers at one time, eight bytes each."""

LEAST_LEFT = 1e-9
"""The sum of squares of x that the covariates must leave, over the sum of x: one carrier among
500,000 people, of either allele, leaves a thousand times as much, rounding a thousandth of it."""

_ANY_MISSING = (BY_BYTE == MISSING).any(axis=1)


@dataclass(frozen=True)
class Pattern:
    """Phenotypes that the same people have.

    `places`: the numbers of the phenotypes; `known` [n]: who has them; `left` [n, k]: what the
    covariates leave of them, 0 where not known; `basis` [n, c]: orthonormal, of the covariates
    without the intercept, 0 where not known.
    """

    places: NDArray[np.int64]
    known: NDArray[np.bool_]
    left: Reals
    basis: Reals

    @property
    def df(self) -> int:
        """Degrees of freedom of a test."""
        return int(self.known.sum()) - self.basis.shape[1] - 2


@dataclass(frozen=True)
class Regression:
    """The tests of variants against phenotypes of one pattern.

    `beta`, `se` and `t` [variants, k], NaN where a variant varies only as the covariates do; `n`
    people; `sum_x` [variants] over them, missing calls at the mean; `tally` of their calls.
    """

    beta: Reals
    se: Reals
    t: Reals
    n: int
    sum_x: Reals
    tally: Tally


def basis_of_pattern(known: NDArray[np.bool_], covariates: Reals) -> Reals:
    """The `basis` of a pattern of `known` people from their covariates [n, c].

    Covariates are independent of each other and of the intercept.
    """
    basis = np.zeros((len(known), covariates.shape[1]))
    basis[known] = basis_of(covariates[known])[:, 1:]
    return basis


def pattern(
    places: Sequence[int], known: NDArray[np.bool_], basis: Reals, phenotypes: Reals
) -> Pattern:
    """The pattern of phenotypes [n, k] that the `known` people have, with its basis."""
    left = np.zeros((len(known), phenotypes.shape[1]))
    left[known] = phenotypes[known] - phenotypes[known].mean(axis=0)
    return Pattern(np.asarray(places, np.int64), known, left - basis @ (basis.T @ left), basis)


def repacked(rows: Packed, samples: NDArray[np.int64]) -> Packed:
    """The bytes [variants, (n + 3) / 4] of some samples alone, the last filled with missing."""
    codes = np.full((len(rows), -(-len(samples) // 4) * 4), 1, np.uint8)
    shifts = (2 * (samples & 3)).astype(np.uint8)
    codes[:, : len(samples)] = (rows[:, samples >> 2] >> shifts) & 3
    four = codes.reshape(len(rows), -1, 4)
    return np.asarray(
        four[:, :, 0] | four[:, :, 1] << 2 | four[:, :, 2] << 4 | four[:, :, 3] << 6, np.uint8
    )


def tally(rows: Packed, known: NDArray[np.bool_]) -> Tally:
    """The calls of the `known` people, counted in the bits of packed variants."""
    width = -(-rows.shape[1] // 8) * 8
    words = np.zeros((len(rows), width), np.uint8)
    words[:, : rows.shape[1]] = rows
    mask = np.zeros(width * 4, np.uint8)
    mask[: len(known)] = known
    four = mask.reshape(-1, 4)
    bits = four[:, 0] | four[:, 1] << 2 | four[:, 2] << 4 | four[:, 3] << 6
    chosen = np.asarray(bits, np.uint8).view(np.uint64)
    pairs = words.view(np.uint64)
    low, high = pairs & chosen, (pairs >> np.uint64(1)) & chosen
    both = np.bitwise_count(low & high).sum(axis=1, dtype=np.int64)
    low_count, high_count = (
        np.bitwise_count(one).sum(axis=1, dtype=np.int64) for one in (low, high)
    )
    people = int(known.sum())
    # .bed: 00 two alternate alleles, 01 missing, 10 one, 11 none.
    het, missing = high_count - both, low_count - both
    return Tally(both, het, people - both - het - missing, people)


def regress(rows: Packed, patterns: Sequence[Pattern]) -> list[Regression]:
    """The tests of packed variants [variants, (n + 3) / 4] for each pattern of n people.

    Nobody has the pattern of what fills the last byte of a row.
    """
    n = len(patterns[0].known)
    tallies = [tally(rows, each.known) for each in patterns]
    means = [_mean(one) for one in tallies]
    mean = means[0]
    columns = np.concatenate([one for each in patterns for one in (each.left, each.basis)], axis=1)
    padded = np.zeros((rows.shape[1] * 4, columns.shape[1]))
    padded[:n] = columns
    products = np.empty((len(rows), columns.shape[1]))
    step = max(1, BATCH_BYTES // (8 * len(padded)))
    values = np.empty((min(step, len(rows)), rows.shape[1], 4))
    for start in range(0, len(rows), step):
        own = rows[start : start + step]
        for i, (one, centre) in enumerate(zip(own, mean[start : start + step], strict=True)):
            table = np.where(BY_BYTE == MISSING, 0.0, BY_BYTE - centre)
            np.take(table, one, axis=0, out=values[i], mode="clip")
        flat = values[: len(own)].reshape(len(own), -1)
        np.matmul(flat, padded, out=products[start : start + step])
    if len(patterns) > 1:
        shift = np.concatenate(
            [
                np.repeat((own - mean)[:, None], each.left.shape[1] + each.basis.shape[1], axis=1)
                for own, each in zip(means, patterns, strict=True)
            ],
            axis=1,
        )
        products += shift * _over_missing(rows, padded)
    found, first = [], 0
    for each, counts, centre in zip(patterns, tallies, means, strict=True):
        k, c = each.left.shape[1], each.basis.shape[1]
        xy = products[:, first : first + k]
        xq = products[:, first + k : first + k + c]
        first += k + c
        found.append(_regression(xy, xq, counts, centre, each))
    return found


def _mean(counts: Tally) -> Reals:
    return np.asarray(counts.alternate / np.maximum(counts.called, 1))


def _over_missing(rows: Packed, columns: Reals) -> Reals:
    """The sum of the columns [4 x bytes of a row, k] over the people who lack each variant."""
    width = rows.shape[1]
    found = np.empty((len(rows), columns.shape[1]))
    step = max(1, BATCH_BYTES // width)
    for start in range(0, len(rows), step):
        own = rows[start : start + step]
        here = np.flatnonzero(_ANY_MISSING[own])
        lacks = BY_BYTE[own.reshape(-1)[here]] == MISSING
        people = (4 * (here % width)[:, None] + np.arange(4))[lacks]
        counts = np.bincount(here // width, lacks.sum(axis=1), len(own)).astype(np.int64)
        ends = np.concatenate([[0], np.cumsum(counts)])
        chosen = csr_array((np.ones(len(people)), people, ends), (len(own), 4 * width))
        found[start : start + step] = chosen @ columns
    return found


def _regression(xy: Reals, xq: Reals, counts: Tally, mean: Reals, each: Pattern) -> Regression:
    df, n = each.df, counts.people
    xx = counts.hom_ref * mean**2 + counts.het * (1 - mean) ** 2 + counts.hom_alt * (2 - mean) ** 2
    left = xx - np.einsum("ij,ij->i", xq, xq)
    sum_x = n * mean
    sound = left > LEAST_LEFT * np.minimum(sum_x, 2 * n)
    divisor = np.where(sound, left, np.nan)[:, None]
    beta = xy / divisor
    yy = np.einsum("ij,ij->j", each.left, each.left)
    se = np.sqrt(np.maximum(yy - beta**2 * divisor, 0) / (df * divisor))
    with np.errstate(divide="ignore"):
        t = np.where(se > 0, beta / se, np.nan)
    beta, se = (np.where(np.isfinite(t), one, np.nan) for one in (beta, se))
    return Regression(beta, se, t, n, np.asarray(sum_x), counts)
