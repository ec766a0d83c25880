"""The arithmetic of whole-genome regression in NumPy: ridges that predict people from other
people.

People are divided into parts of at most `PART`, each within one fold, and matrices are processed
part by part. Memory therefore does not grow with the product of variants and people.
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
"""The heritabilities h² whose penalties m (1 - h²) / h² are tried at both levels, as in REGENIE."""

OF_SUMS = 0.1
BESIDE_SUMS = (0.002, 0.01, 0.05, 0.25, 0.5, 0.75)
"""The same for the sums of predictors (`OF_SUMS`), and for the blocks' own beside them."""

LEAST_SPREAD = 1e-4
"""A variant whose standard deviation after covariates is below this counts as constant."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Parts:
    """A division of the people into consecutive parts: part i is `bounds[i]` to `bounds[i +
    1]`, and belongs to fold `fold[i]`.
    """

    bounds: NDArray[np.int64]
    fold: NDArray[np.int64]

    def __iter__(self) -> Iterator[tuple[int, slice]]:
        """The fold and the people of each part."""
        for fold, (start, stop) in zip(self.fold, pairwise(self.bounds), strict=True):
            yield int(fold), slice(int(start), int(stop))

    def __len__(self) -> int:
        return len(self.fold)


def parts_of(people: int, folds: int = FOLDS, size: int = PART) -> Parts:
    """Divide people into `folds` consecutive folds of nearly equal size, and these into parts
    of at most `size`.

    Example:
        >>> list(parts_of(4, folds=2, size=1))[:3]
        [(0, slice(0, 1, None)), (0, slice(1, 2, None)), (1, slice(2, 3, None))]
    """
    return parts_between(np.linspace(0, people, folds + 1).astype(int).tolist(), size)


def parts_between(ends: Sequence[int], size: int = PART) -> Parts:
    """Divide people into consecutive folds between the given ends, and these into parts of at most
    `size`.

    Args:
        ends: the first person of each fold, and the end of the last fold.
    """
    bounds, fold = [0], []
    for number, (start, stop) in enumerate(pairwise(ends)):
        cuts = np.linspace(start, stop, max(1, -(-(stop - start) // size)) + 1).astype(int)[1:]
        bounds += cuts.tolist()
        fold += [number] * len(cuts)
    return Parts(np.array(bounds, np.int64), np.array(fold, np.int64))


def residual_phenotypes(
    phenotypes: NDArray[np.float64], basis: Floats
) -> tuple[Floats, NDArray[np.bool_], NDArray[np.float64]]:
    """The residuals of phenotypes on the basis, with variance 1.

    Args:
        phenotypes: [n, p]; NaN where missing.
        basis: orthonormal columns of intercept and covariates, [n, c].

    Returns:
        The residuals [n, p], 0 where missing; what is known [n, p]; and the standard deviation by
        which each phenotype was divided [p].
    """
    known = np.isfinite(phenotypes)
    count = known.sum(axis=0)
    y = np.where(known, phenotypes - np.nanmean(phenotypes, axis=0), 0)
    y = (y - basis @ (basis.T @ y)) * known
    scale = np.sqrt((y**2).sum(axis=0) / (count - basis.shape[1]))
    return (y / scale).astype(np.float32), known, scale


@dataclass(frozen=True)
class BlockPredictors:
    """The predictors that one block of variants gives for every phenotype.

    Attributes:
        predictors: [p, penalties, n], with mean 0 and variance 1 among those who have the
            phenotype; 0 for the others.
        shares: [p, folds, folds, penalties]: the product of phenotype and predictor within fold i,
            as a sum over the folds j whose phenotypes the predictor learned from. It never learns
            from fold i itself.
        weights: [p, folds, penalties, m]: the weight of an allele of each variant in the predictor
            for the people of a fold, before the projection on the covariates is subtracted.
        spreads: [p, penalties]: the standard deviations of the predictors before scaling.
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
    """Level 0 for one block: ridge regressions that predict the people of each fold from the other
    folds.

    Genotypes are residuals on the basis, scaled to variance 1; missing calls count as the mean.
    Besides the result, memory holds the packed calls of the block (a quarter of a byte each) and
    the genotypes of one part.

    Args:
        variants: places in the set, [m].
        samples: the places of the people in the set, [n], in the order of `parts`.
        basis: orthonormal columns of intercept and covariates, [n, c].
        y: residual phenotypes [n, p]; 0 where missing.
        known: where `y` is not missing, [n, p].
        penalties: the ridge penalties to fit.
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
    """A lookup table [m, 256, 4] of the four centred genotypes in each value of a byte, for
    each variant.
    """
    called, alternate = (
        sum(one[rows].sum(axis=1, dtype=np.int64) for rows in by_part)
        for one in (_CALLED, _ALTERNATE)
    )
    mean = (alternate / np.maximum(called, 1)).astype(np.float32)
    return np.where(BY_BYTE == MISSING, np.float32(0), BY_BYTE - mean[:, None, None])


def _inverse_spread(grams: Floats, on_basis: Floats, df: int) -> Floats:
    """One over the standard deviation of each variant after covariates, [m]; 0 where it does
    not vary.
    """
    square = np.einsum("fii->i", grams, dtype=float)
    left = np.maximum(square - (on_basis.astype(float) ** 2).sum(axis=1), 0)
    spread = np.sqrt(left / df)
    inverse = np.divide(1, spread, out=np.zeros_like(spread), where=spread > LEAST_SPREAD)
    return inverse.astype(np.float32)


def _take_off(
    grams: Floats, crosses: Floats, on_basis: Floats, basis: Floats, y: Floats, parts: Parts
) -> None:
    """Turn products of genotypes x within folds into products of their residuals, x - (all
    x'Q) Q', in place.
    """
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
    """The weights [folds, m, p, penalties] of each fold, learned from the others, and
    `shares`, unscaled.
    """
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
    """Give predictors mean 0 and variance 1 among those who have the phenotype, in place.

    The shares are put on the same scale. Returns the standard deviations [p, penalties] before
    that.
    """
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
    """Level 1: combine the predictors of one phenotype by a ridge regression, out of fold.

    Nothing that is decided for a fold may know the phenotypes of that fold. A level-0 predictor
    within another fold does know them, and so does a ridge fitted to it: for a phenotype that
    nothing predicts, the predictors would seem to explain a share q / n of it. Here the part of
    each product that stems from the fold in question is left out, and the rest, which stems from
    folds - 2 folds instead of folds - 1, is scaled up. The penalty for a fold is the one that does
    best in the other folds, each of which is predicted by ridges that know neither of the two. The
    share predicted is therefore that of an outer cross-validation: on average at or below 0 if
    there is nothing to predict.

    Args:
        grams: products of the predictors within each fold, [folds, q, q].
        shares: products with the phenotype, [folds, folds, q] (see `BlockPredictors`).
        totals: the sum of squares of the phenotype in each fold, [folds].
        penalties: the penalties to choose from; each a number, or one per predictor [q].

    Returns:
        The weights of the predictors [folds, q], and the share of the variance that they predict.
    """
    folds = len(grams)
    gram = grams.sum(axis=0)

    def product(i: int, unknown: tuple[int, ...]) -> NDArray[np.float64]:
        """The product of phenotype and predictors in fold i, as learned without `unknown` folds."""
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
    """Level 1 as in `level_one`, with one more predictor for each penalty: the sum over all
    blocks.

    Where thousands of variants act, each block's predictor is worth little by itself, and a ridge
    that weighs hundreds of them one by one adds more noise than it gains. The sums are what a
    single ridge on all variants would predict, if blocks were not linked. They are hardly shrunk,
    so that the blocks are left with what single loci of large effect add.

    Args:
        grams: as in `level_one`.
        shares: as in `level_one`.
        totals: as in `level_one`.
        spreads: the standard deviations of the predictors at level 0, [blocks, penalties]; they
            restore the scale on which the blocks can be added.
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
    """(gram + penalty I)⁻¹ cross, with one penalty for all or one per row."""
    shrunk = gram.copy()
    shrunk.flat[:: len(gram) + 1] += penalty
    return np.asarray(cho_solve(cho_factor(shrunk, overwrite_a=True, check_finite=False), cross))
