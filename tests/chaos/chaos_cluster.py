"""Workers that die or stand still while they work, on a Spark cluster of this machine."""

import json
import signal
import time
from collections import Counter
from contextlib import contextmanager
from threading import Thread

import psutil
import pytest

from tests.chaos.conftest import ROOT, run_of, wait_for

STEPS_WITH_TASKS = ("ingest", "average", "encode", "null_model", "associations")
ASKED_SECONDS = 1.5
"""More processor time than a worker takes to say which packages it has."""
SPECULATION = {
    "spark.speculation": "true",
    "spark.speculation.interval": "100ms",
    "spark.speculation.quantile": "0.1",
    "spark.speculation.multiplier": "1.1",
}


@contextmanager
def at_work(cluster, study, step):
    """A step on the cluster, from the middle of a task of it until it ends.

    Gives the list that receives its exit code, the executor at work and its Python process.
    """
    code = []
    script, flags = ROOT / "jobs" / f"{step}.py", ("--study", str(study))
    job = Thread(target=lambda: code.append(cluster.submit(script, *flags)))
    job.start()
    busy = []

    def is_busy():
        found = busy_executor(cluster) if run_of(study, step) else None
        # The executors are first asked for their packages, which is not the step's work.
        if found and (has_content(run_of(study, step)) or cpu_of(found[1]) > ASKED_SECONDS):
            busy.extend(found)
        return busy

    wait_for(is_busy)
    yield code, *busy
    job.join(400)
    assert code, "the step did not end"


def has_content(run):
    return run is not None and any(run.iterdir())


def executors(cluster):
    """The executors' processes, by the number of their worker."""
    found = {}
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or ()
        if any("CoarseGrainedExecutorBackend" in word for word in words):
            for number in range(2):
                if any(f"{cluster.folder}/worker-{number}/" in word for word in words) or (
                    f"{cluster.folder}/worker-{number}" in cwd_of(process)
                ):
                    found[number] = process
    return found


def cwd_of(process):
    try:
        return process.cwd()
    except psutil.Error:
        return ""


def python_workers(cluster):
    """The Python processes that work on tasks: children of the daemon of each executor."""
    found = []
    for executor in executors(cluster).values():
        try:
            for daemon in executor.children():
                found += daemon.children()
        except psutil.Error:
            continue
    return found


def busy_executor(cluster):
    """An executor in the middle of a task, with the Python process that works on it; else None."""
    before = {worker.pid: cpu_of(worker) for worker in python_workers(cluster)}
    time.sleep(0.05)
    for worker in python_workers(cluster):
        if cpu_of(worker) - before.get(worker.pid, 1e9) >= 0.02:
            for executor in executors(cluster).values():
                if worker in executor.children(recursive=True):
                    return executor, worker
    return None


def cpu_of(process):
    try:
        return process.cpu_times().user
    except psutil.Error:
        return 0.0


def end_reasons(events):
    """How often tasks ended, by how, after Spark's event log."""
    reasons = Counter()
    for log in events.iterdir():
        for line in log.read_text().splitlines():
            event = json.loads(line)
            if event["Event"] == "SparkListenerTaskEnd":
                reasons[event["Task End Reason"]["Reason"]] += 1
    return reasons


@pytest.mark.parametrize("step", STEPS_WITH_TASKS)
def test_worker_killed_while_it_works_changes_no_row(whole, step, tmp_path, cluster_module):
    study, events = whole.until(step, tmp_path), tmp_path / "events"
    events.mkdir()
    with cluster_module.Cluster(events.as_uri(), "2g", "1500m") as cluster:
        with at_work(cluster, study, step) as (code, executor, _):
            daemon = executor.parent()
            assert "deploy.worker.Worker" in " ".join(daemon.cmdline())
            for process in (daemon, executor):
                process.send_signal(signal.SIGKILL)
        assert code == [0]
    reasons = end_reasons(events)
    assert reasons["ExecutorLostFailure"] or reasons["FetchFailed"] or reasons["Resubmitted"], (
        reasons
    )
    whole.assert_same(step, study)


@pytest.mark.parametrize("step", STEPS_WITH_TASKS)
def test_task_that_is_run_twice_for_a_slow_worker_changes_no_row(
    whole, step, tmp_path, cluster_module
):
    study, events = whole.until(step, tmp_path), tmp_path / "events"
    events.mkdir()
    with cluster_module.Cluster(events.as_uri(), "2g", "1500m", SPECULATION) as cluster:
        with at_work(cluster, study, step) as (code, _, slow):
            slow.suspend()
            time.sleep(20)
            if slow.is_running():
                slow.resume()
        assert code == [0]
    reasons = end_reasons(events)
    assert reasons["TaskKilled"] or reasons["TaskCommitDenied"], reasons
    whole.assert_same(step, study)
