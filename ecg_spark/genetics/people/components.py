"""Principal components of ancestry."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from ecg_spark.errors import DataError
from ecg_spark.genetics.genotypes.packed import MISSING

_BLOCK = 2_048


def principal_components(
    calls: NDArray[np.int8], unrelated: NDArray[np.bool_], components: int
) -> NDArray[np.float64]:
    """Scores [samples, components] from the unrelated samples, projected onto all.

    Genotypes are centred and scaled by √(2p(1-p)) (Patterson et al. 2006); missing calls are at the
    mean. Each component has variance 1 over the unrelated, its largest loading is positive. Exact,
    by the Gram matrix over samples or over variants, whichever are fewer.
    """
    if not components:
        return np.zeros((calls.shape[1], 0))
    reference = calls[:, unrelated]
    known = reference != MISSING
    p = (reference * known).sum(axis=1) / np.maximum(2 * known.sum(axis=1), 1)
    varies = (p > 0) & (p < 1)
    calls, reference, p = calls[varies], reference[varies], p[varies, None]
    if min(reference.shape) <= components:
        raise DataError(
            f"{reference.shape[1]} unrelated samples and {reference.shape[0]} independent variants "
            f"are too few for {components} principal components: lower genotypes.components."
        )

    def scaled(matrix: NDArray[np.int8]) -> Iterator[NDArray[np.float32]]:
        """Blocks [variants, some samples] of scaled genotypes, in the order of the samples."""
        for start in range(0, matrix.shape[1], _BLOCK):
            block = matrix[:, start : start + _BLOCK]
            centred = np.where(block == MISSING, 0, block - 2 * p) / np.sqrt(2 * p * (1 - p))
            yield centred.astype(np.float32)

    def leading(gram: NDArray[np.float64]) -> NDArray[np.float64]:
        last = len(gram) - 1
        vectors = eigh(gram, subset_by_index=(last + 1 - components, last))[1]
        return np.asarray(vectors[:, ::-1])

    if reference.shape[1] < reference.shape[0]:
        whole = np.concatenate(list(scaled(reference)), axis=1)
        loadings = whole @ leading((whole.T @ whole).astype(np.float64))
    else:
        gram = np.zeros((len(p), len(p)))
        for block in scaled(reference):
            gram += block @ block.T
        loadings = leading(gram)
    loadings = loadings * np.sign(loadings[np.abs(loadings).argmax(axis=0), range(components)])
    scores = np.concatenate([block.T @ loadings for block in scaled(calls)])
    spread = scores[unrelated].std(axis=0)
    return np.asarray((scores - scores[unrelated].mean(axis=0)) / spread, dtype=np.float64)
