"""Whole-genome regression: seconds, what it tells that it predicts, and planted effects.

    python tests/bench/bench_whole_genome.py size [--people 31000] [--variants 40000]
        [--phenotypes 20]
    python tests/bench/bench_whole_genome.py honest [--seeds 20] [--people 2000] [--variants 4000]

`size` prints the seconds of each piece on independent variants on 22 chromosomes, with 1 % of the
calls missing. `honest` prints, over seeds, the mean R² of phenotypes on which nothing acts, and of
ones with a polygenic background (h² 0.5): as told, and in truth (1 - the sum of squares that the
prediction leaves over that without it, in people whose phenotypes the model did not know); and the
mean chi-squared without and with the offset at 20 variants of 0.3 % each on a chromosome of their
own.
"""

import argparse
import json
import logging
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from ecg_spark.genetics.genotypes.packed import read_packed
from ecg_spark.genetics.null_model.projection import residuals
from ecg_spark.genetics.null_model.whole_genome import predict_by_genome, thinned
from ecg_spark.session import spark_session

CHROMOSOMES, PLANTED, SHARE, H2, EACH = 22, 20, 0.003, 0.5, 10


def write_calls(stem, calls):
    """Write a packed set from an iterator of bytes a variant, on 22 chromosomes."""
    n, rows = calls
    count = 0
    with Path(f"{stem}.bed").open("wb") as file:
        file.write(b"\x6c\x1b\x01")
        for row in rows:
            file.write(row.tobytes())
            count += 1
    contigs = 1 + np.arange(count) * CHROMOSOMES // count
    Path(f"{stem}.bim").write_text(
        "".join(f"{c}\trs{i}\t0\t{1_000 * i + 1}\tA\tG\n" for i, c in enumerate(contigs))
    )
    Path(f"{stem}.fam").write_text("".join(f"0 S{i} 0 0 0 -9\n" for i in range(n)))
    return read_packed(stem)


