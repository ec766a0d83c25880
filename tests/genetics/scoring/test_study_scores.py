"""Polygenic scores of a study: what theory expects, who knows whom, and plink2's sums."""

import gzip
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest

from ecg_spark.genetics.gwas import VARIANTS
from ecg_spark.genetics.null_model.cohort import save_cohort
from ecg_spark.genetics.outputs.tables import RELATIVES
from ecg_spark.genetics.scoring.accuracy import expected_r2
from ecg_spark.genetics.scoring.applying import apply_files
from ecg_spark.genetics.scoring.study import score_study
from ecg_spark.study import Genotypes
from ecg_spark.tables import write_rows
from tests.builders.genetics_data import cohort_of, people, write_plink
from tests.builders.genotype_parts import sites_of, write_set

N, OUTSIDE, M, H2 = 1_500, 200, 1_500, 0.4
CHILDREN, PARENTS = 100, 100
TRAITS = [f"trait_{k}" for k in range(5)]
NAMES = [*TRAITS, "noise"]
SETTINGS = Genotypes(path="x", pairing="random")


@pytest.fixture(scope="module")
def study(spark, tmp_path_factory):
    """Of 1,500 people analysed 50 are children of two of the first 100, and so are 50 of 200 others
    who are not. Every variant acts on every trait, beside an age that is a covariate."""
    folder = tmp_path_factory.mktemp("scores")
    calls, _ = people(N + OUTSIDE, M, seed=3)
    rng = np.random.default_rng(4)
    half = CHILDREN // 2
    children = np.r_[N - half : N, N + OUTSIDE - half : N + OUTSIDE]
    parents = [(2 * k % PARENTS, (2 * k + 1) % PARENTS) for k in range(CHILDREN)]
    for child, own in zip(children, parents, strict=True):
        first, second = rng.binomial(1, calls[:, own] / 2).T
        calls[:, child] = first + second
    standard = calls - calls.mean(axis=1, keepdims=True)
    standard = standard / standard.std(axis=1, keepdims=True)
    genetic = standard.T @ rng.normal(0, np.sqrt(H2 / M), (M, len(TRAITS)))
    age = rng.normal(size=N + OUTSIDE)
    traits = genetic + rng.normal(0, np.sqrt(1 - H2), genetic.shape) + 0.5 * age[:, None]
    ids = [f"S{k:04d}" for k in range(N + OUTSIDE)]
    calls[rng.random(calls.shape) < 0.01] = 3
    sites = sites_of([f"chr{1 + 5 * j // M}" for j in range(M)]).assign(
        ref=np.where(np.arange(M) % 10 == 0, "T", "G"),
        af=np.ma.masked_equal(calls, 3).mean(axis=1).data / 2,
        is_common=True,
    )
    write_set(folder / "genotypes" / VARIANTS, calls, ids, sites, part_variants=300)
    tested = pd.DataFrame(traits[:N], ids[:N], TRAITS).assign(
        noise=rng.normal(size=N), pca_00=rng.normal(size=N)
    )
    tested.loc[ids[:50], "trait_1"] = np.nan
    terms = pd.DataFrame({"age": age[:N]}, ids[:N])
    pairs = [
        {"s1": ids[parent], "s2": ids[child], "kinship": 0.25}
        for child, own in zip(children, parents, strict=True)
        for parent in own
    ]
    write_rows(pairs, RELATIVES, f"{folder}/genotypes/relatives")
    cohort = cohort_of(
        pd.Series([f"P{one}" for one in ids[:N]], ids[:N]), tested, terms,
        pd.Series(np.arange(N) < N - half, ids[:N]), {"traits": NAMES, "pca": ["pca_00"]},
    )  # fmt: skip
    save_cohort(cohort, str(folder / "cohort"))
    told = score_study(
        spark, f"{folder}/genotypes", f"{folder}/cohort", SETTINGS, "original", f"{folder}/run", 1
    )
    table = pd.read_parquet(folder / "run/polygenic_scores").set_index("s").loc[ids]
    return folder, told, table, (calls, ids, sites, pairs, traits, age)


