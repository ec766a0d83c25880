"""Principal components of people with known ancestry, against a full decomposition."""

import numpy as np
import pytest

from ecg_spark.errors import DataError
from ecg_spark.genetics.genotypes.packed import read_packed
from ecg_spark.genetics.people import components
from ecg_spark.genetics.people.components import blocks_of, principal_components, scaled
from tests.builders.genetics_data import people, write_plink

ALONE = np.zeros(5_000)


def components_of(calls, unrelated, k, folder, shared=ALONE, block=173):
    """Components of calls [m, n], from a packed set in blocks that are added up here."""
    write_plink(folder / "set", calls, range(calls.shape[1]))
    packed = read_packed(str(folder / "set"))
    m, n = calls.shape

    def over_blocks(function):
        starts = range(0, m, block)
        places = (np.arange(i, min(i + block, m)) for i in starts)
        return sum(function(scaled(packed.calls.packed(own), unrelated)) for own in places)

    return principal_components(over_blocks, unrelated, k, m, shared[:n], 1)


def decomposed(calls, unrelated):
    """All components of the unrelated, by a singular value decomposition."""
    reference = calls[:, unrelated].astype(float)
    known = reference != 3
    p = (reference * known).sum(axis=1, keepdims=True) / (2 * known.sum(axis=1, keepdims=True))
    varies = ((p > 0) & (p < 1)).ravel()
    x = np.where(known, reference - 2 * p, 0)[varies] / np.sqrt(2 * p * (1 - p))[varies]
    return np.linalg.svd(x, full_matrices=False)


@pytest.mark.parametrize("n_variants", [100, 3_000])
def test_the_first_component_is_ancestry_also_for_those_projected(n_variants, tmp_path):
    calls, population = people(240, n_variants, populations=2, fst=0.15, missing=0.01)
    unrelated = np.ones(240, bool)
    unrelated[200:] = False
    scores = components_of(calls, unrelated, 3, tmp_path)
    assert abs(np.corrcoef(scores[:200, 0], population[:200])[0, 1]) > 0.95
    assert abs(np.corrcoef(scores[200:, 0], population[200:])[0, 1]) > 0.95
    assert scores[unrelated].mean(axis=0) == pytest.approx(0, abs=1e-6)
    assert scores[unrelated].std(axis=0) == pytest.approx(1)
    assert np.corrcoef(scores[unrelated], rowvar=False) == pytest.approx(np.eye(3), abs=1e-4)


@pytest.mark.parametrize("exact", [True, False])
def test_components_agree_with_a_singular_value_decomposition(exact, tmp_path, monkeypatch):
    monkeypatch.setattr(components, "EXACT", 1_000 if exact else 10)
    calls, _ = people(400, 900, populations=3, fst=0.2, missing=0.01)
    unrelated = np.arange(400) % 9 > 0
    scores = components_of(calls, unrelated, 2, tmp_path)
    right = decomposed(calls, unrelated)[2]
    for i in range(2):
        r = np.corrcoef(scores[unrelated, i], right[i])[0, 1]
        assert abs(r) == pytest.approx(1, abs=1e-6)


def test_those_projected_lie_where_they_would_have_lain(tmp_path):
    """Weak structure and many variants: without the correction they lie too near."""
    calls, population = people(600, 3_000, populations=2, fst=0.006, seed=5)
    calls[:, 590:] = calls[:, :10]  # twins of some who are in the reference
    population[590:] = population[:10]
    unrelated = np.arange(600) < 400
    shared = np.where(np.arange(600) < 590, 0.0, 1.0)
    scores = components_of(calls, unrelated, 2, tmp_path, shared)
    side = np.sign(population - 0.5)
    among, new = (np.mean(scores[own, 0] * side[own]) for own in (slice(0, 400), slice(400, 590)))
    assert 0.8 < new / among < 1.25
    plain = components_of(calls, unrelated, 2, tmp_path, np.ones(600))
    assert np.mean(plain[400:590, 0] * side[400:590]) / among < 0.8
    assert scores[590:, 0] == pytest.approx(scores[:10, 0], abs=1e-4)


def test_components_of_a_packed_set_do_not_depend_on_how_spark_cuts_it(
    spark, tmp_path, monkeypatch
):
    calls, _ = people(120, 700, populations=3, fst=0.1, missing=0.02)
    unrelated = np.arange(120) % 7 > 0
    expected = components_of(calls, unrelated, 3, tmp_path)
    packed = read_packed(str(tmp_path / "set"))
    monkeypatch.setattr(components, "BLOCK_BYTES", 4 * 120 * 60)
    over_blocks = blocks_of(spark, packed, np.arange(700), np.arange(len(unrelated)), unrelated)
    scores = principal_components(over_blocks, unrelated, 3, 700, ALONE[:120], 1)
    assert scores == pytest.approx(expected, abs=1e-3)


def test_more_components_than_variants_are_refused(tmp_path):
    calls, _ = people(50, 5)
    with pytest.raises(DataError, match="too few for 10 principal components"):
        components_of(calls, np.ones(50, bool), 10, tmp_path)
