"""Nearest genes and published loci."""

import pytest

from ecg_spark.errors import DataError
from ecg_spark.genetics.findings.annotation import (
    is_published,
    nearest_gene,
    read_gene_positions,
    read_published,
)


@pytest.mark.parametrize("contig", ["3", "chr3", "NC_000003.12"])
def test_the_nearest_gene_of_a_gtf(tmp_path, contig):
    path = tmp_path / "genes.gtf"
    lines = ["#!genome-build any"]
    for name, start, end in (("FAR", 1_000, 2_000), ("LONG", 5_000, 50_000), ("IN", 9_000, 9_500)):
        lines.append(f'{contig}\tx\tgene\t{start}\t{end}\t.\t+\t.\tgene_id "{name}"; other "1";')
    lines.append(f'{contig}\tx\texon\t3000\t3100\t.\t+\t.\tgene_id "EXON";')
    path.write_text("\n".join(lines) + "\n")
    genes = read_gene_positions(str(path))
    assert nearest_gene(genes, "chr3", 9_100) == ("IN", 0)
    assert nearest_gene(genes, "3", 20_000) == ("LONG", 0)
    assert nearest_gene(genes, "3", 2_250) == ("FAR", 250)
    assert nearest_gene(genes, "4", 2_250) is None
    path.write_text("nothing of the kind\n")
    with pytest.raises(DataError, match=r"genes\.gtf"):
        read_gene_positions(str(path))


def test_known_loci_of_the_real_catalog_lie_at_their_genes(shared_data):
    genes = read_gene_positions(
        str(shared_data / "annotation/GRCh38_latest_genomic.gene_only.gtf.gz")
    )
    assert nearest_gene(genes, "chr3", 38_600_000) == ("SCN5A", 0)
    known = read_published(str(shared_data / "annotation/gwas_catalog_2014-09-08_ecg_traits.tsv"))
    assert len(known) > 400
    assert is_published(known, "chr3", 38_600_000, 38_700_000, 500_000)
    assert not is_published(known, "chr3", 100_000_000, 100_000_001, 10_000)


def test_a_table_of_published_loci_needs_places(tmp_path):
    path = tmp_path / "known.csv"
    path.write_text("contig,position,trait\nchr1,100,QT\n1,,QT\n1 x 2,7;9,QT\n")
    assert read_published(str(path)).to_numpy().tolist() == [["1", 100]]
    path.write_text("chromosome,bp\n1,2\n")
    with pytest.raises(DataError, match="no column contig, position"):
        read_published(str(path))
