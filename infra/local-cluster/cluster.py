"""A real Spark cluster on one machine: a study through spark-submit, from the built wheel.

    infra/local-cluster/run study.yaml [--force] [--executor-memory 2g] [--conf key=value ...]

It builds the wheel, starts a standalone master and two workers of one core each on 127.0.0.1, from
the installed pyspark and on free ports, and submits jobs/run.py, which runs every step. Its lines
of JSON go to standard output, all else to standard error. It ends with the job's exit code, and
stops what it started, on failure, Ctrl-C and a termination signal too. Spark's event logs lie in
the study's output folder, in spark-events; where something fails, the logs of master, workers and
executors are kept.

What a job imports comes from the wheel alone, as on a cluster where ecg-spark is not installed: the
Python of driver and executors sees the packages of the environment, but not this checkout, which
only the environment's .pth files lead to. The wheel is submitted under a name that ends in .zip,
because executors put a file of --py-files on their path only if it is a .zip, .egg or .jar. They
put it there for tasks alone: the daemon of their Python workers finds it by PYTHONPATH. A random
secret keeps other users of the machine out of the cluster.
"""

import argparse
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from collections.abc import Mapping
from pathlib import Path
from types import FrameType, MappingProxyType

import pyspark

from ecg_spark.errors import EcgSparkError, InfrastructureError
from ecg_spark.session import find_java, hail_jar
from ecg_spark.study import load_study

