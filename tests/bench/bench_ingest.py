"""Ingest: cost and peak memory by the number of recordings, and Spark's part of the cost.

    python tests/bench/bench_ingest.py --sizes 1000 10000

The recordings are those of a simulated biobank (GE CardioSoft, GE MUSE, WFDB). The peer does the
same work without Spark, on one core in a process of its own: list, read, hash, write Parquet, a
file every 500 recordings. Both are given in CPU seconds, of all processes of a run, since another's
work on the machine does not change those much. The second run takes over the first one's
recordings; the third adds a tenth. Prints one line of JSON a size.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from ecg_spark.pipeline.ingest import ingest
from ecg_spark.pipeline.reading import READ, read_source
from ecg_spark.pipeline.sources import group, list_files
from ecg_spark.session import spark_session
from ecg_spark.simulate.biobank import simulate_biobank


class Watch:
    """CPU seconds and peak memory of this process and all that it starts, from `with` to its end.

    Processes that come and go between two looks are missed: the JVM and its Python workers stay.
    """

    def __enter__(self):
        self.me = psutil.Process()
        self.seen, self.before = {}, {}
        self.peak = {"jvm": 0.0, "python": 0.0}
        self._look(self.before)
        self.started = time.perf_counter()
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()
        self._look(self.seen)
        self.wall = time.perf_counter() - self.started
        self.cpu = sum(used - self.before.get(pid, 0.0) for pid, used in self.seen.items())

    def _run(self):
        while not self.done.wait(0.3):
            self._look(self.seen)

    def _look(self, cpu):
        memory = {"jvm": 0.0, "python": 0.0}
        for process in [self.me, *self.me.children(recursive=True)]:
            try:
                times, name = process.cpu_times(), process.name()
                cpu[process.pid] = times.user + times.system
                kind = "jvm" if "java" in name else "python"
                memory[kind] += process.memory_info().rss / (1 << 20)
            except psutil.NoSuchProcess:
                continue
        for kind, value in memory.items():
            self.peak[kind] = max(self.peak[kind], value)


def bare(folder: Path, out: Path) -> int:
    """The same work by the bare functions; returns the number of recordings written."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyspark.sql.pandas.types import to_arrow_schema

    schema = to_arrow_schema(READ)
    sources = group(list_files(str(folder), None, ""), str(folder), None, "")
    n, rows = 0, []
    out.mkdir(parents=True)
    for number, source in enumerate(sources):
        rows += [row for row in read_source(source.path, source.files) if row["accepted"]]
        if len(rows) >= 500 or number == len(sources) - 1:
            table = pa.Table.from_pylist(rows, schema=schema)
            pq.write_table(table, out / f"{number}.parquet")
            n, rows = n + len(rows), []
    return n


def measure(size: int, scratch: Path, memory: str) -> dict:
    """The figures of one size."""
    spark = spark_session("bench ingest", memory, progress=False)
    biobank = scratch / "biobank"
    simulate_biobank(spark, biobank, participants=round(size / 1.17), variants=1000, seed=3)
    ecg, later = biobank / "ecg", scratch / "later"
    later.mkdir()
    stems = sorted({path.stem for path in ecg.iterdir()})
    for path in list(ecg.iterdir()):
        if path.stem in set(stems[::10]):
            shutil.move(path, later / path.name)
    n_bytes = sum(path.stat().st_size for path in ecg.iterdir())

    def run(number, previous=None):
        with Watch() as watch:
            summary = ingest(
                spark, str(ecg), None, r"^([^.]+)\.", lambda name: f"{scratch}/{number}/{name}",
                previous=previous and (lambda name: f"{scratch}/{previous}/{name}"),
            )  # fmt: skip
        return summary, watch

    small = scratch / "small"
    small.mkdir()
    for path in sorted(later.iterdir())[:20]:
        shutil.copy(path, small)
    ingest(spark, str(small), None, r"^([^.]+)\.", lambda name: f"{scratch}/warm/{name}")
    first, cost = run("first")
    same, again = run("again", "first")
    for path in list(later.iterdir()):
        shutil.move(path, ecg / path.name)
    grown, more = run("grown", "again")
    written = sum(p.stat().st_size for p in (scratch / "first" / "recordings").iterdir())
    return {
        "recordings": first["n_in"],
        "input_mib": round(n_bytes / (1 << 20)),
        "output_mib": round(written / (1 << 20)),
        "wall_seconds": round(cost.wall, 1),
        "cpu_seconds": round(cost.cpu, 1),
        "cpu_ms_a_recording": round(1000 * cost.cpu / first["n_in"], 2),
        "peak_jvm_mib": round(cost.peak["jvm"]),
        "peak_python_mib": round(cost.peak["python"]),
        "unchanged_cpu_seconds": round(again.cpu, 1),
        "unchanged_read": same["n_read"],
        "grown_cpu_seconds": round(more.cpu, 1),
        "grown_read": grown["n_read"],
    }


def main() -> None:
    """Measure each size in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--memory", default="2g", help="of the JVM")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        scratch = Path(options.one)
        if (scratch / "biobank").exists():
            with Watch() as watch:
                n = bare(scratch / "biobank" / "ecg", scratch / "bare")
            figures = {"bare_n": n, "bare_cpu_seconds": watch.cpu, "bare_peak": watch.peak}
        else:
            figures = measure(options.sizes[0], scratch, options.memory)
        print(json.dumps(figures), flush=True)
        return
    for size in options.sizes:
        with tempfile.TemporaryDirectory(prefix="bench-ingest-") as scratch:
            command = [sys.executable, __file__, "--one", scratch, "--sizes", str(size)]
            answers = []
            for _ in ("with Spark", "bare"):
                done = subprocess.run(
                    [*command, "--memory", options.memory],
                    stdout=subprocess.PIPE, text=True, check=True, env=os.environ,
                )  # fmt: skip
                answers.append(json.loads(done.stdout.splitlines()[-1]))
            figures, peer = answers
            # The bare run reads the grown folder.
            ms = 1000 * peer["bare_cpu_seconds"] / (peer["bare_n"] or 1)
            figures |= {
                "bare_cpu_ms_a_recording": round(ms, 2),
                "bare_peak_mib": round(peer["bare_peak"]["python"]),
                "overhead": round(figures["cpu_ms_a_recording"] / ms - 1, 2),
            }
            print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
