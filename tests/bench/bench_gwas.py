"""Association and whole-genome regression against plink2 --glm on the same data and machine.

    python tests/bench/bench_gwas.py [--samples 5000] [--variants 10000] [--phenotypes 1 20]
        [--missing 0 0.01] [--repeats 3]

Genotypes come from plink2 --dummy, their variants spread over 22 chromosomes. Prints a line of JSON
a setting: seconds (medians) and variants x phenotypes a second of plink2 from BED, of the tests in
blocks of an imported set, written as Parquet, and the same after whole-genome regression, of Hail's
test of that set and of the whole-genome regression, with the ratios to plink2; the pieces of the
whole-genome regression, the one-off cost of the import, and the peak of resident memory of this
process, its JVM and its workers.
`--engines blocks` leaves out what Hail and the whole genome take. The published peer's size is
--samples 31000 --variants 40000 --phenotypes 20 --missing 0 --repeats 1.
"""

import argparse
import json
import logging
import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time

import numpy as np
import pandas as pd
from usage import Usage

from ecg_spark.genetics.genotypes.packed import read_packed
from ecg_spark.genetics.genotypes.reading import import_genotypes
from ecg_spark.genetics.null_model.whole_genome import predict_by_genome
from ecg_spark.genetics.testing import blocks
from ecg_spark.session import spark_session, start_hail

CHROMOSOMES = 22


class Pieces(logging.Handler):
    """The last seconds that the whole-genome regression has told of its pieces."""

    def __init__(self):
        super().__init__()
        self.seconds = {}

    def emit(self, record):
        found = re.findall(r"([a-z0-9 ]+) ([\d.]+) s", record.getMessage().partition(":")[2])
        self.seconds = {name.strip(): float(value) for name, value in found}


def timed(action, repeats):
    """The median seconds of an action, the first run (warming up) left out where there are more."""
    seconds = []
    for number in range(repeats + (repeats > 1)):
        started = time.monotonic()
        action(number)
        seconds.append(time.monotonic() - started)
    return statistics.median(seconds[repeats > 1 :])


def measure(spark, samples, variants, count, missing, repeats, usage, engines):
    """Time one setting."""
    folder = tempfile.mkdtemp(prefix="bench-gwas-")
    threads = str(os.cpu_count())
    subprocess.run(
        f"plink2 --dummy {samples} {variants} {missing} --seed 1 --make-bed "
        f"--out {folder}/set".split(),
        check=True,
        capture_output=True,
    )
    bim = pd.read_csv(f"{folder}/set.bim", sep="\t", header=None)
    bim[0] = 1 + np.arange(variants) * CHROMOSOMES // variants
    bim.to_csv(f"{folder}/set.bim", sep="\t", header=False, index=False)
    fam = pd.read_csv(f"{folder}/set.fam", sep=r"\s+", header=None, dtype=str)
    rng = np.random.default_rng(1)
    ids = list(fam[1])
    names = [f"y{i}" for i in range(count)]
    phenotypes = pd.DataFrame(rng.normal(size=(samples, count)), ids, names)
    covariates = pd.DataFrame(rng.normal(size=(samples, 5)), ids, list("abcde"))
    for name, frame in (("pheno", phenotypes), ("covar", covariates)):
        frame = frame.rename_axis("IID").reset_index()
        frame.insert(0, "#FID", fam[0])
        frame.to_csv(f"{folder}/{name}.txt", sep="\t", index=False)
    command = (
        f"plink2 --bfile {folder}/set --pheno {folder}/pheno.txt --covar {folder}/covar.txt "
        f"--glm hide-covar omit-ref --threads {threads} --out {folder}/out"
    )

    def plink(_):
        subprocess.run(command.split(), check=True, capture_output=True)

    packed = read_packed(f"{folder}/set")
    actions, pieces = {"plink2": plink}, Pieces()
    usage.reset()
    started = time.monotonic()
    genotypes = import_genotypes(spark, f"{folder}/set.bed", "GRCh37", folder).genotypes
    imported = time.monotonic() - started

    def in_blocks(_, model=None):
        tests = blocks.associate(spark, genotypes, phenotypes, covariates, {}, model)
        tests.write.mode("overwrite").parquet(f"{folder}/tests")

    def by_hail(_):
        from ecg_spark.genetics.testing import hail

        tests = hail.associate(spark, genotypes, "GRCh37", phenotypes, covariates, {})
        tests.write.mode("overwrite").parquet(f"{folder}/tests")

    actions["blocks"] = in_blocks
    if "hail" in engines:
        actions["hail"] = by_hail
    if "whole_genome" in engines:
        models = []

        def whole_genome(number):
            models.append(
                predict_by_genome(
                    spark,
                    packed,
                    np.arange(variants),
                    phenotypes,
                    covariates,
                    f"{folder}/model-{number}",
                    1,
                )
            )

        actions["whole_genome"] = whole_genome
        actions["blocks_after_whole_genome"] = lambda number: in_blocks(number, models[-1])
    logger = logging.getLogger("ecg_spark.genetics.null_model.whole_genome")
    logger.setLevel(logging.INFO)
    logger.addHandler(pieces)
    seconds = {name: timed(action, repeats) for name, action in actions.items()}
    logger.removeHandler(pieces)
    shutil.rmtree(folder)
    return {
        "samples": samples,
        "variants": variants,
        "phenotypes": count,
        "missing": missing,
        "import_s": round(imported, 1),
        "whole_genome_s": pieces.seconds,
        "peak_mb": round(usage.peaks["all"]),
        "seconds": {key: round(value, 2) for key, value in seconds.items()},
        "tests_a_second": {key: round(variants * count / value) for key, value in seconds.items()},
        "to_plink2": {key: round(value / seconds["plink2"], 2) for key, value in seconds.items()},
    }


def main():
    """Run every setting that is asked for."""
    parser = argparse.ArgumentParser(description="association against plink2")
    parser.add_argument("--samples", type=int, nargs="+", default=[5_000])
    parser.add_argument("--variants", type=int, default=10_000)
    parser.add_argument("--phenotypes", type=int, nargs="+", default=[1, 20])
    parser.add_argument("--missing", type=float, nargs="+", default=[0, 0.01])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--engines", nargs="+", default=["blocks", "hail", "whole_genome"],
        choices=["blocks", "hail", "whole_genome"],
    )  # fmt: skip
    options = parser.parse_args()
    spark = spark_session("bench gwas", progress=False)
    if "hail" in options.engines:
        start_hail(spark)
    usage = Usage()
    usage.start()
    for samples in options.samples:
        for count in options.phenotypes:
            for missing in options.missing:
                row = measure(
                    spark,
                    samples,
                    options.variants,
                    count,
                    missing,
                    options.repeats,
                    usage,
                    options.engines,
                )
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