def _of(table, name):
    return np.array([dict(one)[name] for one in table["scores"]])


def test_what_the_scores_tell_is_what_theory_expects(study):
    folder, told, *_ = study
    table = pd.read_parquet(folder / "run/score_accuracy").set_index("phenotype").loc[NAMES]
    assert told["effective_segments"] == pytest.approx(M, rel=0.1)
    expected = expected_r2(H2, 0.8 * N, told["effective_segments"])
    found = table.loc[TRAITS]
    print(f"\nmean R² {found['r2'].mean():.4f}, expected {expected:.4f}; {found['r2'].round(3)}")
    assert 0.8 < found["r2"].mean() / expected < 1.2
    assert found["slope"].between(0.75, 1.25).all()
    assert found["r2_covariates"].to_numpy() == pytest.approx(0.2, abs=0.06)
    # An interval of R² is about four of its standard errors, 2 r (1 - R²) / √n each.
    width = (found["r2_high"] - found["r2_low"]) / (
        8 * np.sqrt(found["r2"]) * (1 - found["r2"]) / np.sqrt(found["n"])
    )
    assert width.between(0.85, 1.2).all()
    noise = table.loc["noise"]
    assert noise["r2_low"] < 0 < noise["r2_high"] + 0.004
    assert told["notes"] == [
        "the scores of 1 of 6 phenotypes may not predict them (their interval of R² is not above "
        "0): noise"
    ]
    assert table["n"].tolist() == [N, N - 50, N, N, N, N]
    assert "pca_00" not in told["r2"]


