"""Genotype files of every format, and quality control with its counts."""

import gzip
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from ecg_spark.errors import DataError
from ecg_spark.genetics.genotypes.quality import quality_control
from ecg_spark.genetics.genotypes.reading import Imported, import_genotypes
from ecg_spark.ids import read_id_list
from ecg_spark.study import Genotypes
from tests.builders.genetics_data import people, read_plink, write_plink
from tests.builders.genotype_parts import dosages_of, write_set


def _dosages(imported):
    """(position, alt) -> dosages by sample, None where missing."""
    sites, values = dosages_of(imported.genotypes)
    rows = [[None if np.isnan(one) else float(one) for one in row] for row in values]
    keys = zip(sites["position"], sites["alt"], strict=True)
    return list(imported.genotypes.samples), dict(zip(keys, rows, strict=True))


@pytest.fixture
def read(spark):
    """A function that imports a set."""

    def _read(path, genome="GRCh37", scratch=None, partitions=3):
        scratch = scratch or tempfile.mkdtemp(dir=Path(path).parent)
        return import_genotypes(spark, str(path), genome, str(scratch), partitions)

    return _read


@pytest.mark.parametrize(("genome", "contig"), [("GRCh37", "chr22"), ("GRCh38", "22")])
def test_plink_with_either_name_of_the_contig(read, tmp_path, genome, contig):
    calls, _ = people(30, 12, missing=0.1)
    positions = 20_000_000 + np.arange(12)
    path = write_plink(
        tmp_path / "set", calls, [f"S{i}" for i in range(30)], [contig] * 12, positions
    )
    genotypes = read(path, genome)
    sites = genotypes.genotypes.sites()
    assert set(sites["contig"]) == {"22" if genome == "GRCh37" else "chr22"}
    assert sites["rsid"][0] == "rs1"
    samples, found = _dosages(genotypes)
    assert samples == [f"S{i}" for i in range(30)]
    for j, position in enumerate(positions):
        expected = [None if call == 3 else float(call) for call in calls[j]]
        assert found[(position, "A")] == expected


def test_bgen_holds_the_same_dosages_as_bed(read, shared_data, tmp_path):
    folder = shared_data / "genotypes/regenie-example/example"
    bgen = read(folder / "example.bgen", scratch=tmp_path)
    _, by_bgen = _dosages(bgen)
    values, bim, samples = read_plink(folder / "example")
    assert len(by_bgen) == bgen.genotypes.variants == len(bim)
    assert len(bgen.genotypes.samples) == len(samples)
    agree = 0
    for j, variant in enumerate(bim.itertuples()):
        allele = variant.a1 if (variant.position, str(variant.a1)) in by_bgen else variant.a2
        dosage = np.array(by_bgen[(variant.position, str(allele))], float)
        dosage = dosage if str(allele) == str(variant.a1) else 2 - dosage
        known = ~np.isnan(values[j]) & ~np.isnan(dosage)
        agree += np.abs(dosage[known] - values[j][known]).max() < 0.01
    assert agree == len(bim)
    assert not list(folder.glob("*.idx2"))


VCF = """##fileformat=VCFv4.2
##FORMAT=<ID=GT,Number=1,Type=String,Description="call">
##FORMAT=<ID=DS,Number=A,Type=Float,Description="dosage">
##contig=<ID=22>
#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tP\tQ\tR
22\t20000000\trs1\tA\tG\t.\t.\t.\tGT\t0/1\t1/1\t./.
22\t20000100\trs2\tA\tG,T\t.\t.\t.\tGT\t1/2\t0/2\t1/1
22\t20000200\trs3\tA\tG\t.\t.\t.\tGT\t0/0\t0/1\t1/1
"""


def test_vcf_with_multi_allelic_variants(hail, read, tmp_path):
    text = "".join(line for line in VCF.splitlines(True) if "DS" not in line)
    (tmp_path / "set.vcf").write_text(text)
    (tmp_path / "set.vcf.gz").write_bytes(gzip.compress(text.encode()))
    for name in ("set.vcf", "set.vcf.gz"):
        samples, found = _dosages(read(tmp_path / name, scratch=tmp_path))
        assert samples == ["P", "Q", "R"]
        assert found == {
            (20000000, "G"): [1.0, 2.0, None],
            (20000100, "G"): [1.0, 0.0, 2.0],
            (20000100, "T"): [1.0, 1.0, 0.0],
            (20000200, "G"): [0.0, 1.0, 2.0],
        }
    (tmp_path / "beyond.vcf").write_text(text.replace("20000200", "51304567"))  # the end + 1
    with pytest.raises(DataError, match="have 1 positions beyond the end of a chromosome"):
        read(tmp_path / "beyond.vcf", scratch=tmp_path)


