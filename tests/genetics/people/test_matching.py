"""Samples and participants: pairs by id, pairs by chance."""

import pytest

from ecg_spark.errors import DataError
from ecg_spark.genetics.people.matching import match


def test_samples_are_matched_by_id_in_their_order():
    matching = match(["c", "a", "x"], ["a", "b", "c"])
    assert list(matching.samples) == list(matching.participants) == ["c", "a"]


def test_random_pairs_are_a_permutation_that_the_seed_decides():
    samples, participants = [f"S{i}" for i in range(30)], [f"P{i}" for i in range(20)]
    first = match(samples, participants, "random", 7)
    again = match(samples, participants[::-1], "random", 7)
    other = match(samples, participants, "random", 8)
    assert set(first.participants) == set(participants)
    assert len(set(first.samples)) == 20
    assert list(first.participants) == list(again.participants)
    assert list(first.participants) != list(other.participants)


def test_ids_that_match_nothing_and_ids_that_occur_twice_are_refused():
    with pytest.raises(DataError, match="None of the 2 participants"):
        match(["a", "b"], ["c", "d"])
    with pytest.raises(DataError, match="1 participant ids occur more than once") as caught:
        match(["secret", "b"], ["secret", "secret"])
    assert "secret" not in str(caught.value)