def test_everybody_is_scored_by_a_model_that_saw_neither_them_nor_their_relatives(study):
    _, told, table, (_, ids, _, pairs, traits, age) = study
    fold = table["fold"]
    assert fold.isna().tolist() == [False] * N + [True] * OUTSIDE
    assert fold.value_counts().max() - fold.value_counts().min() <= 1
    for pair in pairs:
        one, other = fold[[pair["s1"], pair["s2"]]]
        assert one == other or np.isnan([one, other]).any()
    assert table["participant_id"].tolist() == [f"P{one}" for one in ids[:N]] + [None] * OUTSIDE
    known = table["relative_analysed"]
    assert (known[:N].any(), known[N:].sum()) == (False, CHILDREN // 2)
    assert (told["scored"], told["out_of_sample"]) == (N + OUTSIDE, OUTSIDE)
    # Those who are not analysed are told of as well; who has a relative there, better.
    left = traits[N:] - 0.5 * age[N:, None]
    r = [np.corrcoef(_of(table[N:], name), left[:, k])[0, 1] for k, name in enumerate(TRAITS)]
    assert 0.2 < np.mean(r) < 0.55


@pytest.mark.skipif(shutil.which("plink2") is None, reason="plink2 is not installed")
def test_plink2_adds_up_the_same_scores_by_the_files_and_by_each_folds_weights(study, tmp_path):
    folder, told, table, (calls, ids, sites, *_) = study
    stem = str(tmp_path / "set")
    write_plink(stem, calls, ids, sites["contig"], sites["position"])
    bim = sites.assign(cm=0)[["contig", "rsid", "cm", "position", "alt", "ref"]]
    bim.to_csv(f"{stem}.bim", sep="\t", header=False, index=False)
    mean = np.ma.masked_equal(calls, 3).mean(axis=1).data
    mean = pd.Series(mean, sites["rsid"])
    by_file = _plink(stem, _catalog_file(folder, "trait_1", tmp_path), "4 6", mean, tmp_path)
    outside = table.index[table["fold"].isna()]
    ours = pd.Series(_of(table, "trait_1"), table.index)
    assert ours[outside].to_numpy() == pytest.approx(by_file.loc[outside, 0], rel=1e-5, abs=1e-5)
    weights = pd.read_parquet(folder / "run/polygenic_weights")
    weights = weights[weights["phenotype"] == "trait_1"]
    assert len(weights) == told["variants"] > 0.9 * M
    assert np.stack(weights["by_fold"]).mean(axis=1) == pytest.approx(weights["weight"])
    path = tmp_path / "folds.txt"
    folds = pd.DataFrame(np.stack(weights["by_fold"])).set_axis([f"f{k}" for k in range(5)], axis=1)
    rows = pd.concat([weights[["rsid", "alt"]].reset_index(drop=True), folds], axis=1)
    rows.to_csv(path, sep="\t", index=False)
    sums = _plink(stem, path, "2 3-7", mean, tmp_path)
    for k in range(5):
        own = table.index[table["fold"] == k]
        assert ours[own].to_numpy() == pytest.approx(sums.loc[own, k], rel=1e-5, abs=1e-5)


def _catalog_file(folder, name, tmp_path):
    """A published file as plink2 takes it: without the lines of its header that begin with #."""
    text = gzip.decompress((folder / f"run/weights/{name}.txt.gz").read_bytes()).decode()
    lines = text.splitlines()
    assert lines[0].startswith("###PGS CATALOG SCORING FILE")
    said = dict(one[1:].split("=", 1) for one in lines if one[:1] == "#" and "=" in one)
    assert {key: said[key] for key in ("format_version", "genome_build", "pgs_name")} == {
        "format_version": "2.0", "genome_build": "GRCh38", "pgs_name": name,
    }  # fmt: skip
    assert said["trait_reported"] == f"{name}, in its units"
    rows = [one for one in lines if not one.startswith("#")]
    assert int(said["variants_number"]) == len(rows) - 1
    assert rows[0].split("\t")[:6] == [
        "rsID", "chr_name", "chr_position", "effect_allele", "other_allele", "effect_weight",
    ]  # fmt: skip
    path = tmp_path / f"{name}.txt"
    path.write_text("\n".join([*rows, ""]))
    return path


def _plink(stem, path, columns, mean, tmp_path):
    """plink2's sums [samples, columns] less those of the mean genotypes, by id of the variants.

    Its own `center` does not put missing genotypes at the mean.
    """
    allele, scores = columns.split()
    command = (
        f"plink2 --bfile {stem} --score {path} 1 {allele} header cols=+scoresums "
        f"--score-col-nums {scores} --threads 1 --out {tmp_path}/out"
    )
    done = subprocess.run(command.split(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = pd.read_csv(tmp_path / "out.sscore", sep="\t").set_index("IID")
    sums = found[[name for name in found if name.endswith("_SUM") and "DOSAGE" not in name]]
    weights = pd.read_csv(path, sep="\t", index_col=0).drop(columns="allelefrequency_effect",
                                                            errors="ignore")  # fmt: skip
    weights = weights.iloc[:, -sums.shape[1] :].astype(float)
    return sums.set_axis(range(sums.shape[1]), axis=1) - mean[weights.index] @ weights.to_numpy()


def test_the_published_files_give_the_same_scores_again(study, spark, tmp_path):
    folder, _, table, (_, ids, *_) = study
    paths = [f"{folder}/run/weights/{name}.txt.gz" for name in ("trait_0", "noise")]
    told = apply_files(
        spark, f"{folder}/genotypes", SETTINGS, paths, f"{tmp_path}/out", fitted_here="run"
    )
    again = pd.read_parquet(tmp_path / "out/applied_scores").set_index("s").loc[ids]
    outside = table.index[N:]
    for name in ("trait_0", "noise"):
        one, other = (_of(frame.loc[outside], name) for frame in (table, again))
        assert other - other.mean() == pytest.approx(one - one.mean(), abs=1e-9)
        assert told["scores"][name]["used"] == told["scores"][name]["variants"]
    assert told["notes"] == [
        "trait_0, noise was fitted to the people analysed in this study: for them, use the "
        "cross-fitted table polygenic_scores of the step scores"
    ]
