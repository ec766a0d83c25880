"""Summary statistics for exchange, from tests however they are spread over tasks."""

import gzip
import re

import numpy as np
import pandas as pd
import pysam
import pytest

from ecg_spark.genetics.outputs import sumstats
from ecg_spark.genetics.testing.results import TESTS

PHENOTYPES = ("qt_ms", "vae_00", "vae_01")
M = 900
CONTEXT = sumstats.Context("GRCh38", ["age"], 0.01, "blocks")


@pytest.fixture(scope="module")
def tested(spark):
    """Tests of variants in no order, with all that a set may hold."""
    rng = np.random.default_rng(4)
    rows, positions = [], rng.permutation(np.arange(1, 16_000))
    for i in range(M):
        ref, alt = [("A", "g"), ("AT", "A"), ("C", "*"), ("N", "T"), ("G", "<DEL>")][
            rng.choice(5, p=[0.6, 0.3, 0.04, 0.03, 0.03])
        ]
        results = [
            (name, *_numbers(rng), 300 - k, rng.uniform(0, 1), *_quality(np.random.default_rng(i)))
            for k, name in enumerate(PHENOTYPES)
        ]
        # As in a set of people without a phenotype: no test of it, but its size is known.
        results[0] = ("qt_ms", None, None, None, None, 300, *[None] * 5)
        contig = str(rng.choice(["chr1", "chr10", "chr2", "chrX", "chrM"]))
        rsid = [f"rs{i}", f"snp \t{i}", None, " "][i % 4]
        rows.append((contig, int(positions[i]), ref, alt, rsid, results, [], []))
    return spark.createDataFrame(rows, TESTS).repartition(5)


def _numbers(rng):
    if rng.random() < 0.1:
        return None, None, None, None
    t = rng.normal() * 4
    se = rng.uniform(1e-6, 2)
    return t * se, se, t, abs(t)


def _quality(rng):
    """Alleles, call rate, imputation quality (unknown where nothing varies) and Hardy-Weinberg."""
    info = None if rng.random() < 0.1 else rng.uniform(0.3, 1.2)
    return rng.uniform(0, 600), rng.uniform(0.9, 1), info, rng.uniform(0, 8)


