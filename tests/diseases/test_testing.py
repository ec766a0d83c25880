"""All predictors against one disease: what is screened, what is fitted, and what cannot be told."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from ecg_spark.diseases.firth import firth
from ecg_spark.diseases.outcomes import Outcome
from ecg_spark.diseases.panels import fill, make_panel
from ecg_spark.diseases.phewas import false_discovery_rate
from ecg_spark.diseases.testing import COX, FIRTH, SCORE, assess, independent_terms


def made_up(seed=1, n=1200, effect=0.8, missing=0.0):
    rng = np.random.default_rng(seed)
    covariates = pd.DataFrame(rng.normal(size=(n, 2)), columns=["age", "bmi"])
    values = pd.DataFrame(rng.normal(size=(n, 5)), columns=[f"vae_{k:02d}" for k in range(5)])
    values["pca_00"] = rng.normal(size=n)
    chance = 1 / (1 + np.exp(2.5 - effect * values["vae_00"] - 0.4 * covariates["age"]))
    is_case = (rng.random(n) < chance).to_numpy()
    values = values.mask(rng.random(values.shape) < missing)
    groups = {"vae": [name for name in values if name[0] == "v"], "pca": ["pca_00"]}
    panel = make_panel("ecg", values, groups, covariates, None, ["pca"])
    return panel, Outcome("ever", np.arange(n), is_case, "both", 0)


def by_name(tested):
    return {row["predictor"]: row for row in tested.rows}


def test_a_strong_effect_is_fitted_and_a_weak_one_is_one_step():
    panel, outcome = made_up()
    tested = assess(panel, outcome)
    rows = by_name(tested)
    assert tested.null_model == "logistic"
    assert "pca_00" not in rows
    strong = rows["vae_00"]
    assert strong["test"] == FIRTH
    x = np.column_stack([np.ones(len(outcome.rows)), panel.covariates])
    alone = firth(x, panel.filled[:, [0]], outcome.is_case.astype(float))
    assert strong["beta"] == pytest.approx(alone.beta[0], abs=1e-4)
    assert strong["lower"] < 0.8 < strong["upper"]
    weak = [row for row in rows.values() if row["test"] == SCORE]
    assert weak
    for row in weak:
        both = np.column_stack([x, panel.filled[:, panel_place(panel, row["predictor"])]])
        fit = sm.Logit(outcome.is_case.astype(float), both).fit(disp=0)
        assert row["neg_log10_p"] == pytest.approx(-np.log10(fit.pvalues[-1]), abs=0.02)
        assert row["beta"] == pytest.approx(fit.params[-1], abs=0.01)
        assert row["lower"] is None


@pytest.mark.parametrize("time", [False, True])
def test_a_covariate_that_is_constant_where_a_predictor_is_known_is_left_out_there(time):
    rng = np.random.default_rng(4)
    n = 600
    covariates = pd.DataFrame({"age": rng.normal(size=n), "centre": np.arange(n) % 2.0})
    values = pd.DataFrame({"scan": np.where(covariates["centre"] == 1, rng.normal(size=n), np.nan)})
    is_case = rng.random(n) < 1 / (1 + np.exp(1 - values["scan"].fillna(0)))
    panel = make_panel("ecg", values, {"own": ["scan"]}, covariates, None, [])
    days = rng.exponential(size=n) if time else None
    outcome = Outcome("incident" if time else "ever", np.arange(n), is_case.to_numpy(), "both", 0)
    if time:
        outcome = replace(outcome, time=days)
    [row] = assess(panel, outcome).rows
    assert row["test"] == (COX if time else FIRTH)
    assert row["lower"] < row["beta"] < row["upper"]
    assert row["n"] == n // 2


def panel_place(panel, name):
    return [one.name for one in panel.predictors].index(name)


def test_missing_values_tell_nothing_and_fits_are_of_those_who_have_one():
    panel, outcome = made_up(missing=0.2)
    rows = by_name(assess(panel, outcome))
    known = panel.known[:, 0]
    x = np.column_stack([np.ones(known.sum()), panel.covariates[known]])
    alone = firth(x, panel.filled[known][:, [0]], outcome.is_case[known].astype(float))
    assert rows["vae_00"]["n"] == known.sum()
    assert rows["vae_00"]["beta"] == pytest.approx(alone.beta[0], abs=1e-4)
    assert rows["vae_00"]["neg_log10_p"] == pytest.approx(alone.neg_log10_p[0], abs=1e-3)


@settings(max_examples=10)
@given(st.integers(0, 1000))
def test_what_is_missing_is_what_covariates_say_and_what_is_known_stays(seed):
    rng = np.random.default_rng(seed)
    covariates = rng.normal(size=(50, 2))
    values = np.column_stack([covariates @ [2.0, -1.0] + 3, rng.normal(size=50)])
    whole = values.copy()
    values[rng.random(values.shape) < 0.3] = np.nan
    filled, known = fill(values, covariates)
    np.testing.assert_allclose(filled[:, 0], whole[:, 0], atol=1e-9)
    assert (filled[known] == values[known]).all()


def test_a_covariate_that_tells_cases_perfectly_costs_no_test():
    panel, outcome = made_up()
    site = outcome.is_case & (np.arange(len(outcome.rows)) % 2 == 0)
    covariates = np.column_stack([panel.covariates, site])
    panel = type(panel)(**vars(panel) | {"covariates": covariates})
    tested = assess(panel, outcome)
    assert tested.null_model == FIRTH
    assert len(tested.rows) == 5
    assert by_name(tested)["vae_00"]["neg_log10_p"] > 5
    assert all(np.isfinite(row["neg_log10_p"]) for row in tested.rows)


def test_a_predictor_that_does_not_vary_or_follows_from_covariates_has_no_row():
    panel, outcome = made_up()
    panel.filled[:, 1] = 4.0
    panel.filled[:, 2] = panel.covariates[:, 0] * 2
    rows = by_name(assess(panel, outcome))
    assert rows.keys() == {"vae_00", "vae_03", "vae_04"}


def test_covariates_that_do_not_vary_among_some_people_are_left_out():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(30, 4))
    x[:, 1], x[:, 3] = 1.0, x[:, 0] - 3 * x[:, 2]
    assert independent_terms(x).tolist() == [0, 2]
    assert independent_terms(np.zeros((5, 0))).tolist() == []


def test_incident_disease_is_tested_by_its_time():
    panel, _ = made_up(n=900)
    rng = np.random.default_rng(4)
    until = rng.exponential(1000 * np.exp(-0.7 * panel.filled[:, 0]))
    end = rng.uniform(100, 900, 900)
    outcome = Outcome(
        "incident", np.arange(900), until <= end, "both", 0, np.ceil(np.minimum(until, end))
    )
    tested = assess(panel, outcome)
    strong = by_name(tested)["vae_00"]
    assert tested.null_model == strong["test"] == COX
    assert strong["lower"] < 0.7 < strong["upper"]
    assert strong["neg_log10_p"] > 20
    assert {row["test"] for row in tested.rows} == {COX, SCORE}


def test_order_of_people_and_of_predictors_changes_nothing():
    panel, outcome = made_up()
    mixed = np.random.default_rng(1).permutation(len(outcome.rows))
    other = type(panel)(
        panel.people, panel.predictors, panel.filled[mixed], panel.known[mixed],
        panel.covariates[mixed], panel.is_male[mixed],
    )  # fmt: skip
    again = Outcome("ever", outcome.rows, outcome.is_case[mixed], "both", 0)
    first, second = by_name(assess(panel, outcome)), by_name(assess(other, again))
    for name, row in first.items():
        assert row["neg_log10_p"] == pytest.approx(second[name]["neg_log10_p"], abs=1e-6)


@given(st.lists(st.floats(0, 20), min_size=1, max_size=60))
def test_false_discovery_rate_is_benjamini_and_hochbergs(strengths):
    strengths = np.array(strengths)
    expected = multipletests(10**-strengths, method="fdr_bh")[1]
    np.testing.assert_allclose(false_discovery_rate(strengths), expected, rtol=1e-9)


def test_the_false_discovery_rate_of_no_tests_is_empty():
    assert false_discovery_rate(np.empty(0)).shape == (0,)
