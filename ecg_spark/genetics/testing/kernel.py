"""Linear regression of many phenotypes on packed calls or dosages, in NumPy, without Hail or
Spark.

The calls of a variant, two bits each, become numbers through a lookup table of 256 bytes by 4
calls, in which a call is its difference from the mean of the first pattern and a missing call is
0; dosages become the same numbers directly. A pattern is a set of people who have the same
phenotypes. One matrix product with the phenotypes and an orthonormal basis of the covariates of
each pattern gives all tests. With x centred among the people of a pattern, y the residuals of a
phenotype after covariates, and Q the basis of the covariates, both 0 for other people,

    β = x'y / s,    s = x'x - |Q'x|²,    se² = (y'y - β² s) / (s df),    t = β / se.

A missing genotype counts as the mean over the people of the pattern. Where that mean differs from
the first pattern's, the difference is added for the missing genotypes only, which are few.
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
"""How many bytes of genotypes are expanded to numbers at a time, eight bytes each."""

LEAST_LEFT = 1e-9
"""The least sum of squares of x after covariates, relative to the sum of x. A single carrier among
500,000 people leaves a thousand times as much, and rounding a thousandth of it."""

_ANY_MISSING = (BY_BYTE == MISSING).any(axis=1)


@dataclass(frozen=True)
class Pattern:
    """Phenotypes that the same people have.

    Attributes:
        places: the numbers of the phenotypes, [k].
        known: who has them, [n].
        left: the residuals of the phenotypes after covariates, [n, k]; 0 for other people.
        basis: orthonormal columns of the covariates without the intercept, [n, c]; 0 for other
            people.
        judges: the people whose genotypes count when the quality of a variant is judged, [n].
    """

    places: NDArray[np.int64]
    known: NDArray[np.bool_]
    left: Reals
    basis: Reals
    judges: NDArray[np.bool_]

    @property
    def df(self) -> int:
        """The residual degrees of freedom of a test."""
        return int(self.known.sum()) - self.basis.shape[1] - 2


@dataclass(frozen=True)
class Regression:
    """The tests of variants against the phenotypes of one pattern.

    Attributes:
        beta: the effect of an alternate allele [variants, k]; NaN where the covariates explain all
            variation of the variant, as for `se` and `t`.
        se: its standard error as among independent people, [variants, k].
        t: beta / se, [variants, k].
        n: how many people have the phenotypes.
        sum_x: the sum of their dosages [variants], missing ones at the mean.
        tally: the counts of their genotypes.
        judged: the counts among those by whom quality is judged.
    """

    beta: Reals
    se: Reals
    t: Reals
    n: int
    sum_x: Reals
    tally: Tally
    judged: Tally


def basis_of_pattern(known: NDArray[np.bool_], covariates: Reals) -> Reals:
    """The `basis` of a pattern.

    Args:
        known: the people of the pattern, [n].
        covariates: [n, c], which must be linearly independent of each other and of the intercept.
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
    """Make the pattern of phenotypes that the `known` people have.

    Args:
        places: the numbers of the phenotypes.
        phenotypes: [n, k].
        judges: as in `Pattern`.
    """
    left = np.zeros((len(known), phenotypes.shape[1]))
    left[known] = phenotypes[known] - phenotypes[known].mean(axis=0)
    left = left - basis @ (basis.T @ left)
    return Pattern(np.asarray(places, np.int64), known, left, basis, judges)


def regress_batch(
    batch: Batch, patterns: Sequence[Pattern], samples: NDArray[np.int64] | None
) -> list[Regression]:
    """Test all variants of a batch, in its order, against each pattern.

    Args:
        samples: the places of the people of the patterns among the samples; None for all samples.
    """
    places, found = [], []
    for here, rows in batch.kinds():
        places.append(here)
        found.append(regress(rows if samples is None else in_order(rows, samples), patterns))
    order = np.argsort(np.concatenate(places))
    return [_joined(own, order) for own in zip(*found, strict=True)]


def regress(rows: Rows, patterns: Sequence[Pattern]) -> list[Regression]:
    """Test variants against each pattern.

    Args:
        rows: packed calls [variants, (n + 3) / 4] or dosages [variants, n]. The padding in the
            last byte of packed calls belongs to nobody.
        patterns: all of the same n people.
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
    """The regression without the tests of variants that the covariates explain entirely.

    For a variant that does not vary, or only as the covariates do, what is left is rounding, and
    dividing by it gives arbitrary numbers.

    Args:
        beta: [variants, k], like `se` and `t`.
        left: the sum of squares of x after covariates, [variants, k or 1].
        sum_x: the sum of dosages, [variants].
    """
    n = counts.people
    sound = left > LEAST_LEFT * np.minimum(sum_x, 2 * n)[:, None]
    sound = sound & (se > 0) & np.isfinite(beta) & np.isfinite(t)
    beta, se, t = (np.where(sound, one, np.nan) for one in (beta, se, t))
    return Regression(beta, se, t, n, sum_x, counts, judged)


def _width(each: Pattern) -> int:
    return each.left.shape[1] + each.basis.shape[1]


def fill_about(mean: Reals, rows: Rows, values: Reals) -> None:
    """Write the centred genotypes of variants into `values`; missing ones become 0.

    Args:
        mean: the mean of each variant.
        rows: packed calls or dosages.
        values: the output, [variants, people]; of packed calls, four people for each byte.
    """
    (_calls_about if rows.dtype == np.uint8 else _dosages_about)(mean, rows, values)


def _calls_about(mean: Reals, rows: NDArray[Any], values: Reals) -> None:
    """Write calls minus the mean of each variant; missing ones become 0."""
    four = values.reshape(len(rows), -1, 4)
    for i, (row, centre) in enumerate(zip(rows, mean, strict=True)):
        table = np.where(BY_BYTE == MISSING, 0.0, BY_BYTE - centre)
        np.take(table, row, axis=0, out=four[i], mode="clip")


def _dosages_about(mean: Reals, rows: NDArray[Any], values: Reals) -> None:
    """Write dosages minus the mean of each variant; missing ones become 0."""
    for row, centre, own in zip(rows, mean, values, strict=True):
        np.multiply(row, 1 / SCALE, out=own)
        own -= centre
        own[row == NO_DOSAGE] = 0


def _over_missing(rows: Rows, columns: Reals) -> Reals:
    """For each variant, the sum of the columns [people, k] over the people whose genotype is
    missing.
    """
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
    # The sum of squares about the mean, counted in the rarer allele: for a common allele the two
    # terms would be large and nearly equal, and rounding would remain.
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
    """Join results of the same kind, and put their variants in order."""
    first = pieces[0]
    if is_dataclass(first) and not isinstance(first, type):
        own = {
            one.name: _joined([getattr(each, one.name) for each in pieces], order)
            for one in fields(first)
        }
        return replace(first, **own)
    return np.concatenate(pieces)[order] if isinstance(first, np.ndarray) else first
