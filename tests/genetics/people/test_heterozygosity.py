"""Heterozygosity beyond what ancestry makes of it."""

import numpy as np
import pytest
import statsmodels.api

from ecg_spark.genetics.people.heterozygosity import beyond_components


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


def test_few_people_are_regressed_on_fewer_terms_or_not_at_all():
    rng = np.random.default_rng(2)
    values, scores = rng.normal(size=18), rng.normal(size=(18, 4))
    values[3] = np.nan
    everybody = np.ones(18, bool)
    found = beyond_components(values, scores, everybody)
    assert np.isnan(found).tolist() == np.isnan(values).tolist()
    assert beyond_components(values[:12], scores[:12], everybody[:12]) is None
