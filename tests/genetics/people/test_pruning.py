"""Pruning against its rule, in runs of any length, and in Spark."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ecg_spark.genetics.genotypes.packed import read_packed, standardised
from ecg_spark.genetics.people.pruning import WINDOW_BP, prune, pruned
from tests.builders.genetics_data import people, write_plink


def by_the_rule(values, positions, max_r2):
    """Each variant against every one that is kept before it."""
    kept = []
    for j in range(len(values)):
        near = [i for i in kept if positions[j] - positions[i] <= WINDOW_BP]
        if values[j].any() and all((values[i] @ values[j]) ** 2 <= max_r2 for i in near):
            kept.append(j)
    return kept


@settings(max_examples=40)
@given(st.integers(0, 50), st.lists(st.integers(1, 40), max_size=4), st.floats(0.05, 0.6))
def test_what_is_kept_is_that_of_the_rule_however_the_runs_are_cut(seed, cuts, max_r2):
    rng = np.random.default_rng(seed)
    calls, _ = people(60, 80, seed=seed)
    calls[1::2] = np.where(rng.random((40, 60)) < 0.8, calls[::2], calls[1::2])
    calls[rng.integers(0, 80)] = 0
    positions = np.sort(rng.integers(0, 6 * WINDOW_BP, 80))
    values = standardised(calls)
    ends = [0, *np.unique(np.cumsum(cuts)[np.cumsum(cuts) < 80]).astype(int), 80]
    runs = [(values[a:b], positions[a:b]) for a, b in pairwise(ends)]
    kept = np.flatnonzero(np.concatenate(list(prune(runs, max_r2))))
    assert kept.tolist() == by_the_rule(values, positions, max_r2)


def test_linked_variants_of_a_packed_set_are_pruned_contig_by_contig(spark, tmp_path):
    calls, _ = people(300, 900, seed=2)
    calls[1::2] = calls[::2]  # pairs that are one variant
    contigs = np.repeat(["1", "2", "3"], 300).tolist()
    write_plink(tmp_path / "set", calls, range(300), contigs)
    packed = read_packed(str(tmp_path / "set"))
    variants = np.arange(100, 900)
    found = pruned(spark, packed, variants, np.arange(200), 0.5, 1)
    assert found.tolist() == list(range(100, 900, 2))
    assert len(pruned(spark, packed, variants[:0], np.arange(200), 0.5, 1)) == 0


def test_variants_left_after_pruning_are_not_linked():
    calls, _ = people(400, 300, seed=2)
    calls[1::2] = np.where(np.random.default_rng(0).random((150, 400)) < 0.9, calls[::2], 0)
    calls[10] = 0
    positions = 20_000 * np.arange(300)
    values = standardised(calls)
    (keep,) = prune([(values, positions)], 0.2)
    kept = np.flatnonzero(keep)
    r2 = np.triu((values @ values.T) ** 2, 1)
    near = np.subtract.outer(positions, positions)
    assert np.max(r2[np.ix_(kept, kept)] * (np.abs(near[np.ix_(kept, kept)]) <= 1_000_000)) <= 0.2
    assert 120 < len(kept) < 180
    assert 10 not in kept


def test_the_window_is_a_distance_in_bp():
    values = standardised(np.tile(np.array([[0, 1, 2, 1]], np.int8), (3, 1)))
    positions = np.array([1, 1 + WINDOW_BP, 2 + 2 * WINDOW_BP])
    (keep,) = prune([(values, positions)], 0.5)
    assert keep.tolist() == [True, False, True]
