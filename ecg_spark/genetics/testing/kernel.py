"""Linear regression of many phenotypes on packed calls or dosages, in NumPy: no Hail, no Spark.

A variant's calls, two bits each, become numbers through a table of its own, 256 bytes by 4 calls,
in which a call is its difference from the mean of the first pattern and a missing one is 0;
dosages become the same numbers as they stand. One product with the phenotypes and, for each set of
people who have the same phenotypes (a pattern), an orthonormal basis of their covariates gives all
tests. With x centred among the people of a pattern, y what the covariates leave of a phenotype and
Q their basis, both 0 elsewhere,

    β = x'y / s,    s = x'x - |Q'x|²,    se² = (y'y - β² s) / (s df),    t = β / se.

A missing genotype is at the mean over the people of the pattern: where that differs from the mean
of the first, the difference counts for the missing ones alone, which are few.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ecg_spark.genetics.genotypes.packed import BY_BYTE, MISSING
from ecg_spark.genetics.genotypes.parts import Batch
from ecg_spark.genetics.genotypes.rows import NO_DOSAGE, SCALE, Rows, in_order
from ecg_spark.genetics.genotypes.thresholds import Tally, tallies
from ecg_spark.genetics.null_model.projection import basis_of

Reals = NDArray[np.float64]

BATCH_BYTES = 32 << 20
"""Genotypes that are numbers at one time, eight bytes each."""

LEAST_LEFT = 1e-9
"""The sum of squares of x that the covariates must leave, over the sum of x: one carrier among
500,000 people, of either allele, leaves a thousand times as much, rounding a thousandth of it."""

_ANY_MISSING = (BY_BYTE == MISSING).any(axis=1)


@dataclass(frozen=True)
class Pattern:
    """Phenotypes that the same people have.

    `places`: the numbers of the phenotypes; `known` [n]: who has them; `left` [n, k]: what the
    covariates leave of them, 0 where not known; `basis` [n, c]: orthonormal, of the covariates
    without the intercept, 0 where not known; `judges` [n]: those of them by whose genotypes the
    quality of a variant is judged.
    """

    places: NDArray[np.int64]
    known: NDArray[np.bool_]
    left: Reals
    basis: Reals
    judges: NDArray[np.bool_]

    @property
    def df(self) -> int:
        """Degrees of freedom of a test."""
        return int(self.known.sum()) - self.basis.shape[1] - 2


@dataclass(frozen=True)
class Regression:
    """The tests of variants against phenotypes of one pattern.

    `beta`, `se` and `t` [variants, k], NaN where a variant varies only as the covariates do; `n`
    people; `sum_x` [variants] over them, missing genotypes at the mean; `tally` of what they have,
    `judged` of what those have by whom quality is judged.
    """

    beta: Reals
    se: Reals
    t: Reals
    n: int
    sum_x: Reals
    tally: Tally
    judged: Tally


def basis_of_pattern(known: NDArray[np.bool_], covariates: Reals) -> Reals:
    """The `basis` of a pattern of `known` people from their covariates [n, c].

    Covariates are independent of each other and of the intercept.
    """
    basis = np.zeros((len(known), covariates.shape[1]))
    basis[known] = basis_of(covariates[known])[:, 1:]
    return basis


def pattern(
    places: Sequence[int],
    known: NDArray[np.bool_],
    basis: Reals,
    phenotypes: Reals,
    judges: NDArray[np.bool_],
) -> Pattern:
    """The pattern of phenotypes [n, k] that the `known` people have, with its basis."""
    left = np.zeros((len(known), phenotypes.shape[1]))
    left[known] = phenotypes[known] - phenotypes[known].mean(axis=0)
    left = left - basis @ (basis.T @ left)
    return Pattern(np.asarray(places, np.int64), known, left, basis, judges)


def regress_batch(
    batch: Batch, patterns: Sequence[Pattern], samples: NDArray[np.int64] | None
) -> list[Regression]:
    """The tests of all variants of a batch, in its order, for each pattern of the people at some
    places among its samples, or of all its samples."""
    places, found = [], []
    for here, rows in batch.kinds():
        places.append(here)
        found.append(regress(rows if samples is None else in_order(rows, samples), patterns))
    order = np.argsort(np.concatenate(places))
    return [_joined(own, order) for own in zip(*found, strict=True)]


def regress(rows: Rows, patterns: Sequence[Pattern]) -> list[Regression]:
    """The tests of variants, packed calls [variants, (n + 3) / 4] or dosages [variants, n], for
    each pattern of n people.

    Nobody has the pattern of what fills the last byte of a row.
    """
    groups = [each.known for each in patterns] + [each.judges for each in patterns]
    counted = tallies(rows, groups)
    counted, judged = counted[: len(patterns)], counted[len(patterns) :]
    mean = counted[0].mean
    columns = np.concatenate([one for each in patterns for one in (each.left, each.basis)], axis=1)
    width = rows.shape[1] * 4 if rows.dtype == np.uint8 else rows.shape[1]
    padded = np.zeros((width, columns.shape[1]))
    padded[: len(columns)] = columns
    products = np.empty((len(rows), columns.shape[1]))
    step = max(1, BATCH_BYTES // (8 * width))
    values = np.empty((min(step, len(rows)), width))
    for start in range(0, len(rows), step):
        own, centre = rows[start : start + step], mean[start : start + step]
        here = values[: len(own)]
        fill_about(centre, own, here)
        np.matmul(here, padded, out=products[start : start + step])
    if len(patterns) > 1:
        shift = np.concatenate(
            [
                np.repeat((counts.mean - mean)[:, None], _width(each), axis=1)
                for counts, each in zip(counted, patterns, strict=True)
            ],
            axis=1,
        )
        products += shift * _over_missing(rows, padded)
    found, first = [], 0
    for each, counts, of_judges in zip(patterns, counted, judged, strict=True):
        k, last = each.left.shape[1], first + _width(each)
        xy, xq = products[:, first : first + k], products[:, first + k : last]
        found.append(_regression(xy, xq, counts, of_judges, each))
        first = last
    return found


def checked(
    beta: Reals, se: Reals, t: Reals, left: Reals, sum_x: Reals, counts: Tally, judged: Tally
) -> Regression:
    """Tests [variants, k] without those of variants of which the covariates leave nothing.

    `left` [variants, k or 1]: the sum of squares of x that they leave. Of a variant that does not
    vary, or only as they do, it is rounding, and its standard error a large number.
    """
    n = counts.people
    sound = left > LEAST_LEFT * np.minimum(sum_x, 2 * n)[:, None]
    sound = sound & (se > 0) & np.isfinite(beta) & np.isfinite(t)
    beta, se, t = (np.where(sound, one, np.nan) for one in (beta, se, t))
    return Regression(beta, se, t, n, sum_x, counts, judged)


def _width(each: Pattern) -> int:
    return each.left.shape[1] + each.basis.shape[1]


def fill_about(mean: Reals, rows: Rows, values: Reals) -> None:
    """Fill in the genotypes of variants less the mean of each, missing ones 0.

    `values` [variants, people], of packed calls four people for each byte.
    """
    (_calls_about if rows.dtype == np.uint8 else _dosages_about)(mean, rows, values)


def _calls_about(mean: Reals, rows: NDArray[Any], values: Reals) -> None:
    """Fill in calls less the mean of each variant, missing ones 0."""
    four = values.reshape(len(rows), -1, 4)
    for i, (row, centre) in enumerate(zip(rows, mean, strict=True)):
        table = np.where(BY_BYTE == MISSING, 0.0, BY_BYTE - centre)
        np.take(table, row, axis=0, out=four[i], mode="clip")


def _dosages_about(mean: Reals, rows: NDArray[Any], values: Reals) -> None:
    """Fill in dosages less the mean of each variant, missing ones 0."""
    for row, centre, own in zip(rows, mean, values, strict=True):
        np.multiply(row, 1 / SCALE, out=own)
        own -= centre
        own[row == NO_DOSAGE] = 0


def _over_missing(rows: Rows, columns: Reals) -> Reals:
    """The sum of the columns [people, k] over those who lack each variant."""
    width = rows.shape[1]
    found = np.empty((len(rows), columns.shape[1]))
    step = max(1, BATCH_BYTES // width)
    for start in range(0, len(rows), step):
        own = rows[start : start + step]
        if rows.dtype == np.uint16:
            variants, people = np.nonzero(own == NO_DOSAGE)
            counts = np.bincount(variants, minlength=len(own))
        else:
            here = np.flatnonzero(_ANY_MISSING[own])
            lacks = BY_BYTE[own.reshape(-1)[here]] == MISSING
            people = (4 * (here % width)[:, None] + np.arange(4))[lacks]
            counts = np.bincount(here // width, lacks.sum(axis=1), len(own)).astype(np.int64)
        ends = np.concatenate([[0], np.cumsum(counts)])
        chosen = csr_array((np.ones(len(people)), people, ends), (len(own), len(columns)))
        found[start : start + step] = chosen @ columns
    return found


def _regression(xy: Reals, xq: Reals, counts: Tally, judged: Tally, each: Pattern) -> Regression:
    # About the mean, counted in the rarer allele: the sums of a common one would cancel out.
    minor = np.where(
        counts.total <= counts.known,
        counts.square,
        4.0 * counts.known - 4 * counts.total + counts.square,
    )
    xx = minor - counts.minor**2 / np.maximum(counts.known, 1)
    left = (xx - np.einsum("ij,ij->i", xq, xq))[:, None]
    yy = np.einsum("ij,ij->j", each.left, each.left)
    with np.errstate(divide="ignore", invalid="ignore"):
        beta = xy / left
        se = np.sqrt(np.maximum(yy - beta**2 * left, 0) / (each.df * left))
        t = beta / se
    return checked(beta, se, t, left, counts.people * counts.mean, counts, judged)


def _joined(pieces: Sequence[Any], order: NDArray[np.int64]) -> Any:
    """Results of the same kind as one, their variants in another order."""
    first = pieces[0]
    if is_dataclass(first) and not isinstance(first, type):
        own = {
            one.name: _joined([getattr(each, one.name) for each in pieces], order)
            for one in fields(first)
        }
        return replace(first, **own)
    return np.concatenate(pieces)[order] if isinstance(first, np.ndarray) else first
