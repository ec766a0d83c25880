"""Nearest genes, published loci, and independent signals within a locus."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecg_spark.errors import DataError
from ecg_spark.genetics.findings.annotation import (
    is_published,
    nearest_gene,
    read_gene_positions,
    read_published,
)
from ecg_spark.genetics.findings.signals import independent_signals
from ecg_spark.genetics.null_model.projection import residuals
from tests.builders.genetics_data import least_squares


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


def test_two_signals_are_told_apart_from_one_and_its_ld():
    rng = np.random.default_rng(1)
    n = 3_000
    first, second = rng.binomial(2, 0.3, n), rng.binomial(2, 0.4, n)
    shadow = np.where(rng.random(n) < 0.9, first, rng.binomial(2, 0.3, n))
    genotypes = np.stack([shadow, first, rng.binomial(2, 0.5, n), second, first]).astype(np.float32)
    covariates = rng.normal(size=(n, 2))
    y = pd.Series(0.5 * first + 0.25 * second + covariates[:, 0] + rng.normal(size=n))
    found = independent_signals(lambda: [genotypes[:1], genotypes[1:]], y, covariates, 7.3)
    assert [one.variant for one in found] == [1, 3]
    beta, se, t, _ = least_squares(y, second.astype(float), np.column_stack([covariates, first]))
    assert found[1].beta == pytest.approx(beta, rel=1e-6)
    assert found[1].se == pytest.approx(se, rel=1e-6)
    assert found[0].neg_log10_p > found[1].neg_log10_p > 7.3
    assert abs(t) > 5
    assert (
        independent_signals(lambda: [genotypes], pd.Series(rng.normal(size=n)), covariates, 7.3)
        == []
    )


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 5))
def test_signals_are_those_of_least_squares_on_what_was_chosen_before(seed, size):
    rng = np.random.default_rng(seed)
    n, m = 300, 12
    shared = rng.normal(size=n)
    genotypes = rng.binomial(2, 1 / (1 + np.exp(-rng.normal(size=(m, 1)) * shared)), (m, n))
    genotypes = genotypes.astype(np.float32)
    covariates = rng.normal(size=(n, 2))
    effects = np.where(rng.random(m) < 0.25, rng.normal(size=m), 0)
    y = pd.Series(effects @ genotypes + covariates[:, 0] + rng.normal(size=n))

    def batches():
        return np.array_split(genotypes, size)

    found = independent_signals(batches, y, covariates, 3.0)
    chosen = []
    for one in found:
        terms = np.column_stack([covariates, *genotypes[chosen]])
        apart = [i for i in range(m) if i not in chosen and _is_told_apart(genotypes, i, terms)]
        tests = {i: least_squares(y, genotypes[i].astype(float), terms) for i in apart}
        beta, se, t, _ = tests[one.variant]
        assert (one.beta, one.se) == (pytest.approx(beta, rel=1e-6), pytest.approx(se, rel=1e-6))
        assert abs(t) == pytest.approx(max(abs(test[2]) for test in tests.values()), rel=1e-6)
        chosen.append(one.variant)


def _is_told_apart(genotypes, i, terms):
    """Whether the terms leave of a variant more than a tenth of what covariates leave."""
    x = genotypes[i].astype(float)
    left = [np.linalg.norm(residuals(x[:, None], own)) ** 2 for own in (terms[:, :2], terms)]
    return left[1] > 0.1 * left[0]


def test_relatives_who_are_alike_make_a_signal_less_certain():
    rng = np.random.default_rng(1)
    n = 2_000
    genotypes = rng.binomial(2, 0.3, (2, n)).astype(np.float32)
    shared = np.tile(rng.normal(size=n // 2), 2)
    y = pd.Series(0.3 * genotypes[0] + shared + 0.3 * rng.normal(size=n))
    nothing = np.zeros((n, 0))
    twins = pd.DataFrame({"s1": y.index[: n // 2], "s2": y.index[n // 2 :], "kinship": 0.5})
    (alone,) = independent_signals(lambda: [genotypes[:1], genotypes[1:]], y, nothing, 7.3)
    (among_twins,) = independent_signals(
        lambda: [genotypes[:1], genotypes[1:]], y, nothing, 7.3, twins
    )
    assert among_twins.beta == alone.beta
    assert among_twins.se / alone.se == pytest.approx(np.sqrt(1 + 1 / 1.09), rel=0.03)
