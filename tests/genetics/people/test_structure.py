"""Relatives, unrelated sets, pruning and principal components, on people with known ancestry."""

import gzip

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ecg_spark.genetics.genotypes.packed import MISSING, read_packed
from ecg_spark.genetics.people.kinship import (
    chance_relatives,
    king_robust,
    related_pairs,
    unrelated_set,
)
from ecg_spark.genetics.people.structure import regional
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


def kinships(calls):
    """The kinship of every sample with every one [samples, samples]."""
    n = calls.shape[1]
    a, b = np.indices((n, n)).reshape(2, -1)
    return king_robust(calls.T, calls.T, a, b).reshape(n, n)


def test_kinship_is_that_of_the_pedigree(families):
    calls, _ = families
    kinship = kinships(calls)
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
    kinship = kinships(calls)
    with gzip.open(folder / "fastlmmTest.kin0.bgz", "rt") as file:
        table = pd.read_csv(file, sep="\t", dtype={"ID1": str, "ID2": str})
    ours = kinship[packed.places(list(table["ID1"])), packed.places(list(table["ID2"]))]
    assert len(table) == 250 * 249 // 2
    assert np.abs(ours - table["Kinship"]).max() < 6e-5


def test_relatives_are_found_and_strangers_of_one_population_are_not(spark, families):
    calls, _ = families
    found, kinship = related_pairs(spark, calls, 0.0884)
    assert kinship == pytest.approx(kinships(calls)[tuple(found.T)])
    expected = [[0, 197], [2, 198], [2, 199], [4, 198], [6, 199], [198, 199]]
    assert found.tolist() == expected
    kept = unrelated_set(200, found)
    assert kept.sum() == 197
    assert not kept[[197, 198, 199]].any()


@given(
    st.integers(0, 2**32 - 1), st.sampled_from([0, 0.01, 0.3]), st.sampled_from([5, 40, 300]),
    st.sampled_from([0.0, 0.05, 0.1, 0.3]),
)  # fmt: skip
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_pair_above_the_limit_is_missed(spark, monkeypatch, seed, missing, variants, limit):
    """Whatever the calls and however many are missing, people without any among them."""
    monkeypatch.setattr("ecg_spark.genetics.people.kinship._BLOCK", 16)
    rng = np.random.default_rng(seed)
    calls = rng.binomial(2, rng.uniform(0.05, 0.95, (variants, 1)), (variants, 37)).astype(np.int8)
    copies = rng.integers(0, 30, 7)
    calls[:, 30:] = np.where(rng.random((variants, 7)) < 0.4, calls[:, copies], calls[:, 30:])
    calls[rng.random(calls.shape) < missing] = MISSING
    calls[:, 5] = rng.choice([0, 2, MISSING], variants)
    found, kinship = related_pairs(spark, calls, limit)
    every = kinships(calls)
    assert found.tolist() == np.argwhere(np.triu(every > limit, 1)).tolist()
    assert kinship.tolist() == every[tuple(found.T)].tolist()


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


def test_a_component_of_one_stretch_of_the_genome_is_noted():
    rng = np.random.default_rng(4)
    sites = pd.DataFrame(
        {
            "contig": pd.Categorical(np.repeat(["1", "8"], 500)),
            "position": np.tile(np.linspace(1, 140e6, 500).astype(int), 2),
        }
    )
    loadings = rng.chisquare(1, (1_000, 3)) / 100
    inversion = (sites["contig"] == "8") & sites["position"].between(8e6, 12e6)
    loadings[inversion, 1] += 0.5
    (note,) = regional(sites, loadings)
    assert note.startswith("principal component 2 may reflect linkage rather than ancestry")
    assert "8:5 to 10 Mb" in note or "8:10 to 15 Mb" in note
    assert regional(sites.iloc[:100], loadings[:100]) == []  # one stretch is most of it
