"""Regions of long-range linkage, against the genes that lie in them on either build."""

import gzip
import re

import pytest

from ecg_spark.genetics.genotypes.contigs import genome
from ecg_spark.genetics.genotypes.long_range import LONG_RANGE_LD, MHC, long_range_ld

BUILDS = ("GRCh37", "GRCh38")


@pytest.fixture(scope="module")
def genes(shared_data):
    """The start of every gene of RefSeq on either build, by chromosome and name."""
    found = {}
    for build in BUILDS:
        path = shared_data / f"annotation/{build}_latest_genomic.gene_only.gtf.gz"
        with gzip.open(path, "rt") as file:
            rows = [line.split("\t") for line in file if not line.startswith("#")]
        names = [re.search(r'gene_id "([^"]+)"', row[8])[1] for row in rows]
        contigs = [re.sub(r"NC_0*(\d+)\..*", r"\1", row[0]) for row in rows]
        found[build] = {
            (contig, name): int(row[3])
            for contig, row, name in zip(contigs, rows, names, strict=True)
        }
    return found


def test_both_builds_name_the_same_genes(genes):
    both = [key for key in genes["GRCh37"] if key in genes["GRCh38"]]
    regions = [long_range_ld(build) for build in BUILDS]
    for one, other in zip(*regions, strict=True):
        inside = [
            {
                name
                for contig, name in both
                if contig == own[0] and own[1] <= genes[build][contig, name] <= own[2]
            }
            for build, own in zip(BUILDS, (one, other), strict=True)
        ]
        assert one[0] == other[0]
        assert len(inside[0] & inside[1]) >= 0.95 * len(inside[0] | inside[1]), one


@pytest.mark.parametrize("name", ["LCT", "MAPT", "HLA-A", "HLA-DRB1", "SLC24A5"])
def test_what_selection_and_inversions_have_linked_is_in_a_region(genes, name):
    for build in BUILDS:
        ((contig, start),) = [(c, at) for (c, one), at in genes[build].items() if one == name]
        of_it = [own for own in long_range_ld(build) if own[0] == contig]
        assert sum(one <= start <= other for _, one, other in of_it) == (name != "SLC24A5")
        if name.startswith("HLA"):
            assert MHC[0] == contig
            assert MHC[1] <= start <= MHC[2]


def test_every_region_lies_on_its_chromosome():
    for build in BUILDS:
        ends = {}
        for name, start, end in long_range_ld(build):
            assert ends.get(name, 0) < start < end < genome(build).lengths[name]
            ends[name] = end
    assert len(LONG_RANGE_LD) == 25
