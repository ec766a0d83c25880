"""Phenotypes and covariates before the regression."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtri

from ecg_spark.errors import DataError
from ecg_spark.genetics.null_model.phenotypes import (
    by_missingness,
    correlation_of,
    effective_number,
    rank_inverse_normal,
    usable_covariates,
    usable_phenotypes,
    variance_by_relatives,
)

values = st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), min_size=1, max_size=60)


@given(values)
@settings(max_examples=100, deadline=None)
def test_normal_scores_follow_bloms_formula(numbers):
    column = np.array(numbers)
    known = ~np.isnan(column)
    scores = rank_inverse_normal(column)
    assert np.array_equal(np.isnan(scores), ~known)
    for value, score in zip(column[known], scores[known], strict=True):
        below, equal = (column[known] < value).sum(), (column[known] == value).sum()
        rank = below + (equal + 1) / 2
        assert score == pytest.approx(ndtri((rank - 3 / 8) / (known.sum() + 1 / 4)), abs=1e-12)


def test_constant_and_dependent_covariates_are_left_out_with_a_note():
    rng = np.random.default_rng(0)
    age = rng.normal(60, 8, 50)
    table = pd.DataFrame(
        {"age": age, "site": 3.0, "months": 12 * age + 5, "sex": rng.integers(0, 2, 50) * 1.0}
    )
    table.loc[4, "sex"] = np.nan
    kept, notes = usable_covariates(table)
    assert list(kept.columns) == ["age", "sex"]
    assert len(kept) == 49
    text = "; ".join(notes)
    assert "site is constant" in text
    assert "months follows" in text
    assert "1 of 50 samples lack a covariate" in text


def test_a_year_of_birth_beside_squares_is_no_duplicate():
    year = np.arange(1930.0, 1990.0)
    kept, notes = usable_covariates(pd.DataFrame({"year": year, "square": year**2}))
    assert list(kept.columns) == ["year", "square"]
    assert notes == []


def test_covariate_without_any_value_is_refused():
    with pytest.raises(DataError, match="No sample has a value of every covariate"):
        usable_covariates(pd.DataFrame({"age": [np.nan] * 5}))


def test_phenotypes_that_cannot_be_tested_are_left_out():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"good": rng.normal(size=20), "flat": 1.0, "rare": np.nan})
    table.loc[:3, "rare"] = rng.normal(size=4)
    kept, notes = usable_phenotypes(table, 3)
    assert list(kept.columns) == ["good"]
    assert any("flat is constant" in note for note in notes)
    assert any("rare is left out: 4 samples" in note for note in notes)
    with pytest.raises(DataError, match="No phenotype can be tested"):
        usable_phenotypes(table[["flat"]], 3)
    with pytest.raises(DataError, match="too few for 18 covariates"):
        usable_phenotypes(table[["good"]], 18)


@pytest.mark.parametrize("shared", [0.6, -0.4])
def test_the_variance_of_a_test_among_siblings_is_as_foreseen(shared):
    rng = np.random.default_rng(0)
    families, variants = 300, 6_000
    parents = rng.integers(0, 2, (variants, families, 2, 2))
    child = [
        np.take_along_axis(parents, rng.integers(0, 2, (variants, families, 2, 1)), 3).sum((2, 3))
        for _ in range(2)
    ]
    x = np.concatenate(child, axis=1) - 1.0
    common = rng.normal(size=families)
    own = rng.normal(size=(2, families))
    y = np.sqrt(abs(shared)) * common * np.array([[1], [np.sign(shared)]])
    y = (y + np.sqrt(1 - abs(shared)) * own).reshape(-1, 1)
    samples = pd.Index([f"S{i}" for i in range(2 * families)])
    pairs = pd.DataFrame({"s1": samples[:families], "s2": samples[families:], "kinship": 0.25})
    strangers = pd.DataFrame({"s1": ["S0"], "s2": ["nobody"], "kinship": [0.25]})
    found = variance_by_relatives(y, samples, pd.concat([pairs, strangers]))
    chi2 = (x @ y)[:, 0] ** 2 / (x.var() * (y**2).sum())
    assert found[0] == pytest.approx(chi2.mean(), abs=4 * np.sqrt(2 / variants))
    assert abs(found[0] - 1) > 0.15
    assert variance_by_relatives(y, samples, None) == pytest.approx([1.0])
    assert variance_by_relatives(y, samples, strangers) == pytest.approx([1.0])


@pytest.mark.parametrize(
    ("correlation", "expected"),
    [
        (np.eye(5), 5),
        (np.ones((4, 4)), 1),
        (np.kron(np.eye(3), np.ones((2, 2))), 3),
        (np.array([[1, 0.5], [0.5, 1]]), 2),  # eigenvalues 1.5 and 0.5
    ],
)
def test_effective_number_of_li_and_ji(correlation, expected):
    assert effective_number(correlation) == pytest.approx(expected)


def test_phenotypes_known_for_the_same_samples_share_a_group():
    table = pd.DataFrame(
        {"a": [1.0, 2, 3], "b": [1, np.nan, 3], "c": [3.0, 2, 1], "d": [0, np.nan, 1]}
    )
    assert by_missingness(table) == [["a", "c"], ["b", "d"]]


def test_correlation_is_that_of_residuals_over_common_samples():
    rng = np.random.default_rng(0)
    c = pd.DataFrame({"age": rng.normal(size=400)})
    noise = rng.normal(size=(400, 2))
    table = pd.DataFrame(noise + 5 * c.to_numpy(), columns=["a", "b"])
    assert table.corr().iloc[0, 1] > 0.9
    table.loc[::7, "b"] = np.nan
    assert abs(correlation_of(table, c)[0, 1]) < 0.15
