"""A meta-analysis at the sizes that it exists for: time and memory, and whether they are linear.

    python tests/bench/bench_meta.py [--variants 1000000] [--cohorts 3] [--phenotypes 20]
        [--folder DISK] >> runs.jsonl

Cohorts are written as studies publish them (by_variant, in Parquet); a tenth of the variants are in
one of them only, a fifth are A/T or C/G. The writing and Spark's start are not counted. Prints a
line of JSON: seconds, those of processor time of all processes, peaks of resident memory in MB (see
`usage.KINDS`), and the bytes that are published.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from usage import Usage, bytes_in, cpu_seconds

from ecg_spark.genetics.cohorts.meta import meta_analyse
from ecg_spark.genetics.outputs.reading import open_cohort
from ecg_spark.session import spark_session

PIECE = 50_000
PAIRS = [("A", "G"), ("C", "T"), ("G", "T"), ("A", "T"), ("AT", "A")]


def write_cohort(folder: Path, number: int, variants: int, phenotypes: int) -> None:
    """A cohort of 30,000 people in which nothing has an effect, as a study publishes it."""
    run = folder / "runs/associations/run"
    for name in (run / "by_variant", run / "sumstats", folder / "published"):
        name.mkdir(parents=True)
    content = {"step": "associations", "run": "run", "provenance": {}, "published_at": ""}
    (folder / "published/associations.json").write_text(json.dumps(content | {"summary": {}}))
    names = [f"vae_{k:02d}" for k in range(phenotypes)]
    said = yaml.safe_dump({"genome_assembly": "GRCh38", "encoder_sha256": "0"})
    for name in names:
        (run / f"sumstats/{name}.tsv.gz").touch()  # what is read is by_variant
        (run / f"sumstats/{name}.tsv.gz-meta.yaml").write_text(said)
    for start in range(0, variants, PIECE):
        sites = np.random.default_rng(start)
        rng = np.random.default_rng([number, start])
        m = min(PIECE, variants - start)
        place = start + np.arange(m)
        position = 1000 + place // 22 * 2500 + (sites.random(m) < 0.1) * number
        pairs = np.array(PAIRS)[sites.integers(0, len(PAIRS), m)]
        af = sites.uniform(0.02, 0.98, m)
        z = rng.normal(size=(m, phenotypes))
        se = np.repeat(1 / np.sqrt(2 * af * (1 - af) * 30_000), phenotypes)
        fields = {
            "phenotype": pa.array(np.tile(names, m)),
            "beta": pa.array(z.ravel() * se),
            "se": pa.array(se),
            "t": pa.array(z.ravel()),
            "neg_log10_p": pa.array(np.abs(z).ravel()),
            "n": pa.array(np.full(len(se), 30_000, np.int32)),
            "af": pa.array(np.repeat(af, phenotypes)),
        }
        structs = pa.StructArray.from_arrays(list(fields.values()), list(fields))
        table = pa.table(
            {
                "contig": [f"chr{1 + one % 22}" for one in place],
                "position": position.astype(np.int32),
                "ref": pairs[:, 0],
                "alt": pairs[:, 1],
                "rsid": [f"rs{one}" for one in place],
                "results": pa.ListArray.from_arrays(
                    pa.array(np.arange(m + 1, dtype=np.int32) * phenotypes), structs
                ),
            }
        )
        path = run / f"by_variant/part-{start:09d}.parquet"
        pq.write_table(table, path, compression="zstd")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variants", type=int, default=1_000_000)
    parser.add_argument("--cohorts", type=int, default=3)
    parser.add_argument("--phenotypes", type=int, default=20)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    sizes = {key: getattr(options, key) for key in ("cohorts", "variants", "phenotypes")}
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        folders = [Path(place) / str(k) for k in range(options.cohorts)]
        for number, folder in enumerate(folders):
            write_cohort(folder, number, options.variants, options.phenotypes)
        print(f"{time.strftime('%H:%M:%S')} written", file=sys.stderr, flush=True)
        spark = spark_session("ecg-spark bench")
        usage = Usage()
        usage.start()
        cpu, started = cpu_seconds(), time.monotonic()
        cohorts = [open_cohort(spark, str(one), one.name) for one in folders]
        out = str(Path(place) / "out")
        summary = meta_analyse(spark, cohorts, out)
        figures = {
            "wall_s": round(time.monotonic() - started, 1),
            "cpu_s": round(cpu_seconds() - cpu, 1),
            "peak_mb": {kind: round(value) for kind, value in usage.peaks.items()},
            "bytes": bytes_in(out),
            "tested": summary["variants"],
            "loci": summary["loci"],
        }
        spark.stop()
    print(json.dumps(sizes | figures), flush=True)


if __name__ == "__main__":
    main()
