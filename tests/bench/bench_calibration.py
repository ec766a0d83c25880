"""Calibration and power of the null models, with families and two populations.

    python tests/bench/bench_calibration.py [people] [variants] [share] [siblings]

A `share` of the people (0.2) are in families of `siblings` (2); 15 % are of a second population,
in which every phenotype has another mean. Chromosomes 1 and 3 hold a polygenic background (h² 0.5).
Of 20 null phenotypes nothing acts on chromosomes 2 and 4, where they are tested; 10 more have 20
variants there that explain 0.3 % each. Prints a line of JSON a method.
"""

import json
import sys
import tempfile
import time

import numpy as np
import pandas as pd
from genetics_data import write_plink
from scipy import stats

from ecg_spark.genetics.packed import read_packed
from ecg_spark.genetics.structure import principal_components
from ecg_spark.genetics.whole_genome import predict_by_genome
from ecg_spark.session import spark_session, start_hail

NULLS, POWERED, PLANTED, SHARE, H2, FST = 20, 10, 20, 0.003, 0.5, 0.05


def families(rng, n, m, share, siblings):
    """Calls [m, n] of independent variants, each person's population and first of a family."""
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
    alone = np.ones(n, bool)
    alone[:related] = np.arange(related) % siblings == 0
    return calls, population, alone


def main(n=4_000, m=8_000, share=0.2, siblings=2):
    rng = np.random.default_rng(1)
    calls, population, alone = families(rng, n, m, share, siblings)
    chromosome = 1 + np.arange(m) * 4 // m
    scaled = calls - calls.mean(axis=1, keepdims=True, dtype=np.float32)
    scaled /= np.maximum(scaled.std(axis=1, keepdims=True), 1e-3)
    background, tested = np.isin(chromosome, (1, 3)), np.isin(chromosome, (2, 4))
    count = NULLS + POWERED
    genetic = scaled[background].T @ rng.normal(size=(background.sum(), count))
    y = np.sqrt(H2) * genetic / genetic.std(axis=0)
    y += np.sqrt(1 - H2) * rng.normal(size=(n, count)) + 0.5 * population[:, None]
    planted = np.stack(
        [rng.choice(np.flatnonzero(tested), PLANTED, replace=False) for _ in range(count)]
    )
    for k in range(NULLS, count):
        y[:, k] += np.sqrt(SHARE) * scaled[planted[k]].sum(axis=0)
    names = [f"y_{k:02d}" for k in range(count)]
    ids = [f"S{i}" for i in range(n)]
    phenotypes = pd.DataFrame(y, ids, names)
    pcs = principal_components(calls[:: m // 2_000], alone, 4)
    covariates = pd.DataFrame(pcs, ids, [f"pc_{i}" for i in range(4)])
    folder = tempfile.mkdtemp(prefix="calibration-")
    path = write_plink(f"{folder}/set", calls, ids, [str(c) for c in chromosome])
    spark = spark_session("calibration", progress=False)
    start_hail(spark, folder)
    from ecg_spark.genetics.association import associate
    from ecg_spark.genetics.genotypes import import_genotypes

    genotypes = import_genotypes(path, "GRCh37", folder, 4)
    started = time.monotonic()
    order = rng.permutation(n)
    model = predict_by_genome(
        spark, read_packed(f"{folder}/set"), np.arange(m), phenotypes.iloc[order],
        covariates.iloc[order], f"{folder}/model", 1,
    )  # fmt: skip
    fitted = time.monotonic() - started
    runs = {
        "plain, unrelated": (alone, None),
        "plain, everybody": (np.ones(n, bool), None),
        "whole_genome, everybody": (np.ones(n, bool), model),
    }
    for method, (people, offsets) in runs.items():
        started = time.monotonic()
        table = associate(
            spark, genotypes, phenotypes[people], covariates[people], {}, folder, offsets
        )
        rows = table.select("results").collect()
        t = np.array([[one.t for one in row.results] for row in rows], float)
        log_p = np.array([[one.neg_log10_p for one in row.results] for row in rows], float)
        null, null_p = t[tested, :NULLS] ** 2, log_p[tested, :NULLS]
        lambdas = np.median(null, axis=0) / stats.chi2.ppf(0.5, 1)
        false, tests = int((null_p > 4).sum()), null_p.size
        interval = stats.binom.interval(0.95, tests, 1e-4)
        strong = [t[planted[k], k] ** 2 for k in range(NULLS, count)]
        found = sum(
            int((log_p[planted[k], k] > -np.log10(5e-8)).sum()) for k in range(NULLS, count)
        )
        print(
            json.dumps(
                {
                    "method": method,
                    "people": int(people.sum()),
                    "lambda": round(float(lambdas.mean()), 4),
                    "lambda_range": np.round([lambdas.min(), lambdas.max()], 3).tolist(),
                    "mean_chi2_null": round(float(null.mean()), 4),
                    "false_at_1e-4": false,
                    "expected": [round(tests * 1e-4, 1), [int(x) for x in interval]],
                    "mean_chi2_planted": round(float(np.mean(strong)), 2),
                    "found_of": [found, POWERED * PLANTED],
                    "r2_by_genome": round(float(np.mean(list(model.r2.values()))), 3),
                    "seconds": [round(fitted, 1), round(time.monotonic() - started, 1)],
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main(*(kind(value) for kind, value in zip((int, int, float, int), sys.argv[1:], strict=False)))
