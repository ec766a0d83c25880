"""From files to beats: cost and peak memory by the number of recordings, and Spark's part of it.

    python tests/bench/bench_ingest.py --sizes 1000 10000

The recordings are those of a simulated biobank (GE CardioSoft, GE MUSE, WFDB). The peer does the
same work by the bare functions, on one core in a process of its own: list, read, hash, write
Parquet, a file every 500 recordings; then read that, average, measure the traits, write Parquet.
Its cost for each recording does not grow, so it gets no more than some 10,000 of them.
Both are given in CPU seconds, of all processes of a run, since another's work on the machine does
not change those much. The second ingest takes over the first one's recordings; the third adds a
twentieth. Prints one line of JSON a size, and one of what each further recording costs from the
smallest size to the largest: a job's start, some 30 CPU seconds, is then no part of it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from ecg_spark.pipeline.average import average
from ecg_spark.pipeline.ingest import ingest
from ecg_spark.pipeline.reading import READ, read_source
from ecg_spark.pipeline.sources import group, list_files
from ecg_spark.session import spark_session
from ecg_spark.simulate.biobank import simulate_biobank
from ecg_spark.tables import RECORDINGS, read_table


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


def bare_ingest(folder: Path, out: Path) -> int:
    """Ingest by the bare functions; returns the number of recordings written."""
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


def bare_average(recordings: Path, out: Path) -> int:
    """Average by the bare functions; returns the number of beats written."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from ecg_spark.ecg import LEADS, Recording, RecordingError, average_beat, measure_traits

    out.mkdir(parents=True)
    n = 0
    for path in sorted(recordings.iterdir()):
        rows = []
        for row in pq.read_table(path).to_pylist():
            samples = np.frombuffer(row["signal"], "<i2").reshape(len(LEADS), -1)
            unit, rate = row["microvolts_per_unit"], row["sampling_rate_hz"]
            try:
                beat = average_beat(Recording(samples, unit, rate, row["source_format"]))
            except RecordingError:
                continue
            signal = {"signal": beat.signal_mv.ravel(), "flags": list(beat.flags)}
            rows.append({"ecg_id": row["ecg_id"]} | signal | measure_traits(beat))
        pq.write_table(pa.Table.from_pylist(rows), out / path.name)
        n += len(rows)
    return n


def make(scratch: Path, size: int) -> None:
    """Simulate at least `size` recordings: 1.15 a participant."""
    spark = spark_session("bench simulate", progress=False)
    participants = round(size / 1.1)
    simulate_biobank(spark, scratch / "biobank", participants=participants, variants=1000, seed=3)


