"""What tells a disease: concordance against scikit-learn and by pairs, gains, calibration."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from ecg_spark.diseases.beats import compare, match
from ecg_spark.diseases.outcomes import Outcome
from ecg_spark.diseases.panels import make_panel
from ecg_spark.diseases.prediction import concordance, predictions


def made_up(seed=1, n=3000):
    rng = np.random.default_rng(seed)
    covariates = pd.DataFrame({"age": rng.normal(size=n)})
    names = {"vae": ["vae_00", "vae_01"], "traits": ["pr_ms"], "pca": ["pca_00"]}
    values = pd.DataFrame({name: rng.normal(size=n) for own in names.values() for name in own})
    eta = -2 + 0.8 * covariates["age"] + 0.9 * values["vae_00"]
    is_case = (rng.random(n) < 1 / (1 + np.exp(-eta))).to_numpy()
    sex = pd.Series(np.arange(n) % 2, dtype=float)
    return make_panel("ecg", values, names, covariates, sex, ["pca"]), Outcome(
        "ever", np.arange(n), is_case, "both", 0
    )


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.booleans())
def test_the_area_agrees_with_scikit_learn_and_its_error_with_delong(seed, ties):
    rng = np.random.default_rng(seed)
    is_case = rng.random(200) < 0.3
    risk = rng.normal(size=200) + is_case
    risk = np.round(risk) if ties else risk
    found = concordance(risk, is_case)
    assert found.value == pytest.approx(roc_auc_score(is_case, risk))
    won = (risk[is_case][:, None] > risk[~is_case]) + 0.5 * (
        risk[is_case][:, None] == risk[~is_case]
    )
    cases, controls = won.mean(axis=1), won.mean(axis=0)
    delong = np.sqrt(cases.var() / len(cases) + controls.var() / len(controls))
    assert found.se == pytest.approx(delong)


@settings(max_examples=15)
@given(st.integers(0, 10_000))
def test_c_counts_the_pairs_in_which_it_is_known_who_was_first(seed):
    rng = np.random.default_rng(seed)
    n = 40
    time = rng.integers(1, 12, n).astype(float)
    event = rng.random(n) < 0.5
    risk = np.round(rng.normal(size=n), 1)
    right = total = 0.0
    for i in np.flatnonzero(event):
        for j in range(n):
            if time[j] > time[i]:
                total += 1
                right += (risk[i] > risk[j]) + 0.5 * (risk[i] == risk[j])
    if total:
        assert concordance(risk, event, time).value == pytest.approx(right / total)


def test_factors_gain_what_intervals_and_components_do_not():
    panel, outcome = made_up()
    rows = {row["model"]: row for row in predictions(panel, outcome, "I48", 1)}
    assert list(rows) == [
        "covariates", "intervals", "factors", "components", "intervals and factors",
    ]  # fmt: skip
    assert rows["covariates"]["gain"] is None
    assert rows["factors"]["gain"] > 5 * rows["factors"]["gain_se"] > 0
    assert abs(rows["intervals"]["gain"]) < 3 * rows["intervals"]["gain_se"] + 0.005
    assert rows["intervals and factors"]["gain"] > 5 * rows["intervals and factors"]["gain_se"]
    for row in rows.values():
        assert abs(row["slope"] - 1) < 4 * row["slope_se"] + 0.1
        assert sum(row["observed"]) == row["cases"] == outcome.cases
        assert sum(row["expected"]) == pytest.approx(outcome.cases, rel=0.1)
    assert rows == {row["model"]: row for row in predictions(panel, outcome, "I48", 1)}


def test_random_labels_are_not_predicted():
    panel, outcome = made_up()
    chance = np.random.default_rng(9).permutation(outcome.is_case)
    rows = predictions(panel, Outcome("ever", outcome.rows, chance, "both", 0), "X", 1)
    for row in rows:
        assert abs(row["concordance"] - 0.5) < 4 * row["se"]


def test_incident_disease_and_too_few_cases():
    panel, outcome = made_up()
    rng = np.random.default_rng(3)
    until = rng.exponential(2000 * np.exp(-panel.filled[:, 0]))
    time = np.minimum(until, 900)
    late = Outcome("incident", outcome.rows, until <= 900, "both", 0, time)
    rows = {row["model"]: row for row in predictions(panel, late, "I48", 1)}
    assert rows["factors"]["gain"] > 5 * rows["factors"]["gain_se"]
    assert sum(rows["factors"]["expected"]) == pytest.approx(late.cases)
    few = np.zeros(len(outcome.rows), bool)
    few[:99] = True
    assert predictions(panel, Outcome("ever", outcome.rows, few, "both", 0), "X", 1) == []


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 60))
def test_controls_are_of_the_same_sex_near_and_taken_once(seed, cases):
    rng = np.random.default_rng(seed)
    n = 300
    is_case = np.zeros(n, bool)
    is_case[rng.permutation(n)[:cases]] = True
    sex, expected = rng.integers(0, 2, n).astype(float), rng.normal(size=n) + is_case
    held, controls = match(expected, is_case, sex)
    assert len(set(controls)) == len(controls)
    assert not is_case[controls].any()
    assert is_case[held].all()
    for one in (0.0, 1.0):
        mine, theirs = expected[held[sex[held] == one]], expected[controls[sex[controls] == one]]
        assert len(mine) <= len(theirs) <= 4 * len(mine)
        if len(mine):
            gaps = np.abs(theirs[:, None] - mine).min(axis=1)
            assert gaps.max() <= 0.2 * expected.std() + 1e-12


def test_matched_controls_are_like_cases_in_what_covariates_say():
    panel, outcome = made_up()
    expected = panel.covariates[:, 0]
    held, controls = match(expected, outcome.is_case, panel.is_male)
    assert abs(expected[held].mean() - expected[controls].mean()) < 0.1
    assert expected[held].mean() - expected[~outcome.is_case].mean() > 0.3
    found = compare(panel, outcome, expected)
    by_factor = {row["factor"]: row for row in found.factors}
    assert by_factor["vae_00"]["difference"] > 5 * by_factor["vae_00"]["se"]
    assert abs(by_factor["vae_01"]["difference"]) < 4 * by_factor["vae_01"]["se"]
    few = np.zeros(len(outcome.rows), bool)
    few[:19] = True
    assert compare(panel, Outcome("ever", outcome.rows, few, "both", 0), expected) is None