ROOT = Path(__file__).resolve().parents[2]
SPARK_HOME = Path(pyspark.__file__).parent
# Linux answers on all of 127.0.0.0/8: Spark then holds the workers for two machines, as it must to
# run a task a second time for a slow one.
HOSTS = ("127.0.0.1", "127.0.0.2" if sys.platform == "linux" else "127.0.0.1")
WORKERS = len(HOSTS)
START_SECONDS = 120
STOP_SECONDS = 15
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Cluster:
    """A standalone master with its workers, for the length of a `with` block.

    `event_log` is a folder that exists, `settings` are further ones of Spark. Raises
    `InfrastructureError` where the wheel cannot be built or a master or worker does not come up.
    """

    def __init__(
        self,
        event_log: str,
        driver_memory: str = "2g",
        executor_memory: str = "2g",
        settings: Mapping[str, str] = MappingProxyType({}),
    ):
        self._event_log, self._settings = event_log, settings
        self._driver_memory, self._executor_memory = driver_memory, executor_memory
        self._daemons: list[subprocess.Popen[bytes]] = []
        self._job: subprocess.Popen[str] | None = None
        self._failed = False

    def __enter__(self) -> "Cluster":
        self.folder = Path(tempfile.mkdtemp(prefix="ecg-spark-cluster-"))
        try:
            self.package = build_package(self.folder)
            self.python = bare_python(self.folder / "python")
            self._properties = self._write_properties()
            self.master = self._start_master()
            workers = [self._start_worker(number) for number in range(WORKERS)]
            for log in workers:
                self._wait_for(log, r"Successfully registered with master")
        except BaseException:
            self._failed = True
            self._stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._failed |= kind is not None
        self._stop()

    def submit(self, script: Path, *arguments: str) -> int:
        """Run a script through spark-submit and return its exit code."""
        command = [str(SPARK_HOME / "bin" / "spark-submit"), "--master", self.master]
        command += ["--properties-file", str(self._properties), "--py-files", str(self.package)]
        command += [str(script), *arguments]
        # A session of its own: Ctrl-C reaches this process, which then ends the job.
        self._job = subprocess.Popen(
            command,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        # Spark joins a job's standard error to its standard output: they are parted again.
        for line in self._job.stdout or ():
            print(line, end="", file=sys.stdout if line.startswith("{") else sys.stderr, flush=True)
        code = self._job.wait()
        self._failed |= code != 0
        return code

    def _write_properties(self) -> Path:
        """All settings of master, workers and jobs, the secret included, in one private file."""
        jar = hail_jar()
        quiet = ROOT / "ecg_spark" / "log4j2.properties"
        settings = {
            "spark.authenticate": "true",
            "spark.authenticate.secret": secrets.token_hex(32),
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.memory": self._driver_memory,
            "spark.driver.extraClassPath": str(jar),
            "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile=file:{quiet}",
            "spark.executor.memory": self._executor_memory,
            "spark.sql.shuffle.partitions": str(2 * WORKERS),
            "spark.executor.extraClassPath": f"./{jar.name}",
            "spark.executorEnv.PYTHONPATH": f"./{self.package.name}",
            "spark.jars": jar.as_uri(),
            "spark.pyspark.python": str(self.python),
            "spark.python.daemon.module": "ecg_spark.python_workers",
            "spark.ui.enabled": "false",
            "spark.eventLog.enabled": "true",
            "spark.eventLog.dir": self._event_log,
            **self._settings,
        }
        path = self.folder / "cluster.properties"
        path.touch(mode=0o600)
        path.write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
        return path

    def _environment(self) -> dict[str, str]:
        unwanted = ("PYTHONPATH", "SPARK_CONF_DIR", "MASTER")
        kept = {key: value for key, value in os.environ.items() if key not in unwanted}
        return kept | {
            "JAVA_HOME": find_java(),
            "SPARK_HOME": str(SPARK_HOME),
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_LOCAL_DIRS": str(self.folder / "scratch"),
            "SPARK_DAEMON_MEMORY": "512m",
            "PYSPARK_PYTHON": str(self.python),
            "PYSPARK_DRIVER_PYTHON": str(self.python),
        }

    def _start_master(self) -> str:
        log = self._start(
            "master", "org.apache.spark.deploy.master.Master", "--host", HOSTS[0], "--port", "0"
        )
        return self._wait_for(log, r"Starting Spark master at (spark://127\.0\.0\.1:\d+)")

    def _start_worker(self, number: int) -> Path:
        return self._start(
            f"worker-{number}",
            "org.apache.spark.deploy.worker.Worker",
            *("--host", HOSTS[number], "--cores", "1", "--memory", self._executor_memory),
            *("--work-dir", str(self.folder / f"worker-{number}"), self.master),
        )

    def _start(self, name: str, main_class: str, *arguments: str) -> Path:
        """Start a daemon and return its log."""
        command = [str(SPARK_HOME / "bin" / "spark-class"), main_class]
        command += ["--webui-port", "0", "--properties-file", str(self._properties), *arguments]
        log = self.folder / f"{name}.log"
        with log.open("wb") as output:
            daemon = subprocess.Popen(
                command,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._daemons.append(daemon)
        return log

    def _wait_for(self, log: Path, pattern: str) -> str:
        """The first group of the pattern (or the whole match) once it stands in the log."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if found := re.search(pattern, log.read_text(errors="replace")):
                return found[found.re.groups]
            if any(daemon.poll() is not None for daemon in self._daemons):
                break
            time.sleep(0.2)
        raise InfrastructureError(f"The cluster's {log.stem} did not start: its log is {log}.")

    def _stop(self) -> None:
        """End the job, then workers (and with them their executors), then the master."""
        started = [process for process in (self._job, *self._daemons[::-1]) if process]
        for process in started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for process in started:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if self._failed and self._daemons:
            shutil.rmtree(self.folder / "scratch", ignore_errors=True)
            print(f"ecg-spark: the cluster's logs are kept in {self.folder}", file=sys.stderr)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)


def build_package(folder: Path) -> Path:
    """The wheel of this checkout, built from a copy in `folder`, under a name for --py-files."""
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("ecg_spark", "models", "jobs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    answer = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, source],
        capture_output=True,
        text=True,
    )
    if answer.returncode != 0:
        last = (answer.stderr or answer.stdout).strip().splitlines()[-1]
        raise InfrastructureError(f"The wheel could not be built: {last}")
    wheel = next(folder.glob("*.whl"))
    return wheel.rename(wheel.with_suffix(".zip"))


def bare_python(folder: Path) -> Path:
    """A Python that sees the environment's packages but not the checkout.

    The environment finds the checkout through a .pth file, and those work only in a Python's own
    package folder, not in one that is merely on its path.
    """
    venv.create(folder, symlinks=True)
    (own,) = folder.glob("lib/python3*/site-packages")
    (own / "environment.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin" / "python"


def main(arguments: list[str] | None = None) -> int:
    """Run every step of a study on the cluster; returns the job's exit code."""
    parser = argparse.ArgumentParser(
        prog="infra/local-cluster/run",
        description="Run a study on a Spark cluster of this machine, from the built wheel.",
    )
    parser.add_argument("study", type=Path, help="the study file")
    parser.add_argument("--force", action="store_true", help="redo what is published already")
    parser.add_argument(
        "--executor-memory", type=_memory, default="2g", help="of each worker (default: 2g)"
    )
    parser.add_argument(
        "--conf",
        type=_setting,
        action="append",
        default=[],
        metavar="key=value",
        help="a further setting of Spark, as spark-submit takes it",
    )
    options = parser.parse_args(arguments)
    for number in SIGNALS:
        signal.signal(number, _interrupt)
    try:
        study = load_study(options.study)
        events = f"{study.output_path}/spark-events"
        if "://" not in events:
            Path(events).mkdir(parents=True, exist_ok=True)
            events = Path(events).as_uri()
        flags = ["--study", str(options.study.resolve())] + ["--force"] * options.force
        memory = study.spark.driver_memory, options.executor_memory
        with Cluster(events, *memory, dict(options.conf)) as cluster:
            return cluster.submit(ROOT / "jobs" / "run.py", *flags)
    except EcgSparkError as error:
        print(f"ecg-spark: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("ecg-spark: interrupted; what was published before stays.", file=sys.stderr)
        return 130


def _memory(text: str) -> str:
    if not re.fullmatch(r"\d+[gm]", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 2g or 1500m")
    return text


def _setting(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not (key.startswith("spark.") and sign):
        raise argparse.ArgumentTypeError(f"{text!r} is no setting such as spark.speculation=true")
    return key, value


def _interrupt(number: int, frame: FrameType | None) -> None:
    for each in SIGNALS:  # a second Ctrl-C must not interrupt the stopping
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