def link(scratch: Path, folder: Path, first: int, last: int) -> int:
    """Fill a folder with the recordings numbered `first` to `last`; returns their bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    together: dict[str, list[Path]] = {}
    for path in sorted((scratch / "biobank" / "ecg").iterdir()):
        together.setdefault(path.stem, []).append(path)
    files = [path for group in list(together.values())[first:last] for path in group]
    for path in files:
        os.link(path, folder / path.name)
    return sum(path.stat().st_size for path in files)


def measure(scratch: Path, size: int, memory: str) -> dict:
    """The figures of one size with Spark."""
    spark = spark_session("bench ingest", memory, progress=False)
    out, ecg = scratch / f"out{size}", scratch / f"ecg{size}"

    def run(number, folder=ecg, previous=None):
        with Watch() as watch:
            summary = ingest(
                spark, str(folder), None, r"^([^.]+)\.", lambda name: f"{out}/{number}/{name}",
                previous=previous and (lambda name: f"{out}/{previous}/{name}"),
            )  # fmt: skip
        return summary, watch

    # The JVM and its Python workers are warm before anything is measured.
    link(scratch, scratch / f"warm{size}", 0, 50)
    run("warm", scratch / f"warm{size}")
    n_bytes = link(scratch, ecg, 0, size)
    first, cost = run("first")
    with Watch() as averaging:
        recordings = read_table(spark, RECORDINGS, f"{out}/first/recordings")
        average(spark, recordings, lambda name: f"{out}/average/{name}")
    same, again = run("again", previous="first")
    link(scratch, ecg, size, size + size // 20)
    grown, more = run("grown", previous="again")
    written = sum(path.stat().st_size for path in (out / "first" / "recordings").iterdir())
    return {
        "recordings": first["n_in"],
        "input_mib": round(n_bytes / (1 << 20)),
        "output_mib": round(written / (1 << 20)),
        "wall_seconds": round(cost.wall, 1),
        "cpu_seconds": round(cost.cpu, 1),
        "ingest_ms": round(1000 * cost.cpu / first["n_in"], 2),
        "average_ms": round(1000 * averaging.cpu / first["n_out"], 2),
        "average_peak_python_mib": round(averaging.peak["python"]),
        "peak_jvm_mib": round(cost.peak["jvm"]),
        "peak_python_mib": round(cost.peak["python"]),
        "unchanged_cpu_seconds": round(again.cpu, 1),
        "unchanged_read": same["n_read"],
        "grown_cpu_seconds": round(more.cpu, 1),
        "grown_read": grown["n_read"],
    }


def without_spark(scratch: Path, size: int) -> dict:
    """The peer's figures, on the grown folder of a size."""
    out = scratch / f"out{size}"
    with Watch() as watch:
        n = bare_ingest(scratch / f"ecg{size}", out / "bare")
    with Watch() as averaging:
        bare_average(out / "bare", out / "bare_beats")
    return {
        "bare_ingest_ms": round(1000 * watch.cpu / n, 2),
        "bare_average_ms": round(1000 * averaging.cpu / n, 2),
        "bare_peak_mib": round(watch.peak["python"]),
    }


BARE_AT_MOST = 10_000

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""As Spark tells its workers: else NumPy's threads wait for each other at the CPU's cost."""


def main() -> None:
    """Measure each size, everything in processes of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--memory", default="2g", help="of the JVM")
    parser.add_argument("--phase", help=argparse.SUPPRESS)
    parser.add_argument("--scratch", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.phase:
        scratch, size = Path(options.scratch), options.sizes[0]
        if options.phase == "make":
            make(scratch, size)
            return
        spark = options.phase == "spark"
        figures = measure(scratch, size, options.memory) if spark else without_spark(scratch, size)
        print(json.dumps(figures), flush=True)
        return
    with tempfile.TemporaryDirectory(prefix="bench-ingest-") as scratch:

        def phase(name, size):
            command = [sys.executable, __file__, "--phase", name, "--scratch", scratch]
            done = subprocess.run(
                [*command, "--sizes", str(size), "--memory", options.memory],
                stdout=subprocess.PIPE, text=True, check=True, env=os.environ | ONE_THREAD,
            )  # fmt: skip
            return json.loads(done.stdout.splitlines()[-1]) if name != "make" else {}

        lines: list[dict] = []
        bare: dict = {}
        phase("make", round(max(options.sizes) * 1.05))
        for size in options.sizes:
            figures = phase("spark", size)
            if not bare or size <= BARE_AT_MOST:
                bare = phase("bare", size)
            figures |= bare
            lines.append(figures)
            print(json.dumps(figures), flush=True)
        if len(lines) > 1:
            print(json.dumps(further(lines[0], lines[-1])), flush=True)


def further(small: dict, large: dict) -> dict:
    """CPU ms of each further recording, with Spark and without, and the part that is Spark's."""

    def cost(name):
        seconds = [line[name] * line["recordings"] for line in (small, large)]
        return (seconds[1] - seconds[0]) / (large["recordings"] - small["recordings"])

    parts = ("ingest_ms", "average_ms", "bare_ingest_ms", "bare_average_ms")
    costs = {name: round(cost(name), 2) for name in parts}
    spark = costs["ingest_ms"] + costs["average_ms"]
    overhead = spark / (costs["bare_ingest_ms"] + costs["bare_average_ms"]) - 1
    hours = {"core_hours_for_1.2_million": round(spark * 1.2e6 / 3.6e6, 1)}
    return {"each_further": costs, "overhead": round(overhead, 2)} | hours


if __name__ == "__main__":
    main()