def test_a_call_of_an_allele_that_is_not_there_is_refused(hail, read, tmp_path):
    text = "".join(line for line in VCF.splitlines(True) if "DS" not in line)
    (tmp_path / "set.vcf").write_text(text.replace("0/0\t0/1\t1/1", "0/0\t0/2\t1/1"))
    with pytest.raises(DataError, match="a GT with an allele that the variant does not have"):
        read(tmp_path / "set.vcf", scratch=tmp_path)


@pytest.mark.parametrize("header", ["P\tQ", "P\tQ\tR\tS"])
def test_a_header_of_other_samples_than_the_rows_is_refused(read, tmp_path, header):
    (tmp_path / "set.vcf").write_text(VCF.replace("P\tQ\tR", header))
    with pytest.raises(DataError, match="holds 3 samples and its header names"):
        read(tmp_path / "set.vcf", scratch=tmp_path)


def test_sites_off_the_chromosomes_and_without_alternate_are_left_out_and_counted(
    hail, read, tmp_path
):
    """GL000192.1 is a contig of GRCh37, as Hail has it, and no chromosome."""
    rows = ["GL000192.1\t500\trs4\tA\tG\t.\t.\t.\tGT\t0/1\t0/1\t0/1",
            "22\t20000300\trs5\tA\t.\t.\t.\t.\tGT\t0/0\t0/0\t0/0"]  # fmt: skip
    (tmp_path / "set.vcf").write_text("\n".join([VCF.rstrip(), *rows, ""]))
    hail.import_vcf(str(tmp_path / "set.vcf"), reference_genome="GRCh37").write(
        str(tmp_path / "set.mt")
    )
    for name in ("set.vcf", "set.mt"):
        genotypes = read(tmp_path / name, scratch=tmp_path / "scratch")
        assert genotypes.left_out == {"unknown contig": 1, "no alternate allele": 1}
        assert list(genotypes.genotypes.sites()["contig"]) == ["22"] * 4


def test_vcf_with_dosages(hail, read, tmp_path):
    lines = [line for line in VCF.splitlines() if not line.startswith("22")]
    lines.append("22\t20000000\trs1\tA\tG\t.\t.\t.\tGT:DS\t0/1:0.9\t1/1:1.75\t0/0:0")
    lines.append("22\t20000100\trs2\tA\tG,T\t.\t.\t.\tGT:DS\t1/2:0.8,1.1\t0/2:0,1\t1/1:2,0")
    (tmp_path / "set.vcf").write_text("\n".join(lines) + "\n")
    _, found = _dosages(read(tmp_path / "set.vcf", scratch=tmp_path))
    assert found[(20000000, "G")] == pytest.approx([0.9, 1.75, 0], abs=3.1e-5)
    assert found[(20000100, "T")] == pytest.approx([1.1, 1, 0], abs=3.1e-5)


def test_a_real_vcf_and_a_matrix_table_of_it(hail, read, shared_data, tmp_path):
    source = shared_data / "genotypes/1kg-chr21/1kg_phase3_chr21_start.vcf.gz"
    genotypes = read(source, scratch=tmp_path / "a")
    assert len(genotypes.genotypes.samples) == 2_504
    assert genotypes.genotypes.variants >= 600
    hail.import_vcf(str(source), force=True, reference_genome="GRCh37").head(50).write(
        str(tmp_path / "set.mt")
    )
    samples, found = _dosages(read(tmp_path / "set.mt"))
    same, all_of_them = _dosages(genotypes)
    assert samples == same
    assert len(found) >= 50
    assert found == {key: all_of_them[key] for key in found}
    with pytest.raises(DataError, match="lies on GRCh37, not on GRCh38"):
        read(tmp_path / "set.mt", "GRCh38")


