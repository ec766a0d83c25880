"""Whole commands on a study of an object store."""

import json

import fsspec
import numpy as np
import yaml

from ecg_spark.ecg import LEADS
from jobs.cli import main
from tests.builders.ecg_files import wfdb_record
from tests.builders.study_file import MINIMAL

THRICE = """
import sys
from jobs.cli import main
from tests.jobs.test_object_store import put_record

bucket = sys.argv[1]
for _ in range(2):
    main(["ingest", f"{bucket}/study/study.yaml"])
put_record(bucket, "2_a", 4)  # another content of the same size
main(["ingest", f"{bucket}/study/study.yaml"])
"""


def put(uri, content):
    with fsspec.open(uri, "wb") as file:
        file.write(content if isinstance(content, bytes) else yaml.safe_dump(content).encode())


def put_record(bucket, name, seed):
    rows = np.random.default_rng(seed).integers(100, 500, (12, 5000))
    header, files = wfdb_record(rows, LEADS, gains=["200/mV"] * 12, file=f"{name}.dat", name=name)
    put(f"{bucket}/study/ecg/{name}.hea", header)
    put(f"{bucket}/study/ecg/{name}.dat", files["r.dat"])


def test_an_output_on_a_store_without_an_mlflow_server_is_refused_before_any_work(
    bucket, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    put(f"{bucket}/study/study.yaml", MINIMAL)
    assert main(["run", f"{bucket}/study/study.yaml"]) == 2
    assert "MLflow's own file cannot lie on an object store" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    files, base = fsspec.core.url_to_fs(bucket)
    assert files.find(base) == [f"{base}/study/study.yaml"]


def test_a_bucket_that_does_not_exist_is_exit_code_4(s3_server, tmp_path, capsys):
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(MINIMAL | {"output": "s3://no-such-bucket/out"}))
    assert main(["ingest", str(path)]) == 4
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "output: the store s3a://no-such-bucket does not exist" in error


def test_spark_without_the_connector_is_exit_code_4_and_holds_nothing(spark, bucket, capsys):
    put(f"{bucket}/study/study.yaml", MINIMAL)
    put_record(bucket, "1_a", 1)
    assert main(["ingest", f"{bucket}/study/study.yaml"]) == 4
    assert "output lies on s3a://, for which this Spark has no connector" in capsys.readouterr().err
    files, base = fsspec.core.url_to_fs(f"{bucket}/study/out")
    assert files.find(base) == []


def test_recordings_on_a_store_are_ingested_and_a_changed_one_again(bucket, tmp_path, other_python):
    """In a process of its own, whose executors find the server by the environment, too."""
    study = MINIMAL | {
        "output": str(tmp_path / "out"),
        "ecg": {"path": "ecg", "id_pattern": r"^(\d+)_"},
    }
    put(f"{bucket}/study/study.yaml", study)
    for name, seed in (("1_a", 1), ("2_a", 2), ("3_a", 3)):
        put_record(bucket, name, seed)
    answer = other_python("-c", THRICE, bucket)
    first, second, third = map(json.loads, answer.stdout.splitlines())
    assert (first["n_read"], first["n_out"]) == (3, 3), answer.stderr
    assert second["skipped"] == "already published"
    assert (third["n_read"], third["n_out"]) == (1, 3)
