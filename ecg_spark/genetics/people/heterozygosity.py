"""How far a sample's heterozygosity lies from what its ancestry makes of it.

Heterozygosity differs between populations and rises with admixture. What it has beyond that tells
of contamination, or of a sample that was badly called.
"""

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]

_FEWEST = 10
"""Samples beyond the terms of the regression, of which fewer tell no spread."""


def beyond_components(
    heterozygosity: Reals, scores: Reals, unrelated: NDArray[np.bool_]
) -> Reals | None:
    """The residual of each sample's heterozygosity [n] in standard deviations, NaN where missing.

    The regression on the components `scores` [n, k] and their squares (Bycroft et al. 2018, Nature
    562:203, S 3.6) is of the unrelated; on the components alone where the people are few, and None
    where they are too few even for that.
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
