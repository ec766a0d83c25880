"""What every test shares: one Spark session with Hail per worker, and the real recordings.

A test is marked by what it needs, as its fixtures say (`NEEDS`): `make check` runs those that need
nothing but Python.
"""

import functools
import gc
import importlib.util
import logging
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

from tests.builders.java import NO_CODE, TOOL_OPTIONS, driver_options

PARTICIPANTS = 120
ROOT = Path(__file__).parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"

NEEDS = {
    "hail": {"hail"},
    "spark": {"spark", "notebook"},
    "mlflow": {"mlflow_store", "notebook"},
    "stores": {"s3_server"},
    "programs": {"other_python", "torchrun", "browser", "local_cluster", "notebook"},
}
"""Each mark, and the fixtures that bring it."""

FEW_ROWS = NO_CODE | {
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.shuffle.partitions": "2",
}
"""What pays for many rows and costs half of a query of a few is off: code made for each query, and
a plan that is made anew after each of its stages."""

OFTEN_ASKED = (
    "functions", "SparkSession", "SparkSession$", "PythonUtils", "PythonRDD", "SerDeUtil",
    "SimplePythonFunction", "Column", "is.hail", "java.lang",
    "org.apache.spark.sql.types.StructType", "org.apache.spark.sql.catalyst.expressions",
    "org.apache.spark.sql.execution.python.UserDefinedPythonFunction",
)  # fmt: skip
"""Java's names that the session knows from the start."""

SHARED_BY_FILES = ("tests/report/",)
"""Folders that make for all their files what takes long."""

WORKERS_WITH_SPARK = 2
UNITS_WITH_SPARK = "UNITS_WITH_SPARK"
"""The variable of the environment that names the file in which workers tell which these are."""
os.environ.setdefault(
    UNITS_WITH_SPARK, f"{tempfile.gettempdir()}/units-with-spark-{secrets.token_hex(8)}"
)

gc.disable()  # until the tests are collected: a third of the time of that

# The same cases in every run, so that a failure speaks of the change: others are drawn with
# --hypothesis-profile=default.
hypothesis.settings.register_profile("suite", derandomize=True, deadline=None)
hypothesis.settings.load_profile("suite")

os.environ["OMP_NUM_THREADS"] = "1"  # workers fill the cores: a second thread only waits
os.environ["JAVA_TOOL_OPTIONS"] = TOOL_OPTIONS
os.environ["SPARK_SUBMIT_OPTS"] = driver_options()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests by what they need, and begin with those that need most.

    With several workers the long files start first, so that none waits for another at the end.
    """
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        for mark, bring in NEEDS.items():
            if fixtures & bring:
                item.add_marker(mark)
    weight: Counter[str] = Counter()
    for item in items:
        needs = [mark.name for mark in item.iter_markers() if mark.name in NEEDS]
        # Other programs take the longest: a cluster, notebooks, processes that train together.
        # What needs nothing counts a little, so that of such files the longest start first, too.
        weight[unit(item.nodeid)] += 0.01 + sum(10 if name == "programs" else 1 for name in needs)
    items.sort(key=lambda item: -weight[unit(item.nodeid)])  # stable: a file's order is kept
    if "PYTEST_XDIST_WORKER" in os.environ:
        with_spark = {unit(item.nodeid) for item in items if "spark" in item.fixturenames}
        Path(os.environ[UNITS_WITH_SPARK]).write_text("\n".join(with_spark))


def unit(nodeid: str) -> str:
    """What one worker runs alone: a file, or a folder whose files share what takes long to make."""
    path = nodeid.split("::")[0]
    return next((folder for folder in SHARED_BY_FILES if path.startswith(folder)), path)


class Units(LoadFileScheduling):
    """Shares the tests out to the workers by `unit`.

    The first two workers begin with what needs the session of Spark, which takes each of them 3 GB
    and half a minute to start. Any further worker runs what needs none. Only the workers know the
    tests' fixtures: they tell in a file which units need it.
    """

    @functools.cached_property
    def _with_spark(self) -> set[str]:
        told = Path(os.environ[UNITS_WITH_SPARK])
        units = set(told.read_text().splitlines())
        told.unlink()
        return units

    def _split_scope(self, nodeid: str) -> str:
        return unit(nodeid)

    def _assign_work_unit(self, node: WorkerController) -> None:
        is_further = int(node.gateway.id.removeprefix("gw")) >= WORKERS_WITH_SPARK
        fitting = [one for one in self.workqueue if (one in self._with_spark) != is_further]
        if fitting:
            self.workqueue.move_to_end(fitting[0], last=False)
        elif is_further:
            node.shutdown()
            return
        super()._assign_work_unit(node)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Units:
    """The scheduler of `--numprocesses 3`."""
    return Units(config, log)


def pytest_collection_finish() -> None:
    """What was imported lives to the end: the garbage collector need not look at it again."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def spark():
    """The one Spark session of a worker."""
    from ecg_spark.session import spark_session

    session = spark_session("ecg-spark tests", driver_memory="3g", progress=False)
    for key, value in FEW_ROWS.items():
        session.conf.set(key, value)
    # PySpark asks for these with each function of a column, and Java seeks them in all jars.
    for path in OFTEN_ASKED:
        place = session._jvm
        for name in path.split("."):
            found = getattr(place, name)
            setattr(place, name, found)
            place = found
    yield session
    session.stop()


