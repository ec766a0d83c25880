"""Polygenic scores: what they tell beside theory, and how fast everybody is scored.

    python tests/bench/bench_scores.py theory [--people 4000] [--variants 8000] [--seeds 2]
    python tests/bench/bench_scores.py size [--people 31000] [--variants 20000] [--scores 20]

`theory` prints the mean R² in people whose phenotypes the model did not know, of phenotypes on
which all of the variants, a twentieth or twenty of them act (h² 0.3): of level 1 of whole-genome
regression, of the same with sums of predictors, and as Daetwyler's formula expects of all variants.
`size` prints the seconds in which a set of calls is scored by the weights of all its variants, six
models of each score, as a study's are.
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

from ecg_spark.genetics.genotypes.packed import read_packed
from ecg_spark.genetics.genotypes.parts import open_set
from ecg_spark.genetics.null_model.projection import basis_of
from ecg_spark.genetics.null_model.ridge import (
    SHRINKAGES,
    block_predictors,
    level_one,
    level_one_with_sums,
    parts_of,
    residual_phenotypes,
)
from ecg_spark.genetics.scoring.accuracy import expected_r2
from ecg_spark.genetics.scoring.adding_up import add_up
from ecg_spark.session import spark_session

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.bench.large_sets import Layout, write_checked
from tests.bench.usage import cpu_seconds
from tests.builders.genetics_data import people as drawn
from tests.builders.genetics_data import write_plink

H2, EACH, BLOCK, TWENTY = 0.3, 4, 200, 20


def theory(options):
    """R² by architecture."""
    n, m = options.people, options.variants
    for causal in (m, m // 20, TWENTY):
        told = [_told(n, m, causal, seed) for seed in range(options.seeds)]
        rows = pd.DataFrame([row for one in told for row in one])
        expected = expected_r2(H2, 0.8 * n, m)
        line = {"people": n, "variants": m, "causal": causal, "expected": round(expected, 4)}
        print(json.dumps(line | rows.mean().round(4).to_dict()), flush=True)


def _told(n, m, causal, seed):
    """R² of each phenotype by both kinds of level 1."""
    calls, _ = drawn(n, m, seed=seed)
    rng = np.random.default_rng(100 + seed)
    effects = np.zeros((m, EACH))
    for own in effects.T:
        own[rng.choice(m, causal, replace=False)] = rng.normal(0, np.sqrt(H2 / causal), causal)
    standard = (calls - calls.mean(axis=1, keepdims=True)).astype(np.float32)
    standard /= standard.std(axis=1, keepdims=True)
    y = standard.T @ effects + rng.normal(0, np.sqrt(1 - H2), (n, EACH))
    folder = tempfile.mkdtemp(prefix="bench-scores-")
    write_plink(f"{folder}/set", calls, range(n))
    packed = read_packed(f"{folder}/set")
    left, known, _ = residual_phenotypes(y, basis_of(np.zeros((n, 0))).astype(np.float32))
    basis, parts = basis_of(np.zeros((n, 0))).astype(np.float32), parts_of(n)
    penalties = np.array([m * (1 - h2) / h2 for h2 in SHRINKAGES])
    blocks = [
        block_predictors(packed.calls, own, np.arange(n), basis, left, known, parts, penalties)
        for own in np.array_split(np.arange(m), m // BLOCK)
    ]
    shutil.rmtree(folder)
    for k in range(EACH):
        x = np.concatenate([one.predictors[k] for one in blocks])
        shares = np.concatenate([one.shares[k] for one in blocks], axis=-1)
        spreads = np.stack([one.spreads[k] for one in blocks])
        grams = np.stack([x[:, own] @ x[:, own].T for _, own in parts])
        totals = np.array([left[own, k] @ left[own, k] for _, own in parts])
        at_level_one = penalties / m * len(x)
        ways = {
            "blocks": level_one(grams, shares, totals, at_level_one)[0],
            "blocks_and_sums": level_one_with_sums(grams, shares, totals, spreads)[0],
        }
        yield {name: _r2(weights, x, parts, left[:, k]) for name, weights in ways.items()}


def _r2(weights, x, parts, y):
    """R² of the predictions of each fold about its mean."""
    found = [own @ x[:, people] for own, (_, people) in zip(weights, parts, strict=True)]
    centred = np.concatenate([one - one.mean() for one in found])
    r = np.corrcoef(centred, y)[0, 1]
    return r * abs(r)


def size(options):
    """Seconds of the sums."""
    n, m, scores = options.people, options.variants, options.scores
    rng = np.random.default_rng(1)
    folder = tempfile.mkdtemp(prefix="bench-scores-")
    spark = spark_session("bench", driver_memory="4g", progress=False)
    write_checked(spark, folder, n, Layout(m, 22))
    genotypes = open_set(f"{folder}/variants")
    rows = pd.concat(
        pd.DataFrame({"part": one.number, "row": range(one.variants)}) for one in genotypes.parts
    )
    rows["weights"] = list(rng.normal(size=(m, 6 * scores)))
    place = f"{folder}/weights.parquet"
    rows.astype({"part": "int32", "row": "int32"}).to_parquet(place)
    started, used = time.monotonic(), cpu_seconds()
    sums = add_up(spark, genotypes, spark.read.parquet(place), rng.integers(0, 6, n), scores)
    counted = sums.centred.map(lambda own: own[1].size).sum()
    line = {"people": n, "variants": m, "scores": scores, "sums": counted}
    line["seconds"] = round(time.monotonic() - started, 1)
    line["cpu_seconds"] = round(cpu_seconds() - used, 1)
    print(json.dumps(line))
    shutil.rmtree(folder)
    spark.stop()


def main():
    parser = argparse.ArgumentParser(description="polygenic scores")
    parser.add_argument("kind", choices=("theory", "size"), nargs="?", default="theory")
    parser.add_argument("--people", type=int)
    parser.add_argument("--variants", type=int)
    parser.add_argument("--scores", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    small = options.kind == "theory"
    options.people = options.people or (4_000 if small else 31_000)
    options.variants = options.variants or (8_000 if small else 20_000)
    (theory if small else size)(options)


if __name__ == "__main__":
    main()
