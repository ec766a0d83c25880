"""Heterozygosity beyond what ancestry makes of it."""

import numpy as np
import pytest
import statsmodels.api

from ecg_spark.genetics.people.heterozygosity import beyond_ancestry, beyond_components


def test_contamination_stands_out_and_admixture_does_not():
    rng = np.random.default_rng(1)
    scores = np.concatenate([rng.normal(-1, 0.05, (150, 2)), rng.normal(1, 0.05, (150, 2))])
    scores[:20] = np.linspace(-1, 1, 20)[:, None]  # a line between two populations
    mean = 0.30 + 0.02 * scores[:, 0] + 0.05 * (1 - scores[:, 0] ** 2)
    heterozygosity = mean + rng.normal(0, 0.002, 300)
    heterozygosity[299] += 0.03
    unrelated = np.arange(300) != 299
    found = beyond_components(heterozygosity, scores, unrelated)
    assert np.flatnonzero(np.abs(found) > 6).tolist() == [299]
    assert np.abs(heterozygosity - heterozygosity.mean()).argmax() != 299
    design = statsmodels.api.add_constant(np.column_stack([scores, scores**2]))
    fit = statsmodels.api.OLS(heterozygosity[:299], design[:299]).fit()
    expected = (heterozygosity - fit.predict(design)) / np.sqrt(fit.scale)
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("components", [0, 2])
def test_each_population_is_judged_among_its_own_people(components):
    rng = np.random.default_rng(3)
    n, ancestry = 300, np.repeat(np.array(["AFR", "EUR", None], object), [100, 180, 20])
    scores, of_ancestry = rng.normal(size=(2, n, components))
    of_ancestry[280:] = np.nan
    heterozygosity = rng.normal(np.where(ancestry == "AFR", 0.35, 0.30), 0.002)
    heterozygosity[5] = 0.30  # as of the others, and too few for its own
    unrelated = np.arange(n) % 10 != 0
    found = beyond_ancestry(heterozygosity, scores, unrelated, ancestry, of_ancestry)
    assert np.flatnonzero(np.abs(found) > 6).tolist() == [5]
    own = slice(100, 280)
    alone = beyond_components(heterozygosity[own], of_ancestry[own], unrelated[own])
    assert found[own] == pytest.approx(alone)
    whole = beyond_components(heterozygosity, scores, unrelated)
    assert found[280:] == pytest.approx(whole[280:])
    # Nobody's ancestry is known: all are judged together.
    unknown = np.full((n, components), np.nan)
    none = np.full(n, None, object)
    assert beyond_ancestry(heterozygosity, scores, unrelated, none, unknown) == pytest.approx(whole)


def test_few_people_are_regressed_on_fewer_terms_or_not_at_all():
    rng = np.random.default_rng(2)
    values, scores = rng.normal(size=18), rng.normal(size=(18, 4))
    values[3] = np.nan
    everybody = np.ones(18, bool)
    found = beyond_components(values, scores, everybody)
    assert np.isnan(found).tolist() == np.isnan(values).tolist()
    assert beyond_components(values[:12], scores[:12], everybody[:12]) is None
