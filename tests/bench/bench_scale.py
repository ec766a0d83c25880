"""The GWAS at the sizes that it exists for: time, memory and disk of every stage.

    python tests/bench/bench_scale.py wide|tall|study|chromosome [--people N] [--variants M]
        [--phenotypes P] [--cluster] [--folder DISK] >> runs.jsonl
    python tests/bench/bench_scale.py table runs.jsonl ...

- wide: 2,000 people x 2,000,000 variants x 47 phenotypes; tall: 100,000 x 20,000 x 47
- study: 31,000 x 200,000 x 47; chromosome: 31,000 x 800,000 x 47 on chromosome 1, tests and
  findings alone (no whole-genome regression)
- small, what runs without arguments: 2,000 x 20,000 x 5

Genotypes are drawn independently of each other, 0.1 % missing. All but those of `chromosome` are a
.bed, which is imported and checked; these are written as a checked set at once. Thirty variants
act, each on one phenotype. The stages are those of the steps in `jobs`, with tests in blocks, after
whole-genome regression.

Prints a line of JSON a stage as it ends, then one of all: seconds, seconds of processor time of all
processes, peaks of resident memory in MB (see `usage.KINDS`), the bytes that the stage left. Spark
runs in this process's JVM on two cores, with --cluster on two executors of one core each; its start
is not counted. `table` prints what runs measured, and core-hours, disk and price at other sizes.
"""

import argparse
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import large_sets
import pyspark
from large_sets import (
    BUILD,
    CHI_SQUARED,
    COMPONENTS,
    COVARIATES,
    PLANTED,
    SEED,
    Layout,
    brought,
    planted_places,
    write_bed,
    write_checked,
)
from pyspark.sql import SparkSession
from reckoning import print_tables
from usage import Usage, bytes_in, cpu_seconds

from ecg_spark.genetics import gwas, prepare
from ecg_spark.genetics.null_model.cohort import Brought
from ecg_spark.genetics.outputs.tables import LOCI
from ecg_spark.session import spark_session
from ecg_spark.study import Genotypes, Gwas
from ecg_spark.tables import read_table

SCALES = {
    "wide": (2_000, 2_000_000, 47),
    "tall": (100_000, 20_000, 47),
    "study": (31_000, 200_000, 47),
    "chromosome": (31_000, 800_000, 47),
    "small": (2_000, 20_000, 5),
}
DRIVER_MEMORY, EXECUTOR_MEMORY, CORES = "6g", "2g", 2


