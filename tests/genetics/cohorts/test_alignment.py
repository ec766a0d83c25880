"""The alleles of cohorts in the terms of one coding: swapped, on the other strand, ambiguous."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecg_spark.genetics.cohorts.alignment import align
from ecg_spark.genetics.outputs.alleles import alleles, keyed

OTHER = {"A": "T", "C": "G", "G": "C", "T": "A"}


def aligned(rows, ambiguous=False, sets=None):
    """Rows (cohort, complemented, effect_first, frequency) of one variant, aligned; each cohort has
    a genotype set of its own where `sets` does not say otherwise."""
    cohort, complemented, first, frequency = (np.array(one) for one in zip(*rows, strict=True))
    return align(
        np.zeros(len(rows), np.int64), cohort, complemented.astype(bool), first.astype(bool),
        frequency.astype(float), np.ones(len(rows), np.int64), np.array([ambiguous]),
        np.arange(cohort.max() + 1) if sets is None else np.array(sets),
    )  # fmt: skip


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=6), st.randoms())
def test_effects_agree_whatever_allele_and_strand_a_cohort_names(codings, random):
    rows = [(k, *coding, 0.2 if coding[1] else 0.8) for k, coding in enumerate(codings)]
    found = aligned(rows)
    # The effect of the pair's first allele is 1: told for the other it is -1.
    effect = np.where([first for _, first in codings], 1, -1) * found.sign
    assert len(set(effect.tolist())) == 1
    assert found.swapped.sum() <= len(rows) / 2
    assert found.other_strand.sum() <= len(rows) / 2
    random.shuffle(rows)
    renumbered = [(k, *row[1:]) for k, row in enumerate(rows)]
    assert aligned(renumbered).coding.tolist() == found.coding.tolist()


def test_the_strand_of_an_ambiguous_pair_is_told_by_its_frequency():
    found = aligned([(0, 0, 0, 0.2), (1, 0, 0, 0.25), (2, 0, 0, 0.78)], ambiguous=True)
    assert found.sign.tolist() == [1, 1, -1]
    assert found.by_frequency.tolist() == [0, 0, 1]
    # Swapped names and a frequency that fits them: the same allele.
    assert aligned([(0, 0, 0, 0.2), (1, 0, 1, 0.8)], ambiguous=True).sign.tolist() == [1, -1]
    # Swapped names and the same frequency: the same allele, on the other strand.
    assert aligned([(0, 0, 0, 0.2), (1, 0, 1, 0.2)], ambiguous=True).sign.tolist() == [1, 1]


@pytest.mark.parametrize("frequency", [0.45, 0.6, np.nan])
def test_an_ambiguous_pair_without_a_clear_frequency_is_left_out(frequency):
    found = aligned([(0, 0, 0, 0.2), (1, 0, 0, frequency)], ambiguous=True)
    assert found.sign.tolist() == [1, 0]
    assert found.unclear.tolist() == [0, 1]
    assert aligned([(0, 0, 0, frequency)], ambiguous=True).sign.tolist() == [1]  # nothing to fit


def test_cohorts_of_one_genotype_set_mean_one_strand_whatever_their_frequencies():
    apart = [(0, 0, 0, 0.2), (1, 0, 0, 0.8)]
    assert aligned(apart, ambiguous=True).sign.tolist() == [1, -1]
    assert aligned(apart, ambiguous=True, sets=[0, 0]).sign.tolist() == [1, 1]
    near_half = aligned([(0, 0, 0, 0.2), (1, 0, 0, 0.5)], ambiguous=True, sets=[0, 0])
    assert near_half.sign.tolist() == [1, 1]
    assert near_half.unclear.tolist() == [0, 0]
    # Two populations of one set and a cohort of another, which names the other strand than both.
    third = aligned([*apart[:1], (1, 0, 0, 0.35), (2, 0, 0, 0.78)], ambiguous=True, sets=[0, 0, 1])
    assert len(set(third.sign[:2])) == 1
    assert third.sign[2] == -third.sign[0]


@given(
    st.lists(st.tuples(st.booleans(), st.floats(0.01, 0.99)), min_size=2, max_size=6),
    st.integers(0, 2),
)
def test_within_one_set_a_frequency_decides_nothing(told, others):
    rows = [(k, 0, first, frequency) for k, (first, frequency) in enumerate(told)]
    same = aligned(rows, ambiguous=True, sets=[0] * len(rows))
    assert same.sign.tolist() == aligned(rows).sign.tolist()
    # Nor between its cohorts, where another set has the variant, too.
    more = [(len(rows) + k, 0, 0, 0.2) for k in range(others)]
    sets = [0] * len(rows) + list(range(1, 1 + others))
    whole = aligned([*rows, *more], ambiguous=True, sets=sets).sign[: len(rows)]
    effects = np.where([first for first, _ in told], 1, -1) * whole
    assert len(set(effects.tolist())) == 1


def test_variants_that_nobody_names_alike_are_told_by_strand_and_allele_apart():
    # C/A, A/C and G/T: two of three name the strand of A and C, two of three mean C's other.
    found = aligned([(0, 0, 1, 0.2), (1, 0, 0, 0.8), (2, 1, 1, 0.2)])
    assert alleles(["A/C"], found.coding) == (["C"], ["A"])
    assert found.sign.tolist() == [1, -1, 1]


def test_codings_are_decoded_to_alleles():
    refs, alts = alleles(["A/C", "A/C", "A/C", "A/AT"], np.array([0, 1, 2, 1]))
    assert list(zip(refs, alts, strict=True)) == [("A", "C"), ("C", "A"), ("T", "G"), ("AT", "A")]


def test_a_variant_has_one_key_whichever_way_it_is_told(spark):
    told = [
        ("A", "G"), ("G", "A"), ("T", "C"), ("c", "t"), ("A", "T"), ("T", "A"),
        ("AT", "A"), ("A", "AT"), ("TA", "T"), ("A", "<DEL>"),
    ]  # fmt: skip
    rows = spark.createDataFrame(told, "ref string, alt string")
    found = [
        (row["pair"], row["complemented"], row["effect_first"]) for row in keyed(rows).collect()
    ]
    assert found == [
        ("A/G", False, False), ("A/G", False, True), ("A/G", True, False), ("A/G", True, True),
        ("A/T", False, False), ("A/T", False, True),
        ("A/AT", False, True), ("A/AT", False, False), ("T/TA", False, True),
        ("<DEL>/A", False, True),
    ]  # fmt: skip
