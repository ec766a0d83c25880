"""The unrelated set against its rule, followed step by step, and at the size of a biobank."""

import time

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ecg_spark.genetics.people.kinship import unrelated_set


def by_the_rule(n_samples, pairs):
    """All samples are looked at before each one goes: quadratic, and plainly the rule."""
    kept = np.ones(n_samples, bool)
    both = {frozenset(pair) for pair in pairs.tolist()}
    while True:
        alive = [pair for pair in both if all(kept[list(pair)])]
        if not alive:
            break
        count = np.bincount([one for pair in alive for one in pair], minlength=n_samples)
        kept[max(np.flatnonzero(count == count.max()))] = False
    for sample in sorted({one for pair in both for one in pair}):
        if not any(kept[list(pair - {sample})].any() for pair in both if sample in pair):
            kept[sample] = True
    return kept


@st.composite
def relatives(draw):
    """Pairs of up to 20 samples, in any order, some of them more than once."""
    n = draw(st.integers(2, 20))
    one = st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)).filter(lambda p: p[0] != p[1])
    return n, np.array(draw(st.lists(one, max_size=60)), np.int64).reshape(-1, 2)


@given(relatives())
@settings(max_examples=300, deadline=None)
def test_the_unrelated_set_is_that_of_the_rule(drawn):
    n, pairs = drawn
    assert np.array_equal(unrelated_set(n, pairs), by_the_rule(n, pairs))


def test_a_hundred_thousand_pairs_take_seconds():
    rng = np.random.default_rng(0)
    pairs = np.sort(rng.integers(0, 150_000, (100_000, 2)), axis=1)
    pairs = pairs[pairs[:, 0] < pairs[:, 1]]
    hub = np.column_stack([np.zeros(5_000, np.int64), np.arange(1, 5_001)])
    pairs = np.concatenate([pairs, hub])
    started = time.process_time()
    kept = unrelated_set(150_000, pairs)
    assert time.process_time() - started < 20
    assert not (kept[pairs[:, 0]] & kept[pairs[:, 1]]).any()
    assert not kept[0]
