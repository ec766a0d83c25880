"""Tests in blocks of a set in parts against those of Hail and plink2, for every field."""

import shutil
import subprocess

import numpy as np
import pandas as pd
import pgenlib
import pytest

from ecg_spark.genetics.genotypes.rows import SCALE
from ecg_spark.genetics.null_model.loco import Loco, write_loco
from ecg_spark.genetics.testing.blocks import associate
from ecg_spark.study import Genotypes
from tests.builders.genetics_data import people, write_plink
from tests.builders.genotype_parts import sites_of, write_set

N, M = 240, 90
VARIANT = ["contig", "position", "ref", "alt", "rsid"]
TOGETHER = {"vae": [f"vae_{i:02d}" for i in range(4)]}
SITES = sites_of(["1"] * 40 + ["2"] * 20 + ["X"] * 30, 3_000_000 + 10_000 * np.arange(M))


THRESHOLDS = Genotypes(
    path="set.bed", min_maf=0.01, min_mac=8, min_variant_call_rate=0.9, min_hwe_p=1e-6,
    min_info=0.3,
)  # fmt: skip


@pytest.fixture(scope="module")
def study():
    """Genotypes with 3 % missing, some rare or constant, a third of them dosages, on two
    chromosomes and X, where men have 0 or 2; covariates, latents and traits with gaps of their own,
    and brothers."""
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
    values = np.where(calls == 3, np.nan, calls.astype(float))
    doubt = np.where(np.arange(M) % 3 == 1, rng.uniform(0, 0.6, M), 0)[:, None]
    values += doubt * (rng.uniform(0, 2, values.shape) - values)
    values[22] = 0.5
    values[25] = np.nanmean(values[25]) + 0.05 * (values[25] - np.nanmean(values[25]))
    values[28] = np.where(rng.random(N) < 0.01, 0.9, 0.0)
    values[31] = np.where(men, 1.5, 0.25)  # as the covariate does
    values[34] = np.nan
    values = np.rint(values * SCALE) / SCALE
    latents = rng.normal(size=(N, 4)) @ (np.eye(4) + 0.3) + covariates[["age"]].to_numpy()
    table = pd.DataFrame(latents, index, TOGETHER["vae"])
    table.insert(1, "pr_ms", rng.normal(size=N))
    table["qt_ms"] = rng.normal(size=N) + 0.3 * np.where(calls[9] == 3, 1, calls[9])
    table.loc[index[::9], "pr_ms"] = np.nan
    table.loc[index[::5], "qt_ms"] = np.nan
    relatives = pd.DataFrame({"s1": index[:40:2], "s2": index[1:41:2], "kinship": 0.25})
    return values, table, covariates, relatives


@pytest.fixture(scope="module")
def genotypes(study, tmp_path_factory):
    """The set in parts of 35 variants, of which one is of two chromosomes and one of three."""
    values, table, _, _ = study
    return write_set(tmp_path_factory.mktemp("blocks"), values, table.index, SITES, 35)


@pytest.fixture(scope="module")
def offsets(study, tmp_path_factory):
    """What the other chromosomes predict, of chromosomes 1 and 2; X has the sum of both."""
    _, table, _, _ = study
    folder = tmp_path_factory.mktemp("loco")
    rng = np.random.default_rng(8)
    samples = table.index[rng.permutation(N)]
    names = tuple(table.columns)
    files = tuple(str(folder / f"{name}.loco") for name in names)
    lines = []
    for file in files:
        first, second = rng.normal(0, 0.5, (2, N)).astype(np.float32)
        lines.append(write_loco(file, samples, {"1": second, "2": first, "23": first + second}))
    scales = (1.0,) * len(names)
    return Loco(files, tuple(lines), np.arange(N), samples, names, scales, ("1", "2"), {})


def _records(rows):
    return {tuple(row[name] for name in VARIANT): row.asDict(recursive=True) for row in rows}


@pytest.mark.parametrize("analysed", [slice(None), slice(0, 210), slice(0, 110)])
def test_every_field_is_that_of_hail(spark, hail, study, genotypes, analysed):
    from ecg_spark.genetics.testing import hail as by_hail

    _, table, covariates, relatives = study
    order = np.random.default_rng(1).permutation(len(table))
    table, covariates = table.iloc[order][analysed], covariates.iloc[order][analysed]
    rest = {"together": TOGETHER, "relatives": relatives, "thresholds": THRESHOLDS}
    expected = by_hail.associate(spark, genotypes, "GRCh37", table, covariates, **rest)
    found = associate(spark, genotypes, table, covariates, **rest)
    assert found.schema == expected.schema
    found, expected = _records(found.collect()), _records(expected.collect())
    assert found.keys() == expected.keys() == set(SITES[VARIANT].itertuples(index=False, name=None))
    reasons = {reason for one in expected.values() for reason in one["failed"]}
    assert len(reasons) >= 6  # and none for most
    for key, one in expected.items():
        own = found[key]
        assert own["failed"] == one["failed"]
        for field in ("results", "omnibus"):
            for left, right in zip(own[field], one[field], strict=True):
                assert left.keys() == right.keys()
                for name, value in right.items():
                    if isinstance(value, float):
                        assert left[name] == pytest.approx(value, rel=1e-6, abs=1e-9), name
                    else:
                        assert left[name] == value, name


