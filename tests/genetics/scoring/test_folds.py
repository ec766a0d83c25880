"""Folds of whole families."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecg_spark.errors import DataError
from ecg_spark.genetics.scoring.accuracy import accuracy
from ecg_spark.genetics.scoring.folds import families_of, family_folds


@settings(max_examples=25)
@given(
    sizes=st.lists(st.integers(1, 12), min_size=40, max_size=200),
    folds=st.integers(2, 6),
    seed=st.integers(0, 100),
)
def test_families_stay_together_and_folds_are_as_even_as_they_can_be(sizes, folds, seed):
    families = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    fold = family_folds(families, folds, seed)
    assert pd.Series(fold).groupby(families).nunique().max() == 1
    counts = np.bincount(fold, minlength=folds)
    alone = sum(size == 1 for size in sizes)
    assert counts.max() - counts.min() <= max(sizes) if alone < folds * max(sizes) else folds
    assert np.array_equal(fold, family_folds(families, folds, seed))


def test_a_chain_of_relatives_is_a_family():
    samples = pd.Index(list("abcdef"))
    pairs = pd.DataFrame({"s1": ["a", "b", "z", "e"], "s2": ["b", "d", "a", "z"]})
    one = families_of(samples, pairs)
    assert one[0] == one[1] == one[3]
    assert len(set(one)) == 4


def test_people_who_are_all_related_cannot_be_divided_into_folds():
    with pytest.raises(DataError, match="cannot be divided into 5 folds"):
        family_folds(np.r_[np.zeros(50, int), np.arange(1, 20)], 5, 1)


def test_r2_and_its_interval_are_right_as_often_as_they_say():
    rng = np.random.default_rng(1)
    n, r2, covered = 400, 0.05, 0
    for _ in range(200):
        score, age = rng.normal(size=(2, n))
        y = np.sqrt(r2) * score + np.sqrt(1 - r2) * rng.normal(size=n) + age
        told = accuracy(y, 2 * score + 0.3 * age, age[:, None], np.arange(n))
        covered += told.r2_low < r2 < told.r2_high
    assert covered / 200 == pytest.approx(0.95, abs=0.045)
    assert told.slope == pytest.approx(np.sqrt(r2) / 2, abs=0.06)
    assert told.r2_covariates == pytest.approx(0.5, abs=0.1)


def test_families_widen_the_confidence_interval():
    rng = np.random.default_rng(2)
    twice = np.repeat(rng.normal(size=(2, 500)), 2, axis=1)
    y = 0.3 * twice[0] + twice[1]
    alone = accuracy(y, twice[0], np.zeros((1000, 0)), np.arange(1000))
    twins = accuracy(y, twice[0], np.zeros((1000, 0)), np.repeat(np.arange(500), 2))
    width, wider = (one.r2_high - one.r2_low for one in (alone, twins))
    assert wider / width == pytest.approx(np.sqrt(2), rel=0.15)
    assert twins.r2 == alone.r2
    few = accuracy(y, twice[0], np.zeros((1000, 0)), np.arange(1000) % 10)
    assert few.r2_low is None
