"""The whole line on a small simulated biobank, and on real recordings: raw files to report."""

import contextlib
import html
import io
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml

from ecg_spark.genetics import STAGES
from ecg_spark.store import Store
from ecg_spark.study import Beats
from ecg_spark.tables import VARIANT
from jobs.cli import main
from tests.builders.study_file import OF_BIOBANK, of_biobank

STUDIES = Path(__file__).parents[2] / "infra" / "studies"
SMALL_MODEL = {"latents": 8, "epochs": 4, "folds": 2}


def study_in(folder, content, **changes):
    """A study file like `content`, writing into `folder`."""
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump({**content, "output": str(folder / "out"), **changes}))
    return path


def lines_of(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines() if line[:1] == "{"]


@pytest.fixture(scope="module")
def small_study(biobank, hail, tmp_path_factory):
    """The simulated biobank's study with a small model, all paths absolute."""
    return study_in(tmp_path_factory.mktemp("line"), of_biobank(biobank, 2), model=SMALL_MODEL)


@pytest.fixture(scope="module")
def line(small_study):
    """The study run once, step by step: its store, and all that was said and logged."""
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    logging.getLogger().addHandler(handler)
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            assert main(["run", str(small_study)]) == 0
    finally:
        logging.getLogger().removeHandler(handler)
    return Store(str(small_study.parent / "out")), said.getvalue()


@pytest.fixture(scope="module")
def done(line):
    """The store of the study that was run."""
    return line[0]


def test_every_step_publishes(done):
    for step in OF_BIOBANK:
        assert done.published(step) is not None
    assert Path(done.require("report").path("report.html")).stat().st_size > 10_000
    assert (Path(done.root) / "report.html").is_file()


def test_latents_have_one_row_per_participant_and_model(done):
    latents = pd.read_parquet(done.require("encode").path("latents"))
    beats = pd.read_parquet(
        done.require("average").path("beats"), columns=["ecg_id", "participant_id", "flags"]
    )
    flagged = [bool(set(flags) & set(Beats().leave_out)) for flags in beats.pop("flags")]
    beats = beats[~np.array(flagged)]
    assert not latents.duplicated(["participant_id", "model"]).any()
    for _, rows in latents.groupby("model"):
        assert set(rows["participant_id"]) == set(beats["participant_id"])
        expected = beats.groupby("participant_id").size()
        found = rows.set_index("participant_id")["n_ecgs"]
        assert (found == expected[found.index]).all()
    assert np.isfinite(np.stack(latents["z"])).all()


def test_the_flow_goes_on_from_step_to_step_and_ends_at_the_published_tables(done):
    flows = [
        pd.read_parquet(done.require(step).path("flow")).sort_values(["unit", "place"])
        for step in ("ingest", "average", "encode")
    ]
    last: dict[str, int] = {}
    for flow in flows:
        for unit, rows in flow.groupby("unit", sort=False):
            assert rows["n"].iloc[0] == rows["n"].iloc[1:].sum()
            assert last.get(unit, rows["n"].iloc[0]) == rows["n"].iloc[0]
            last[unit] = rows["n"].iloc[-1]
    latents = pd.read_parquet(done.require("encode").path("latents")).query("model == 'vae'")
    assert last == {"recordings": latents["n_ecgs"].sum(), "people": len(latents)}


def test_participants_are_encoded_by_their_folds_network_and_fold_is_a_covariate(done):
    latents = pd.read_parquet(done.require("encode").path("latents"))
    assert latents.groupby("participant_id")["fold"].nunique().eq(1).all()
    assert set(latents["fold"]) == {0, 1}
    assert "fold_1" in done.require("cohort").summary["covariates"]
    assert done.require("train").summary["metrics"]["folds/mean_abs_r"] > 0.3
    assert "agreement of the folds" in Path(done.require("report").path("report.html")).read_text()


def test_mlflow_run_has_the_metrics_of_training_and_of_the_gwas(done, small_study):
    summary = done.require("train").summary
    client = mlflow.MlflowClient(f"sqlite:///{done.root}/mlflow.db")
    run = client.get_run(summary["run_id"])
    for key in ("guess/mae_uv", "guess/pearson_r", "val/active_units", "val/kl", "train/loss"):
        steps = {metric.step for metric in client.get_metric_history(run.info.run_id, key)}
        assert steps == set(range(1, SMALL_MODEL["epochs"] + 1))
    assert run.inputs.dataset_inputs[0].dataset.name == "beats"
    assert run.data.tags["mlflow.source.name"] == "ecg-spark"  # and no path
    assert "candidate" in client.get_registered_model("ecg-vae").aliases
    for group in ("vae", "pca", "traits"):
        for figure in ("mean_lambda", "mean_chi2", "loci"):
            assert run.data.metrics[f"gwas/{figure}_{group}"] >= 0