def random_calls(rng, people, variants, missing):
    """Bytes of independent variants with frequencies of 0.05 to 0.5."""
    width = -(-people // 4)
    for _ in range(variants):
        f = rng.uniform(0.05, 0.5)
        draws = rng.random((width, 4), np.float32)
        ends = np.cumsum([f * f, 2 * f * (1 - f)]) * (1 - missing)
        codes = np.where(draws < ends[0], 0, np.where(draws < ends[1], 2, 3))
        codes[draws >= 1 - missing] = 1
        yield (codes << np.array([0, 2, 4, 6])).sum(axis=1).astype(np.uint8)


def size(spark, options):
    """The seconds of each piece."""
    rng = np.random.default_rng(1)
    folder = tempfile.mkdtemp(prefix="bench-whole-genome-")
    people, p = options.people, options.phenotypes
    rows = random_calls(rng, people, options.variants, 0.01)
    packed = write_calls(f"{folder}/set", (people, rows))
    ids = packed.samples[rng.permutation(people)]
    y = pd.DataFrame(rng.normal(size=(people, p)), ids, [f"y{k}" for k in range(p)])
    covariates = pd.DataFrame(rng.normal(size=(people, 17)), ids)
    started = time.monotonic()
    variants = thinned(spark, packed, np.arange(options.variants), ids, 1)
    thinning = time.monotonic() - started
    started = time.monotonic()
    model = predict_by_genome(spark, packed, variants, y, covariates, f"{folder}/model", 1)
    fitting = time.monotonic() - started
    started = time.monotonic()
    model.without("1")
    print(json.dumps({
        "people": people, "variants": options.variants, "phenotypes": p, "kept": len(variants),
        "thinning_s": round(thinning, 1), "fitting_s": round(fitting, 1),
        "reading_a_chromosome_s": round(time.monotonic() - started, 2),
        "mean_r2": float(np.mean(list(model.r2.values()))),
    }))  # fmt: skip
    shutil.rmtree(folder)


def chi_squared(y, x, covariates):
    """Of each variant [n, v] with each phenotype [n, k]."""
    y, x = residuals(y, covariates), residuals(x, covariates)
    r2 = (x.T @ y) ** 2 / np.outer((x**2).sum(axis=0), (y**2).sum(axis=0))
    return r2 / (1 - r2) * (len(y) - covariates.shape[1] - 2)


def honest(spark, options):
    """What is told, what is true, and planted effects."""
    n, m = options.people, options.variants
    found = []
    for seed in range(options.seeds):
        rng = np.random.default_rng(seed)
        frequency = rng.uniform(0.05, 0.5, m)
        calls = rng.binomial(2, frequency[:, None], (m, n))
        padded = np.pad(calls, ((0, 0), (0, -n % 4))).reshape(m, -1, 4)
        codes = np.array([3, 2, 0])[padded]
        rows = (codes << np.array([0, 2, 4, 6])).sum(axis=2).astype(np.uint8)
        folder = tempfile.mkdtemp(prefix="bench-whole-genome-")
        packed = write_calls(f"{folder}/set", (n, rows))
        x = (calls - calls.mean(axis=1, keepdims=True)) / calls.std(axis=1, keepdims=True)
        on_two = packed.sites["contig"].to_numpy() == "2"
        genetic = (x * ~on_two[:, None]).T @ rng.normal(size=(m, EACH))
        y = rng.normal(size=(n, 2 * EACH))
        y[:, EACH:] *= np.sqrt(1 - H2)
        y[:, EACH:] += np.sqrt(H2) * genetic / genetic.std(axis=0)
        unplanted = y.copy()
        planted = rng.choice(np.flatnonzero(on_two), PLANTED, replace=False)
        y = y + x[planted].T @ (np.sqrt(SHARE) * rng.choice([-1, 1], (PLANTED, 2 * EACH)))
        covariates = rng.normal(size=(n, 3))
        row = {}
        # The R² of a null phenotype is that of one on which nothing is planted either.
        for name, values in (("unplanted", unplanted), ("planted", y)):
            frame = pd.DataFrame(values, packed.samples, [f"y{k}" for k in range(2 * EACH)])
            model = predict_by_genome(
                spark, packed, np.arange(m), frame, pd.DataFrame(covariates, packed.samples),
                f"{folder}/{name}", seed,
            )  # fmt: skip
            r2 = np.array(list(model.r2.values()))
            row[f"{name}_r2"] = r2
            off = model.without("2").to_numpy()
            left = residuals(values, covariates)
            row[f"{name}_loco"] = 1 - ((left - off) ** 2).sum(axis=0) / (left**2).sum(axis=0)
            if name == "planted":
                row["without"] = chi_squared(values, x[planted].T, covariates).mean(axis=0)
                row["with"] = chi_squared(values - off, x[planted].T, covariates).mean(axis=0)
        shutil.rmtree(folder)
        found.append(row)
    for name, own in (("null", slice(0, EACH)), ("polygenic", slice(EACH, None))):
        told = {key: np.array([row[key][own] for row in found]) for key in found[0]}
        gain = (told["with"] / told["without"]).mean(axis=1) - 1
        by_seed = told["unplanted_r2"].mean(axis=1)
        print(json.dumps({
            "phenotypes": name, "seeds": len(found),
            "mean_r2": round(float(by_seed.mean()), 5),
            "se": round(float(by_seed.std() / np.sqrt(len(found))), 5),
            "share_above_0": round(float((told["unplanted_r2"] > 0).mean()), 3),
            "loco_r2_of_what_is_taken_off": round(float(told["unplanted_loco"].mean()), 5),
            "chi2_without": round(float(told["without"].mean()), 3),
            "chi2_with": round(float(told["with"].mean()), 3),
            "gain_percent": round(100 * float(gain.mean()), 3),
            "gain_se": round(100 * float(gain.std() / np.sqrt(len(found))), 3),
        }), flush=True)  # fmt: skip


def main():
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description="whole-genome regression")
    parser.add_argument("what", choices=["size", "honest"])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--people", type=int)
    parser.add_argument("--variants", type=int)
    parser.add_argument("--phenotypes", type=int, default=20)
    options = parser.parse_args()
    small = options.what == "honest"
    options.people = options.people or (2_000 if small else 31_000)
    options.variants = options.variants or (4_000 if small else 40_000)
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("ecg_spark").setLevel(logging.WARNING if small else logging.INFO)
    spark = spark_session("bench whole genome", progress=False)
    (honest if small else size)(spark, options)


if __name__ == "__main__":
    main()
