"""The arithmetic of whole-genome regression: ridges that predict people from others, in NumPy.

Matrices of people come in parts of at most `PART` people, each part within one fold, so that memory
does not grow with variants times people.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from ecg_spark.genetics.genotypes.packed import BY_BYTE, MISSING, Calls
from ecg_spark.genetics.genotypes.rows import in_order

FOLDS = 5
PART = 8_192
SHRINKAGES = (0.01, 0.25, 0.5, 0.75, 0.99)
"""Shares of variance for which the ridges shrink, at both levels."""

OF_SUMS = 0.1
BESIDE_SUMS = (0.002, 0.01, 0.05, 0.25, 0.5, 0.75)
"""Shares of variance for which sums of predictors, and those of blocks beside them, are shrunk."""

LEAST_SPREAD = 1e-4
"""A variant whose calls differ by less than this beside the covariates does not vary."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Parts:
    """Runs of people: those of part i are `bounds[i]` to `bounds[i + 1]`, in fold `fold[i]`."""

    bounds: NDArray[np.int64]
    fold: NDArray[np.int64]

    def __iter__(self) -> Iterator[tuple[int, slice]]:
        """The fold and the people of each part."""
        for fold, (start, stop) in zip(self.fold, pairwise(self.bounds), strict=True):
            yield int(fold), slice(int(start), int(stop))

    def __len__(self) -> int:
        return len(self.fold)


def parts_of(people: int, folds: int = FOLDS, size: int = PART) -> Parts:
    """Folds of people in a row, as even as can be, and each in parts of at most `size`."""
    return parts_between(np.linspace(0, people, folds + 1).astype(int).tolist(), size)