def test_the_sidecars_of_latents_name_the_model_that_encoded_them(done):
    folder = Path(done.require("associations").path("sumstats"))
    said = {
        name: yaml.safe_load((folder / f"{name}.tsv.gz-meta.yaml").read_text())
        for name in ("vae_00", "pca_00", "pr_ms")
    }
    digest = done.require("encode").summary["encoder_sha256"]
    assert len(digest) == 64
    assert done.require("associations").summary["encoder_sha256"] == digest
    assert said["vae_00"]["encoder_sha256"] == said["pca_00"]["encoder_sha256"] == digest
    assert "encoder_sha256" not in said["pr_ms"]


def _validator():
    """The command gwas-ssf, which needs an environment of its own (it pins pandas 1)."""
    found = os.environ.get("GWAS_SSF") or shutil.which("gwas-ssf") or ".venv-ssf/bin/gwas-ssf"
    return found if shutil.which(found) else None


@pytest.mark.skipif(_validator() is None, reason="gwas-ssf is not installed (set GWAS_SSF)")
@pytest.mark.parametrize("phenotype", ["vae_00", "pr_ms"])
def test_gwas_ssf_validator_accepts_the_summary_statistics(done, phenotype):
    path = done.require("associations").path(f"sumstats/{phenotype}.tsv.gz")
    answer = subprocess.run(
        [_validator(), "validate", path, "--min-rows", "1000"], capture_output=True, text=True
    )
    assert "Validation status: True" in answer.stdout, answer.stdout + answer.stderr


def test_report_summaries_and_mlflow_hold_no_participant_id(line, done, biobank):
    ids = set(pd.read_csv(biobank / "participants.csv", dtype=str)["participant_id"])
    pages = [Path(done.require("report").path("report.html")).read_text(), line[1]]
    assert "associations" in line[1]
    pages += [path.read_text() for path in Path(done.root, "published").glob("*.json")]
    pages += [path.read_text() for path in Path(done.root).glob("mlartifacts/**/*.json")]
    pages.append(Path(done.root, "mlflow.db").read_bytes().decode("latin-1"))
    stems = {path.stem for path in (biobank / "ecg").rglob("*")}
    files = {stem for stem in stems if re.fullmatch(r"\d{8}", stem)}
    assert len(files) > 50
    hashes = pd.read_parquet(done.require("average").path("beats"))["participant_hash"]
    for page in pages:
        assert not ids & set(re.findall(r"(?<![\d.])\d{7}(?!\d)", page))
        assert not files & set(re.findall(r"(?<![\w.])\d{8}(?!\w)", page))
        assert not {str(one) for one in hashes} & set(re.findall(r"\d{15,}", page))


def test_second_run_skips_every_step(done, small_study, capsys):
    assert main(["run", str(small_study)]) == 0
    assert [line["skipped"] for line in lines_of(capsys)] == ["already published"] * len(OF_BIOBANK)


def test_what_comes_after_the_tests_is_done_again_without_them(done, small_study, tmp_path, capsys):
    """A change of the clumping, or a gene table that is mended, leaves what stands before it."""
    content = yaml.safe_load(small_study.read_text())
    shutil.copytree(done.root, tmp_path / "out")
    genes = tmp_path / "genes.gtf"
    genes.write_text("no gene\n")
    gwas = {"clump_window_bp": 250_000, "genes": str(genes)}
    study = study_in(tmp_path, content, model=SMALL_MODEL, gwas=gwas)
    assert main(["gwas", str(study)]) == 3
    assert [line["step"] for line in lines_of(capsys)] == [
        "cohort", "null_model", "associations", "rare",
    ]  # fmt: skip
    genes.write_text('1\tx\tgene\t1\t250000000\t.\t+\t.\tgene_id "NEAR";\n')
    assert main(["run", str(study)]) == 0
    lines = lines_of(capsys)
    assert [line["step"] for line in lines] == list(OF_BIOBANK)
    assert [line["step"] for line in lines if "skipped" not in line] == [
        "findings", "phewas", "report",
    ]  # fmt: skip


def sections_of(page):
    return re.findall(r'<section id="(\w+)"', page)