@pytest.fixture(scope="session")
def hail(spark, tmp_path_factory):
    """Hail, started in the suite's Spark session."""
    from ecg_spark.session import start_hail

    return start_hail(spark, str(tmp_path_factory.mktemp("hail")))


@pytest.fixture(scope="session")
def biobank(spark, tmp_path_factory):
    """A small simulated biobank: its folder, with the study file beside the data."""
    from jobs.simulate import simulate

    out = tmp_path_factory.mktemp("simulated") / "biobank"
    simulate(out, participants=PARTICIPANTS, variants=1500, seed=11)
    return out


@pytest.fixture(scope="session")
def other_python() -> Callable[..., subprocess.CompletedProcess]:
    """A function that runs Python with these arguments in a process of its own."""

    def run(*arguments: object) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


@pytest.fixture(scope="session")
def torchrun(other_python) -> Callable[..., subprocess.CompletedProcess]:
    """A function that runs a script or `-m` a module in two processes under torchrun."""

    def run(*arguments: object) -> subprocess.CompletedProcess:
        launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
        return other_python(*launcher, *arguments)

    return run


@pytest.fixture(autouse=True)
def no_tracking_address() -> Iterator[None]:
    """The environment names no MLflow: `mlflow.set_tracking_uri` leaves the last test's there."""
    names = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")
    for name in names:
        os.environ.pop(name, None)
    yield
    for name in names:
        os.environ.pop(name, None)


@pytest.fixture(scope="session")
def mlflow_store(tmp_path_factory) -> Callable[[Path], str]:
    """A function that puts a new, empty MLflow store into a folder and returns its address.

    MLflow takes seconds to lay out its database: that is done once, and copied.
    """
    from mlflow import MlflowClient

    empty = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{empty}").search_experiments()

    def new(folder: Path) -> str:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(empty, folder / "mlflow.db")
        return f"sqlite:///{folder}/mlflow.db"

    return new


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of an S3 server on this machine, which the environment names for all clients."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for every request
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        environment.setenv("AWS_ACCESS_KEY_ID", "tests")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "tests")
        environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["on this machine", pytest.param("on a store", marks=pytest.mark.stores)])
def anywhere(request, tmp_path) -> str:
    """A new, empty folder on either kind of storage."""
    is_local = request.param == "on this machine"
    return str(tmp_path) if is_local else request.getfixturevalue("bucket")


@pytest.fixture
def bucket(s3_server) -> str:
    """A new bucket, as the study file names it: s3a://..."""
    from s3fs import S3FileSystem

    name = f"bucket-{secrets.token_hex(4)}"
    S3FileSystem().mkdir(name)
    return f"s3a://{name}"


@pytest.fixture(scope="session")
def browser() -> str:
    """The path of a Chromium."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no chromium or google-chrome on this machine")
    return found


@pytest.fixture(scope="session")
def notebook(tmp_path_factory) -> Iterator[Callable[[Path], Any]]:
    """A function that executes a notebook and returns it with its outputs.

    All are executed in one folder and one kernel, whose names are forgotten in between: what a
    notebook has simulated and published the next one finds.
    """
    from jupyter_client.manager import KernelManager
    from nbclient import NotebookClient
    from nbformat import read, v4

    folder = tmp_path_factory.mktemp("notebooks")
    kernel = KernelManager()
    kernel.start_kernel(cwd=str(folder), env=os.environ | {"PYTHONPATH": str(ROOT)})

    def execute(path: Path) -> Any:
        content = read(path, as_version=4)
        content.cells.insert(0, v4.new_code_cell("%reset -f"))
        NotebookClient(content, km=kernel, timeout=600).execute()
        return content

    yield execute
    kernel.shutdown_kernel(now=True)


@pytest.fixture(scope="session")
def local_cluster() -> Path:
    """The command that runs every step on a Spark cluster of this machine."""
    return ROOT / "infra" / "local-cluster" / "run"


@pytest.fixture(scope="session")
def cluster_module(local_cluster):
    """The module behind that command, with the class of the cluster."""
    spec = importlib.util.spec_from_file_location("cluster", local_cluster.with_name("cluster.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real recordings and genotypes beside the checkout."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real recordings (../shared/data) are not beside this checkout")
    return SHARED_DATA
