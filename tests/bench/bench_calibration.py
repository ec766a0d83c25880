"""Calibration and power of the null models, with families and two populations, over many seeds.

    python tests/bench/bench_calibration.py [--seeds 20] [--people 2000] [--variants 4000]
        [--share 0.2] [--siblings 2]

A share of the people is in families of siblings; 15 % are of a second population, in which every
phenotype has another mean. Chromosomes 1 and 3 hold a polygenic background (h² 0.5). Of 20 null
phenotypes nothing acts on chromosomes 2 and 4, where they are tested. There are 20 variants there
that move each of 5 out of 10 more phenotypes by 0.3 % of its variance; these are tested one by one
and together.

Prints a line of JSON a seed, and one a method: lambda with its standard error over the seeds, tests
with p < 1e-4 beside the 95 % interval of their number, what the families leave in the variance of a
test that knows of no relatives (`expected_lambda`, by which the tests after whole-genome regression
are corrected), the mean chi-squared at the planted variants where they act, and how many are found.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from ecg_spark.genetics.genotypes.packed import read_packed
from ecg_spark.genetics.genotypes.reading import import_genotypes
from ecg_spark.genetics.null_model.phenotypes import variance_by_relatives
from ecg_spark.genetics.null_model.projection import residuals
from ecg_spark.genetics.null_model.whole_genome import predict_by_genome
from ecg_spark.genetics.people.components import blocks_of, principal_components
from ecg_spark.genetics.testing.blocks import associate
from ecg_spark.session import spark_session

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.builders.genetics_data import write_plink

NULLS, POWERED, ACTED_ON, PLANTED, SHARE, H2, FST = 20, 10, 5, 20, 0.003, 0.5, 0.05
GENOME_WIDE = -np.log10(5e-8)


def families(rng, n, m, share, siblings):
    """Calls [m, n] of independent variants, each person's population and family (-1: alone)."""
    population = (np.arange(n) // siblings % 7 == 0).astype(int)
    ancestral = rng.uniform(0.1, 0.9, m)
    a, b = ancestral * (1 - FST) / FST, (1 - ancestral) * (1 - FST) / FST
    frequency = np.clip(rng.beta(a, b, (2, m)), 0.05, 0.95)
    calls = rng.binomial(2, frequency[population]).T.astype(np.int8)
    related = int(n * share) // siblings * siblings
    for first in range(0, related, siblings):
        p = frequency[population[first]]
        parents = rng.random((2, 2, m)) < p  # two haplotypes of each parent
        for child in range(first, first + siblings):
            which = rng.integers(0, 2, (2, m))
            calls[:, child] = sum(parents[k, which[k], np.arange(m)] for k in (0, 1))
    family = np.full(n, -1)
    family[:related] = np.arange(related) // siblings
    return calls, population, family


def measure(spark, seed, n, m, share, siblings):
    """One seed: by method, what was found."""
    rng = np.random.default_rng(seed)
    calls, population, family = families(rng, n, m, share, siblings)
    chromosome = 1 + np.arange(m) * 4 // m
    scaled = calls - calls.mean(axis=1, keepdims=True, dtype=np.float32)
    scaled /= np.maximum(scaled.std(axis=1, keepdims=True), 1e-3)
    background, tested = np.isin(chromosome, (1, 3)), np.isin(chromosome, (2, 4))
    count = NULLS + POWERED
    genetic = scaled[background].T @ rng.normal(size=(background.sum(), count))
    y = np.sqrt(H2) * genetic / genetic.std(axis=0)
    y += np.sqrt(1 - H2) * rng.normal(size=(n, count)) + 0.5 * population[:, None]
    planted = rng.choice(np.flatnonzero(tested), PLANTED, replace=False)
    acts = np.argsort(rng.random((PLANTED, POWERED)), axis=1) < ACTED_ON
    effects = np.sqrt(SHARE) * acts * rng.choice([-1, 1], acts.shape)
    y[:, NULLS:] += scaled[planted].T @ effects
    names = [f"y_{k:02d}" for k in range(count)]
    ids = [f"S{i}" for i in range(n)]
    phenotypes = pd.DataFrame(y, ids, names)
    alone = (family < 0) | (np.arange(n) % siblings == 0)
    folder = tempfile.mkdtemp(prefix="calibration-")
    path = write_plink(f"{folder}/set", calls, ids, [str(c) for c in chromosome])
    variants = np.arange(0, m, max(1, m // 2_000))
    over_blocks = blocks_of(
        spark, read_packed(f"{folder}/set"), variants, np.arange(len(alone)), alone
    )
    shared = np.where(alone, 0, 0.5)
    pcs = principal_components(over_blocks, alone, 4, len(variants), shared, seed)
    covariates = pd.DataFrame(pcs, ids, [f"pc_{i}" for i in range(4)])
    genotypes = import_genotypes(spark, path, "GRCh37", folder, 4).genotypes
    order = rng.permutation(n)
    model = predict_by_genome(
        spark, read_packed(f"{folder}/set"), np.arange(m), phenotypes.iloc[order],
        covariates.iloc[order], f"{folder}/model", 1,
    )  # fmt: skip
    everybody = np.ones(n, bool)
    pairs = [
        {"s1": ids[first + a], "s2": ids[first + b], "kinship": 0.25}
        for first in range(0, int((family >= 0).sum()), siblings)
        for a in range(siblings)
        for b in range(a + 1, siblings)
    ]
    relatives = pd.DataFrame(pairs, columns=["s1", "s2", "kinship"])
    runs = {
        "plain, unrelated": (alone, None, None),
        "plain, everybody": (everybody, None, None),
        "whole_genome, everybody": (everybody, model, relatives),
    }
    found = {}
    for method, (people, offsets, known) in runs.items():
        table = associate(
            spark, genotypes, phenotypes[people], covariates[people], {"all": names[NULLS:]},
            offsets, known,
        )  # fmt: skip
        rows = table.orderBy("position").select("results", "omnibus").collect()
        t = np.array([[one.t for one in row.results] for row in rows], float)
        log_p = np.array([[one.neg_log10_p for one in row.results] for row in rows], float)
        together = np.array([row.omnibus[0].neg_log10_p for row in rows], float)
        null = t[tested, :NULLS] ** 2
        left = phenotypes.iloc[:, :NULLS]
        if offsets is not None:
            left = left - offsets.without("2").loc[left.index, left.columns]
        left = residuals(left[people].to_numpy(), covariates[people].to_numpy())
        factor = variance_by_relatives(left, phenotypes.index[people], relatives)
        strong = t[planted][:, NULLS:][acts] ** 2
        best = log_p[planted, NULLS:].max(axis=1)
        found[method] = {
            "lambda": float(np.median(null) / stats.chi2.ppf(0.5, 1)),
            "mean_chi2_null": float(null.mean()),
            "false": int((log_p[tested, :NULLS] > 4).sum()),
            "tests": null.size,
            "expected_lambda": float(factor.mean()),
            "mean_chi2_planted": float(strong.mean()),
            "found_singly": int((best > GENOME_WIDE + np.log10(POWERED)).sum()),
            "found_together": int((together[planted] > GENOME_WIDE).sum()),
        }
    shutil.rmtree(folder)
    return found


def main():
    """Every seed, then the methods."""
    parser = argparse.ArgumentParser(description="calibration and power of the null models")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--people", type=int, default=2_000)
    parser.add_argument("--variants", type=int, default=4_000)
    parser.add_argument("--share", type=float, default=0.2)
    parser.add_argument("--siblings", type=int, default=2)
    options = parser.parse_args()
    spark = spark_session("calibration", progress=False)
    seeds = []
    for seed in range(1, options.seeds + 1):
        started = time.monotonic()
        seeds.append(
            measure(spark, seed, options.people, options.variants, options.share, options.siblings)
        )
        lambdas = {method: round(one["lambda"], 4) for method, one in seeds[-1].items()}
        seconds = round(time.monotonic() - started, 1)
        print(json.dumps({"seed": seed, "lambda": lambdas, "seconds": seconds}), flush=True)
    for method in seeds[0]:
        rows = pd.DataFrame([one[method] for one in seeds])
        tests, false = int(rows["tests"].sum()), int(rows["false"].sum())
        low, high = stats.binom.interval(0.95, tests, 1e-4)
        print(
            json.dumps(
                {
                    "method": method,
                    "seeds": len(rows),
                    "lambda": round(rows["lambda"].mean(), 4),
                    "lambda_se": round(rows["lambda"].sem(), 4),
                    "expected_lambda": round(rows["expected_lambda"].mean(), 4),
                    "mean_chi2_null": round(rows["mean_chi2_null"].mean(), 4),
                    "false_at_1e-4": [false, [int(low), int(high)]],
                    "mean_chi2_planted": round(rows["mean_chi2_planted"].mean(), 2),
                    "found_singly": int(rows["found_singly"].sum()),
                    "found_together": int(rows["found_together"].sum()),
                    "planted": len(rows) * PLANTED,
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
