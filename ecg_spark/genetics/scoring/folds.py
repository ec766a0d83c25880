"""Cross-validation folds that keep families together."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ecg_spark.errors import DataError

LARGEST = 2.0
"""The most people a fold may hold, in even shares: its model is fitted to the others."""


def families_of(samples: pd.Index, relatives: pd.DataFrame) -> NDArray[np.int64]:
    """The number of each sample's family [samples]; a family is everybody linked by a chain of
    relatives.

    Args:
        relatives: pairs (s1, s2), of which only those among the samples count.

    Example:
        >>> pairs = pd.DataFrame({"s1": ["a"], "s2": ["c"]})
        >>> families_of(pd.Index(["a", "b", "c"]), pairs).tolist()
        [0, 1, 0]
    """
    first, second = (samples.get_indexer(relatives[key]) for key in ("s1", "s2"))
    both = (first >= 0) & (second >= 0)
    n = len(samples)
    links = coo_array((np.ones(both.sum()), (first[both], second[both])), (n, n))
    return np.asarray(connected_components(links, directed=False)[1], np.int64)


def family_folds(families: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
    """Assign people to folds at random, so that nobody has a relative in another fold.

    The largest families come first, each into the emptiest fold; people without relatives then
    fill the folds up to equal size.

    Args:
        families: the number of each person's family, [people].

    Returns:
        The fold of each person, [people].

    Raises:
        DataError: if a fold would be empty, or hold more than `LARGEST` times its even share.

    Example:
        >>> fold = family_folds(np.array([0, 0, 1, 2, 3]), 2, seed=1)
        >>> bool(fold[0] == fold[1]), sorted(np.bincount(fold).tolist())
        (True, [2, 3])
    """
    sizes = np.bincount(families)
    rng = np.random.default_rng(seed)
    order = np.lexsort((rng.random(len(sizes)), -sizes))
    whole = int((sizes > 1).sum())
    fold, filled = np.empty(len(sizes), np.int64), np.zeros(folds, np.int64)
    for family in order[:whole]:
        fold[family] = filled.argmin()
        filled[fold[family]] += sizes[family]
    # People without relatives fill the folds up to equal size, as far as possible.
    alone = len(sizes) - whole
    level = np.sort(np.add.outer(filled, np.arange(alone)).ravel())
    wanted = np.clip((level[alone - 1] if alone else 0) + 1 - filled, 0, None)
    of_alone = np.repeat(np.arange(folds), wanted)[:alone]
    fold[order[whole:]] = rng.permutation(of_alone)
    counts = np.bincount(fold[families], minlength=folds)
    if counts.min() == 0 or counts.max() > LARGEST * len(families) / folds:
        raise DataError(
            f"The {len(families)} people analysed are {len(sizes)} families, the largest of "
            f"{sizes.max()} people: they cannot be divided into {folds} folds without relatives in "
            f"two of them; raise genotypes.max_kinship, so that closer relatives alone make a "
            f"family, or take gwas.scores out of the study file."
        )
    return np.asarray(fold[families])
