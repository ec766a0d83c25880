"""Relatives, unrelated sets, pruning and principal components, on people with known ancestry."""

import gzip

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ecg_spark.errors import DataError
from ecg_spark.genetics.genotypes.packed import MISSING, read_packed, standardised
from ecg_spark.genetics.people.components import principal_components
from ecg_spark.genetics.people.kinship import (
    chance_relatives,
    king_robust,
    related_pairs,
    unrelated_set,
)
from ecg_spark.genetics.people.structure import prune
from tests.builders.genetics_data import people


@pytest.fixture(scope="module")
def families():
    """200 people of two populations; the last three are a twin, a child and a half sibling."""
    calls, population = people(200, 6_000, populations=2, fst=0.05)
    rng = np.random.default_rng(5)

    def gamete(person):
        return rng.binomial(1, calls[:, person] / 2)

    calls[:, 197] = calls[:, 0]
    calls[:, 198] = gamete(2) + gamete(4)
    calls[:, 199] = gamete(2) + gamete(6)
    calls[rng.random(calls.shape) < 0.01] = MISSING
    return calls, population


def test_kinship_is_that_of_the_pedigree(families):
    calls, _ = families
    kinship = king_robust(calls.T, calls.T)
    assert kinship[0, 197] == pytest.approx(0.5, abs=0.02)
    for a, b in [(2, 198), (4, 198), (2, 199), (6, 199)]:
        assert kinship[a, b] == pytest.approx(0.25, abs=0.03)
    assert kinship[198, 199] == pytest.approx(0.125, abs=0.04)
    assert np.allclose(kinship, kinship.T)


def test_kinship_is_that_of_the_program_king(shared_data):
    """KING 2.2.5 --kinship on 250 people, whose output has four decimals."""
    folder = shared_data / "genotypes/hail"
    packed = read_packed(str(folder / "fastlmmTest"))
    calls = packed.calls.read(np.arange(len(packed.sites)))
    kinship = king_robust(calls.T, calls.T)
    with gzip.open(folder / "fastlmmTest.kin0.bgz", "rt") as file:
        table = pd.read_csv(file, sep="\t", dtype={"ID1": str, "ID2": str})
    ours = kinship[packed.places(list(table["ID1"])), packed.places(list(table["ID2"]))]
    assert len(table) == 250 * 249 // 2
    assert np.abs(ours - table["Kinship"]).max() < 6e-5


def test_relatives_are_found_and_strangers_of_one_population_are_not(spark, families):
    calls, _ = families
    found, kinship = related_pairs(spark, calls, 0.0884)
    assert kinship == pytest.approx(king_robust(calls.T, calls.T)[tuple(found.T)])
    expected = [[0, 197], [2, 198], [2, 199], [4, 198], [6, 199], [198, 199]]
    assert found.tolist() == expected
    kept = unrelated_set(200, found)
    assert kept.sum() == 197
    assert not kept[[197, 198, 199]].any()


def test_too_few_variants_make_strangers_look_related():
    calls, _ = people(300, 4_000)
    assert chance_relatives(calls, 0.0884) < 0.01
    assert chance_relatives(calls[:200], 0.0884) > 100


pairs = st.lists(st.tuples(st.integers(0, 14), st.integers(0, 14)), max_size=30).map(
    lambda items: np.array([sorted(p) for p in items if p[0] != p[1]], np.int64).reshape(-1, 2)
)


@given(pairs)
@example(np.array([[0, 1], [1, 4], [2, 3], [3, 4]]))
@settings(max_examples=100, deadline=None)
def test_the_unrelated_set_is_independent_and_maximal(found):
    kept = unrelated_set(15, found)
    assert not any(kept[a] and kept[b] for a, b in found)
    for out in np.flatnonzero(~kept):
        partners = {int(b) for a, b in found if a == out} | {int(a) for a, b in found if b == out}
        assert any(kept[other] for other in partners)


def test_pruned_variants_are_not_linked():
    calls, _ = people(400, 300, seed=2)
    calls[1::2] = np.where(np.random.default_rng(0).random((150, 400)) < 0.9, calls[::2], 0)
    calls[10] = 0
    sites = pd.DataFrame({"contig": ["1"] * 300, "position": 20_000 * np.arange(300)})
    kept = prune(calls, sites, 1)
    values = standardised(calls)
    r2 = np.triu((values @ values.T) ** 2, 1)
    near = np.subtract.outer(sites.position.to_numpy(), sites.position.to_numpy())
    assert np.max(r2[np.ix_(kept, kept)] * (np.abs(near[np.ix_(kept, kept)]) <= 1_000_000)) <= 0.2
    assert 120 < len(kept) < 180
    assert 10 not in kept


@pytest.mark.parametrize("n_variants", [100, 3_000])
def test_the_first_component_is_ancestry_also_for_those_projected(n_variants):
    calls, population = people(240, n_variants, populations=2, fst=0.15, missing=0.01)
    unrelated = np.ones(240, bool)
    unrelated[200:] = False
    scores = principal_components(calls, unrelated, 3)
    assert abs(np.corrcoef(scores[:200, 0], population[:200])[0, 1]) > 0.95
    assert abs(np.corrcoef(scores[200:, 0], population[200:])[0, 1]) > 0.95
    assert scores[unrelated].mean(axis=0) == pytest.approx(0, abs=1e-6)
    assert scores[unrelated].std(axis=0) == pytest.approx(1)
    assert np.corrcoef(scores[unrelated], rowvar=False) == pytest.approx(np.eye(3), abs=1e-4)


def test_components_agree_with_a_singular_value_decomposition():
    calls, _ = people(60, 500, populations=3, fst=0.2)
    scores = principal_components(calls, np.ones(60, bool), 2)
    p = calls.mean(axis=1, keepdims=True) / 2
    varies = ((p > 0) & (p < 1)).ravel()
    scaled = ((calls - 2 * p) / np.sqrt(2 * p * (1 - p) + 1e-300))[varies]
    _, _, right = np.linalg.svd(scaled, full_matrices=False)
    for i in range(2):
        assert abs(np.corrcoef(scores[:, i], right[i])[0, 1]) == pytest.approx(1, abs=1e-6)


def test_more_components_than_variants_are_refused():
    calls, _ = people(50, 5)
    with pytest.raises(DataError, match="too few for 10 principal components"):
        principal_components(calls, np.ones(50, bool), 10)
