"""How many independent signals a locus holds: stepwise conditional regression."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecg_spark.genetics.null_model.phenotypes import variance_by_relatives
from ecg_spark.genetics.null_model.projection import residuals
from ecg_spark.genetics.testing.p_values import neg_log10_p_of_t

Reals = NDArray[np.float64]

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
    genotypes: NDArray[np.float32],
    phenotype: pd.Series,
    covariates: Reals,
    threshold: float,
    relatives: pd.DataFrame | None = None,
) -> list[Signal]:
    """The variants [m, n] chosen one after the other while the best conditional p passes.

    `phenotype` [n], by sample, is complete, `covariates` [n, c] without the intercept; `threshold`
    is -log10 p. Standard errors allow for `relatives` as those of `associate` do. At each step the
    variant with the smallest p, given covariates and the variants before it, is chosen, as in GCTA-
    COJO's stepwise selection on individual data. Missing genotypes are at the mean already.
    """
    left = residuals(phenotype.to_numpy(float)[:, None], covariates)[:, 0]
    x = residuals(genotypes.T.astype(float), covariates)
    own = (x**2).sum(axis=0)
    found: list[Signal] = []
    while len(found) < MAX_SIGNALS:
        length = (x**2).sum(axis=0)
        usable = length > np.maximum((1 - MAX_R2) * own, 1e-8)
        df = len(left) - covariates.shape[1] - 2 - len(found)
        if not usable.any() or df < 1:
            break
        beta = np.divide(left @ x, length, out=np.zeros_like(length), where=usable)
        wider = variance_by_relatives(left[:, None], phenotype.index, relatives)[0]
        error = wider * np.maximum(left @ left - beta**2 * length, 1e-12) / df
        se = np.sqrt(np.divide(error, length, out=np.full_like(length, np.inf), where=usable))
        best = int(np.abs(beta / se).argmax())
        strength = float(neg_log10_p_of_t(beta[best] / se[best], df))
        if strength < threshold:
            break
        found.append(Signal(best, float(beta[best]), float(se[best]), strength))
        direction = x[:, best] / np.sqrt(length[best])
        left = left - direction * (direction @ left)
        x = x - np.outer(direction, direction @ x)
    return found