def test_an_archive_without_genotypes_ends_with_the_latents(done, small_study, tmp_path, capsys):
    """The same recordings in a study without genotypes: nothing of them is done again."""
    content = yaml.safe_load(small_study.read_text())
    shutil.copytree(done.root, tmp_path / "out")
    study = study_in(tmp_path, {key: content[key] for key in ("name", "seed", "ecg", "model")})
    assert main(["run", str(study)]) == 0
    lines = lines_of(capsys)
    assert [line["step"] for line in lines] == ["ingest", "average", "train", "encode", "report"]
    assert [line["step"] for line in lines if "skipped" not in line] == ["report"]
    page = Path(tmp_path / "out" / "report.html").read_text()
    assert sections_of(page) == ["recordings", "beats", "model", "latents", "heart", "provenance"]
    assert set(re.findall(r'href="#(\w+)"', page)) == set(sections_of(page))
    assert "genotypes" not in page
    assert main(["status", str(study)]) == 0
    assert [line.split()[-2:] for line in capsys.readouterr().out.splitlines()[1:]] == [
        ["skips", "it"]
    ] * len(lines)


@pytest.fixture
def own_phenotypes(done, biobank, tmp_path):
    """The latents of the study that was run as a table of phenotypes, and its participants with the
    fold of each, which is a covariate there."""
    latents = pd.read_parquet(done.require("encode").path("latents")).query("model == 'vae'")
    z = pd.DataFrame(np.stack(latents["z"]), index=latents["participant_id"].rename("eid"))
    z.columns = [f"z_{k:02d}" for k in z.columns]
    z.reset_index().to_parquet(tmp_path / "latents.parquet")
    people = pd.read_csv(biobank / "participants.csv", dtype=str)
    folds = latents.set_index("participant_id")["fold"]
    people["fold"] = people["participant_id"].map(folds).astype("Int64")
    people.to_csv(tmp_path / "people.csv", index=False)
    return z


def test_a_cohort_without_ecg_files_begins_with_latents(
    done, small_study, own_phenotypes, tmp_path, capsys
):
    """Latents that another study has made are tested as they are there."""
    content = yaml.safe_load(small_study.read_text())
    shutil.copytree(done.root, tmp_path / "out")
    covariates = [*content["participants"]["covariates"], "fold"]
    study = study_in(
        tmp_path,
        {key: content[key] for key in ("name", "seed", "genotypes", "truth")},
        participants={"path": str(tmp_path / "people.csv"), "covariates": covariates},
        phenotypes={"path": str(tmp_path / "latents.parquet"), "id": "eid", "columns": ["z_*"]},
        gwas={"engine": "blocks"},
    )
    assert main(["run", str(study)]) == 0
    lines = {line["step"]: line for line in lines_of(capsys)}
    assert list(lines) == ["genotypes", *STAGES, "report"]
    assert "skipped" in lines["genotypes"]
    assert lines["cohort"]["phenotypes"] == {"own": own_phenotypes.shape[1]}
    store = Store(str(tmp_path / "out"))
    for table, name, others in (
        ("associations", "phenotype", "z"), ("omnibus", "model", "own"),
    ):  # fmt: skip
        found, expected = (
            pd.read_parquet(one.require("associations").path(table)) for one in (store, done)
        )
        expected = expected[expected[name].str.startswith("vae")]
        expected = expected.assign(**{name: expected[name].str.replace("vae", others)})
        key = [*VARIANT, name]
        found, expected = (one.sort_values(key, ignore_index=True) for one in (found, expected))
        pd.testing.assert_frame_equal(found, expected, check_exact=False, rtol=1e-6, atol=1e-9)
    assert set(lines["findings"]["loci"]) == {"own", "own omnibus"}
    assert lines["findings"]["loci"]["own"] == done.require("findings").summary["loci"]["vae"]
    assert lines["report"]["found_large_own"] >= 0
    page = Path(tmp_path / "out" / "report.html").read_text()
    assert sections_of(page) == [
        "recordings", "genotypes", "gwas", "heritability", "genome", "loci", "planted",
        "provenance",
    ]  # fmt: skip
    assert set(re.findall(r'href="#(\w+)"', page)) == set(sections_of(page))
    assert f"{own_phenotypes.shape[1]} phenotypes of the study's own" in html.unescape(page)
    assert "VAE" not in re.sub(r"base64,[^\"]*", "", page)


