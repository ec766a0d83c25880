"""Who is held out of a training: people to test on, to validate on, and the fold's own people.

People are told apart by a keyed hash of their id: all ECGs of a person are on one side. Kinship is
not known here, for the beats are trained on before any genotype is read: relatives may be on
different sides.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.int64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


TRAINING, VALIDATION, OWN, TEST = 0, 1, 2, 3

_OF_THE_TEST = 2**32
"""Added to the seed, so that who is tested on says nothing about fold and validation."""


@dataclass(frozen=True)
class Split:
    """The participants that a network is trained on, and those that it is not.

    A share of all are held out for the test: nothing is chosen by them, neither an epoch nor
    settings nor what the factors are, and they are the same whatever the settings of the model. Of
    the others, with one fold, a share are held out for validation. With several, the people of the
    network's own fold are left out altogether: nothing about it depends on them. The rest are
    split into training and validation. Over all folds everybody is left out at least once.
    """

    seed: int
    share: float
    folds: int = 1
    fold: int = 0
    test_share: float = 0.0

    def side(self, hashes: Hashes) -> NDArray[np.int64]:
        """The side of each row, the same for all of a person: TRAINING, VALIDATION, OWN or TEST."""
        place = uniform(hashes, self.seed) * self.folds
        side = np.where(place % 1 < self.share, VALIDATION, TRAINING)
        if self.folds > 1:
            side[place.astype(np.int64) == self.fold] = OWN
        side[of_the_test(hashes, self.seed, self.test_share)] = TEST
        return side


def of_the_test(hashes: Hashes, seed: int, share: float) -> NDArray[np.bool_]:
    """Whose beats no training has seen; it depends on hash, seed and share alone."""
    return uniform(hashes, seed + _OF_THE_TEST) < share


def fold_of(hashes: Hashes, seed: int, folds: int) -> NDArray[np.int64]:
    """The fold of each row's participant, 0 to folds - 1; it depends on hash and seed alone."""
    return (uniform(hashes, seed) * folds).astype(np.int64)


def uniform(hashes: Hashes, seed: int) -> NDArray[np.floating[Any]]:
    """A number in [0, 1) for each hash, by splitmix64 (Steele et al., OOPSLA 2014)."""
    with np.errstate(over="ignore"):
        x = hashes.astype(np.int64).view(np.uint64) + np.uint64(seed) * _GOLDEN
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x ^= x >> np.uint64(31)
    return (x >> np.uint64(11)).astype(np.float64) / 2.0**53
