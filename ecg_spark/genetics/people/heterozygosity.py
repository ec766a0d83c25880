"""How far the heterozygosity of a sample deviates from what its ancestry predicts.

Heterozygosity differs between populations and rises with admixture. A deviation beyond that
indicates contamination or a poorly genotyped sample.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Reals = NDArray[np.float64]

_FEWEST = 10
"""The least residual degrees of freedom with which the standard deviation is estimated."""


def beyond_ancestry(
    heterozygosity: Reals,
    scores: Reals,
    unrelated: NDArray[np.bool_],
    ancestry: NDArray[np.object_],
    of_ancestry: Reals,
) -> Reals | None:
    """As `beyond_components`, of the people of each population [n] among themselves, on components
    of their own [n, k], where these are known and the people are enough."""
    found = beyond_components(heterozygosity, scores, unrelated)
    if found is None:
        return None
    known = np.isfinite(of_ancestry).all(axis=1)
    for name in pd.Series(ancestry).dropna().unique():
        own = known & (ancestry == name)
        among = beyond_components(heterozygosity[own], of_ancestry[own], unrelated[own])
        if among is not None:
            found[own] = among
    return found


def beyond_components(
    heterozygosity: Reals, scores: Reals, unrelated: NDArray[np.bool_]
) -> Reals | None:
    """The residual of each sample's heterozygosity on ancestry, in standard deviations.

    The regression on the principal components and their squares is fitted to the unrelated people
    (Bycroft et al. 2018, Nature 562:203, supplement S 3.6). With few people it uses the components
    only.

    Args:
        heterozygosity: [n]; NaN where missing.
        scores: principal components, [n, k].
        unrelated: whom the regression is fitted to, [n].

    Returns:
        [n], NaN where missing; None if there are too few people for any regression.
    """
    known = np.isfinite(heterozygosity)
    used = known & unrelated
    for terms in ([scores, scores**2], [scores]):
        design = np.column_stack([np.ones(len(scores)), *terms])
        left = int(used.sum()) - design.shape[1]
        if left >= _FEWEST:
            break
    else:
        return None
    fit = np.linalg.lstsq(design[used], heterozygosity[used], rcond=None)[0]
    residual = heterozygosity - design @ fit
    spread = np.sqrt((residual[used] ** 2).sum() / left)
    return np.asarray(residual / max(spread, 1e-12))
