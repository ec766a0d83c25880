"""The cluster of this machine: jobs run from the wheel alone, and nothing is left running."""

import json
import os
import signal
import subprocess
import tempfile
import time
from collections import Counter

import psutil
import pytest
import yaml

from jobs.cli import main as ecg_spark
from tests.builders.study_file import OF_BIOBANK
from tests.conftest import FEW_ROWS

WHERE_JOB = '''
"""Says where driver and executors import ecg_spark from."""
import json
import sys

import ecg_spark
from ecg_spark.session import spark_session


def where(batches):
    import os
    import time

    import pyarrow as pa

    import ecg_spark

    time.sleep(2)  # long enough that one executor does not take every task
    for batch in batches:
        columns = {"file": [ecg_spark.__file__] * len(batch), "cwd": [os.getcwd()] * len(batch)}
        yield pa.RecordBatch.from_pydict(columns)


spark = spark_session("where")
rows = spark.range(0, 8, 1, 4).mapInArrow(where, "file string, cwd string").collect()
answer = {
    "driver": ecg_spark.__file__,
    "executors": sorted({row.file for row in rows}),
    "folders": sorted({row.cwd for row in rows}),
    "master": spark.sparkContext.master,
}
with open(sys.argv[1], "w") as file:
    json.dump(answer, file)
spark.stop()
sys.exit(int(sys.argv[2]))
'''


@pytest.fixture(scope="module")
def study(other_python, tmp_path_factory):
    """The study file of a small simulated biobank, with a short training."""
    folder = tmp_path_factory.mktemp("cluster") / "biobank"
    size = ["--participants", "80", "--variants", "600", "--seed", "11"]
    answer = other_python("-m", "jobs.cli", "simulate", *size, "--out", folder)
    assert answer.returncode == 0, answer.stderr
    path = folder / "study.yaml"
    content = yaml.safe_load(path.read_text())
    content["model"] = {"epochs": 2, "latents": 3, "channels": 8, "min_active_kl": 0.0}
    content["genotypes"] |= {"components": 2}
    content["spark"] = {"driver_memory": "2g"}
    path.write_text(yaml.safe_dump(content))
    return path


def processes_of(folder):
    """What runs from `folder`: by an argument of its command line or its working folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words = [*(process.info["cmdline"] or ()), process.info["cwd"] or ""]
        if any(str(folder) in word for word in words):
            found.append(process)
    return found


def await_end_of_processes(folder, seconds=20):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and processes_of(folder):
        time.sleep(0.2)
    return processes_of(folder)


def task_ends(events):
    """What Spark's event log says of each task that has ended."""
    found = map(json.loads, events.read_text().splitlines())
    return [event for event in found if event["Event"] == "SparkListenerTaskEnd"]


def run_on_cluster(command, study, scratch):
    scratch.mkdir()
    settings = [word for key, value in FEW_ROWS.items() for word in ("--conf", f"{key}={value}")]
    answer = subprocess.run(
        [command, study, "--executor-memory", "1500m", *settings],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(scratch)},
    )
    lines = [json.loads(line) for line in answer.stdout.splitlines()]
    return answer.returncode, {line["step"]: line for line in lines}


def test_driver_and_executors_import_from_the_wheel_alone(tmp_path, cluster_module, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    job = tmp_path / "where.py"
    job.write_text(WHERE_JOB)
    events = tmp_path / "events"
    events.mkdir()
    with cluster_module.Cluster(events.as_uri(), "1g", "1g") as cluster:
        assert cluster.submit(job, str(tmp_path / "answer.json"), "3") == 3
        assert processes_of(cluster.folder)
    answer = json.loads((tmp_path / "answer.json").read_text())
    files = [answer["driver"], *answer["executors"]]
    assert all(f"{cluster.package.name}/ecg_spark/__init__.py" in file for file in files), files
    assert len(answer["folders"]) == cluster_module.WORKERS, "one executor on each worker"
    assert answer["master"] == cluster.master
    assert len(list(events.iterdir())) == 1
    assert not await_end_of_processes(cluster.folder)


def test_every_step_runs_on_the_cluster_and_then_skips_itself(
    study, local_cluster, tmp_path, capsys
):
    code, lines = run_on_cluster(local_cluster, study, tmp_path / "scratch")
    assert code == 0
    assert tuple(lines) == OF_BIOBANK
    assert not [step for step, line in lines.items() if "skipped" in line]
    results = study.parent / "results"
    assert "<html" in (results / "report.html").read_text()
    (events,) = (results / "spark-events").iterdir()
    tasks = Counter(event["Task Info"]["Executor ID"] for event in task_ends(events))
    assert len(tasks) == 2, "two executors"
    assert min(tasks.values()) > 50, "both work"
    assert not await_end_of_processes(tmp_path / "scratch")
    assert not list((tmp_path / "scratch").glob("ecg-spark-cluster-*")), "no folder is left behind"

    # What the cluster published is known to the command line too, in another process.
    capsys.readouterr()
    assert ecg_spark(["run", str(study)]) == 0
    second = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["step"] for line in second if "skipped" in line] == list(OF_BIOBANK)


def test_a_failing_job_gives_its_exit_code_and_ends_the_run(study, local_cluster, tmp_path):
    bad = study.with_name("bad.yaml")
    content = yaml.safe_load(study.read_text())
    (study.parent / "empty").mkdir()
    content |= {"output": "bad-results", "ecg": {"path": "empty"}}
    bad.write_text(yaml.safe_dump(content))
    code, lines = run_on_cluster(local_cluster, bad, tmp_path / "scratch")
    assert code == 3
    assert not lines
    assert not await_end_of_processes(tmp_path / "scratch")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing_running(number, local_cluster, tmp_path):
    study = tmp_path / "study.yaml"
    study.write_text(
        "{name: s, output: out, ecg: {path: ecg}, participants: {path: p.csv},"
        " genotypes: {path: g.bed}}"
    )
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    running = subprocess.Popen([local_cluster, study], env=os.environ | {"TMPDIR": str(scratch)})
    try:
        deadline = time.monotonic() + 60
        while len(processes_of(scratch)) < 3 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert len(processes_of(scratch)) >= 3, "a master and two workers"
    finally:
        running.send_signal(number)
        code = running.wait(60)
    assert code == 130
    assert not await_end_of_processes(scratch)


def test_a_wrong_study_file_starts_nothing(local_cluster, tmp_path):
    study = tmp_path / "study.yaml"
    study.write_text("name: s\n")
    answer = subprocess.run([local_cluster, study], capture_output=True, text=True)
    assert answer.returncode == 2
    assert "2 problems" in answer.stderr
    assert not answer.stdout
