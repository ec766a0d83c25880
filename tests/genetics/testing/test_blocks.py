"""Tests in blocks of packed calls against those of Hail, for every field."""

import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest

from ecg_spark.genetics.genotypes.packed import read_packed
from ecg_spark.genetics.testing.blocks import associate
from ecg_spark.study import Genotypes
from tests.builders.genetics_data import people, write_plink

N, M = 240, 90
VARIANT = ["contig", "position", "ref", "alt", "rsid"]


@pytest.fixture(scope="module")
def study():
    """Calls with 3 % missing, some rare or constant, on two chromosomes and X, where men have 0 or
    2; covariates, latents and traits with gaps of their own, and brothers."""
    calls, _ = people(N, M, missing=0.03)
    rng = np.random.default_rng(3)
    calls[5] = 1
    calls[6] = 0
    calls[6, :3] = 1
    calls[7, calls[7] == 2] = 1  # an excess of heterozygotes
    calls[8, ::3] = 3
    men = rng.random(N) < 0.5
    calls[60:] = np.where(men & (calls[60:] == 1), 2, calls[60:])
    index = [f"S{i:03d}" for i in range(N)]
    covariates = pd.DataFrame(
        {"age": rng.normal(size=N), "sex": men * 1.0, "pc_1": rng.normal(size=N)}, index
    )
    latents = rng.normal(size=(N, 4)) @ (np.eye(4) + 0.3) + covariates[["age"]].to_numpy()
    table = pd.DataFrame(latents, index, [f"vae_{i:02d}" for i in range(4)])
    table.insert(1, "pr_ms", rng.normal(size=N))
    table["qt_ms"] = rng.normal(size=N) + 0.3 * np.where(calls[9] == 3, 1, calls[9])
    table.loc[index[::9], "pr_ms"] = np.nan
    table.loc[index[::5], "qt_ms"] = np.nan
    relatives = pd.DataFrame({"s1": index[:40:2], "s2": index[1:41:2], "kinship": 0.25})
    return calls, table, covariates, relatives


@pytest.fixture(scope="module")
def stem(study, tmp_path_factory):
    calls, table, _, _ = study
    stem = tmp_path_factory.mktemp("blocks") / "set"
    contigs = ["1"] * 40 + ["2"] * 20 + ["X"] * 30
    positions = 3_000_000 + 10_000 * np.arange(M)
    write_plink(stem, calls, table.index, contigs, positions)
    return stem


def _records(rows):
    return {tuple(row[name] for name in VARIANT): row.asDict(recursive=True) for row in rows}


@pytest.mark.parametrize("analysed", [slice(None), slice(0, 210), slice(0, 110)])
def test_every_field_is_that_of_hail(spark, hail, study, stem, analysed, tmp_path):
    from ecg_spark.genetics.genotypes.reading import import_genotypes
    from ecg_spark.genetics.testing import hail as by_hail

    _, table, covariates, relatives = study
    order = np.random.default_rng(1).permutation(len(table))
    table, covariates = table.iloc[order][analysed], covariates.iloc[order][analysed]
    together = {"vae": [f"vae_{i:02d}" for i in range(4)]}
    thresholds = Genotypes(
        path="set.bed", min_maf=0.01, min_mac=8, min_variant_call_rate=0.9, min_hwe_p=1e-6
    )
    rest = (table, covariates, together)
    genotypes = import_genotypes(f"{stem}.bed", "GRCh37", str(tmp_path), 2)
    expected = by_hail.associate(
        spark, genotypes, *rest, str(tmp_path), None, relatives, thresholds
    )
    packed = read_packed(str(stem))
    found = associate(spark, packed, np.arange(M), *rest, None, relatives, thresholds)
    found, expected = _records(found.collect()), _records(by_hail.wide_rows(expected).collect())
    assert found.keys() == expected.keys()
    reasons = {reason for one in expected.values() for reason in one["failed"]}
    assert len(reasons) >= 4  # and none for most
    for key, one in expected.items():
        own = found[key]
        assert own["failed"] == one["failed"]
        for field in ("results", "omnibus"):
            for left, right in zip(own[field], one[field], strict=True):
                assert left.keys() >= right.keys()
                for name, value in right.items():
                    if isinstance(value, float):
                        assert left[name] == pytest.approx(value, rel=1e-6, abs=1e-9), name
                    else:
                        assert left[name] == value, name


def test_results_do_not_depend_on_how_variants_are_divided(spark, study, stem, monkeypatch):
    _, table, covariates, _ = study
    packed = read_packed(str(stem))
    chosen = np.array([0, 1, 7, 30, 41, 59, 60, 88])
    whole = associate(spark, packed, chosen, table, covariates, {}).collect()
    monkeypatch.setattr("ecg_spark.genetics.testing.blocks.TASK_VARIANTS", 3)
    parts = associate(spark, packed, chosen, table, covariates, {}).collect()
    assert len(whole) == len(parts) == len(chosen)
    parts, whole = _records(parts), _records(whole)
    for key, one in whole.items():
        assert parts[key]["failed"] == one["failed"]
        for left, right in zip(parts[key]["results"], one["results"], strict=True):
            assert left.pop("phenotype") == right.pop("phenotype")
            assert left == pytest.approx(right, rel=1e-9)


@pytest.mark.skipif(shutil.which("plink2") is None, reason="plink2 is not installed")
def test_tests_of_complete_calls_agree_with_plink2(spark, study, tmp_path):
    calls, table, covariates, _ = study
    stem = tmp_path / "set"  # plink2 leaves out who lacks a call, where we take the mean
    write_plink(stem, np.where(calls == 3, 0, calls)[:60], table.index)
    found = associate(
        spark, read_packed(str(stem)), np.arange(60), table, covariates, {}
    ).toPandas()
    for name, frame in (("pheno", table), ("covar", covariates)):
        frame.rename_axis("IID").reset_index().to_csv(
            tmp_path / f"{name}.txt", sep="\t", index=False, na_rep="NA"
        )
    command = (
        f"plink2 --bfile {stem} --pheno {tmp_path}/pheno.txt --covar {tmp_path}/covar.txt "
        f"--glm hide-covar omit-ref allow-no-covars --covar-variance-standardize "
        f"--out {tmp_path}/out"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    compared = 0
    for place, name in enumerate(table.columns):
        plink = pd.read_csv(tmp_path / f"out.{name}.glm.linear", sep="\t").set_index("ID")
        for _, row in found.iterrows():
            one, own = plink.loc[row["rsid"]], row["results"][place]
            if np.isnan(one["BETA"]) or own["beta"] is None:
                assert np.isnan(one["BETA"]), "plink2 has a result and we have none"
                continue
            numbers = [own["beta"], own["se"], own["t"], own["neg_log10_p"]]
            expected = [one["BETA"], one["SE"], one["T_STAT"], -np.log10(one["P"])]
            assert numbers == pytest.approx(expected, rel=2e-5, abs=1e-6)  # of six digits of p
            compared += 1
    assert compared > 300
