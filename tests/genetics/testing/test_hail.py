"""Hail's regression and the omnibus test against NumPy, statsmodels and plink2."""

import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
import statsmodels.api
from scipy import stats

from ecg_spark.genetics.null_model.phenotypes import rank_inverse_normal
from ecg_spark.genetics.null_model.projection import residuals
from tests.builders.genetics_data import least_squares, people, read_plink, write_plink
from tests.builders.genotype_parts import sites_of, write_set

N, M = 240, 120


@pytest.fixture(scope="module")
def study():
    """Calls with 3 % missing, covariates, two sets of latents and traits with gaps."""
    calls, _ = people(N, M, missing=0.03)
    calls[5] = 1  # does not vary
    rng = np.random.default_rng(3)
    index = [f"S{i:03d}" for i in range(N)]
    covariates = pd.DataFrame(rng.normal(size=(N, 3)), index=index, columns=["age", "sex", "pc_1"])
    latents = rng.normal(size=(N, 4)) @ (np.eye(4) + 0.3)
    latents[:, 0] += 0.4 * np.where(calls[7] == 3, 1, calls[7]) + covariates["age"]
    table = pd.DataFrame(latents, index=index, columns=[f"vae_{i:02d}" for i in range(4)])
    table["pr_ms"] = rng.normal(160, 20, N)
    table["qt_ms"] = rng.normal(400, 30, N)
    table.loc[index[::9], "pr_ms"] = np.nan
    return calls, table.apply(lambda column: rank_inverse_normal(column.to_numpy())), covariates


@pytest.fixture(scope="module")
def genotypes(study, tmp_path_factory):
    calls, table, _ = study
    return write_set(tmp_path_factory.mktemp("association"), calls, table.index, part_variants=40)


def _tested(spark, genotypes, phenotypes, covariates, together, **rest):
    """The results by phenotype, and the omnibus results by group, in the order of the genome."""
    from ecg_spark.genetics.testing.hail import associate

    frame = associate(spark, genotypes, "GRCh37", phenotypes, covariates, together, **rest)
    rows = frame.orderBy("contig", "position").select("results", "omnibus").collect()
    fields = ("beta", "se", "t", "neg_log10_p", "n", "af")
    results = {
        name: pd.DataFrame(
            [[row.results[i][f] for f in fields] for row in rows], columns=fields, dtype=float
        )
        for i, name in enumerate(phenotypes.columns)
    }
    joint = {
        name: pd.DataFrame([row.omnibus[i].asDict() for row in rows])
        for i, name in enumerate(together)
    }
    assert all(row.results[i].phenotype == name for row in rows for i, name in enumerate(results))
    assert all(row.omnibus[i].model == name for row in rows for i, name in enumerate(together))
    return results, joint


@pytest.fixture(scope="module")
def tested(spark, hail, genotypes, study):
    _, table, covariates = study
    together = {"vae": [f"vae_{i:02d}" for i in range(4)]}
    return _tested(spark, genotypes, table, covariates, together)


def test_every_test_agrees_with_least_squares(tested, study):
    calls, table, covariates = study
    x = np.where(calls == 3, np.nan, calls.astype(float))
    for name, found in tested[0].items():
        known = table[name].notna().to_numpy()
        for j in range(M):
            if j == 5:
                assert found.loc[j, ["beta", "se", "neg_log10_p"]].isna().all()
                continue
            y, c = table[name].to_numpy()[known], covariates.to_numpy()[known]
            beta, se, t, df = least_squares(y, x[j, known], c)
            p = 2 * stats.t.sf(abs(t), df)
            expected = [beta, se, t, -np.log10(p), known.sum(), np.nanmean(x[j, known]) / 2]
            assert found.loc[j].to_numpy() == pytest.approx(expected, rel=1e-6)


def test_a_sample_of_variants_agrees_with_statsmodels(tested, study):
    calls, table, covariates = study
    for name in ("vae_00", "pr_ms"):
        known = table[name].notna().to_numpy()
        for j in (0, 7, 31, 64, 119):
            x = np.where(calls[j] == 3, np.nan, calls[j].astype(float))[known]
            x = np.where(np.isnan(x), np.nanmean(x), x)
            design = np.column_stack([x, np.ones(len(x)), covariates[known]])
            fit = statsmodels.api.OLS(table[name].to_numpy()[known], design).fit()
            expected = [fit.params[0], fit.bse[0], fit.tvalues[0], -np.log10(fit.pvalues[0])]
            found = tested[0][name].loc[j, ["beta", "se", "t", "neg_log10_p"]]
            assert found.to_numpy() == pytest.approx(expected, rel=1e-8)


def test_the_omnibus_test_is_the_f_test_of_the_variant_on_all_latents(tested, study):
    calls, table, covariates = study
    y = table[[f"vae_{i:02d}" for i in range(4)]].to_numpy()
    design = np.column_stack([np.ones(N), covariates])
    found = tested[1]["vae"]
    for j in (0, 7, 50, 119):
        x = np.where(calls[j] == 3, np.nan, calls[j].astype(float))
        x = np.where(np.isnan(x), np.nanmean(x), x)

        def sum_of_squares(columns, x=x):
            return np.sum((x - columns @ np.linalg.lstsq(columns, x, rcond=None)[0]) ** 2)

        without, with_latents = sum_of_squares(design), sum_of_squares(np.column_stack([design, y]))
        df2 = N - 4 - 4
        f = (without - with_latents) / 4 / (with_latents / df2)
        expected = -np.log10(stats.f.sf(f, 4, df2))
        assert found.loc[j, "neg_log10_p"] == pytest.approx(expected, rel=1e-6)
        assert found.loc[j, "chi2"] == pytest.approx((N - 4) * (1 - with_latents / without))
        assert found.loc[j, "df"] == 4
    assert np.isnan(found.loc[5, "neg_log10_p"])


