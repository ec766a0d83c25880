"""Projection of the intercept and the covariates out of any values of the same people."""

import numpy as np
from numpy.typing import NDArray


def basis_of(covariates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Orthonormal columns [n, c + 1] that span the intercept and the covariates [n, c]."""
    design = np.column_stack([np.ones(len(covariates)), covariates])
    return np.asarray(np.linalg.qr(design)[0])


def residuals(
    phenotypes: NDArray[np.float64], covariates: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The residuals of phenotypes [n, k] on an intercept and covariates [n, c]; nothing may be
    missing.

    Example:
        >>> y = np.array([[1.0], [2.0], [6.0]])
        >>> residuals(y, np.zeros((3, 0))).ravel().round(6).tolist()
        [-2.0, -1.0, 3.0]
    """
    basis = basis_of(covariates)
    return np.asarray(phenotypes - basis @ (basis.T @ phenotypes))
