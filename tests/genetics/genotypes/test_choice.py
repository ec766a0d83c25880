"""Lists and regions in any spelling against a plain search through them."""

import re

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from ecg_spark.errors import DataError
from ecg_spark.genetics.genotypes.choice import ELSEWHERE, EXCLUDED, NOT_KEPT, choose
from ecg_spark.genetics.genotypes.contigs import CONTIGS, chromosome_of
from ecg_spark.genetics.genotypes.parts import Part
from ecg_spark.study import Genotypes
from tests.builders.genotype_parts import write_set

BUILDS = ("GRCh37", "GRCh38")
CODES = {"X": ["X", "23", "25", "XY", "x", "PAR1"], "MT": ["MT", "26", "M"], "1": ["1", "01"],
         "22": ["22"]}  # fmt: skip
ALLELES = ["A", "G", "AT", "a"]


def _sites(build):
    """Variants of few places and ids, so that drawn names meet them: one id twice, one that is the
    place of another variant, none of some; alleles either way round."""
    rows = []
    for contig in CODES:
        for position in (1_000, 2_000, 2_000_000):
            for ref, alt in (("A", "G"), ("G", "A"), ("AT", "A"), ("C", "a")):
                rows.append((contig, position, ref, alt, f"rs{len(rows)}"))
    sites = pd.DataFrame(rows, columns=["contig", "position", "ref", "alt", "rsid"])
    sites.loc[[3, 20, 21], "rsid"] = None
    sites.loc[5, "rsid"], sites.loc[7, "rsid"] = "rs4", "1:1000:A:G"
    if build == "GRCh38":
        sites["contig"] = "chr" + sites["contig"].replace("MT", "M")
    return sites.astype({"position": np.int32})


@pytest.fixture(scope="module")
def sets(spark, tmp_path_factory):
    """Of each build the variants, in parts of a few, and their sites; every seventh is not among
    those chosen already."""
    found = {}
    for build in BUILDS:
        sites = _sites(build)
        folder = tmp_path_factory.mktemp(build)
        whole = write_set(folder, np.ones((len(sites), 2)), ["a", "b"], sites, 10)
        left = np.arange(len(sites)) % 7 > 0
        found[build] = whole.only(left), sites[left].reset_index(drop=True)
    return found


@st.composite
def names(draw):
    """What may name a variant of the set: an id, or a place in one of its spellings."""
    if draw(st.booleans()):
        return draw(st.sampled_from([f"rs{i}" for i in range(0, 60)] + ["RS1", "."]))
    chromosome = draw(st.sampled_from([*CODES, "27"]))
    code = draw(st.sampled_from(CODES.get(chromosome, ["27"])))
    prefix = draw(st.sampled_from(["", "chr", "CHR"]))
    position = draw(st.sampled_from(["1000", "2000", "2000000", "1001", "01000"]))
    a, b = draw(st.sampled_from(ALLELES)), draw(st.sampled_from(ALLELES))
    if draw(st.booleans()):
        a, b = a.lower(), b.lower()
    apart = draw(st.sampled_from(":_"))
    return draw(st.sampled_from([":", "_"])).join([prefix + code, position]) + apart + f"{a}:{b}"


LISTS = st.none() | st.lists(names(), min_size=1, max_size=25)
PLACES = {"1": (1, 10**9), "chrX:1,000-2000": (1_000, 2_000), "22:2000": (2_000, 2_000),
          "mt:1000": (1_000, 1_000), "01:2_000-": (2_000, 10**9)}  # fmt: skip


def _named(sites, listed):
    """Of each variant the name by which a list names it, None where it does not."""
    listed = {name for name in listed if name != "."}
    places = {}
    for name in sorted(listed, reverse=True):  # of several names of one place the first counts
        parts = re.split("[:_]", name)
        if len(parts) == 4 and re.fullmatch("[0-9]+", parts[1]):
            alleles = frozenset(one.upper() for one in parts[2:])
            places[chromosome_of(parts[0]), parts[1], alleles] = name
    found = []
    for site in sites.itertuples():
        alleles = frozenset((site.ref.upper(), site.alt.upper()))
        place = CONTIGS[site.contig], str(site.position), alleles
        found.append(site.rsid if site.rsid in listed else places.get(place))
    return found, len(listed)


