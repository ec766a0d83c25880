"""Populations of a study, each by itself and all combined: the numbers, and what is refused."""

import json
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.stats import chi2

import ecg_spark
from ecg_spark.errors import DataError, UsageError
from ecg_spark.store import Store
from ecg_spark.study import load_study
from jobs.cli import main
from tests.builders.genetics_data import least_squares, read_plink
from tests.builders.populations import CAUSAL, NULLS, PEOPLE, write_populations
from tests.builders.study_file import write_study

KEY = ["contig", "position", "ref", "alt", "phenotype"]
RUN = ("AFR", "EUR")


@pytest.fixture(scope="module")
def folder(spark, tmp_path_factory):
    """A study of two populations large enough, and one that is not, run by the command."""
    folder = tmp_path_factory.mktemp("populations")
    path = write_populations(folder)
    assert main(["populations", str(path)]) == 0
    return folder


def of(folder, population, step):
    return Store(f"{folder}/out/populations/{population}").require(step)


def meta(folder):
    return Store(f"{folder}/out/meta").require("meta")


def table(publication, name):
    return pd.read_parquet(publication.path(name))


def test_each_population_is_analysed_alone_and_one_too_small_is_told(folder):
    summary = Store(f"{folder}/out").require("cohort").summary
    assert summary["ancestry"] == PEOPLE
    for name in RUN:
        assert of(folder, name, "cohort").summary["ancestry"] == {name: PEOPLE[name]}
        assert of(folder, name, "cohort").summary["analysed"] == PEOPLE[name]
    combined = meta(folder).summary
    assert [(one["name"], one["n"]) for one in combined["cohorts"]] == [
        ("cohort 1 (two AFR)", PEOPLE["AFR"]), ("cohort 2 (two EUR)", PEOPLE["EUR"])
    ]  # fmt: skip
    assert combined["notes"] == ["EAS was left out: 30 people analysed, 200 are needed"]
    page = (folder / "out/meta/report.html").read_text()
    assert "EAS was left out: 30 people analysed, 200 are needed" in page
    assert "two AFR" in page