@pytest.mark.parametrize("analysed", [slice(0, 210), slice(0, 110)])
def test_what_other_chromosomes_predict_is_subtracted_before_the_tests(
    spark, study, genotypes, offsets, analysed
):
    _, table, covariates, relatives = study
    order = np.random.default_rng(1).permutation(len(table))
    table, covariates = table.iloc[order][analysed], covariates.iloc[order][analysed]
    rest = {"together": TOGETHER, "relatives": relatives, "thresholds": THRESHOLDS}
    found = associate(spark, genotypes, table, covariates, offsets=offsets, **rest)
    found = _records(found.collect())
    assert len(found) == M
    for contig in SITES["contig"].unique():
        part = genotypes.only((SITES["contig"] == contig).to_numpy())
        left = table - offsets.without(contig).loc[table.index, table.columns]
        expected = _records(associate(spark, part, left, covariates, **rest).collect())
        assert any(one["results"][0]["beta"] is not None for one in expected.values())
        for key, one in expected.items():
            assert found[key] == one


def test_without_thresholds_no_variant_fails_any(spark, hail, study, genotypes):
    from ecg_spark.genetics.testing import hail as by_hail

    _, table, covariates, _ = study
    some = genotypes.only(np.arange(M) % 3 > 0)
    expected = by_hail.associate(spark, some, "GRCh37", table[["pr_ms"]], covariates, {})
    found = associate(spark, some, table[["pr_ms"]], covariates, {})
    found, expected = _records(found.collect()), _records(expected.collect())
    assert found.keys() == expected.keys()
    without = set()
    for key, one in expected.items():
        own = found[key]
        assert own["failed"] == one["failed"] == [None]
        assert own["omnibus"] == one["omnibus"] == []
        if one["results"][0]["beta"] is None:
            assert own["results"][0]["beta"] is None
            without.add(own["rsid"])
        else:
            assert own["results"][0]["beta"] == pytest.approx(one["results"][0]["beta"], rel=1e-6)
    assert without == {"rs6", "rs23", "rs32", "rs35"}


def test_results_do_not_depend_on_how_variants_are_divided(
    spark, study, genotypes, offsets, tmp_path
):
    values, table, covariates, _ = study
    chosen = np.isin(np.arange(M), [0, 1, 7, 30, 40, 41, 59, 60, 88])
    rest = (table, covariates, TOGETHER, offsets)
    whole = associate(spark, genotypes.only(chosen), *rest).collect()
    divided = write_set(tmp_path, values[chosen], table.index, SITES[chosen], 3)
    parts = associate(spark, divided, *rest).collect()
    assert len(whole) == len(parts) == chosen.sum()
    parts, whole = _records(parts), _records(whole)
    for key, one in whole.items():
        assert parts[key]["failed"] == one["failed"]
        for left, right in zip(parts[key]["results"], one["results"], strict=True):
            assert left.pop("phenotype") == right.pop("phenotype")
            assert left == pytest.approx(right, rel=1e-9)


def test_people_who_are_not_in_the_set_are_refused(spark, study, genotypes):
    _, table, covariates, _ = study
    stranger = table.rename(index={"S007": "nobody"})
    with pytest.raises(ValueError, match="1 samples are not in the genotype set"):
        associate(spark, genotypes, stranger, covariates.set_axis(stranger.index), {})


@pytest.mark.skipif(shutil.which("plink2") is None, reason="plink2 is not installed")
@pytest.mark.parametrize("kind", ["calls", "dosages"])
def test_tests_without_missing_genotypes_agree_with_plink2(spark, study, tmp_path, kind):
    values, table, covariates, _ = study
    # plink2 leaves out who lacks a genotype, where we take the mean.
    values = np.nan_to_num(values[:60])
    stem = tmp_path / "set"
    if kind == "calls":
        values = np.rint(values)
        write_plink(stem, values.astype(np.int8), table.index)
    else:
        _write_pgen(stem, values, table.index)
    found = associate(
        spark, write_set(tmp_path / "parts", values, table.index), table, covariates, {}
    ).toPandas()
    for name, frame in (("pheno", table), ("covar", covariates)):
        frame.rename_axis("IID").reset_index().to_csv(
            tmp_path / f"{name}.txt", sep="\t", index=False, na_rep="NA"
        )
    command = (
        f"plink2 --{'bfile' if kind == 'calls' else 'pfile'} {stem} --pheno {tmp_path}/pheno.txt "
        f"--covar {tmp_path}/covar.txt --threads 1 "
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


def _write_pgen(stem, values, samples):
    with pgenlib.PgenWriter(
        f"{stem}.pgen".encode(), len(samples), variant_ct=len(values),
        nonref_flags=False, dosage_present=True,
    ) as writer:  # fmt: skip
        for row in values:
            writer.append_dosages(np.ascontiguousarray(row))
    sites = sites_of(["1"] * len(values))[["contig", "position", "rsid", "ref", "alt"]]
    lines = ["#CHROM\tPOS\tID\tREF\tALT", *("\t".join(map(str, one)) for one in sites.to_numpy())]
    stem.with_suffix(".pvar").write_text("\n".join([*lines, ""]))
    stem.with_suffix(".psam").write_text("#IID\n" + "".join(f"{one}\n" for one in samples))
