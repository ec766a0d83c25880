"""Figures of a model against what chance gives."""

import numpy as np
import pytest

from models.encoding.evaluation import largest_by_chance


@pytest.mark.parametrize(("k", "n"), [(20, 300), (20, 2000), (5, 100)])
def test_the_largest_correlation_by_chance_is_that_of_independent_columns(k, n):
    rng, pairs = np.random.default_rng(1), np.triu_indices(k, 1)
    largest = [np.abs(np.corrcoef(rng.standard_normal((k, n)))[pairs]).max() for _ in range(200)]
    assert largest_by_chance(k, n) == pytest.approx(np.median(largest), rel=0.04)
    assert largest_by_chance(1, n) == largest_by_chance(k, 2) == 0
