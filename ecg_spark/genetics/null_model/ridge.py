"""The arithmetic of whole-genome regression: ridges that predict people from others, in NumPy.

Matrices of people come in parts of at most `PART` people, each part within one fold, so that memory
does not grow with variants times people.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from ecg_spark.genetics.genotypes.packed import MISSING, Calls, centred, decode

FOLDS = 5
PART = 8_192
SHRINKAGES = (0.01, 0.25, 0.5, 0.75, 0.99)
"""Shares of variance for which the ridges shrink, at both levels."""

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
    bounds, fold = [0], []
    for number, (start, stop) in enumerate(pairwise(np.linspace(0, people, folds + 1).astype(int))):
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


def block_predictors(
    calls: Calls,
    variants: NDArray[np.int64],
    samples: NDArray[np.int64],
    basis: Floats,
    y: Floats,
    known: NDArray[np.bool_],
    parts: Parts,
    penalties: NDArray[np.float64],
) -> Floats:
    """Level 0 for one block: predictors [p, n, penalties] of mean 0 and variance 1.

    `samples`: places in the set, part by part; `basis` [n, c]: orthonormal columns of intercept and
    covariates; `y` [n, p]: residual phenotypes, 0 where not `known`. Genotypes are residuals on the
    basis, scaled to variance 1. The people of a fold are predicted from the other folds. Beside
    what it returns it holds the packed calls of the block, a quarter of a byte each, and the
    genotypes of one part.
    """
    n, p = y.shape
    rows = calls.packed(variants)
    count, total = np.zeros((2, len(variants)))
    for _, own in parts:
        part = decode(rows, samples[own])
        is_called = part != MISSING
        count += is_called.sum(axis=1)
        total += np.where(is_called, part, 0).sum(axis=1)
    mean = total / np.maximum(count, 1)
    on_basis = np.zeros((len(variants), basis.shape[1]), np.float32)
    square = np.zeros(len(variants))
    for _, own in parts:
        values = centred(decode(rows, samples[own]), mean)
        on_basis += values @ basis[own]
        square += np.einsum("ij,ij->i", values, values)
    length = np.maximum(square - (on_basis.astype(float) ** 2).sum(axis=1), 0)
    spread = np.sqrt(length / (n - basis.shape[1]))
    varies = spread > 1e-4
    rows, mean, on_basis = rows[varies], mean[varies], on_basis[varies]
    spread = spread[varies, None].astype(np.float32)

    def scaled(own: slice) -> Floats:
        values = centred(decode(rows, samples[own]), mean)
        values -= on_basis @ basis[own].T
        values /= spread
        return values

    folds = int(parts.fold.max()) + 1
    grams = np.zeros((folds, len(rows), len(rows)), np.float32)
    crosses = np.zeros((folds, len(rows), p), np.float32)
    for fold, own in parts:
        values = scaled(own)
        grams[fold] += values @ values.T
        crosses[fold] += values @ y[own]
    gram, cross = grams.sum(axis=0), crosses.sum(axis=0)
    weights = [
        np.concatenate([_ridge(gram - one, cross - own, each) for each in penalties], axis=1)
        for one, own in zip(grams, crosses, strict=True)
    ]
    found = np.zeros((p, n, len(penalties)), np.float32)
    for fold, own in parts:
        predicted = scaled(own).T @ weights[fold]
        found[:, own] = predicted.reshape(-1, len(penalties), p).transpose(2, 0, 1)
    for one, is_known in zip(found, known.T, strict=True):
        one *= is_known[:, None]
        one -= one.sum(axis=0) / is_known.sum()
        one *= is_known[:, None]
        variance = np.einsum("ij,ij->j", one, one) / is_known.sum()
        one /= np.sqrt(np.maximum(variance, 1e-12))
    return found


def ridge_by_fold(
    grams: NDArray[Any], crosses: NDArray[Any], totals: NDArray[Any], penalties: NDArray[np.float64]
) -> tuple[Floats, NDArray[np.float64]]:
    """Level 1: weights [penalties, folds, q] and their squared error [penalties].

    `grams` [folds, q, q], `crosses` [folds, q] and `totals` [folds] are the predictors' products
    with themselves, those with the phenotype, and the phenotype's with itself, within each fold.
    The weights of a fold come from the others.
    """
    grams, crosses = grams.astype(np.float64), crosses.astype(np.float64)
    weights = np.empty((len(penalties), *crosses.shape))
    left = np.zeros(len(penalties))
    for k, (gram, cross, total) in enumerate(zip(grams, crosses, totals, strict=True)):
        rest, rest_cross = grams.sum(axis=0) - gram, crosses.sum(axis=0) - cross
        for j, penalty in enumerate(penalties):
            own = weights[j, k] = _ridge(rest, rest_cross, penalty)
            left[j] += total - 2 * own @ cross + own @ gram @ own
    return weights.astype(np.float32), left


def _ridge(gram: NDArray[Any], cross: NDArray[Any], penalty: float) -> NDArray[Any]:
    """(gram + penalty I)⁻¹ cross, in the precision of gram."""
    shrunk = gram.copy()
    shrunk.flat[:: len(gram) + 1] += penalty
    return np.asarray(cho_solve(cho_factor(shrunk, overwrite_a=True, check_finite=False), cross))