class Stages:
    """Prints a line for every stage as it ends, and keeps them."""

    def __init__(self, facts: dict[str, Any], folder: str):
        self.facts, self.folder = facts, folder
        self.lines: list[dict[str, Any]] = []
        self.usage = Usage()
        self.usage.start()

    def begin(self, stage: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {stage}", file=sys.stderr, flush=True)
        self.stage, self._bytes = stage, bytes_in(self.folder)
        self.usage.reset()
        self._cpu, self._started = cpu_seconds(), time.monotonic()

    def end(self, **more: Any) -> None:
        figures = {
            "wall_s": round(time.monotonic() - self._started, 1),
            "cpu_s": round(cpu_seconds() - self._cpu, 1),
            "peak_mb": {kind: round(value) for kind, value in self.usage.peaks.items()},
            "bytes": bytes_in(self.folder) - self._bytes,
        }
        self.lines.append(figures)
        print(json.dumps(self.facts | {"stage": self.stage} | figures | more), flush=True)

    def run(self, stage: str, action: Callable[[], Any]) -> Any:
        """What an action returns, as a stage; one that fails is told and raised."""
        self.begin(stage)
        try:
            found = action()
        except BaseException as error:
            self.end(failed=type(error).__name__)
            raise
        self.end()
        return found

    def all(self, **more: Any) -> None:
        """Print the sums and the highest peaks of all stages."""
        total = {
            key: round(sum(line[key] for line in self.lines), 1)
            for key in ("wall_s", "cpu_s", "bytes")
        }
        peaks = [line["peak_mb"] for line in self.lines]
        total["peak_mb"] = {kind: max(one[kind] for one in peaks) for kind in peaks[0]}
        print(json.dumps(self.facts | {"stage": "all"} | total | more), flush=True)


class AtMessage(logging.Handler):
    """Does something when the step genotypes tells that import and quality control are done."""

    def __init__(self, action: Callable[[], None]):
        super().__init__()
        self.action = action

    def emit(self, record: logging.LogRecord) -> None:
        if "variants pass" in record.getMessage():
            self.action()


def import_and_check(spark: SparkSession, stages: Stages, bed: str, folder: str) -> None:
    """The step genotypes, as two stages: import with quality control, and structure."""

    def next_stage() -> None:
        stages.end()
        stages.begin("structure")

    handler = AtMessage(next_stage)
    prepare.log.setLevel(logging.INFO)
    prepare.log.addHandler(handler)
    settings = Genotypes(path=bed, reference_genome=BUILD, components=COMPONENTS)
    stages.run(
        "import", lambda: prepare.prepare_genotypes(spark, settings, settings.path, folder, SEED)
    )
    prepare.log.removeHandler(handler)
    if stages.stage != "structure":
        raise RuntimeError("the step genotypes no longer tells that its import is done")


def test_all(
    spark: SparkSession, stages: Stages, folder: str, people: Brought, null_model: str
) -> None:
    """The stages after the step genotypes, as `jobs` runs them."""
    genotypes = Genotypes(path="set.bed", reference_genome=BUILD, components=COMPONENTS)
    settings = Gwas(null_model=null_model, engine="blocks")
    names = ("genotypes", "cohort", "null_model", "associations", "findings")
    checked, cohort, model, tests, findings = (f"{folder}/{name}" for name in names)
    stages.run(
        "cohort",
        lambda: gwas.prepare_cohort(spark, checked, people, genotypes, settings, cohort, SEED),
    )
    if null_model != "none":
        stages.run(
            "null_model",
            lambda: gwas.prepare_null_model(
                spark, checked, cohort, genotypes, settings, model, SEED
            ),
        )
    stages.run(
        "associations",
        lambda: gwas.associate_variants(spark, checked, cohort, model, genotypes, settings, tests),
    )
    stages.run(
        "findings",
        lambda: gwas.describe_findings(spark, checked, cohort, model, tests, settings, findings),
    )


def found_again(spark: SparkSession, folder: str, layout: Layout) -> int:
    """How many of the variants that act lead a locus."""
    loci = read_table(spark, LOCI, f"{folder}/findings/{LOCI.name}").toPandas()
    leads = set(zip(loci["contig"], loci["position"], strict=True))
    sites = [layout.sites(at, at + 1).to_pylist()[0] for at in planted_places(layout.variants)]
    return sum((one["contig"], one["position"]) in leads for one in sites)


def start_spark(folder: str, cluster: bool) -> SparkSession:
    """Spark on two cores of this process's JVM, or on a local cluster of two executors."""
    os.environ["MASTER"] = f"local[{CORES}]"
    if cluster:
        # Its executors lie in the folder work of SPARK_HOME, which is to be gone at the end.
        home = Path(folder) / "spark"
        home.mkdir()
        for entry in Path(pyspark.__file__).parent.iterdir():
            (home / entry.name).symlink_to(entry)
        os.environ["SPARK_HOME"] = str(home)
        os.environ["MASTER"] = f"local-cluster[{CORES},1,4096]"
        memory = f"--conf spark.executor.memory={EXECUTOR_MEMORY}"
        os.environ["PYSPARK_SUBMIT_ARGS"] = f"{memory} pyspark-shell"
    return spark_session("bench scale", DRIVER_MEMORY, progress=False)


def measure(options: argparse.Namespace) -> None:
    """Run every stage of a scale."""
    sizes = (options.people, options.variants, options.phenotypes)
    people, variants, phenotypes = (
        own or usual for own, usual in zip(sizes, SCALES[options.what], strict=True)
    )
    if people % 4 or variants < PLANTED or people < 10 * CHI_SQUARED:
        sys.exit(f"Take a multiple of 4 people, at least 800, and at least {PLANTED} variants.")
    is_chromosome = options.what == "chromosome"
    layout = Layout(variants, 1 if is_chromosome else 22)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # the folder goes then, too
    root = tempfile.mkdtemp(prefix="bench-scale-", dir=options.folder)
    folder = f"{root}/study"
    os.mkdir(folder)
    facts = {
        "scale": options.what, "people": people, "variants": variants, "phenotypes": phenotypes,
        "covariates": COVARIATES + COMPONENTS, "megabases": round(layout.megabases),
        "cluster": options.cluster, "driver_memory": DRIVER_MEMORY,
    }  # fmt: skip
    try:
        spark = start_spark(root, options.cluster)
        try:
            spark.sparkContext.addPyFile(large_sets.__file__)
            stages = Stages(facts, folder)
            print(f"{time.strftime('%H:%M:%S')} genotypes are made", file=sys.stderr, flush=True)
            given = brought(people, variants, phenotypes)
            if is_chromosome:
                write_checked(spark, f"{folder}/genotypes", people, layout)
            else:
                write_bed(f"{root}/set", people, layout)
                import_and_check(spark, stages, f"{root}/set.bed", f"{folder}/genotypes")
            test_all(spark, stages, folder, given, "none" if is_chromosome else "whole_genome")
            found = found_again(spark, folder, layout)
            stages.all(planted=PLANTED, planted_that_lead_a_locus=found)
        finally:
            spark.stop()
    finally:
        shutil.rmtree(root)


def main() -> None:
    """Measure a scale, or reckon from earlier runs."""
    parser = argparse.ArgumentParser(description="time, memory and disk of the GWAS by stage")
    parser.add_argument("what", nargs="?", default="small", choices=[*SCALES, "table"])
    parser.add_argument("runs", nargs="*", help="of table: files of the lines of earlier runs")
    parser.add_argument("--people", type=int)
    parser.add_argument("--variants", type=int)
    parser.add_argument("--phenotypes", type=int)
    parser.add_argument("--cluster", action="store_true", help="two executors of one core each")
    parser.add_argument("--folder", help="where the data lie while it runs")
    options = parser.parse_args()
    if options.what == "table":
        print_tables(options.runs)
    else:
        measure(options)


if __name__ == "__main__":
    main()
