"""What an intercept and the covariates leave of anything that is told of the same people."""

import numpy as np
from numpy.typing import NDArray


def basis_of(covariates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Orthonormal columns [n, c + 1] that span the intercept and the covariates [n, c]."""
    design = np.column_stack([np.ones(len(covariates)), covariates])
    return np.asarray(np.linalg.qr(design)[0])


def residuals(
    phenotypes: NDArray[np.float64], covariates: NDArray[np.float64]
) -> NDArray[np.float64]:
    """What an intercept and the covariates [n, c] leave of complete phenotypes [n, k]."""
    basis = basis_of(covariates)
    return np.asarray(phenotypes - basis @ (basis.T @ phenotypes))