def test_genotypes_that_cannot_be_read_are_refused_in_one_sentence(hail, read, tmp_path):
    calls, _ = people(10, 5)
    names = [f"secret{i}" for i in range(10)]
    good = write_plink(tmp_path / "good", calls, names)
    with pytest.raises(DataError, match="do not exist"):
        read(tmp_path / "nothing.bed")
    with pytest.raises(DataError, match="no known format"):
        read(tmp_path / "set.csv")
    (tmp_path / "text.bed").write_text("hello")
    with pytest.raises(
        DataError, match=r"The file of genotypes\.path is not in the format that its name says"
    ):
        read(tmp_path / "text.bed")
    (tmp_path / "text.vcf.gz").write_text("no gzip at all")
    with pytest.raises(
        DataError, match=r"The file of genotypes\.path is not in the format that its name says"
    ):
        read(tmp_path / "text.vcf.gz", scratch=tmp_path)
    shutil.copy(good, tmp_path / "alone.bed")
    with pytest.raises(DataError, match=r"lacks its \.bim"):
        read(tmp_path / "alone.bed")
    for suffix in ("bim", "fam"):
        shutil.copy(tmp_path / f"good.{suffix}", tmp_path / f"short.{suffix}")
    (tmp_path / "short.bed").write_bytes((tmp_path / "good.bed").read_bytes()[:-4])
    with pytest.raises(DataError, match="cannot be read as bed"):
        read(tmp_path / "short.bed")
    twice = write_plink(tmp_path / "twice", calls, ["secret0", "secret0", *names[2:]])
    with pytest.raises(DataError, match=r"more than once|not named once") as caught:
        read(twice)
    assert "secret" not in str(caught.value)
    (tmp_path / "spaced.vcf").write_text(VCF.replace("\tP\t", "\tsecret P\t"))
    with pytest.raises(DataError, match="1 samples with white space") as caught:
        read(tmp_path / "spaced.vcf", scratch=tmp_path / "spaced")
    assert "secret" not in str(caught.value)


@pytest.fixture(scope="module")
def flawed(tmp_path_factory):
    """100 samples and 60 variants, with one known flaw of each kind."""
    calls, _ = people(100, 60, seed=4)
    calls[:, 0] = np.where(np.arange(60) % 4 == 0, 3, calls[:, 0])  # a sample called in 75 %
    calls[3, 20:40] = 3  # a variant called in 80 %
    calls[6] = 0
    calls[6, 50] = 1  # rare
    calls[9] = 1  # nobody is homozygous
    calls[12] = np.repeat([0, 2], 50)  # nobody is heterozygous: several populations, kept
    folder = tmp_path_factory.mktemp("flawed")
    path = write_plink(folder / "set", calls, [f"S{i}" for i in range(100)])
    lines = (folder / "set.bim").read_text().splitlines()
    lines[15] = lines[14]  # a repeated variant
    lines[18] = lines[18].replace("\tA\t", "\t*\t")
    (folder / "set.bim").write_text("\n".join(lines) + "\n")
    return path


def test_each_filter_is_counted(spark, read, flawed, tmp_path):
    settings = Genotypes(path=flawed, reference_genome="GRCh37", min_sample_call_rate=0.9)
    checked = quality_control(spark, read(flawed), settings, str(tmp_path))
    genotypes, left = checked.genotypes, checked.left
    assert [(one.samples, one.variants) for one in left] == [
        (100, 60), (99, 60), (99, 59), (99, 58), (99, 57), (99, 56), (99, 56), (99, 55), (99, 55),
        (99, 55),
    ]  # fmt: skip
    assert (genotypes.variants, len(genotypes.samples)) == (56, 99)
    sites = genotypes.sites()
    kept = set(sites["rsid"])
    assert {"rs4", "rs10", "rs19"}.isdisjoint(kept)
    assert list(sites["rsid"][~sites["is_common"]]) == ["rs7"]
    assert "rs13" in kept
    assert binom.sf(99, 100, 0.5) < 1e-8  # what the Hardy-Weinberg filter judged of rs10