def test_results_do_not_depend_on_partitions_or_on_the_order_of_people(
    spark, study, tested, tmp_path
):
    calls, table, covariates = study
    order = np.random.default_rng(1).permutation(N)
    shuffled = write_set(tmp_path, calls[:, order], table.index[order], part_variants=17)
    together = {"vae": [f"vae_{i:02d}" for i in range(4)]}
    again = _tested(
        spark, shuffled, table.iloc[order[::-1]], covariates.iloc[order[::-1]], together
    )
    for name, found in tested[0].items():
        assert again[0][name].to_numpy() == pytest.approx(found.to_numpy(), rel=1e-9, nan_ok=True)
    assert again[1]["vae"]["neg_log10_p"].to_numpy(float) == pytest.approx(
        tested[1]["vae"]["neg_log10_p"].to_numpy(float), rel=1e-9, nan_ok=True
    )


def test_relatives_widen_standard_errors_as_their_residuals_are_alike(
    spark, genotypes, study, tested
):
    _, table, covariates = study
    one, other = table.index[: N // 2], table.index[N // 2 :]
    pairs = pd.DataFrame({"s1": one, "s2": other, "kinship": 0.25})
    pairs.loc[len(pairs)] = ["nobody", one[0], 0.25]  # a relative who is not tested
    name, phenotypes = "vae_00", table[["vae_00"]]
    found = _tested(spark, genotypes, phenotypes, covariates, {}, relatives=pairs)[0][name]
    left = residuals(phenotypes.to_numpy(), covariates.to_numpy())[:, 0]
    factor = np.sqrt(1 + left[: N // 2] @ left[N // 2 :] / (left @ left))
    assert abs(factor - 1) > 1e-3
    alone = tested[0][name]
    for j in (0, 7, 40):
        assert found.loc[j, "beta"] == pytest.approx(alone.loc[j, "beta"])
        assert found.loc[j, "se"] == pytest.approx(alone.loc[j, "se"] * factor)
        p = 2 * stats.t.sf(abs(alone.loc[j, "t"] / factor), N - 5)
        assert found.loc[j, "neg_log10_p"] == pytest.approx(-np.log10(p))


def test_the_omnibus_test_is_calibrated_with_many_latents_and_few_people(spark, hail, tmp_path):
    calls, _ = people(120, 1_500, seed=11)
    rng = np.random.default_rng(12)
    index = [f"S{i}" for i in range(120)]
    latents = rng.normal(size=(120, 20)) @ rng.normal(size=(20, 20))
    table = pd.DataFrame(latents, index=index, columns=[f"vae_{i:02d}" for i in range(20)])
    covariates = pd.DataFrame(rng.normal(size=(120, 2)), index=index, columns=["age", "sex"])
    genotypes = write_set(tmp_path, calls, index, part_variants=750)
    _, joint = _tested(spark, genotypes, table, covariates, {"vae": list(table.columns)})
    p = 10 ** -joint["vae"]["neg_log10_p"].to_numpy(float)
    assert stats.kstest(p, "uniform").pvalue > 1e-3
    assert 0.8 < stats.chi2.isf(np.median(p), 1) / stats.chi2.ppf(0.5, 1) < 1.25


@pytest.mark.skipif(shutil.which("plink2") is None, reason="plink2 is not installed")
def test_results_agree_with_plink2_on_real_genotypes(spark, hail, shared_data, tmp_path):
    stem = shared_data / "genotypes/1kg-eur-chr22/1000G_eur_chr22"
    values, bim, samples = read_plink(stem)
    complete = np.flatnonzero(~np.isnan(values).any(axis=1))
    values, bim = values[complete][::8], bim.iloc[complete].iloc[::8]
    write_plink(tmp_path / "part", values.astype(np.int8), samples, bim.contig, bim.position)
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(len(samples), 2)), index=samples, columns=["y1", "y2"])
    table["y1"] += 1.5 * values[100]
    covariates = pd.DataFrame(
        rng.normal(size=(len(samples), 3)), index=samples, columns=["a", "b", "c"]
    )
    for name, frame in (("pheno", table), ("covar", covariates)):
        frame.rename_axis("#IID").to_csv(tmp_path / f"{name}.txt", sep="\t", float_format="%.17g")
    subprocess.run(
        f"plink2 --bfile {tmp_path}/part --pheno {tmp_path}/pheno.txt "
        f"--covar {tmp_path}/covar.txt --glm hide-covar omit-ref log10 cols=+beta,+a1freq "
        f"--threads 1 --out {tmp_path}/oracle".split(),
        check=True,
        capture_output=True,
    )
    sites = sites_of(bim.contig.astype(str).tolist(), bim.position.to_numpy())
    genotypes = write_set(tmp_path / "parts", values, samples, sites, 500)
    results, _ = _tested(spark, genotypes, table, covariates, {})
    for name in ("y1", "y2"):
        oracle = pd.read_csv(tmp_path / f"oracle.{name}.glm.linear", sep="\t")
        assert (oracle["A1"] == "A").all()
        # plink2 prints six digits.
        for ours, theirs in [("beta", "BETA"), ("se", "SE"), ("neg_log10_p", "LOG10_P")]:
            assert results[name][ours].to_numpy() == pytest.approx(
                oracle[theirs].to_numpy(), rel=2e-5, abs=2e-6
            )
        assert results[name]["af"].to_numpy() == pytest.approx(oracle["A1_FREQ"], rel=1e-5)
    assert results["y1"]["neg_log10_p"].max() > 20
