"""The genotypes of a region that wait in a file: what is asked of them is what was written."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecg_spark.genetics.genotypes.excerpt import excerpt_of
from ecg_spark.genetics.genotypes.rows import as_dosages, encode, pack


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 70), st.integers(1, 12), st.data())
def test_some_variants_and_some_people_are_read_as_they_were_written(seed, people, variants, data):
    rng = np.random.default_rng(seed)
    held = rng.binomial(2, 0.4, (variants, people)).astype(float)
    order, kinds = rng.permutation(variants), rng.integers(0, 4, variants)
    pieces = []
    for kind in set(kinds.tolist()):
        own = order[kinds[order] == kind]
        if kind % 2:
            held[own] += rng.uniform(0, 0.4, (len(own), people)) * (held[own] < 2)
            rows = encode(held[own])
        else:
            rows = pack(held[own].astype(np.int8))
        pieces.append((own, rows))
    sites = pd.DataFrame({"position": np.arange(variants)})
    excerpt = excerpt_of(sites, iter(pieces))
    expected = np.rint(held * 16_384)
    whole = np.empty((variants, people))
    for places, rows in excerpt.rows():
        whole[places] = as_dosages(rows, people)
    assert (whole == expected).all()
    start = 4 * data.draw(st.integers(0, (people - 1) // 4))
    stop = data.draw(st.integers(start + 1, people))
    for places, rows in excerpt.people(start, stop):
        assert (as_dosages(rows, stop - start) == expected[places, start:stop]).all()
    for place in range(variants):
        assert (as_dosages(excerpt.variant(place), people) == expected[[place]]).all()
    with pytest.raises(IndexError):
        excerpt.variant(variants)


def test_a_file_that_has_lost_its_end_gives_no_genotypes():
    excerpt = excerpt_of(pd.DataFrame(index=range(2)), [(np.arange(2), encode(np.ones((2, 9))))])
    excerpt._file.truncate(20)
    with pytest.raises(OSError, match="shorter"):
        list(excerpt.rows())
