"""Stores that cannot be used: a sentence, before any work and within seconds."""

import re
import socket
import time

import pytest
from s3fs import S3FileSystem

from ecg_spark import reach
from ecg_spark.errors import InfrastructureError
from ecg_spark.reach import require_connectors, require_reachable, trouble


@pytest.fixture
def anew():
    """Connections are made anew, as the environment then says."""
    S3FileSystem.clear_instance_cache()
    yield
    S3FileSystem.clear_instance_cache()


def refusal(inputs, output):
    started = time.monotonic()
    with pytest.raises(InfrastructureError) as caught:
        require_reachable(inputs, output)
    assert time.monotonic() - started < 30
    assert str(caught.value).count("\n") == 0
    return str(caught.value)


def test_what_can_be_used_is_left_as_it_is(bucket, tmp_path):
    inputs = [
        ("ecg.path", f"{bucket}/ecg/*.xml"),  # that nothing is there says whoever reads it
        ("participants.path", str(tmp_path / "none.csv")),
    ]
    require_reachable(inputs, f"{bucket}/out")
    require_reachable(inputs, str(tmp_path / "out"))
    assert S3FileSystem().find(bucket.removeprefix("s3a://")) == []
    assert not (tmp_path / "out").exists()


def test_a_bucket_that_does_not_exist_is_named_and_never_made(s3_server):
    said = "the store s3a://no-such-bucket does not exist: make it, or correct its name."
    assert refusal([], "s3a://no-such-bucket/out") == f"output: {said}"
    for place in ("s3a://no-such-bucket/people.csv", "s3a://no-such-bucket/a/*.bed"):
        assert refusal([("participants.path", place)], "/out") == f"participants.path: {said}"
    assert not S3FileSystem().exists("no-such-bucket")


def test_a_store_without_credentials_is_a_sentence(bucket, anew, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "gave no access, because no valid credentials were found" in refusal([], f"{bucket}/out")


def test_a_store_that_is_not_there_is_a_sentence(bucket, anew, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    assert "does not answer: check its address" in refusal([], f"{bucket}/out")


def test_a_store_that_does_not_answer_is_waited_for_briefly(bucket, anew, monkeypatch):
    monkeypatch.setattr(reach, "PATIENCE_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert "does not answer" in refusal([], f"{bucket}/out")


def test_a_store_of_another_kind_is_a_sentence():
    assert "is of an unknown kind" in refusal([("truth", "ipfs2://a/b")], "/out")
    assert "on Databricks only" in refusal([], "dbfs:///Volumes/a/b/c/out")


def test_a_missing_package_is_named_by_its_extra(other_python):
    """In a Python in which the package cannot be imported."""
    answer = other_python(
        "-c",
        "import sys; sys.modules['s3fs'] = None\n"
        "from ecg_spark.reach import require_reachable\n"
        "require_reachable([], 's3a://bucket/out')",
    )
    assert "s3a://bucket needs a package: pip install 'ecg-spark[s3]'" in answer.stderr


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("botocore.exceptions.NoCredentialsError: Unable to locate credentials", "no valid cred"),
        ("ImportError: Install s3fs to access S3", r"pip install 'ecg-spark\[s3\]'"),
        ("botocore.exceptions.EndpointConnectionError: Could not connect", "does not answer"),
    ],
)
def test_what_failed_in_a_task_of_spark_is_told_by_its_text(text, says):
    error = RuntimeError(f"An exception was thrown from the Python worker.\nTraceback ...\n{text}")
    assert re.search(says, trouble(error))
    assert trouble(RuntimeError("division by zero")) is None


def test_spark_without_the_connector_says_how_to_start_it(spark):
    require_connectors(spark, [("output", "/out")])
    with pytest.raises(InfrastructureError) as caught:
        require_connectors(spark, [("output", "s3a://bucket/out")])
    assert str(caught.value) == (
        "output lies on s3a://, for which this Spark has no connector: start it with --packages "
        "org.apache.hadoop:hadoop-aws:3.3.4."
    )
    with pytest.raises(InfrastructureError, match="start it with --packages com"):
        require_connectors(spark, [("output", "gs://bucket/out")])
    with pytest.raises(InfrastructureError, match="no connector: use another store"):
        require_connectors(spark, [("output", "dbfs:///out")])


def test_a_path_of_this_machine_is_refused_where_sparks_own_files_are_elsewhere(spark):
    settings = spark.sparkContext._jsc.hadoopConfiguration()
    settings.set("fs.defaultFS", "hdfs://master")
    try:
        with pytest.raises(InfrastructureError, match="Spark's own files are on hdfs"):
            require_connectors(spark, [("output", "/out")])
    finally:
        settings.unset("fs.defaultFS")