@pytest.fixture(scope="module")
def exported(tested, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sumstats")
    names = sumstats.export_sumstats(tested, M, len(PHENOTYPES), str(folder), CONTEXT)
    assert names == [f"{name}.tsv.gz" for name in PHENOTYPES]
    return folder


def _expected(tested, phenotype):
    """What the files of a phenotype tell, by pandas."""
    chromosomes = {"chr1": 1, "chr10": 10, "chr2": 2, "chrX": 23, "chrM": 25}
    rows = []
    for row in tested.collect():
        one = next(one for one in row["results"] if one["phenotype"] == phenotype)
        alleles = row["ref"].upper(), row["alt"].upper()
        if one["neg_log10_p"] is None or not all(re.fullmatch("[ACGT]+", a) for a in alleles):
            continue
        rows.append((chromosomes[row["contig"]], row["position"], alleles[1], alleles[0],
                     one["beta"], one["se"], one["af"], one["neg_log10_p"], row["rsid"], one["n"],
                     one["t"], one["alleles"], one["call_rate"], one["info"],
                     one["hwe_neg_log10_p"]))  # fmt: skip
    names = ["chromosome", "position", "alt", "ref", "beta", "se", "af", "p", "rsid", "n", "t",
             "alleles", "call_rate", "info", "hwe"]  # fmt: skip
    found = pd.DataFrame(rows, columns=names)
    return found.sort_values(names[:4]).reset_index(drop=True)


@pytest.mark.parametrize("phenotype", PHENOTYPES)
def test_every_test_with_a_result_is_told_once_in_both_formats(tested, exported, phenotype):
    expected = _expected(tested, phenotype)
    ours = pd.read_csv(exported / f"{phenotype}.tsv.gz", sep="\t", na_values="#NA")
    theirs = pd.read_csv(exported / f"regenie/{phenotype}.regenie.gz", sep=" ")
    assert len(expected) == len(ours) == len(theirs)
    assert len(expected) > M / 2 or phenotype == "qt_ms"
    for column, name in (("chromosome", "CHROM"), ("position", "GENPOS"), ("alt", "ALLELE1"),
                         ("ref", "ALLELE0"), ("n", "N")):  # fmt: skip
        own = {"position": "base_pair_location", "alt": "effect_allele", "ref": "other_allele"}
        assert theirs[name].tolist() == expected[column].tolist()
        assert ours[own.get(column, column)].tolist() == expected[column].tolist()
    for column, own, name in (("beta", "beta", "BETA"), ("se", "standard_error", "SE"),
                              ("af", "effect_allele_frequency", "A1FREQ"),
                              ("p", "neg_log_10_p_value", "LOG10P")):  # fmt: skip
        assert ours[own].to_numpy(float) == pytest.approx(expected[column].to_numpy(), rel=1e-6)
        assert theirs[name].to_numpy(float) == pytest.approx(expected[column].to_numpy(), rel=1e-6)
    assert theirs["CHISQ"].to_numpy(float) == pytest.approx(expected["t"].to_numpy() ** 2, rel=1e-6)
    for column, own in (("alleles", "effect_allele_count"), ("call_rate", "call_rate"),
                        ("info", "info"), ("hwe", "hwe_neg_log_10_p_value")):  # fmt: skip
        known = expected[column].astype(float).clip(upper=1 if column == "info" else None)
        assert ours[own].to_numpy(float) == pytest.approx(known.to_numpy(), rel=1e-6, nan_ok=True)
        if column == "info":
            told = theirs["INFO"].to_numpy(float)
        else:
            name = {"alleles": "A1_COUNT", "call_rate": "CALL_RATE", "hwe": "HWE_LOG10P"}[column]
            told = theirs["EXTRA"].str.extract(rf"(?:^|;){name}=([^;]+)")[0].to_numpy(float)
        assert told == pytest.approx(known.to_numpy(), rel=1e-6, nan_ok=True)
    named = expected["rsid"].fillna("").str.fullmatch("rs[0-9]+").astype(bool)
    assert (ours["rsid"].isna() == ~named).all()
    assert (ours["rsid"][named] == expected["rsid"][named]).all()
    places = expected[["chromosome", "position", "ref", "alt"]].astype(str).to_numpy()
    assert ours["variant_id"].tolist() == ["_".join(one) for one in places]


def test_the_names_that_regenie_tells_are_one_word(tested, exported):
    with gzip.open(exported / "regenie/vae_00.regenie.gz", "rt") as file:
        assert {len(line.split()) for line in file} == {len(sumstats.REGENIE)}


def test_how_tests_are_spread_changes_no_file(tested, exported, tmp_path, monkeypatch):
    monkeypatch.setattr(sumstats, "PIECE_TESTS", 300)
    again = tested.orderBy("position").repartition(3)
    sumstats.export_sumstats(again, M, len(PHENOTYPES), str(tmp_path), CONTEXT)
    for path in exported.rglob("*.gz"):
        other = tmp_path / path.relative_to(exported)
        assert gzip.decompress(path.read_bytes()) == gzip.decompress(other.read_bytes())
    assert not list(tmp_path.glob(".*"))
    for name in PHENOTYPES[1:]:
        expected = _expected(tested, name)
        with pysam.TabixFile(str(tmp_path / f"{name}.tsv.gz")) as file:
            for chromosome, start, end in ((1, 1, 16_000), (23, 3_000, 9_000), (25, 500, 2_500)):
                own = expected[
                    (expected["chromosome"] == chromosome)
                    & expected["position"].between(start, end)
                ]
                found = [
                    int(line.split("\t")[1]) for line in file.fetch(str(chromosome), start - 1, end)
                ]
                assert found == own["position"].tolist() != []
