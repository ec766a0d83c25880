"""The step scores and the command score, on what the steps before them publish."""

import numpy as np
import pandas as pd
import pytest
import yaml

import ecg_spark
from ecg_spark.genetics.gwas import VARIANTS
from ecg_spark.genetics.null_model.cohort import save_cohort
from ecg_spark.genetics.outputs.tables import HERITABILITY, RELATIVES
from ecg_spark.report.polygenic_scores import scores
from ecg_spark.report.sections import ReportInputs
from ecg_spark.store import Store
from ecg_spark.study import load_study
from ecg_spark.tables import write_rows
from jobs.cli import main
from jobs.cohort import STEP as COHORT
from jobs.genotypes import STEP as GENOTYPES
from jobs.scores import STEP as SCORES
from jobs.step import origin, run_step
from tests.builders.genetics_data import cohort_of, people, write_plink
from tests.builders.genotype_parts import sites_of, write_set
from tests.builders.study_file import write_study

N, ANALYSED, M = 140, 120, 200


@pytest.fixture(scope="module")
def study(spark, tmp_path_factory):
    """The path of a study whose genotypes and cohort are published, of 140 and 120 people."""
    folder = tmp_path_factory.mktemp("study")
    calls, _ = people(N, M, seed=1)
    ids = [f"S{k:03d}" for k in range(N)]
    write_plink(folder / "set", calls, ids)
    (folder / "people.csv").write_text("participant_id,age\n")
    (folder / "traits.csv").write_text("participant_id,height\n")
    content = {
        "name": "scored",
        "output": "out",
        "participants": {"path": "people.csv", "covariates": ["age"]},
        "phenotypes": {"path": "traits.csv", "columns": ["height"]},
        "genotypes": {"path": "set.bed", "components": 0},
        "gwas": {"scores": True},
    }
    path = write_study(folder, content)
    told = load_study(path)
    store = Store(told.output_path)
    sites = sites_of(["chr1"] * (M // 2) + ["chr2"] * (M - M // 2)).assign(
        af=calls.mean(axis=1) / 2, is_common=True
    )
    with store.run("genotypes", origin(GENOTYPES, told, store)[1]) as run:
        write_set(run.path(VARIANTS), calls, ids, sites, part_variants=80)
        write_rows([], RELATIVES, run.path("relatives"))
        run.publish({"samples": N})
    rng = np.random.default_rng(2)
    height = calls[:20, :ANALYSED].sum(axis=0) + rng.normal(0, 2, ANALYSED)
    own = ids[:ANALYSED]
    with store.run("cohort", origin(COHORT, told, store)[1]) as run:
        save_cohort(
            cohort_of(
                pd.Series(own, own), pd.DataFrame({"height": height}, own),
                pd.DataFrame({"age": rng.normal(size=ANALYSED)}, own), pd.Series(True, own),
                {"own": ["height"]},
            ),
            run.folder,
        )  # fmt: skip
        run.publish({"analysed": ANALYSED})
    return path


def test_scores_are_published_applied_again_and_told(study, tmp_path, capsys):
    told = load_study(study)
    summary = run_step(SCORES, told)
    assert (summary["scored"], summary["out_of_sample"]) == (N, N - ANALYSED)
    assert run_step(SCORES, told)["skipped"] == "already published"
    published = Store(told.output_path).require("scores")
    weights = published.path("weights/height.txt.gz")
    result = ecg_spark.score(told, [weights], f"{tmp_path}/scored")
    assert result.tables["applied_scores"].count() == N
    assert result.summary["scores"]["height"]["used"] == summary["variants"]
    assert "use the cross-fitted table" in result.summary["notes"][-1]
    capsys.readouterr()
    command = ["score", str(study), "--weights", weights, "--out", f"{tmp_path}/scored"]
    assert main(command) == 0
    assert yaml.safe_load(capsys.readouterr().out)["skipped"] == "already published"
    assert main([*command[:3], f"{tmp_path}/none.txt.gz", *command[4:]]) == 3
    assert capsys.readouterr().err.endswith("of the weights does not exist: correct its path.\n")
    _told_in_the_report(told, published)


def _told_in_the_report(study, published):
    findings = Store(study.output_path)
    with findings.run("findings", {}) as run:
        known = {"phenotype": "height", "n": 120, "variants": 300, "mean_chi2": 1.2, "h2": 0.5}
        known |= {"h2_se": 0.1, "intercept": 1.0, "intercept_se": 0.1}
        write_rows([known], HERITABILITY, run.path("heritability"))
        found = run.publish({})
    section = scores(ReportInputs(study, {"scores": published, "findings": found}))
    row = section["score_rows"][0]
    assert row[:2] == ["height", ANALYSED]
    assert row[4] != "–"
    assert section["figures"]["scores"].axes
