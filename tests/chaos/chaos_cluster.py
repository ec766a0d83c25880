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
SPECULATION = {
    "spark.speculation": "true",
    "spark.speculation.interval": "100ms",
    "spark.speculation.quantile": "0.1",
    "spark.speculation.multiplier": "1.1",
}


@contextmanager
def at_work(cluster, study, step):
    """A step on the cluster, from when its tasks work until it ends; gives its exit code."""
    code = []
    script, flags = ROOT / "jobs" / f"{step}.py", ("--study", str(study))
    job = Thread(target=lambda: code.append(cluster.submit(script, *flags)))
    job.start()
    wait_for(lambda: has_content(run_of(study, step)) and python_workers(cluster))
    yield code
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
        with at_work(cluster, study, step) as code:
            busy = python_workers(cluster)
            number, executor = next(
                (number, executor)
                for number, executor in executors(cluster).items()
                if any(worker in busy for worker in executor.children(recursive=True))
            )
            daemon = executor.parent()
            assert "deploy.worker.Worker" in " ".join(daemon.cmdline()), number
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
        with at_work(cluster, study, step) as code:
            slow = python_workers(cluster)[:1]
            for process in slow:
                process.suspend()
            time.sleep(15)
            for process in slow:
                if process.is_running():
                    process.resume()
        assert code == [0]
    reasons = end_reasons(events)
    assert reasons["TaskKilled"] or reasons["TaskCommitDenied"], reasons
    whole.assert_same(step, study)
