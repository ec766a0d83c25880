"""Interactions with sex and age, and effects in women and men: statsmodels' estimates."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from ecg_spark.genetics.findings.modifiers import (
    YEARS,
    People,
    modified,
    robust,
    rows_of_interactions,
)
from ecg_spark.genetics.genotypes.excerpt import excerpt_of
from ecg_spark.genetics.genotypes.rows import pack
from ecg_spark.genetics.testing.results import question, terms_on


def _drawn(rng, n):
    """A variant, covariates of which the first is the sex, people, and a phenotype whose spread
    goes with both."""
    x = rng.binomial(2, 0.3, n).astype(float)
    is_male = rng.integers(0, 2, n).astype(float)
    age = rng.uniform(40, 70, n)
    covariates = np.column_stack([is_male, age, rng.normal(size=n)])
    y = 0.2 * x * is_male + 0.02 * age + (0.5 + 0.5 * x + is_male) * rng.normal(size=n)
    return y, x, covariates, People(is_male, age, np.ones(n, bool))


@settings(max_examples=15)
@given(st.integers(0, 10_000))
def test_effects_and_errors_are_those_of_statsmodels(seed):
    rng = np.random.default_rng(seed)
    y, x, covariates, people = _drawn(rng, 300)
    told = modified(y, x, covariates, people)
    by_sex = []
    for name, value in (("women", 0), ("men", 1)):
        own = people.is_male == value
        design = np.column_stack([x[own], np.ones(own.sum()), covariates[own][:, 1:]])
        fit = sm.OLS(y[own], design).fit(cov_type="HC3", use_t=True)
        assert told[f"n_{name}"] == own.sum()
        assert told[f"beta_{name}"] == pytest.approx(fit.params[0], rel=1e-7)
        assert told[f"se_{name}"] == pytest.approx(fit.bse[0], rel=1e-7)
        by_sex.append(fit)
    # The difference is the interaction of the model in which all that is beside it has one, too.
    sex, beside = people.is_male, covariates[:, 1:]
    design = np.column_stack([x * sex, x, np.ones(300), sex, beside, beside * sex[:, None]])
    fit = sm.OLS(y, design).fit(cov_type="HC3", use_t=True)
    told_of_sex = [told[f"sex_{key}"] for key in ("beta", "se", "neg_log10_p")]
    expected = [fit.params[0], fit.bse[0], -np.log10(fit.pvalues[0])]
    assert told_of_sex == pytest.approx(expected, rel=1e-6)
    decades = ((people.age - people.age.mean()) / YEARS)[:, None]
    design = np.column_stack([x[:, None] * decades, x, np.ones(300), covariates])
    design = np.column_stack([design, covariates * decades])
    fit = sm.OLS(y, design).fit(cov_type="HC3", use_t=True)
    told_of_age = [told[f"age_{key}"] for key in ("beta", "se", "neg_log10_p")]
    expected = [fit.params[0], fit.bse[0], -np.log10(fit.pvalues[0])]
    assert told_of_age == pytest.approx(expected, rel=1e-6)


def test_a_spread_that_goes_with_sex_and_variant_makes_no_interaction():
    found = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        n = 400
        x, is_male = rng.binomial(2, 0.2, n).astype(float), (rng.random(n) < 0.5).astype(float)
        age = rng.uniform(40, 70, n)
        y = (0.3 + (x > 0) * (age - 40) / 10) * rng.normal(size=n)
        found.append(modified(y, x, age[:, None], People(is_male, age, np.ones(n, bool))))
    for key in ("sex", "age"):
        small = np.mean([one[f"{key}_neg_log10_p"] > -np.log10(0.05) for one in found])
        assert small < 0.09


def test_too_few_alleles_or_people_tell_nothing():
    rng = np.random.default_rng(1)
    y, x, covariates, people = _drawn(rng, 300)
    x[people.is_male == 1] = 0
    told = modified(y, x, covariates, people)
    assert told["beta_women"] is not None
    assert told["beta_men"] is told["sex_beta"] is told["sex_neg_log10_p"] is None
    unknown = People(np.full(300, np.nan), np.full(300, np.nan), people.unrelated)
    told = modified(y, x, covariates, unknown)
    assert (told["n_women"], told["n_men"]) == (0, 0)
    assert told["age_beta"] is told["beta_women"] is None
    assert robust(y, np.column_stack([x, x]), covariates) is None
    assert robust(y[:3], x[:3, None], covariates[:3]) is None


def test_rows_are_of_the_phenotypes_with_a_locus_among_unrelated_people():
    rng = np.random.default_rng(2)
    n = 400
    calls = rng.binomial(2, 0.4, (2, n)).astype(np.int8)
    calls[1, :9] = 3
    y = rng.normal(size=(n, 3))
    y[:, 1] += 0.5 * calls[1]
    table = pd.DataFrame(y, columns=["vae_00", "vae_01", "qt_ms"])
    table.loc[:19, "qt_ms"] = np.nan
    covariates, together = pd.DataFrame(rng.normal(size=(n, 1))), {"vae": ["vae_00", "vae_01"]}
    asked = question(table, covariates, together, None, None, None, None)
    sites = pd.DataFrame({"contig": "1", "position": [1, 2], "ref": "A", "alt": "C", "rsid": None})
    excerpt = excerpt_of(sites, ((np.arange(2), pack(calls)),))
    people = People(rng.integers(0, 2, n).astype(float), rng.uniform(40, 70, n), np.arange(n) >= 50)
    leads = [(1, ("vae omnibus", "qt_ms")), (0, ("vae_00",))]
    rows = list(rows_of_interactions(excerpt, terms_on(asked, "1").patterns, asked, leads, people))
    assert [(one["position"], one["phenotype"], one["n"]) for one in rows] == [
        (2, "qt_ms", 350), (2, "vae_01", 350), (1, "vae_00", 350),
    ]  # fmt: skip
    assert rows[1]["beta_men"] == pytest.approx(0.5, abs=0.2)
