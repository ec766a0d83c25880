"""The cluster of this machine: jobs run from the wheel alone, and nothing is left running."""

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RUN = ROOT / "infra" / "local-cluster" / "run"

WHERE_JOB = '''
"""Says where driver and executors import ecg_spark from, and on how many executors."""
import json
import sys

from ecg_spark.session import spark_session, start_hail

import ecg_spark

spark = spark_session("where")


def where(batches):
    import os
    import time

    import pyarrow as pa

    import ecg_spark

    time.sleep(2)
    for batch in batches:
        n = len(batch)
        columns = {"file": [ecg_spark.__file__] * n, "cwd": [os.getcwd()] * n}
        yield pa.RecordBatch.from_pydict(columns)


rows = spark.range(0, 8, 1, 4).mapInArrow(where, "file string, cwd string").collect()
hl = start_hail(spark)
table = hl.utils.range_table(100, 4)
answer = {
    "driver": ecg_spark.__file__,
    "executors": sorted({row.file for row in rows}),
    "folders": sorted({row.cwd for row in rows}),
    "sum": table.aggregate(hl.agg.sum(table.idx)),
    "master": spark.sparkContext.master,
}
with open(sys.argv[1], "w") as file:
    json.dump(answer, file)
spark.stop()
sys.exit(int(sys.argv[2]))
'''


@pytest.fixture(scope="module")
def cluster_module():
    spec = importlib.util.spec_from_file_location("cluster", RUN.with_name("cluster.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def java_processes(folder):
    """The running processes that have `folder` in their command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes()
        except OSError:
            continue
        if str(folder).encode() in words:
            found.append(int(entry.parent.name))
    return found


def test_driver_and_executors_import_from_the_wheel_alone(tmp_path, cluster_module):
    job = tmp_path / "where.py"
    job.write_text(WHERE_JOB)
    events = tmp_path / "events"
    events.mkdir()
    with cluster_module.Cluster(events.as_uri(), "1g", "1g") as cluster:
        assert cluster.submit(job, str(tmp_path / "answer.json"), "3") == 3
        assert java_processes(cluster.folder)
    answer = json.loads((tmp_path / "answer.json").read_text())
    files = [answer["driver"], *answer["executors"]]
    assert all(f"{cluster.package.name}/ecg_spark/__init__.py" in file for file in files), files
    assert len(answer["folders"]) == cluster_module.WORKERS, "one executor on each worker"
    assert answer["sum"] == 4950, "Hail runs on the executors"
    assert answer["master"] == cluster.master
    assert len(list(events.iterdir())) == 1
    assert not java_processes(cluster.folder)