def parts_between(ends: Sequence[int], size: int = PART) -> Parts:
    """Folds of people in a row, from each of `ends` up to the next, in parts of at most `size`."""
    bounds, fold = [0], []
    for number, (start, stop) in enumerate(pairwise(ends)):
        cuts = np.linspace(start, stop, max(1, -(-(stop - start) // size)) + 1).astype(int)[1:]
        bounds += cuts.tolist()
        fold += [number] * len(cuts)
    return Parts(np.array(bounds, np.int64), np.array(fold, np.int64))


def residual_phenotypes(
    phenotypes: NDArray[np.float64], basis: Floats
) -> tuple[Floats, NDArray[np.bool_], NDArray[np.float64]]:
    """Residual phenotypes [n, p] of variance 1, 0 where missing; what is known; their spreads."""
    known = np.isfinite(phenotypes)
    count = known.sum(axis=0)
    y = np.where(known, phenotypes - np.nanmean(phenotypes, axis=0), 0)
    y = (y - basis @ (basis.T @ y)) * known
    scale = np.sqrt((y**2).sum(axis=0) / (count - basis.shape[1]))
    return (y / scale).astype(np.float32), known, scale


@dataclass(frozen=True)
class BlockPredictors:
    """What a block of variants says of every phenotype.

    `predictors` [p, penalties, n]: of mean 0 and variance 1 among those who have the
    phenotype, 0 for the others. `shares` [p, folds, folds, penalties]: the product of the phenotype
    with the predictor within fold i, of which j is the share that stems from the phenotype in fold
    j; none stems from fold i itself. `weights` [p, folds, penalties, m]: of an allele of each
    variant in the predictor of the people of a fold, beside what the covariates take off. `spreads`
    [p, penalties]: of the predictors as the ridges gave them.
    """

    predictors: Floats
    shares: NDArray[np.float64]
    weights: Floats
    spreads: NDArray[np.float64]


def block_predictors(
    calls: Calls,
    variants: NDArray[np.int64],
    samples: NDArray[np.int64],
    basis: Floats,
    y: Floats,
    known: NDArray[np.bool_],
    parts: Parts,
    penalties: NDArray[np.float64],
) -> BlockPredictors:
    """Level 0 for one block: ridges that predict the people of each fold from the others.

    `samples`: places in the set, part by part; `basis` [n, c]: orthonormal columns of intercept and
    covariates; `y` [n, p]: residual phenotypes, 0 where not `known`. Genotypes are residuals on the
    basis, scaled to variance 1, missing calls at the mean. Beside what it returns it holds the
    packed calls of the block, a quarter of a byte each, and the genotypes of one part.
    """
    folds, m, p = int(parts.fold.max()) + 1, len(variants), y.shape[1]
    rows = calls.packed(variants)
    by_part = [in_order(rows, samples[own]) for _, own in parts]
    tables = _tables(by_part)
    buffer = np.empty((m, max(one.shape[1] for one in by_part), 4), np.float32)

    def genotypes() -> Iterator[tuple[int, slice, Floats]]:
        """The fold, the people and the centred genotypes [m, people] of each part."""
        for (fold, own), packed in zip(parts, by_part, strict=True):
            values = buffer[:, : packed.shape[1]]
            for table, one, out in zip(tables, packed, values, strict=True):
                np.take(table, one, axis=0, out=out, mode="clip")
            yield fold, own, values.reshape(m, -1)[:, : own.stop - own.start]

    grams = np.zeros((folds, m, m), np.float32)
    on_basis, crosses = (np.zeros((folds, m, k), np.float32) for k in (basis.shape[1], p))
    for fold, own, values in genotypes():
        grams[fold] += values @ values.T
        on_basis[fold] += values @ basis[own]
        crosses[fold] += values @ y[own]
    whole = on_basis.sum(axis=0)
    inverse = _inverse_spread(grams, whole, len(y) - basis.shape[1])
    _take_off(grams, crosses, on_basis, basis, y, parts)
    grams *= inverse[:, None] * inverse
    crosses *= inverse[:, None]
    weights, shares = _ridges(grams, crosses, penalties)
    weights *= inverse[:, None, None]
    flat = weights.reshape(folds, m, -1)
    found = np.empty((p, len(penalties), len(y)), np.float32)
    for fold, own, values in genotypes():
        predicted = flat[fold].T @ values
        predicted -= (flat[fold].T @ whole) @ basis[own].T
        found[:, :, own] = predicted.reshape(p, len(penalties), -1)
    spread = _on_one_scale(found, shares, y, known, parts)
    by_phenotype = weights.transpose(2, 0, 3, 1) / spread[:, None, :, None]
    return BlockPredictors(found, shares, by_phenotype, spread.astype(float))


_CALLED = (BY_BYTE != MISSING).sum(axis=1).astype(np.uint8)
_ALTERNATE = np.where(BY_BYTE == MISSING, 0, BY_BYTE).sum(axis=1).astype(np.uint8)


def _tables(by_part: list[NDArray[np.uint8]]) -> Floats:
    """The four centred genotypes [m, 256, 4] in each value of a byte of each variant."""
    called, alternate = (
        sum(one[rows].sum(axis=1, dtype=np.int64) for rows in by_part)
        for one in (_CALLED, _ALTERNATE)
    )
    mean = (alternate / np.maximum(called, 1)).astype(np.float32)
    return np.where(BY_BYTE == MISSING, np.float32(0), BY_BYTE - mean[:, None, None])


def _inverse_spread(grams: Floats, on_basis: Floats, df: int) -> Floats:
    """One over the spread [m] of each variant beside the basis, 0 where it does not vary."""
    square = np.einsum("fii->i", grams, dtype=float)
    left = np.maximum(square - (on_basis.astype(float) ** 2).sum(axis=1), 0)
    spread = np.sqrt(left / df)
    inverse = np.divide(1, spread, out=np.zeros_like(spread), where=spread > LEAST_SPREAD)
    return inverse.astype(np.float32)


def _take_off(
    grams: Floats, crosses: Floats, on_basis: Floats, basis: Floats, y: Floats, parts: Parts
) -> None:
    """Make products of genotypes x within folds those of their residuals, x - (all x'Q) Q'."""
    whole = on_basis.sum(axis=0)
    for fold, (gram, cross, own_basis) in enumerate(zip(grams, crosses, on_basis, strict=True)):
        own = [people for number, people in parts if number == fold]
        squares = sum(basis[people].T @ basis[people] for people in own)
        half = (own_basis - whole @ (squares / 2)) @ whole.T
        gram -= half
        gram -= half.T
        cross -= whole @ sum(basis[people].T @ y[people] for people in own)


def _ridges(
    grams: Floats, crosses: Floats, penalties: NDArray[np.float64]
) -> tuple[Floats, NDArray[np.float64]]:
    """Weights [folds, m, p, penalties] of each fold from the others, and `shares`, unscaled."""
    folds, m, p = crosses.shape
    weights = np.empty((folds, m, p, len(penalties)), np.float32)
    shares = np.zeros((p, folds, folds, len(penalties)))
    gram = grams.sum(axis=0)
    for i, own in enumerate(crosses):
        others = [j for j in range(folds) if j != i]
        rest = crosses[others].transpose(1, 0, 2).reshape(m, -1)
        for k, penalty in enumerate(penalties):
            solved = _ridge(gram - grams[i], rest, penalty).reshape(m, -1, p)
            weights[i, ..., k] = solved.sum(axis=1)
            shares[:, i, others, k] = np.einsum("mp,mjp->pj", own, solved)
    return weights, shares


def _on_one_scale(
    found: Floats, shares: NDArray[np.float64], y: Floats, known: NDArray[np.bool_], parts: Parts
) -> Floats:
    """Give predictors mean 0 and variance 1 among those who have the phenotype, and their shares
    the same scale; return the spreads [p, penalties] that they had."""
    folds = shares.shape[1]
    others = (1 - np.eye(folds)) / (folds - 1)
    spreads = np.empty(found.shape[:2], np.float32)
    for one, share, own, is_known, told in zip(found, shares, y.T, known.T, spreads, strict=True):
        count = is_known.sum()
        one *= is_known
        mean = one.sum(axis=1, keepdims=True) / count
        one -= mean
        one *= is_known
        variance = np.einsum("ij,ij->i", one, one) / count
        spread = np.sqrt(np.maximum(variance, 1e-12))
        one /= spread[:, None]
        sums = np.zeros(folds)
        for fold, people in parts:
            sums[fold] += own[people].sum()
        share -= mean[:, 0] * (sums[:, None] * others)[..., None]
        share /= spread
        told[:] = spread
    return spreads


def level_one(
    grams: Floats,
    shares: NDArray[np.float64],
    totals: NDArray[np.float64],
    penalties: NDArray[np.float64],
) -> tuple[Floats, float]:
    """Weights [folds, q] of the predictors of a phenotype, and the share of it that they predict.

    `grams` [folds, q, q]: products of the predictors within each fold; `shares` [folds, folds, q]:
    those with the phenotype (see `BlockPredictors`); `totals` [folds]: of the phenotype with
    itself; `penalties`: those to choose from, each one for all predictors or [q].

    Nothing that is decided for a fold knows its phenotype. A predictor within another fold does: so
    do ridges that are fitted to it, and of a phenotype that nothing predicts they seem to predict
    q / n. Here that share of the products is left out, and the rest, of folds - 2 in place of
    folds - 1, is scaled up. The shrinkage of a fold is the best in the other folds, each predicted
    by ridges that know neither of the two. So the share predicted is that of an outer
    cross-validation: at or below 0 on average where there is nothing to predict.
    """
    folds = len(grams)
    gram = grams.sum(axis=0)

    def product(i: int, unknown: tuple[int, ...]) -> NDArray[np.float64]:
        """Of the phenotype in fold i with the predictors, from what other folds are not unknown."""
        from_others = [j for j in range(folds) if j != i and j not in unknown]
        return np.asarray(shares[i, from_others].sum(axis=0) * (folds - 1) / len(from_others))

    def ridge(unknown: tuple[int, ...], penalty: float | NDArray[np.float64]) -> Floats:
        rest = gram - grams[list(unknown)].sum(axis=0)
        cross = sum(product(i, unknown) for i in range(folds) if i not in unknown)
        return _ridge(rest, np.asarray(cross, np.float32), penalty)

    def error(i: int, weights: Floats, cross: NDArray[np.float64]) -> float:
        return float(totals[i] - 2 * weights @ cross + weights @ (grams[i] @ weights))

    errors = np.zeros((folds, len(penalties)))
    for i, j in combinations(range(folds), 2):
        for k, penalty in enumerate(penalties):
            weights = ridge((i, j), penalty)
            errors[i, k] += error(j, weights, product(j, (i,)))
            errors[j, k] += error(i, weights, product(i, (j,)))
    chosen = errors.argmin(axis=1)
    found = np.stack([ridge((i,), penalties[k]) for i, k in enumerate(chosen)])
    left = sum(error(i, own, product(i, ())) for i, own in enumerate(found))
    return found, 1 - float(left / totals.sum())


def level_one_with_sums(
    grams: Floats,
    shares: NDArray[np.float64],
    totals: NDArray[np.float64],
    spreads: NDArray[np.float64],
) -> tuple[Floats, float]:
    """As `level_one`, with the sum over all blocks of the predictors of each penalty beside them.

    The predictors of hundreds of blocks are each worth little where thousands of variants act, and
    a ridge that weighs each by itself adds more noise than it gains. Their sums, of the scale
    `spreads` [blocks, penalties] that level 0 gave them, are what a ridge on all variants at once
    would predict but for the linkage between blocks; hardly shrunk beside them, they leave to the
    blocks what single loci of large effect add.
    """
    blocks, k = spreads.shape
    q = blocks * k
    sums = (np.eye(k)[:, None] * spreads).reshape(k, q).astype(np.float32)
    lengths = np.einsum("kq,qr,kr->k", sums, grams.sum(axis=0), sums)
    sums *= np.sqrt(totals.sum() / np.maximum(lengths, 1e-12))[:, None].astype(np.float32)
    whole = np.empty((len(grams), k + q, k + q), np.float32)
    for gram, own in zip(grams, whole, strict=True):
        half = sums @ gram
        own[:k, :k], own[:k, k:], own[k:, :k], own[k:, k:] = half @ sums.T, half, half.T, gram
    both = np.concatenate([shares @ sums.T, shares], axis=-1)
    shares_of = [np.repeat([OF_SUMS, one], [k, q]) for one in BESIDE_SUMS]
    sizes = np.repeat([k, q], [k, q])
    penalties = np.array([sizes * (1 - h2) / h2 for h2 in shares_of])
    found, r2 = level_one(whole, both, totals, penalties)
    return found[:, :k] @ sums + found[:, k:], r2


def _ridge(gram: Floats, cross: Floats, penalty: float | NDArray[np.float64]) -> Floats:
    """(gram + penalty I)⁻¹ cross, with a penalty for all or one for each."""
    shrunk = gram.copy()
    shrunk.flat[:: len(gram) + 1] += penalty
    return np.asarray(cho_solve(cho_factor(shrunk, overwrite_a=True, check_finite=False), cross))
