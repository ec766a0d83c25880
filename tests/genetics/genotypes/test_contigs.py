"""Names of contigs, and regions, in any spelling."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecg_spark.genetics.genotypes.contigs import CHROMOSOMES, Genome, chromosome_of

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
def test_a_name_that_only_begins_like_a_chromosome_gives_none(drawn, tail):
    assert chromosome_of(drawn[1] + tail) is None


@pytest.mark.parametrize(
    "name",
    ["", "0", "chr0", "chr", "27", "99", "-1", "chrUn", "chrEBV", "HLA-A", "1 2", "1.0", "xx"],
)
def test_a_name_that_is_no_chromosome_gives_none(name):
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


@settings(max_examples=30, deadline=None)
@given(drawn=spellings(), ends=st.lists(st.integers(1, 16_000), min_size=2, max_size=2),
       form=st.sampled_from(["{}", "{}:{}", "{}:{}-{}", "{}:{:,}-{:,}", "{}:{}-"]))  # fmt: skip
def test_a_region_holds_what_it_says_in_every_spelling(hail, drawn, ends, form):
    from ecg_spark.errors import DataError
    from ecg_spark.genetics.genotypes.choice import intervals

    (chromosome, name), (start, stop) = drawn, sorted(ends)
    region = form.format(name, start, stop)
    if "PAR" in name.upper() or name.upper().removeprefix("CHR").lstrip("0") in ("25", "XY"):
        with pytest.raises(DataError, match="is not a region"):
            intervals([region], "GRCh38")
        return
    (found,) = intervals([region], "GRCh38")
    end = hail.get_reference("GRCh38").lengths[found.contig]
    wanted = {"{}": (1, end), "{}:{}": (start, start), "{}:{}-": (start, end)}
    assert (found.start, found.end) == wanted.get(form, (start, stop))
    assert found.contig == ("chrM" if chromosome == "MT" else f"chr{chromosome}")
