"""Names of contigs in any spelling."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecg_spark.genetics.contigs import CHROMOSOMES, Genome, chromosome_of

NAMES = {one: [one] for one in CHROMOSOMES}
NAMES["X"] += ["23", "25", "XY", "PAR1", "PAR2"]
NAMES["Y"] += ["24"]
NAMES["MT"] += ["26", "M"]


@st.composite
def spellings(draw):
    """A chromosome and one of its spellings."""
    chromosome = draw(st.sampled_from(CHROMOSOMES))
    name = draw(st.sampled_from(NAMES[chromosome]))
    zeros = draw(st.integers(0, 2)) if name.isdecimal() else 0
    prefix = draw(st.sampled_from(["", "chr", "Chr", "CHR"]))
    name = draw(st.sampled_from([str.upper, str.lower, str.title]))(name)
    return chromosome, prefix + "0" * zeros + name


@given(spellings())
def test_a_chromosome_is_known_in_every_spelling(drawn):
    chromosome, name = drawn
    assert chromosome_of(name) == chromosome


@given(spellings(), st.sampled_from(["_alt", "_random", ".1", "p", "_apd_hap1", "-", "/2"]))
def test_what_only_begins_as_a_chromosome_is_none(drawn, tail):
    assert chromosome_of(drawn[1] + tail) is None


@pytest.mark.parametrize(
    "name",
    ["", "0", "chr0", "chr", "27", "99", "-1", "chrUn", "chrEBV", "HLA-A", "1 2", "1.0", "xx"],
)
def test_what_is_no_chromosome_is_none(name):
    assert chromosome_of(name) is None


@given(spellings(), st.integers(-1, 120), st.integers(1, 3))
def test_a_site_is_judged_by_its_chromosome_position_and_alleles_in_this_order(
    drawn, position, alleles
):
    lengths = dict.fromkeys(CHROMOSOMES, 100)
    genome = Genome("any", {one: one for one in CHROMOSOMES}, lengths, lengths)
    assert genome.judge(drawn[1] + "_alt", position, alleles) == "unknown contig"
    expected = {1: "no alternate allele", 2: None, 3: "several alternate alleles"}[alleles]
    if not 1 <= position <= 100:
        expected = "unknown position" if position < 1 else "beyond the end of a chromosome"
    assert genome.judge(drawn[1], position, alleles) == expected
