"""How many independent signals a locus holds: stepwise conditional regression."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecg_spark.genetics.null_model.phenotypes import variance_by_relatives
from ecg_spark.genetics.null_model.projection import basis_of
from ecg_spark.genetics.testing.p_values import neg_log10_p_of_t

Reals = NDArray[np.float64]
Batches = Callable[[], Iterable[NDArray[np.float32]]]

MAX_SIGNALS = 10
MAX_R2 = 0.9
"""A variant that those chosen explain to this share is never a further signal."""


@dataclass(frozen=True)
class Signal:
    """A variant's effect with those chosen before it in the regression."""

    variant: int
    beta: float
    se: float
    neg_log10_p: float


def independent_signals(
    genotypes: Batches,
    phenotype: pd.Series,
    covariates: Reals,
    threshold: float,
    relatives: pd.DataFrame | None = None,
) -> list[Signal]:
    """The variants chosen one after the other while the best conditional p passes.

    `genotypes`: the variants in batches [some, n], anew at every call, missing genotypes at the
    mean; one batch at a time is in memory. `phenotype` [n], by sample, is complete, `covariates`
    [n, c] without the intercept; `threshold` is -log10 p. Standard errors allow for `relatives` as
    those of `associate` do. At each step the variant with the smallest p, given covariates and the
    variants before it, is chosen, as in GCTA-COJO's stepwise selection on individual data.
    """
    basis = basis_of(covariates)
    left = phenotype.to_numpy(float)
    left = left - basis @ (basis.T @ left)
    products = _products(genotypes, np.column_stack([left, basis]))
    on_left, length = products[:, 1], products[:, 0] - (products[:, 2:] ** 2).sum(axis=1)
    own = length.copy()
    found: list[Signal] = []
    while len(found) < MAX_SIGNALS:
        usable = length > np.maximum((1 - MAX_R2) * own, 1e-8)
        df = len(left) - basis.shape[1] - 1
        if not usable.any() or df < 1:
            break
        beta = np.divide(on_left, length, out=np.zeros_like(length), where=usable)
        wider = variance_by_relatives(left[:, None], phenotype.index, relatives)[0]
        error = wider * np.maximum(left @ left - beta**2 * length, 1e-12) / df
        se = np.sqrt(np.divide(error, length, out=np.full_like(length, np.inf), where=usable))
        best = int(np.abs(beta / se).argmax())
        strength = float(neg_log10_p_of_t(beta[best] / se[best], df))
        if strength < threshold:
            break
        found.append(Signal(best, float(beta[best]), float(se[best]), strength))
        # What the variant adds to what is known: the others, and the phenotype, without it.
        direction = _row(genotypes, best)
        for _ in range(2):  # twice, so that rounding leaves nothing of the basis
            direction = direction - basis @ (basis.T @ direction)
        direction /= np.linalg.norm(direction)
        share = direction @ left
        left = left - direction * share
        on_direction = _products(genotypes, direction[:, None])[:, 1]
        on_left, length = on_left - share * on_direction, length - on_direction**2
        basis = np.column_stack([basis, direction])
    return found


def _products(genotypes: Batches, columns: Reals) -> Reals:
    """The square of the length of each variant, and its products with columns [n, k]."""
    pieces = []
    for batch in genotypes():
        rows = batch.astype(float)
        squares = np.einsum("ij,ij->i", rows, rows)
        pieces.append(np.column_stack([squares, rows @ columns]))
    return np.concatenate(pieces)


def _row(genotypes: Batches, place: int) -> Reals:
    """The variant at a place."""
    for batch in genotypes():
        if place < len(batch):
            return np.asarray(batch[place], float)
        place -= len(batch)
    raise IndexError(place)
