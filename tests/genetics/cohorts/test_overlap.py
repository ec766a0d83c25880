"""People in two cohorts, told from z-scores, with many small effects and without."""

from types import SimpleNamespace

import numpy as np
import pytest

from ecg_spark.errors import DataError
from ecg_spark.genetics.cohorts.joint import NULL_Z
from ecg_spark.genetics.cohorts.overlap import refuse_shared, shared_people

COHORTS = [SimpleNamespace(name="cohort 1 (a)"), SimpleNamespace(name="cohort 2 (b)")]


def gathered(shared, polygenic, seed, stretches=100, variants=400):
    """The sums of two cohorts of 10,000 and 40,000 people; ten neighbours have one z-score."""
    rng = np.random.default_rng(seed)
    shape = (stretches, variants // 10)
    noise = rng.multivariate_normal([0, 0], [[1, shared], [shared, 1]], shape)
    effects = rng.normal(0, polygenic**0.5, shape)
    z = np.repeat(noise + np.stack([effects, 1.5 * effects], axis=-1), 10, axis=1)
    known = (np.abs(z) < NULL_Z).all(axis=2)
    some = np.where(known[..., None], z, 0.0)
    blocks = np.zeros((stretches, 3, 2, 2))
    blocks[:, 0] = known.sum(axis=1)[:, None, None]
    blocks[:, 1] = np.swapaxes(some, 1, 2) @ some
    blocks[:, 2] = np.square(some).sum(axis=1)[:, :, None]
    number = np.full((2, 2), known.sum())
    return SimpleNamespace(blocks=blocks, variants=number, n=np.array([10_000.0, 40_000.0]))


@pytest.mark.parametrize("polygenic", [0.0, 0.2, 0.8])
@pytest.mark.parametrize("seed", range(5))
def test_cohorts_without_a_person_in_common_are_combined_however_polygenic(polygenic, seed):
    refuse_shared(COHORTS, gathered(0.0, polygenic, seed))


@pytest.mark.parametrize("polygenic", [0.0, 0.2])
def test_people_in_both_are_told_and_counted(polygenic):
    found = gathered(0.15, polygenic, 1)
    rho, error = shared_people(found)
    assert rho[0, 1] == pytest.approx(0.15, abs=0.05)
    # The jackknife knows that ten neighbours are one: 1 / √4,000, not 1 / √40,000.
    assert 0.012 < error[0, 1] < 0.03
    with pytest.raises(DataError, match=r"cohort 1 .* cohort 2 .* about [23],\d00 people in"):
        refuse_shared(COHORTS, found)


def test_without_a_result_in_common_nothing_is_told():
    found = gathered(0.0, 0.0, 1)
    found.blocks[:] = 0
    found.variants[:] = 0
    refuse_shared(COHORTS, found)
