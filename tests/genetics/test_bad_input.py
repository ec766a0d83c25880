"""What bad genotypes, phenotypes and covariates get: an error or a told repair, before the work."""

import gzip
import struct
import zlib

import numpy as np
import pandas as pd
import pytest

from ecg_spark.errors import DataError
from ecg_spark.genetics.genotypes.reading import import_genotypes
from ecg_spark.genetics.people.matching import contradicts
from ecg_spark.genetics.prepare import prepare_genotypes
from ecg_spark.participants import read_sex
from ecg_spark.study import Genotypes, Gwas, Participants
from tests.builders.association_study import run_gwas
from tests.builders.genetics_data import people, write_plink

N, M, ON_X = 150, 700, 260
SAMPLES = [f"P{i:03d}" for i in range(N)]


def _bgen(path, bits=8, layout=2, position=1_000, people=(2, 2, 2, 2), cut=0):
    """A BGEN of one variant of four people, with their numbers of alleles."""
    people_in_it = 4
    body = struct.pack("<IHBB", people_in_it, 2, min(people), max(people)) + bytes(people)
    body += bytes([0, bits]) + b"\x00" * (sum(people) * bits // 8)
    packed = zlib.compress(body)
    text = b"".join(struct.pack("<H", len(one)) + one for one in (b"v", b"rs1", b"1"))
    alleles = b"".join(struct.pack("<I", 1) + one for one in (b"A", b"G"))
    path.write_bytes(
        struct.pack("<IIII4sI", 20, 20, 1, people_in_it, b"bgen", 1 | layout << 2)
        + text + struct.pack("<IH", position, 2) + alleles
        + struct.pack("<II", len(packed) + 4, len(body)) + packed
    )  # fmt: skip
    if cut:
        path.write_bytes(path.read_bytes()[:-cut])
    path.with_suffix(".sample").write_text(
        "ID_1 ID_2 missing\n0 0 0\n" + "".join(f"{s} {s} 0\n" for s in "abcd")
    )


def _plink(path, samples=None, **options):
    calls, _ = people(4, 3)
    write_plink(path.with_suffix(""), calls, samples or list("abcd"), **options)


def _vcf(path, contig="1", length=249_250_621):
    lines = ["##fileformat=VCFv4.2", '##FORMAT=<ID=GT,Number=1,Type=String,Description="call">',
             f"##contig=<ID={contig},length={length}>",
             "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tsecret",
             f"{contig}\t5000\trs1\tA\tG\t.\t.\t.\tGT\t0/1"]  # fmt: skip
    path.write_bytes(gzip.compress("\n".join([*lines, ""]).encode()))


@pytest.mark.parametrize(
    ("name", "write", "outcome"),
    [
        ("a.bed", lambda p: _plink(p, positions=[1, 2, 249_000_000]), "lie on another build"),
        ("b.bed", lambda p: _plink(p, contigs=["chr1"] * 3), None),
        ("c.bed", lambda p: _plink(p, samples=["x", "x", "y", "z"]), "more than once|once each"),
        ("d.bgen", lambda p: _bgen(p, bits=16), None),
        (
            "d.bgen",
            lambda p: _bgen(p, people=[2, 3, 2, 2]),
            "people who have more than two alleles",
        ),
        ("d.bgen", lambda p: _bgen(p, cut=5), "is cut short"),
        ("e.bgen", lambda p: _bgen(p, layout=1), "BGEN of layout 1, not 2"),
        ("f.bgen", lambda p: _bgen(p, position=249_000_000), "lie on another build"),
        ("g.bgen", _bgen, None),  # without an index
        ("h.vcf.gz", _vcf, "lie on another build"),
        ("i.vcf.gz", lambda p: _vcf(p, "chr1", 248_956_422), None),
        ("j.vcf.gz", lambda p: _vcf(p, "1", 248_956_422), None),
    ],
)
def test_genotypes_are_refused_or_read(spark, hail, tmp_path, name, write, outcome):
    """On GRCh38, whose chromosome 1 ends at 248,956,422."""
    write(tmp_path / name)
    if outcome is None:
        path = str(tmp_path / name)
        found = import_genotypes(spark, path, "GRCh38", str(tmp_path / "scratch"), 2)
        assert set(found.genotypes.sites()["contig"]) == {"chr1"}
    else:
        with pytest.raises(DataError, match=outcome) as caught:
            import_genotypes(spark, str(tmp_path / name), "GRCh38", str(tmp_path / "scratch"), 2)
        assert "secret" not in str(caught.value)


@pytest.fixture(scope="module")
def prepared(spark, tmp_path_factory):
    """People of two sexes with an X chromosome; who is a man."""
    folder = tmp_path_factory.mktemp("sexes")
    calls, _ = people(N, M, seed=3)
    rng = np.random.default_rng(4)
    is_man = rng.random(N) < 0.5
    calls[-ON_X:, is_man] = 2 * (calls[-ON_X:, is_man] > rng.integers(0, 2, (ON_X, is_man.sum())))
    contigs = ["1"] * (M - ON_X) + ["23"] * ON_X
    path = write_plink(folder / "set", calls, SAMPLES, contigs, 5_000_000 + 9_000 * np.arange(M))
    settings = Genotypes(path=path, reference_genome="GRCh37", components=0)
    summary = prepare_genotypes(spark, settings, path, str(folder / "out"), 1)
    return settings, str(folder / "out"), summary, pd.Series(is_man * 1.0, SAMPLES)


def test_the_x_chromosome_tells_the_sex(prepared):
    _, folder, summary, is_man = prepared
    assert not any("check anybody's sex" in note for note in summary["notes"])
    scores = pd.read_parquet(f"{folder}/scores").set_index("s")
    assert (scores.loc[SAMPLES, "x_f"] > 0.5).tolist() == (is_man == 1).tolist()
    assert not contradicts(scores["x_f"], is_man).any()
    assert contradicts(scores["x_f"], 1 - is_man).mean() > 0.9
    assert not contradicts(scores["x_f"], is_man * np.nan).any()


def _tested(spark, prepared, folder, phenotypes, covariates, is_male=None):
    settings, genotypes, _, _ = prepared
    groups = {"traits": list(phenotypes.columns)}
    return run_gwas(spark, genotypes, phenotypes, groups, covariates, settings,
                    Gwas(engine="blocks"), str(folder), 1, is_male=is_male)  # fmt: skip


def test_repairs_of_covariates_phenotypes_and_sex_are_in_the_notes(spark, prepared, tmp_path):
    rng = np.random.default_rng(5)
    phenotypes = pd.DataFrame(rng.normal(size=(N, 3)), SAMPLES, ["whole", "flat", "gaps"])
    phenotypes["flat"] = 2.0
    phenotypes.loc[SAMPLES[::3], "gaps"] = np.nan
    covariates = pd.DataFrame({"age": rng.normal(60, 8, N), "sex": prepared[3]}, SAMPLES)
    covariates["months"] = 12 * covariates["age"]
    reported = prepared[3].copy()
    reported.iloc[:4] = 1 - reported.iloc[:4]
    summary = _tested(spark, prepared, tmp_path, phenotypes, covariates, reported)
    notes = "; ".join(summary["notes"])
    assert "the covariate months follows from those before it" in notes
    assert "the phenotype flat is constant" in notes
    assert {one["filter"]: one["samples"] for one in summary["people"]} == {
        "in the checked genotype set": N,
        "heterozygosity within 6 standard deviations of what the components predict": N,
        "paired with a participant": N,
        "reported sex agrees with the X chromosome": N - 4,
        "every covariate": N - 4,
        "no close relative kept": N - 4,
        "in the participant table": N,
        "a phenotype that is tested": N - 4,
    }
    found = (
        pd.read_parquet(tmp_path / "associations/associations").groupby("phenotype")["n"].unique()
    )
    assert found["whole"].tolist() == [N - 4]
    assert found["gaps"].tolist() == [int(phenotypes["gaps"].iloc[4:].notna().sum())]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y, c: (y, c.join(pd.DataFrame(np.random.default_rng(1).normal(size=(N, N)),
                                              SAMPLES).add_prefix("c"))),
         "No phenotype can be tested"),
        (lambda y, c: (y * 0 + 1, c), "is constant and is left out"),
        (lambda y, c: (y.set_axis([SAMPLES[0]] * 2 + SAMPLES[2:]), c), "occur more than once"),
        (lambda y, c: (y, c * np.nan), "No sample has a value of every covariate"),
        (lambda y, c: (y.set_axis([f"E{s}" for s in SAMPLES]), c), "the ids differ"),
    ],
)  # fmt: skip
def test_phenotypes_and_covariates_that_cannot_be_tested_are_refused(
    spark, prepared, tmp_path, change, message
):
    rng = np.random.default_rng(5)
    phenotypes = pd.DataFrame({"y": rng.normal(size=N)}, SAMPLES)
    covariates = pd.DataFrame({"age": rng.normal(60, 8, N)}, SAMPLES)
    with pytest.raises(DataError, match=message):
        _tested(spark, prepared, tmp_path, *change(phenotypes, covariates))
    assert not list(tmp_path.iterdir())


def test_sex_is_read_in_every_known_coding(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text("eid,gender\n1,M\n2,female\n3,0\n4,1.0\n5,2\n6,?\n")
    found = read_sex(Participants(path=str(path), id="eid", sex="gender"), str(path))
    assert found.to_dict() == pytest.approx(
        {"1": 1, "2": 0, "3": np.nan, "4": 1, "5": 0, "6": np.nan}, nan_ok=True
    )  # 0 is nobody's sex where 2 is a woman's
    assert read_sex(Participants(path=str(path), id="eid"), str(path)) is None
