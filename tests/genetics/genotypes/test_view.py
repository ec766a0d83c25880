"""The packed view of sets in parts against the plain table of their variants."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ecg_spark.errors import DataError
from ecg_spark.genetics.genotypes.contigs import CONTIGS
from ecg_spark.genetics.genotypes.packed import NAMES, read_packed
from ecg_spark.genetics.genotypes.view import IS_SNP, packed_view
from ecg_spark.tables import VARIANT
from tests.builders.genetics_data import write_plink
from tests.builders.genotype_parts import write_set

RANK = {name: i for i, name in enumerate(CONTIGS)}
LONG = "ACGTTGCA" * 40


@st.composite
def joined(draw):
    """The sites of one to three sets, each in the order of the genome, one behind the other: few
    places, so that sets and variants meet at one; which are chosen; how large the parts are."""
    names = ["2", "10", "X"] if draw(st.booleans()) else ["chr9", "chr21", "chrM"]
    alleles = st.sampled_from(["A", "C", "AT", LONG])
    site = st.tuples(st.sampled_from(names), st.integers(1, 5), alleles, alleles)
    sets = draw(st.lists(st.lists(site, min_size=1, max_size=12), min_size=1, max_size=3))
    rows = []
    for own in sets:
        rows += sorted(own, key=lambda one: (RANK[one[0]], one[1]))
    sites = pd.DataFrame(rows, columns=VARIANT)
    sites["rsid"] = [f"rs{i}" if i % 3 else None for i in range(len(sites))]
    sites["is_common"] = np.arange(len(sites)) % 2 == 0
    sites["af"] = np.arange(len(sites)) / 100
    chosen = np.array(draw(st.lists(st.booleans(), min_size=len(sites), max_size=len(sites))), bool)
    return sites, chosen, draw(st.integers(1, 15))


def _table(rows):
    sites = pd.DataFrame(rows, columns=VARIANT)
    return sites.assign(rsid=None, is_common=True, af=0.1), np.ones(len(rows), bool), 2


@settings(max_examples=25)
@given(joined())
@example(_table([("1", 9, "A", "G"), ("X", 3, "A", "G"), ("1", 9, "A", "C"), ("1", 8, "T", "G")]))
@example(_table([("1", 9, "A", "G")] * 3))
def test_a_view_tells_of_each_chosen_variant_what_its_set_does(tmp_path_factory, drawn):
    sites, chosen, size = drawn
    calls = np.random.default_rng(len(sites)).integers(0, 4, (len(sites), 9))
    folder = tmp_path_factory.mktemp("set")
    whole = write_set(folder, calls, range(9), sites, size).only(chosen)
    view = packed_view(whole, "is_common", "af", IS_SNP)
    rank = sites["contig"].map(RANK)
    order = sorted(np.flatnonzero(chosen), key=lambda i: (rank[i], sites["position"][i]))
    expected = sites.iloc[order].reset_index(drop=True)
    assert list(view.sites) == ["contig", "position", "is_common", "af", IS_SNP]
    assert view.sites["contig"].tolist() == expected["contig"].tolist()
    for name in ("position", "is_common", "af"):
        np.testing.assert_array_equal(view.sites[name], expected[name])
    one_base = [len(row.ref) == len(row.alt) == 1 for row in expected.itertuples()]
    assert view.sites[IS_SNP].tolist() == one_base
    np.testing.assert_array_equal(view.calls.read(np.arange(len(order))), calls[order])
    on = [CONTIGS[contig] in ("10", "X", "21") for contig in expected["contig"]]
    assert view.on(("10", "X", "21")).tolist() == on
    # Names are read of any places, in any order, and say where the variants are.
    some = np.random.default_rng(size).permutation(len(order))[: 1 + len(order) // 2]
    named = view.named(some)
    assert list(named) == NAMES
    assert named.astype(object).where(named.notna(), None).to_numpy().tolist() == (
        expected[NAMES].iloc[some].astype(object).to_numpy().tolist()
    )
    wanted = set(named[VARIANT].itertuples(index=False, name=None))
    keys = list(expected[VARIANT].itertuples(index=False, name=None))
    assert view.rows(named).tolist() == [i for i, key in enumerate(keys) if key in wanted]
    # No variant is taken for another at its place, nor for one elsewhere at its position.
    other = named.assign(alt="G" * 7)
    elsewhere = named.assign(contig="3")
    assert not len(view.rows(other))
    assert not len(view.rows(elsewhere))


def test_a_view_holds_ten_bytes_of_a_variant_however_long_its_alleles(tmp_path):
    m = 4_000
    sites = pd.DataFrame({"contig": "7", "position": np.arange(m) + 1, "ref": LONG, "alt": LONG})
    sites = sites.assign(rsid="rs" + LONG, is_common=True)
    view = packed_view(write_set(tmp_path, np.ones((m, 4)), range(4), sites, 900), "is_common")
    held = view.sites.memory_usage(index=False, deep=True).sum() + view.calls.at.nbytes
    names = view.sites["contig"].cat.categories.memory_usage(deep=True)
    assert held - names <= 10 * m + 2_000  # and the categories' own index


def test_a_plink_set_is_read_by_the_same_calls(tmp_path):
    calls = np.random.default_rng(0).integers(0, 4, (6, 5))
    write_plink(
        tmp_path / "set", calls, range(5), ["1", "1", "2", "2", "2", "X"], [5, 5, 5, 6, 7, 8]
    )
    packed = read_packed(str(tmp_path / "set"))
    named = packed.named(np.array([4, 0]))
    assert named.to_numpy().tolist() == [["2", 7, "G", "A", "rs5"], ["1", 5, "G", "A", "rs1"]]
    assert packed.rows(named).tolist() == [0, 1, 4]
    assert packed.on(["2", "X"]).tolist() == [False, False, True, True, True, True]


def test_an_altered_part_is_refused_when_it_is_opened_and_when_names_are_read(tmp_path):
    sites, _, _ = _table([("1", i + 1, "A", "G") for i in range(40)])
    whole = write_set(tmp_path, np.ones((40, 4)), range(4), sites, 10)
    view = packed_view(whole)
    part = tmp_path / "part-00002.parquet"
    part.write_bytes(part.read_bytes()[:-20])
    assert len(view.named(np.array([0, 39]))) == 2
    for read in (lambda: view.named(np.array([25])), lambda: packed_view(whole)):
        with pytest.raises(DataError, match="not as it was written"):
            read()
