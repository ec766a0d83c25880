"""Who is held out of a training: people for the test, for validation, and those of the fold.

People are told apart by a keyed hash of their id: all ECGs of a person are on one side. Kinship is
not known here, because the model is trained before any genotype is read: relatives may be on
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
"""Added to the seed, so that being held out for the test does not depend on fold and validation."""


@dataclass(frozen=True)
class Split:
    """The participants that a network is trained on, and those that it is not.

    Some of all people are held out for the test: no choice depends on them, neither of an epoch, of
    settings nor of the factors, and they are the same whatever the settings of the model. With one
    fold, some of the others are held out for validation. With several, the people of the network's
    own fold are left out altogether: nothing about the network depends on them. The rest are split
    into training and validation. Over all folds everybody is left out at least once.

    Attributes:
        seed: decides who is on which side.
        share: the share of people held out for validation.
        folds: how many folds there are.
        fold: the number of this fold, from 0.
        test_share: the share of all people held out for the test.
    """

    seed: int
    share: float
    folds: int = 1
    fold: int = 0
    test_share: float = 0.0

    def side(self, hashes: Hashes) -> NDArray[np.int64]:
        """Return the side of each row: TRAINING, VALIDATION, OWN or TEST; one per person.

        Args:
            hashes: the hash of each row's participant, [n].
        """
        place = uniform(hashes, self.seed) * self.folds
        side = np.where(place % 1 < self.share, VALIDATION, TRAINING)
        if self.folds > 1:
            side[place.astype(np.int64) == self.fold] = OWN
        side[of_the_test(hashes, self.seed, self.test_share)] = TEST
        return side


def of_the_test(hashes: Hashes, seed: int, share: float) -> NDArray[np.bool_]:
    """Return for each row whether its participant is held out for the test.

    It depends on hash, seed and share alone.

    Args:
        hashes: the participants' hashes, [n].
        seed: the study's seed.
        share: the share of people held out.
    """
    return uniform(hashes, seed + _OF_THE_TEST) < share


def fold_of(hashes: Hashes, seed: int, folds: int) -> NDArray[np.int64]:
    """Return the fold of each row's participant, 0 to folds - 1; it depends on hash and seed alone.

    Args:
        hashes: the participants' hashes, [n].
        seed: the study's seed.
        folds: how many folds there are.

    Example:
        >>> fold_of(np.arange(6), seed=1, folds=3).tolist()
        [2, 1, 1, 0, 1, 1]
    """
    return (uniform(hashes, seed) * folds).astype(np.int64)


def uniform(hashes: Hashes, seed: int) -> NDArray[np.floating[Any]]:
    """Return a number in [0, 1) for each hash, by splitmix64 (Steele et al., OOPSLA 2014).

    Args:
        hashes: any int64 numbers, [n].
        seed: gives other numbers for the same hashes.
    """
    with np.errstate(over="ignore"):
        x = hashes.astype(np.int64).view(np.uint64) + np.uint64(seed) * _GOLDEN
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x ^= x >> np.uint64(31)
    return (x >> np.uint64(11)).astype(np.float64) / 2.0**53
