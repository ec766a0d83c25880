"""Databricks: the bundle, what its nodes install, and its tasks say what the code says."""

import ast
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pyspark.sql import SparkSession

import ecg_spark
from ecg_spark.session import HAIL_SETTINGS, SETTINGS, SUITABLE_JAVA
from ecg_spark.steps import STEPS
from ecg_spark.study import load_study
from jobs.step import steps_named

FOLDER = Path(__file__).parents[2] / "infra" / "databricks"
LOCK = FOLDER.parents[1] / "requirements.lock"
SCRIPT = (FOLDER / "init.sh").read_text()
BUNDLE_TEXT = (FOLDER / "databricks.yml").read_text()
BUNDLE = yaml.safe_load(BUNDLE_TEXT)
JOB = BUNDLE["resources"]["jobs"]["study"]
CLUSTERS = {one["job_cluster_key"]: one["new_cluster"] for one in JOB["job_clusters"]}
CLUSTERS |= BUNDLE["resources"]["clusters"]

RUNTIME_PYTHON = """#!/usr/bin/env bash
# Stands for the runtime's Python: says what it was asked for, and makes what the script reads.
set -e
echo "$@" >>{log}
case "$2" in
    venv)
        home="${{*: -1}}"
        mkdir -p "$home/bin" "$home/lib/python3.11/site-packages/hail/backend"
        cp "$0" "$home/bin/python"
        touch "$home/lib/python3.11/site-packages/hail/backend/hail-all-spark.jar"
        ;;
    pip)
        if [[ "$*" == *" -r "* ]]; then cp "${{*: -1}}" {log}.lock; fi
        if [[ "$*" == *{refused}* ]]; then exit 1; fi
        ;;
esac
"""


def test_a_task_runs_each_step_after_those_that_it_needs():
    assert [task["task_key"] for task in JOB["tasks"]] == list(STEPS)
    steps = {step.name: step for step in steps_named(STEPS)}
    for task in JOB["tasks"]:
        name, python = task["task_key"], task["spark_python_task"]
        before = [one["task_key"] for one in task.get("depends_on", [])]
        assert before == [need.name for need in steps[name].needs]
        assert (FOLDER / python["python_file"]).is_file()
        assert python["parameters"] == [name, "{{job.parameters.study}}"]
        assert task["job_cluster_key"] == ("gpu" if name == "train" else "spark")
    assert [one["name"] for one in JOB["parameters"]] == ["study"]


@pytest.mark.parametrize("name", CLUSTERS)
def test_every_cluster_has_what_a_session_needs_from_its_start(name):
    cluster = CLUSTERS[name]
    assert HAIL_SETTINGS.items() <= cluster["spark_conf"].items()
    assert cluster["spark_conf"].items() - SETTINGS.items() <= {
        ("spark.databricks.cluster.profile", "singleNode"),
        ("spark.master", "local[*, 4]"),
    }
    said = cluster["spark_env_vars"]
    assert set(re.findall(r"\$\{(\w+):\?", SCRIPT)) <= set(said)
    home = re.search(r"^home=(.+)$", SCRIPT, re.MULTILINE)[1]
    assert said["PYSPARK_PYTHON"] == f"{home}/bin/python"
    assert int(re.fullmatch(r"zulu(\d+)-ca-amd64", said["JNAME"])[1]) in SUITABLE_JAVA
    assert cluster["spark_version"].startswith("15.4.x-")
    assert cluster["data_security_mode"] == "SINGLE_USER"
    scripts = [one["volumes"]["destination"] for one in cluster["init_scripts"]]
    assert scripts == [f"{said['ECG_SPARK_SETUP']}/init.sh"]


def test_every_variable_of_the_bundle_is_declared_and_used():
    declared = BUNDLE["variables"]
    assert set(re.findall(r"\$\{var\.(\w+)\}", BUNDLE_TEXT)) == set(declared)
    assert all(one["description"] for one in declared.values())
    assert {name: one["mode"] for name, one in BUNDLE["targets"].items()} == {
        "dev": "development",
        "prod": "production",
    }