@settings(max_examples=5, phases=[Phase.explicit, Phase.generate])
@given(st.sampled_from(BUILDS), LISTS, LISTS, st.lists(st.sampled_from(list(PLACES)), max_size=3))
@example("GRCh38", ["rs4", "1:1000:G:A", "chr1_1000_A_G", "PAR1:1000:a:g"], ["rs1"], [])
@example("GRCh37", None, None, [])
@example("GRCh37", ["rs8", "1:2000:A:AT"], ["rs8", "01:2000:A:AT"], ["1"])
def test_what_is_chosen_is_what_a_search_through_the_lists_finds(
    spark, sets, tmp_path_factory, build, keep, exclude, regions
):
    genotypes, sites = sets[build]
    folder = tmp_path_factory.mktemp("lists")
    values, reasons, notes = {}, [], []
    if regions:
        inside = [
            any(
                chromosome_of(region.split(":")[0]) == CONTIGS[site.contig]
                and PLACES[region][0] <= site.position <= PLACES[region][1]
                for region in regions
            )
            for site in sites.itertuples()
        ]
        reasons.append((ELSEWHERE, [not one for one in inside]))
    none_found = None
    for key, listed in (("keep_variants", keep), ("exclude_variants", exclude)):
        if listed is None:
            continue
        path = folder / f"{key}.txt"
        path.write_text("".join(f"{name}\n" for name in listed))
        values[key] = str(path)
        found, count = _named(sites, listed)
        here = len(set(found) - {None})
        if not here and none_found is None:
            none_found = f"None of the {count} names in" if count else "is empty"
        notes.append(f"{here} of the {count} names in the list genotypes.{key} are variants of the "
                     f"set")  # fmt: skip
        named = [one is not None for one in found]
        if key == "keep_variants":
            reasons.append((NOT_KEPT, [not one for one in named]))
        else:
            reasons.append((EXCLUDED, named))
    own = Genotypes(path="a.bed", reference_genome=build, regions=tuple(regions), **values)
    if none_found:
        with pytest.raises(DataError, match=none_found):
            choose(spark, genotypes, own)
        return
    why = [next((name for name, here in reasons if here[i]), None) for i in range(len(sites))]
    counts = {name: why.count(name) for name, _ in reasons if name in why}
    if None not in why:
        told = ", ".join(f"{counts[name]} are {name}" for name in sorted(counts))
        with pytest.raises(DataError, match=re.escape(f"no variant of the genotype set ({told})")):
            choose(spark, genotypes, own)
        return
    chosen, found_counts, found_notes = choose(spark, genotypes, own)
    left = sites[[one is None for one in why]].reset_index(drop=True)
    pd.testing.assert_frame_equal(chosen.sites(list(left.columns)), left)
    assert (found_counts, found_notes) == (counts, notes)


@given(st.integers(0, 40), st.lists(st.booleans(), max_size=40))
def test_a_bit_mask_chooses_no_variant_after_its_last_bit(variants, chosen):
    found = Part(0, variants, 0).mask(np.packbits(np.array(chosen, bool)).tobytes())
    assert found.tolist() == [i < len(chosen) and chosen[i] for i in range(variants)]


def test_sites_that_were_altered_are_not_read(tmp_path):
    sites = _sites("GRCh37")
    genotypes = write_set(tmp_path, np.ones((len(sites), 2)), ["a", "b"], sites, 24)
    (first, _) = sorted(tmp_path.glob("part-*.parquet"))
    content = first.read_bytes()
    column = pq.ParquetFile(first).metadata.row_group(0).column(0)
    start = column.dictionary_page_offset or column.data_page_offset
    at = start + column.total_compressed_size - 1
    flipped = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
    write_set(tmp_path / "short", np.ones((2, 2)), ["a", "b"], sites[:2])
    short = (tmp_path / "short/part-00000.parquet").read_bytes()
    for altered in (content[:-50], flipped, short, b""):
        first.write_bytes(altered)
        with pytest.raises(DataError, match="not as it was written"):
            genotypes.sites(["contig"])
    first.unlink()
    with pytest.raises(DataError, match="not as it was written"):
        genotypes.sites(["contig"])
