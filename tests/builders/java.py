"""How the tests start Java: for many short queries and processes of a few minutes.

    .venv/bin/python -m tests.builders.java

makes the archive of Java's classes, if it is not there yet. A third of what starting Spark costs is
to find, read and verify some 20,000 classes. Java writes those of one process into an archive and
maps it into others (https://docs.oracle.com/en/java/javase/17/vm/class-data-sharing.html). It
leaves an archive aside that was made by another Java or of other jars.
"""

import os
import sys
import tempfile
from pathlib import Path

ARCHIVE = Path(sys.prefix) / "java-classes.jsa"
QUIET = "-Xlog:cds=off -Xlog:cds+dynamic=off"  # not a line for each class left out

# The optimising compiler and a parallel collector cost more of two cores than they give back. What
# the first compiler makes needs its room; it is to compile the longest methods, too, which are
# those of Hail's own compiler. Collections of the whole heap, only because classes take up more
# room than at the start, are left out.
TOOL_OPTIONS = (
    "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m -XX:+UseSerialGC "
    "-XX:-DontCompileHugeMethods -XX:MetaspaceSize=512m"
)
"""What every Java process is given."""

NO_CODE = {
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
}
"""Code made for each query pays for many rows, and costs half of a query of a few."""


def driver_options() -> str:
    """What a process that spark-submit starts is given besides, for SPARK_SUBMIT_OPTS."""
    # Hadoop starts `chmod` for each file that it writes, and the old way of that is the cheaper.
    options = ["-Xmn512m", "-Djdk.lang.Process.launchMechanism=VFORK"]
    options += [f"-D{key}={value}" for key, value in NO_CODE.items()]
    if is_up_to_date() and ARCHIVE.stat().st_size:
        options += [f"-XX:SharedArchiveFile={ARCHIVE}", QUIET]
    return " ".join(options)


def is_up_to_date() -> bool:
    """Whether the archive is younger than the packages that are installed."""
    installed = Path(sys.prefix) / "installed"
    return ARCHIVE.exists() and ARCHIVE.stat().st_mtime > installed.stat().st_mtime


def make_archive() -> None:
    """Write the archive of what a simulation and a little work of Hail load: half a minute."""
    # Here, since every process of the tests imports this module for its options.
    import hail
    from pyspark import SparkContext

    from ecg_spark.session import spark_session, start_hail
    from jobs.simulate import simulate

    unfinished = ARCHIVE.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    os.environ["JAVA_TOOL_OPTIONS"] = TOOL_OPTIONS
    # Java 11, which Spark and Hail take, too, knows no such option: its archive stays empty.
    archiving = f"-XX:+IgnoreUnrecognizedVMOptions -XX:ArchiveClassesAtExit={unfinished}"
    os.environ["SPARK_SUBMIT_OPTS"] = f"{archiving} {QUIET}"
    session = spark_session("archive", "2g", progress=False)
    with tempfile.TemporaryDirectory() as folder:
        simulate(Path(folder) / "biobank", participants=30, variants=300, seed=1)
        start_hail(session, folder)
        hail.balding_nichols_model(1, 10, 10, n_partitions=2).write(f"{folder}/genotypes.mt")
        session.stop()
    java = SparkContext._gateway.proc
    java.stdin.close()  # that ends it, and it writes
    java.wait()
    if not unfinished.exists():
        unfinished.touch()
    unfinished.replace(ARCHIVE)


if __name__ == "__main__" and not is_up_to_date():
    print("ecg-spark: archiving Java's classes for the tests (once)", flush=True)
    make_archive()