def test_own_phenotypes_are_tested_beside_the_latents(
    done, small_study, own_phenotypes, tmp_path, capsys
):
    content = yaml.safe_load(small_study.read_text())
    shutil.copytree(done.root, tmp_path / "out")
    own = {"path": str(tmp_path / "latents.parquet"), "id": "eid", "columns": ["z_00", "z_01"]}
    study = study_in(tmp_path, content, phenotypes=own, gwas={"engine": "blocks"})
    assert main(["run", str(study)]) == 0
    lines = {line["step"]: line for line in lines_of(capsys)}
    assert [step for step in lines if "skipped" in lines[step]] == list(OF_BIOBANK[:5])
    before = done.require("cohort").summary
    assert lines["cohort"]["phenotypes"] == before["phenotypes"] | {"own": 2}
    assert lines["cohort"]["analysed"] == before["analysed"]
    lambdas = lines["associations"]["lambda"]
    # The same values, but those of a group are made normal together.
    assert lambdas["z_01"] == pytest.approx(lambdas["vae_01"], abs=0.1)
    assert list(lines["report"]["loci"])[-2:] == ["own", "own omnibus"]
    page = html.unescape(Path(tmp_path / "out" / "report.html").read_text())
    assert "conventional traits and 2 phenotypes of the study's own" in page


def test_killed_step_publishes_nothing_and_the_next_run_completes_it(done, small_study, tmp_path):
    """`kill -9` in the middle of average: the next call publishes what the first would have."""
    content = yaml.safe_load(small_study.read_text())
    study = study_in(tmp_path, content)
    environment = {**os.environ, "PYSPARK_PYTHON": sys.executable}
    command = [sys.executable, "-m", "jobs.cli"]
    job = subprocess.Popen(
        [*command, "run", str(study)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    killed = time.monotonic() + 300
    while not list((tmp_path / "out" / "runs").glob("average/*")) and time.monotonic() < killed:
        time.sleep(0.2)
    os.killpg(job.pid, signal.SIGKILL)
    job.wait()
    store = Store(str(tmp_path / "out"))
    assert store.published("ingest") is not None
    assert store.published("average") is None
    half = next((tmp_path / "out" / "runs" / "average").iterdir())
    assert main(["average", str(study)]) == 0
    assert not half.exists()
    count = store.require("average").summary["n_out"]
    assert count == done.require("average").summary["n_out"]


def test_two_processes_train_one_model_or_skip_a_published_one(done, small_study, torchrun):
    """Under torchrun the first process does the step and the other trains along, or ends."""
    for options, skipped in (([], True), (["--force"], False)):
        answer = torchrun("-m", "jobs.train", "--study", small_study, *options)
        assert answer.returncode == 0, answer.stderr[-2000:]
        (line,) = answer.stdout.splitlines()  # one of the processes speaks
        assert ("skipped" in json.loads(line)) == skipped
    client = mlflow.MlflowClient(f"sqlite:///{done.root}/mlflow.db")
    run = client.get_run(done.require("train").summary["run_id"])
    assert run.data.params["processes"] == "2"


@pytest.mark.parametrize(
    ("changes", "code", "says"),
    [
        ({"model": {**SMALL_MODEL, "device": "cuda"}}, 4, "GPU"),
        ({"mlflow": {"tracking_uri": "http://127.0.0.1:9"}}, 4, "MLflow"),
        ({"truth": "nowhere.json"}, 3, "truth"),
    ],
)
def test_missing_gpu_mlflow_server_or_truth_fails_before_ingest(
    small_study, tmp_path, changes, code, says, capsys
):
    content = yaml.safe_load(small_study.read_text())
    study = study_in(tmp_path, content, **changes)
    assert main(["run", str(study)]) == code
    captured = capsys.readouterr()
    assert says in captured.err
    assert "Traceback" not in captured.err
    assert not (tmp_path / "out" / "runs" / "ingest").exists()


def test_real_recordings_with_random_pairing_give_a_report_without_loci(
    spark, shared_data, tmp_path, capsys
):
    content = yaml.safe_load((STUDIES / "ptbxl.yaml").read_text())
    for section in ("participants", "genotypes"):
        name = content[section]["path"].split("shared/data/")[1]
        content[section]["path"] = str(shared_data / name)
    content["ecg"]["path"] = str(shared_data / "ptbxl" / "*_hr.*")
    content["ecg"]["manifest"]["path"] = str(shared_data / "ptbxl" / "ptbxl_database.csv")
    study = study_in(tmp_path, content, model=SMALL_MODEL, gwas={"engine": "blocks"})
    assert main(["run", str(study)]) == 0
    lines = {line["step"]: line for line in lines_of(capsys)}
    ingested = lines["ingest"]
    assert ingested["n_in"] == len(list((shared_data / "ptbxl").glob("*_hr.hea")))
    assert set(ingested["reasons"]) <= {"duplicate"}  # PTB-XL holds two recordings twice
    assert set(lines["findings"]["loci"].values()) == {0}
    assert 0.9 < lines["associations"]["mean_lambda"]["vae"] < 1.1
    page = Path(tmp_path / "out" / "report.html").read_text()
    assert "random" in page
