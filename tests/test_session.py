"""A session that was made elsewhere: made fit, or refused in a sentence before any work."""

import json
import venv

import pytest

from ecg_spark.errors import UsageError
from ecg_spark.session import prepared

SCRIPT = """
import json, os, sys
from pyspark.sql import SparkSession
from ecg_spark.errors import EcgSparkError
from ecg_spark.session import find_java, prepared, start_hail

os.environ |= {"JAVA_HOME": find_java(), "SPARK_LOCAL_IP": "127.0.0.1"}
builder = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
session = builder.config("spark.sql.session.timeZone", "Asia/Tokyo").getOrCreate()
said = []
for python, act in ((None, prepared), (sys.argv[1], prepared), (sys.argv[1], start_hail)):
    session.sparkContext.pythonExec = python or "/no/such/python"
    try:
        act(session)
    except EcgSparkError as error:
        said.append([error.exit_code, str(error)])
settings = ("parquet.columnarReaderBatchSize", "session.timeZone")
print(json.dumps([said, [session.conf.get(f"spark.sql.{name}") for name in settings]]))
"""


def python_with(folder, package, version):
    """A Python of this version in which one package is said to be installed, and no other."""
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python3*/site-packages")
    metadata = packages / f"{package}-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def elsewhere(other_python, tmp_path_factory):
    """What a session is told that knows nothing of ecg-spark, and two of its settings then."""
    python = python_with(tmp_path_factory.mktemp("python") / "own", "numpy", "1.23.5")
    answer = other_python("-c", SCRIPT, python)
    assert answer.returncode == 0, answer.stderr[-2000:]
    return json.loads(answer.stdout.splitlines()[-1])


def test_an_executors_python_that_does_not_start_is_reported_before_any_work(elsewhere):
    (code, told), *_ = elsewhere[0]
    assert code == 4
    assert "does not start: set spark.pyspark.python" in told


def test_packages_that_executors_lack_or_have_at_another_version_are_named(elsewhere):
    _, (code, told), _ = elsewhere[0]
    assert code == 4
    assert "numpy is 1.23.5 there and 2." in told
    assert "h5py is missing there" in told
    assert "Traceback" not in told


def test_a_session_without_hail_is_told_the_settings_that_a_new_one_needs(elsewhere):
    *_, (code, told) = elsewhere[0]
    assert code == 4
    assert "lacks Hail's jar and Hail's Kryo registrator" in told
    for setting in (
        "spark.jars=file:///",
        "spark.driver.extraClassPath=/",
        "spark.executor.extraClassPath=./hail-all-spark.jar",
        "spark.serializer=org.apache.spark.serializer.KryoSerializer",
        "spark.kryo.registrator=is.hail.kryo.HailKryoRegistrator",
        "restart the kernel or cluster",
    ):
        assert setting in told
    assert "JavaPackage" not in told


def test_a_session_gets_the_sql_settings_that_nobody_has_set(elsewhere):
    assert elsewhere[1] == ["256", "Asia/Tokyo"]


def test_what_is_no_classic_session_is_refused():
    with pytest.raises(UsageError, match="needs a classic Spark session"):
        prepared("spark")