def test_nothing_that_all_share_is_made_again(folder, capsys):
    assert main(["populations", str(folder / "study.yaml")]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert all("skipped" in one for one in lines)
    steps = [(one.get("population"), one["step"]) for one in lines]
    assert steps[:2] == [(None, "genotypes"), (None, "cohort")]
    assert steps[-1] == (None, "meta")
    assert {name for name, _ in steps} == {None, *RUN}
    for name in RUN:
        assert not (folder / f"out/populations/{name}/runs/genotypes").exists()


def test_strands_are_those_of_the_one_set(folder):
    """A/T whose frequency is on two sides of one half is not turned, nor left out near it."""
    combined = meta(folder).summary
    for one in combined["cohorts"]:
        assert one["by_frequency"] == one["unclear"] == one["swapped"] == 0
    found = table(meta(folder), "associations").set_index(KEY)
    ours = [table(of(folder, name, "associations"), "associations") for name in RUN]
    both = ours[0].merge(ours[1], on=KEY).set_index(KEY)
    crossing = both[(both["af_x"] > 0.5) != (both["af_y"] > 0.5)]
    crossing = crossing[crossing.index.get_level_values("alt").isin(["A"])]
    crossing = crossing[crossing.index.get_level_values("ref") == "T"]
    assert len(crossing) > 60
    assert (found.loc[crossing.index, "cohorts"] == 2).all()


def test_the_whole_is_the_inverse_variance_mean_of_each(folder):
    """Every population by least squares on what its cohort says, combined by hand."""
    values, bim, samples = read_plink(folder / "genotypes")
    found = table(meta(folder), "associations").set_index(["contig", "position", "phenotype"])
    cohorts = [of(folder, name, "cohort") for name in RUN]
    both = [
        [
            pd.read_parquet(cohort.path(f"{kind}.parquet")).set_index("s")
            for kind in ("phenotypes", "covariates")
        ]
        for cohort in cohorts
    ]
    compared = 0
    for place in [CAUSAL, *range(0, len(bim), 97)]:
        for phenotype in ("acted", NULLS[0]):
            beta, se = [], []
            for tested, terms in both:
                x = pd.Series(values[place], samples)[tested.index].to_numpy()
                if min(x.mean(), 2 - x.mean()) < 0.02 * 1.05:
                    continue
                own = least_squares(tested[phenotype].to_numpy(), x, terms.to_numpy())
                beta.append(own[0])
                se.append(own[1])
            weight = 1 / np.square(se)
            row = found.loc[(str(bim["contig"][place]), bim["position"][place], phenotype)]
            assert row["beta"] == pytest.approx((weight * beta).sum() / weight.sum(), rel=1e-6)
            assert row["se"] == pytest.approx(1 / np.sqrt(weight.sum()), rel=1e-6)
            assert row["cohorts"] == len(beta)
            if len(beta) == 2:
                mean = (weight * beta).sum() / weight.sum()
                assert row["q"] == pytest.approx((weight * (beta - mean) ** 2).sum(), rel=1e-4)
            compared += 1
    assert compared > 40


@pytest.mark.skipif(shutil.which("plink2") is None, reason="plink2 is not installed")
@pytest.mark.parametrize("name", RUN)
def test_a_population_is_what_plink2_finds_in_its_people(folder, tmp_path, name):
    cohort = of(folder, name, "cohort")
    command = (
        f"plink2 --bfile {folder}/genotypes --pheno {cohort.path('regenie/phenotypes.txt')} "
        f"--covar {cohort.path('regenie/covariates.txt')} --threads 1 --pheno-name acted "
        f"--glm hide-covar omit-ref --covar-variance-standardize --out {tmp_path}/out"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    plink = pd.read_csv(tmp_path / "out.acted.glm.linear", sep="\t", dtype={"#CHROM": str})
    ours = table(of(folder, name, "associations"), "associations").query("phenotype == 'acted'")
    both = ours.merge(plink, left_on=["contig", "position"], right_on=["#CHROM", "POS"])
    assert len(both) == len(ours) > 1_800
    assert np.allclose(both["beta"], both["BETA"], rtol=2e-5, atol=1e-6)
    assert np.allclose(both["se"], both["SE"], rtol=2e-5)


def test_a_confounded_null_is_calibrated_and_the_cause_is_found(folder):
    found = table(meta(folder), "associations")
    square = (found["beta"] / found["se"]) ** 2
    lambdas = square.groupby(found["phenotype"]).median()[list(NULLS)] / chi2.ppf(0.5, 1)
    assert 0.9 < lambdas.mean() < 1.1
    # Without anything that tells the populations apart the same phenotype is hopeless.
    values, bim, samples = read_plink(folder / "genotypes")
    own = pd.read_csv(folder / "phenotypes.csv").set_index("participant_id")[NULLS[0]]
    r = np.corrcoef(np.vstack([own[samples], values]))[0, 1:]
    assert np.median(r**2 * len(samples)) / chi2.ppf(0.5, 1) > 5
    loci = table(meta(folder), "loci").query("method == 'own'")
    position = bim["position"][CAUSAL]
    assert (loci["position"] == position).any()
    assert len(loci) == 1
    assert loci["cohorts"].iloc[0] == 2


def test_components_of_a_population_tell_what_is_within_it(folder):
    """The halves of AFR are two groups on its own first component."""
    scores = table(Store(f"{folder}/out").require("genotypes"), "scores")
    own = scores[scores["ancestry"] == "AFR"]
    first = np.array(own["pc_of_ancestry"].tolist())[:, 0]
    phenotypes = pd.read_csv(folder / "phenotypes.csv").set_index("participant_id")
    mean = phenotypes.loc[own["s"], list(NULLS)].mean(axis=1).to_numpy()  # ±0.8 by the half
    assert abs(np.corrcoef(first, mean)[0, 1]) > 0.8
    assert first.std() == pytest.approx(1, abs=0.05)
    assert scores[scores["ancestry"].isna()]["pc_of_ancestry"].isna().all()


def test_python_gives_what_the_command_publishes(folder, spark):
    study = load_study(folder / "study.yaml")
    found = ecg_spark.populations(study, spark=spark)
    assert found.skipped
    assert found.tables["loci"].count() == len(table(meta(folder), "loci"))


def test_what_cannot_be_run_by_population_is_refused(folder):
    study = load_study(folder / "study.yaml")
    with pytest.raises(UsageError, match="analyses EUR alone"):
        ecg_spark.populations(study.of_population("EUR"))
    with pytest.raises(UsageError, match="a name that no folder may have"):
        study.of_population("../AFR")
    without = study.model_copy(
        update={"genotypes": study.genotypes.model_copy(update={"ancestry": None})}
    )
    with pytest.raises(UsageError, match="name a reference with"):
        ecg_spark.populations(without)


def test_fewer_than_two_populations_are_told(folder, spark, monkeypatch):
    monkeypatch.setattr("jobs.populations.FEWEST", 300)
    with pytest.raises(DataError, match=r"people to analyse: EUR; .*AFR was left out: 260"):
        ecg_spark.populations(load_study(folder / "study.yaml"), spark=spark)


def test_a_population_that_the_reference_does_not_know_is_refused_at_once(tmp_path):
    path = write_populations(tmp_path)
    content = yaml.safe_load(path.read_text())
    content["genotypes"]["ancestry"]["analyse"] = "SAS"
    write_study(tmp_path, content)
    assert main(["run", str(path)]) == 3
    assert not (tmp_path / "out/published").exists()


def test_a_population_names_the_places_of_the_whole_study_once(tmp_path):
    content = {
        "name": "s",
        "output": "out",
        "ecg": {"path": "ecg"},
        "participants": {"path": "p.csv"},
        "genotypes": {"path": "g.bed", "ancestry": {"reference": "r.bed", "populations": "r.tsv"}},
    }
    study = load_study(write_study(tmp_path, content))
    assert [key for key, _ in study.of_population("EUR").inputs()] == [
        key for key, _ in study.inputs()
    ]
