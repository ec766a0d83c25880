"""Phenotypes and covariates before the regression."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtri
from scipy.stats import chi2

from ecg_spark.errors import DataError
from ecg_spark.genetics.null_model.phenotypes import (
    by_missingness,
    correlation_of,
    jointly_normal,
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


def test_correlation_is_that_of_the_tests_of_a_variant_with_no_effect():
    rng = np.random.default_rng(4)
    n, variants = 500, 8_000
    base = rng.normal(size=(n, 1))
    table = pd.DataFrame(base + 0.7 * rng.normal(size=(n, 3)), columns=list("abc"))
    table.loc[:249, "b"], table.loc[200:, "c"] = np.nan, np.nan
    x = rng.binomial(2, 0.3, (variants, n)).astype(float)
    z = []
    for name in table:
        known = table[name].notna().to_numpy()
        own = x[:, known] - x[:, known].mean(axis=1, keepdims=True)
        y = table[name].to_numpy()[known]
        z.append(own @ (y - y.mean()) / np.linalg.norm(own, axis=1))
    found = correlation_of(table, pd.DataFrame(index=table.index))
    assert found == pytest.approx(np.corrcoef(z), abs=4 / np.sqrt(variants))
    assert found[1, 2] == 0  # nobody has both
    assert found[0, 1] < 0.6  # in all who have both it is 0.67


def heavy(rng, n, k):
    """People some of whom are far out in every direction at once: each value alone has tails that
    ranks mend."""
    values = rng.normal(size=(n, k)) @ rng.normal(size=(k, k))
    return values * np.exp(0.5 * rng.normal(size=(n, 1)))


def whitened(values):
    """Values [n, k] of variance 1 in every direction."""
    left = values - values.mean(axis=0)
    return np.linalg.svd(left, full_matrices=False)[0] * np.sqrt(len(left))


def test_the_distances_of_people_are_those_of_normal_deviates():
    rng = np.random.default_rng(6)
    n, k = 2_000, 12
    values = heavy(rng, n, k)
    alone = np.apply_along_axis(rank_inverse_normal, 0, values)
    found = jointly_normal(values)
    # Each phenotype has its normal scores; who was high still is.
    assert np.sort(found, axis=0) == pytest.approx(np.sort(alone, axis=0))
    assert all(np.corrcoef(found[:, j], alone[:, j])[0, 1] > 0.95 for j in range(k))
    fourth = [(np.sum(whitened(one) ** 2, axis=1) ** 2).mean() for one in (alone, found)]
    expected = k * (k + 2)  # of normal deviates
    assert fourth[0] > 1.3 * expected
    assert fourth[1] == pytest.approx(expected, rel=0.03)
    normal = rng.normal(size=(n, k))
    assert np.corrcoef(jointly_normal(normal).ravel(), normal.ravel())[0, 1] > 0.997


def test_a_sum_over_few_carriers_is_chi_squared_at_its_tail():
    rng = np.random.default_rng(7)
    n, k, carriers, variants, p = 3_000, 12, 60, 200_000, 1e-3
    values = heavy(rng, n, k)
    chosen = rng.integers(0, n, (variants, carriers))
    shares = []
    for scores in (np.apply_along_axis(rank_inverse_normal, 0, values), jointly_normal(values)):
        people = whitened(scores)
        together = sum(people[column] for column in chosen.T)
        square = (together**2).sum(axis=1) / carriers
        shares.append((square > chi2.isf(p, k)).mean() / p)
    assert shares[0] > 1.3
    assert shares[1] == pytest.approx(1, abs=4 / np.sqrt(variants * p))


def test_redundant_phenotypes_are_made_jointly_normal():
    rng = np.random.default_rng(8)
    values = rng.normal(size=(400, 2)) ** 3
    found = jointly_normal(np.column_stack([values, values[:, 0]]))
    assert found[:, 0] == pytest.approx(found[:, 2], abs=1e-6)
    few = jointly_normal(values[:9])
    assert few == pytest.approx(np.apply_along_axis(rank_inverse_normal, 0, values[:9]))