def test_a_variant_that_failed_says_nothing_about_samples(spark, tmp_path):
    calls, _ = people(40, 100, seed=7)
    calls[:10, :20] = 3  # ten variants that failed in one batch of samples
    calls[50:70, 39] = 3  # a poor sample
    genotypes = Imported(write_set(tmp_path / "set", calls, [f"S{i}" for i in range(40)]), {})
    settings = Genotypes(path="set", reference_genome="GRCh37")
    checked = quality_control(spark, genotypes, settings, str(tmp_path / "checked"))
    assert list(checked.genotypes.samples) == [f"S{i}" for i in range(39)]
    assert checked.by_sample["call_rate"].min() == 1
    assert checked.genotypes.variants == 90


def test_lists_counts_and_imputation_quality_are_filters(spark, tmp_path):
    calls, _ = people(100, 400, seed=6)
    path = write_plink(tmp_path / "set", calls, [f"S{i}" for i in range(100)])
    (tmp_path / "out.txt").write_text("S1 because\nS2\n\nX9\n")
    (tmp_path / "keep.txt").write_text("".join(f"S{i}\n" for i in range(80)))
    # As imputed from hardly anything: dosages near the mean.
    dosages = calls.astype(float)
    dosages[4] = 1 + 0.06 * dosages[4]
    genotypes = Imported(write_set(tmp_path / "set", dosages, [f"S{i}" for i in range(100)]), {})
    settings = Genotypes(
        path=path, reference_genome="GRCh37", exclude=str(tmp_path / "out.txt"), min_mac=30,
        keep=str(tmp_path / "keep.txt"),
    )  # fmt: skip
    checked = quality_control(spark, genotypes, settings, str(tmp_path / "checked"))
    kept, left = checked.genotypes, checked.left
    assert [one.samples for one in left[:5]] == [100, 98, 78, 78, 78]
    assert left[-2].variants - left[-1].variants == 1
    assert "rs5" not in set(kept.sites()["rsid"])
    own = calls[:, [i for i in range(80) if i not in (1, 2)]]
    counts = np.minimum(own.sum(axis=1), 2 * 78 - own.sum(axis=1))
    named = {one.filter: one.variants for one in left}
    assert named["minor allele count ≥ 30"] == np.sum(np.delete(counts, 4) >= 30) + 1
    with pytest.raises(DataError, match=r"list genotypes\.keep does not exist"):
        read_id_list(str(tmp_path / "nothing.txt"), "list genotypes.keep")


def test_what_is_common_in_a_small_population_may_be_tested(spark, tmp_path):
    calls = np.tile(np.array([0, 1, 2, 1], np.int8), (8, 100))
    calls[3] = 0
    calls[3, [5, 7]] = 1  # 5 % of the alleles of a population of 20, 0.25 % of all
    samples = [f"S{i}" for i in range(400)]
    genotypes = Imported(write_set(tmp_path / "set", calls, samples), {})
    settings = Genotypes(path="set", reference_genome="GRCh37", min_maf=0.05)
    for number, (size, expected) in enumerate([(0, False), (19, False), (20, True), (300, False)]):
        ancestry = pd.Series(["AFR"] * size + [None] * (400 - size), samples, dtype=object)
        checked = quality_control(
            spark, genotypes, settings, str(tmp_path / str(number)), ancestry=ancestry
        )
        sites = checked.genotypes.sites()
        assert sites["is_candidate"].tolist()[3] == expected, size
        assert not sites["is_common"].tolist()[3]


def test_filter_that_removes_everything_is_named(spark, read, tmp_path):
    settings = Genotypes(path="set", reference_genome="GRCh37", min_sample_call_rate=1.0)
    alike, _ = people(50, 8, seed=4)
    rare = write_plink(tmp_path / "rare", alike // 2, [f"S{i}" for i in range(50)])
    strict = settings.model_copy(update={"min_maf": 0.5})
    with pytest.raises(DataError, match=r"No variant .* 'minor allele frequency ≥ 0\.5'"):
        quality_control(spark, read(rare), strict, str(tmp_path))
    calls = np.full((6, 4), 3, np.int8)
    empty = write_plink(tmp_path / "empty", calls, list("abcd"))
    with pytest.raises(DataError, match=r"No sample .*sample call rate ≥ 1"):
        quality_control(spark, read(empty), settings, str(tmp_path))