@pytest.fixture
def node(tmp_path):
    """A function that runs the script of a node: the answer, what pip was asked, its root."""
    root, setup, log = tmp_path / "databricks", tmp_path / "setup", tmp_path / "asked"
    (root / "python3" / "bin").mkdir(parents=True)
    setup.mkdir()
    (setup / "requirements.lock").write_text(LOCK.read_text())
    (setup / "ecg_spark-0.2.0-py3-none-any.whl").touch()

    def run(refused="nothing", **environment):
        python = root / "python3" / "bin" / "python"
        python.write_text(RUNTIME_PYTHON.format(log=log, refused=refused))
        python.chmod(0o755)
        script = re.sub(r"(?<=[= ])/databricks/", f"{root}/", SCRIPT)
        said = {"ECG_SPARK_SETUP": str(setup), "ECG_SPARK_TORCH": "cpu"} | environment
        kept = {"PATH": os.environ["PATH"]}
        answer = subprocess.run(
            ["bash", "-c", script], env=kept | said, capture_output=True, text=True
        )
        asked = log.read_text().splitlines() if log.exists() else []
        return answer, asked, root

    return run


def test_a_node_gets_the_locked_packages_beside_the_runtimes(node, tmp_path):
    answer, asked, root = node()
    assert answer.returncode == 0, answer.stderr
    home, packages = root / "ecg-spark", root / "ecg-spark/lib/python3.11/site-packages"
    installs = [line for line in asked if line.startswith("-m pip")]
    assert all(f"--python {home}/bin/python" in line for line in installs)
    installed = (tmp_path / "asked.lock").read_text().splitlines()
    locked = [line for line in LOCK.read_text().splitlines() if "==" in line]
    left_out = {line.partition("==")[0].lower() for line in set(locked) - set(installed)}
    assert {"pyspark", "py4j", "torch", "ipython"} <= left_out
    needed = {"numpy", "pandas", "pyarrow", "mlflow", "hail", "petastorm", "s3fs", "gcsfs", "adlfs"}
    assert not left_out & needed
    torch = next(line for line in locked if line.startswith("torch=="))
    assert [line.split()[-1] for line in installs[1:]] == [
        f"{torch}+cpu",
        str(tmp_path / "setup" / "ecg_spark-0.2.0-py3-none-any.whl"),
    ]
    assert (root / "jars" / "hail-all-spark.jar").is_file()
    assert (packages / "runtime.pth").read_text() == (
        f"{root}/python3/lib/python3.11/site-packages\n"
    )


def test_a_node_that_cannot_be_set_up_says_why(node, tmp_path):
    answer, *_ = node(refused="torch==")
    assert answer.returncode == 1
    assert re.search(r"ecg-spark: pip could not install torch==[\d.]+\+cpu", answer.stderr)
    answer, *_ = node(ECG_SPARK_TORCH="")
    assert answer.returncode != 0
    assert "must name a build of PyTorch" in answer.stderr
    second = tmp_path / "setup" / "ecg_spark-0.1.9-py3-none-any.whl"
    second.touch()
    answer, *_ = node()
    assert answer.returncode == 1
    assert "holds 2 wheels" in answer.stderr
    answer, *_ = node(ECG_SPARK_SETUP=str(tmp_path / "elsewhere"))
    assert answer.returncode == 1
    assert "must hold requirements.lock" in answer.stderr


@pytest.mark.parametrize("code", [0, 3])
def test_a_task_ends_as_its_step_does(code, monkeypatch):
    made, asked = [], []
    monkeypatch.setattr(SparkSession.Builder, "getOrCreate", lambda builder: made.append(1))
    monkeypatch.setattr("jobs.cli.main", lambda words: asked.append(words) or code)
    monkeypatch.setattr(sys, "argv", ["step.py", "train", "study.yaml"])
    if code:
        with pytest.raises(SystemExit, match=str(code)):
            runpy.run_path(str(FOLDER / "step.py"))
    else:
        runpy.run_path(str(FOLDER / "step.py"))
    assert made == [1], "the cluster's session is the active one"
    assert asked == [["train", "study.yaml"]]


def test_the_study_file_is_one_that_needs_no_hail():
    study = load_study(FOLDER / "study.yaml")
    assert (study.tracking_uri, study.registry_uri) == ("databricks", "databricks-uc")
    assert not [step.name for step in steps_named(STEPS) if step.uses_hail(study)]


def test_the_notebook_is_kept_without_outputs_and_names_what_there_is():
    cells = json.loads((FOLDER / "study.ipynb").read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)
    tree = ast.parse("\n".join("".join(cell["source"]) for cell in code))
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "ecg_spark"
    }
    assert used
    assert used <= set(ecg_spark.__all__)
    steps = {
        node.slice.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript) and getattr(node.value, "id", "") == "found"
    }
    assert steps
    assert steps <= set(STEPS)
