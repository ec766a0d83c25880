"""Genotype files as people met them: each is read as plink2 reads it, or refused in one sentence.

What is tested and the right values are told in ../shared/data/field/genotypes/README.md.
"""

import re

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm, rankdata, t

from ecg_spark.errors import DataError
from ecg_spark.genetics.genotypes.reading import import_genotypes
from tests.builders.genetics_data import least_squares
from tests.builders.genotype_parts import dosages_of

CALLS, DOSAGES = (0.001, 0.01), (0.005, 0.1)
"""Tolerances of beta and of -log10 p."""

READ = {
    "01-order-bgen8": "chr*.bgen", "01-order-bgen-embedded": "chr*.bgen",
    "01-order-bed": "chr*.bed", "01-order-vcf": "chr*.vcf.gz",
    "02-haploid-ds": "set.vcf.gz", "02-haploid-gt": "set.vcf.gz",
    "02-ds-missing-calls": "set.vcf", "02-ds-typed-rows": "set.vcf", "02-ds-unused": "set.vcf",
    "02-ds-short-cells": "set.vcf", "02-ds-nan": "set.vcf", "02-gp-only": "set.vcf.gz",
    "02-hds-only": "set.vcf.gz",
    "03-bgen-16bit-zlib": "set.bgen", "03-bgen-16bit-zstd": "set.bgen",
    "03-bgen-8bit-zstd": "set.bgen", "03-bgen-ref-last": "set.bgen",
    "03-bgen-phased": "set.bgen", "03-bgen-haploid-x": "set.bgen",
    "03-bgen-multiallelic": "set.bgen", "03-bgen-empty-rsid": "set.bgen",
    "03-bgen-no-ids-named-sample": "ukb00000_c1_b0_v3.bgen",
    "03-sample-fid0": "set.bgen", "03-sample-fid-differs": "set.bgen",
    "03-sample-one-id-column": "set.bgen", "03-pgen": "set.pgen", "03-bcf": "set.bcf",
    "03-vcf-plink19": "set.vcf.gz", "03-vcf-hg19-chrM": "set.vcf",
    "04-fam-quantitative": "set.bed", "04-fam-sex-text": "set.bed",
    "04-fam-sex-minus9": "set.bed", "04-fam-fid0": "set.bed", "04-fam-batch": "set.bed",
    "04-bim-scientific-blank": "set.bed", "base": "set.bed",
}  # fmt: skip
AS = {"02-ds-short-cells": "02-ds-missing-calls", "03-sample-one-id-column": "03-sample-fid0",
      "04-bim-scientific-blank": "04-fam-fid0", "base": "base/set.bed"}  # fmt: skip
REFUSED = {
    ("01-other-ids-bgen", "chr*.bgen", "GRCh37"): "lacks 5 of its 200",
    ("01-other-ids-bed", "chr*.bed", "GRCh37"): "lacks 4 of its 200",
    ("02-one-ds-two-alternates", "set.vcf", "GRCh37"): r"1 variants .* DS with Number=A",
    ("03-bgen-no-ids", "set.bgen", "GRCh37"): r"name one under genotypes\.sample",
    ("03-bgen-no-ids-named-sample", "ukb*.bgen", "GRCh37"): r"name one under genotypes\.sample",
    ("03-vcf-no-lengths-beyond", "set.vcf", "GRCh38"): "have 2 positions",
    ("03-vcf-other-build", "set.vcf", "GRCh37"): "lie on another build",
}


@pytest.fixture(scope="module")
def field(shared_data):
    return shared_data / "field/genotypes"


@pytest.fixture(scope="module")
def people(field):
    """The transformed phenotype, age and sex of everybody, by sample id."""
    table = pd.read_csv(field / "base/phenotype.csv").merge(
        pd.read_csv(field / "base/participants.csv")
    )
    ranks = (rankdata(table["y"]) - 3 / 8) / (len(table) + 1 / 4)
    return table.assign(y=norm.ppf(ranks)).set_index("participant_id")


@pytest.fixture(scope="module")
def expected(field):
    return pd.read_csv(field / "expected.tsv", sep="\t", dtype={"contig": str})


@pytest.fixture
def read(spark, tmp_path):
    """A function that imports a set."""

    def _read(path, genome="GRCh37", sample=None):
        return import_genotypes(spark, str(path), genome, str(tmp_path / "scratch"), 2, sample)

    return _read


def _dosages(imported):
    """Dosages of the second allele [samples] by (contig, position), with the alleles."""
    sites, values = dosages_of(imported.genotypes)
    found = {
        (site.contig, site.position): ((site.ref, site.alt), own)
        for site, own in zip(sites.itertuples(), values, strict=True)
    }
    return list(imported.genotypes.samples), found


@pytest.mark.parametrize("folder", READ)
def test_what_plink2_reads_has_its_values(hail, read, field, people, expected, folder):
    path = field / folder / READ[folder]
    sample = field / folder / "ukb00000_s200.sample" if "named" in folder else None
    samples, found = _dosages(read(path, sample=sample and str(sample)))
    assert set(samples) == set(people.index)
    table = people.loc[samples]
    want = expected[expected["folder"] == AS.get(folder, folder)]
    assert len(want) >= 2
    beta_within, p_within = CALLS if "dosage" not in folder and folder[:2] != "02" else DOSAGES
    for row in want.itertuples():
        alleles, x = found[(row.contig, row.position)]
        x = x if alleles[1] == row.effect_allele else 2 - x
        assert {row.effect_allele, row.other_allele} == set(alleles)
        beta, _, statistic, df = least_squares(table["y"].to_numpy(), x, table[["age", "sex"]])
        p = -(t.logsf(abs(statistic), df) + np.log(2)) / np.log(10)
        assert np.nanmean(x) / 2 == pytest.approx(row.af, abs=2e-4)
        assert beta == pytest.approx(row.beta, abs=beta_within)
        assert p == pytest.approx(row.neg_log10_p, abs=p_within)


@pytest.mark.parametrize(("folder", "name", "genome"), REFUSED)
def test_what_cannot_be_read_is_refused_without_a_name(hail, read, field, folder, name, genome):
    with pytest.raises(DataError, match=REFUSED[folder, name, genome]) as caught:
        read(field / folder / name, genome)
    text = str(caught.value)
    assert not re.search(r"P\d{3}|/|ukb0|chr\d", text)
    assert "\n" not in text


def test_the_same_files_on_their_own_build_are_read(hail, read, field):
    for folder, genome, count in (
        ("03-vcf-no-lengths-beyond", "GRCh37", 20), ("03-vcf-other-build", "GRCh38", 3)
    ):  # fmt: skip
        assert read(field / folder / "set.vcf", genome).genotypes.variants == count


def test_variants_of_a_bgen_with_several_alternates_are_counted(read, field):
    imported = read(field / "03-bgen-multiallelic/set.bgen")
    assert imported.left_out == {"several alternate alleles": 3}
    assert imported.genotypes.variants == 20


def test_a_variant_without_an_rsid_is_named_by_its_position(read, field):
    imported = read(field / "03-bgen-empty-rsid/set.bgen")
    assert imported.genotypes.sites()["rsid"].isna().sum() == 3


def test_a_contig_is_known_by_any_of_its_names(read, field):
    imported = read(field / "05-names/set.bed")
    found = imported.genotypes.sites()["contig"].value_counts().to_dict()
    assert found == {"X": 7, "Y": 1, "MT": 4, "1": 1, "2": 1}
    assert imported.left_out == {"unknown contig": 4}
