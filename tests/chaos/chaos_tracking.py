"""A server of MLflow that goes away while a model is trained, for a minute or for good."""

import os
import re
import socket
import subprocess
import sys
import time

import pytest
import requests

from ecg_spark.store import Store
from tests.chaos.conftest import MODEL, in_process, sentence_of, wait_for

LONG = MODEL | {"epochs": 1500, "patience": None}
"""A training of some two minutes."""

GOES_ON = re.compile(r"resumes after epoch (\d+)")


class Server:
    """A server of MLflow on a port of its own, whose store outlives it."""

    def __init__(self, folder):
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self):
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server", "--port", str(self.port)),
                *("--backend-store-uri", f"sqlite:///{self._folder}/mlflow.db"),
                *("--artifacts-destination", f"{self._folder}/artifacts", "--workers", "1"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_for(self._answers)

    def stop(self):
        os.killpg(self._process.pid, 9)
        self._process.wait()

    def metrics(self):
        """How many epochs the newest run has got."""
        answer = requests.post(
            f"{self.uri}/api/2.0/mlflow/runs/search", json={"experiment_ids": ["1"]}, timeout=20
        ).json()
        metrics = answer.get("runs", [{}])[0].get("data", {}).get("metrics", [])
        return max((one["step"] for one in metrics if one["key"] == "train/loss"), default=0)

    def _answers(self):
        try:
            return requests.get(f"{self.uri}/health", timeout=2).ok
        except requests.RequestException:
            return False


@pytest.fixture
def server(mlflow_store, tmp_path):
    mlflow_store(tmp_path)
    server = Server(tmp_path)
    server.start()
    yield server
    server.stop()


def training(whole, folder, server):
    study = whole.until("train", folder, mlflow={"tracking_uri": server.uri}, model=LONG)
    return study, in_process("train", study)


def test_server_gone_for_a_minute_costs_no_metric_and_no_epoch(whole, tmp_path, server):
    _, job = training(whole, tmp_path, server)
    wait_for(lambda: server.metrics() > 2)
    server.stop()
    time.sleep(60)
    assert job.poll() is None, "it trains on"
    server.start()
    code, said, lines = sentence_of(job, 600)
    assert code == 0, said
    assert sum("MLflow is away" in line for line in lines) <= 2
    assert server.metrics() == LONG["epochs"]
    assert Store(str(tmp_path / "out")).published("train")


def test_server_gone_for_good_ends_in_a_sentence_and_training_is_not_lost(whole, tmp_path, server):
    study, job = training(whole, tmp_path, server)
    wait_for(lambda: server.metrics() > 2)
    server.stop()
    code, said, lines = sentence_of(job, 600)
    assert code == 4
    assert re.search(r"MLflow at http://127.0.0.1:\d+ failed .* run the step again", said), said
    assert not any("Traceback" in line for line in lines)
    store = Store(str(tmp_path / "out"))
    assert store.published("train") is None
    server.start()
    again = in_process("train", study)
    code, said, lines = sentence_of(again, 600)
    assert code == 0, said
    (kept,) = (int(found[1]) for line in lines if (found := GOES_ON.search(line)))
    assert kept == LONG["epochs"], "every epoch was kept"
    assert server.metrics() == LONG["epochs"]
    assert store.published("train")


@pytest.mark.parametrize("step", ["train", "encode"])
def test_server_that_is_not_there_is_a_sentence_within_half_a_minute(whole, step, tmp_path, server):
    study = whole.until(step, tmp_path, mlflow={"tracking_uri": server.uri})
    server.stop()
    began = time.monotonic()
    code, said, _ = sentence_of(in_process(step, study))
    server.start()
    assert code == 4
    assert "does not answer" in said
    assert time.monotonic() - began < 30
    assert Store(str(tmp_path / "out")).published(step) is None
