"""How often tests without an effect pass at their tails, and LD-score regression on planted truth.

    python tests/bench/bench_tails.py [--seeds 20] [--people 2000] [--variants 20000]
        [--tests 200000] [--alleles 40 100 300] [--ptbxl FOLDER | --latents LATENTS]

Prints lines of JSON:

thresholds: of 20 phenotypes with r = 0.8 and an omnibus test, as how many tests they count at 5e-8
over that number, and how often any passes, over 5e-8.

ld_regression: h² 0.2 and a genetic correlation of 0.6, without and with 5 loci of chi-squared 400:
means over the seeds, and how many of them lie within two standard errors of the truth.

inflation: at variants without effect, how often p < 1e-2 ... 1e-5, over that, of the omnibus and of
the single tests of normal scores one by one, of phenotypes made normal together, and of as many
normal deviates. The phenotypes are 20 principal components of the beats of the people of PTB-XL
whose recordings are in a folder, those of a table `--latents` (of the run of `encode`), else
heavy-tailed deviates.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import t as t_distribution

from ecg_spark.genetics.findings.ld_regression import (
    are_polygenic,
    correlation,
    heritability,
    univariate,
)
from ecg_spark.genetics.null_model.phenotypes import (
    LEAST_VARIANCE,
    jointly_normal,
    rank_inverse_normal,
)
from ecg_spark.genetics.testing.multiplicity import any_beyond, effective_tests
from ecg_spark.genetics.testing.omnibus import omnibus, together

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.bench.populations import ptbxl

P = np.array([1e-2, 1e-3, 1e-4, 1e-5])
BLOCK, H2, RG, SHARED = 100, 0.2, 0.6, 0.3


def linked(rng, m, n, loci):
    """z [m, 2], LD scores and places of variants in linked blocks."""
    i = np.arange(BLOCK)
    genetic, noise = (np.linalg.cholesky([[1, r], [r, 1]]) for r in (RG, SHARED))
    chosen = rng.choice(m // BLOCK, loci, replace=False)
    z, scores = [], []
    for block in range(m // BLOCK):
        r = (0.99 * rng.beta(2, 0.7)) ** np.abs(i[:, None] - i)
        beta = rng.normal(size=(BLOCK, 2)) @ genetic.T * np.sqrt(H2 / m)
        beta[BLOCK // 2, 0] += np.sqrt(400 / n) * (block in chosen)
        z.append(
            np.sqrt(n) * r @ beta + np.linalg.cholesky(r) @ rng.normal(size=(BLOCK, 2)) @ noise.T
        )
        scores.append((r**2).sum(axis=1))
    places = 500_000 * np.arange(m // BLOCK)[:, None] + 4_000 * i
    return np.concatenate(z), np.concatenate(scores), places.ravel()


def ld_regression(seeds, n, m, loci):
    """What the regressions say of as many studies."""
    h2, rg = [], []
    for seed in range(seeds):
        z, scores, places = linked(np.random.default_rng(seed), m, n, loci)
        used = tuple(are_polygenic(z[:, k] ** 2, n, places) for k in (0, 1))
        own = used[0]
        h2.append(heritability(z[own, 0] ** 2, n, scores[own], m))
        fits = tuple(univariate(z[:, k], n, scores, used[k]) for k in (0, 1))
        rg.append(correlation(tuple(z.T), fits, scores, used))
    return {
        "h2": round(np.mean([one.h2 for one in h2]), 4),
        "h2_within_2_se": sum(abs(one.h2 - H2) < 2 * one.h2_se for one in h2),
        "intercept": round(np.mean([one.intercept for one in h2]), 4),
        "intercept_within_2_se": sum(abs(one.intercept - 1) < 2 * one.intercept_se for one in h2),
        "rg": round(np.mean([one.rg for one in rg]), 4),
        "rg_within_2_se": sum(abs(one.rg - RG) < 2 * one.rg_se for one in rg),
    }


def inflation(rng, scores, alleles, tests):
    """How often p < P, over P, at variants in Hardy-Weinberg equilibrium with some `alleles` on
    average: of the omnibus test, and of all single tests."""
    n, k = scores.shape
    left = scores - scores.mean(axis=0)
    left /= np.linalg.norm(left, axis=0)
    correlation = left.T @ left
    weights, df = together(correlation, correlation, LEAST_VARIANCE), n - 2
    both, rare = left.astype(np.float32), round(65_536 * alleles / (2 * n))
    size, done, passed = 4_000_000 // n, 0, np.zeros((2, len(P)))
    limits = t_distribution.isf(P / 2, df)
    while done < tests:
        chosen = rng.integers(0, 65_536, (2, size, n), np.uint16) < rare
        x = np.add(*chosen, dtype=np.float32)
        xx = np.einsum("ij,ij->i", x, x) - x.sum(axis=1) ** 2 / n
        r = (x @ both).astype(float) / np.sqrt(xx)[:, None]
        t = r * np.sqrt(df / (1 - r**2))
        log_p = omnibus(t, weights, df)[1]
        passed[0] += (log_p[:, None] > -np.log10(P)).sum(axis=0)
        passed[1] += [(np.abs(t) > limit).sum() / k for limit in limits]
        done += size
    return dict(zip(("omnibus", "singly"), (passed / done / P).round(3).tolist(), strict=True))


def beats(folder):
    """Twenty principal components of the average beats of PTB-XL's people."""
    values = ptbxl(folder).reshape(-1, 8 * 600).astype(float)
    values -= values.mean(axis=0)
    return np.linalg.svd(values, full_matrices=False)[0][:, :20]


def main():
    """All three."""
    parser = argparse.ArgumentParser(description="calibration at the tails")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--people", type=int, default=2_000)
    parser.add_argument("--variants", type=int, default=20_000)
    parser.add_argument("--tests", type=int, default=200_000)
    parser.add_argument("--alleles", type=int, nargs="+", default=[40, 100, 300])
    parser.add_argument("--latents")
    parser.add_argument("--ptbxl")
    options = parser.parse_args()
    alike = np.full((20, 20), 0.8) + 0.2 * np.eye(20)
    tests, effective = effective_tests(alike, [range(20)], 5e-8)
    rate = any_beyond(alike, [range(20)], 5e-8 / effective) / effective
    print(json.dumps({"tests": tests, "effective": round(effective, 2), "rate": round(rate, 3)}))
    for loci in (0, 5) if options.seeds else ():
        found = ld_regression(options.seeds, options.people, options.variants, loci)
        print(json.dumps({"loci": loci, "seeds": options.seeds} | found), flush=True)
    rng = np.random.default_rng(1)
    if options.ptbxl:
        values = beats(options.ptbxl)
    elif options.latents:
        table = pd.read_parquet(options.latents).query("model == 'vae'")
        values = np.array(table["z"].tolist())
    else:
        values = rng.normal(size=(2_000, 20)) * np.exp(0.35 * rng.normal(size=(2_000, 1)))
    kinds = {
        "one by one": np.apply_along_axis(rank_inverse_normal, 0, values),
        "together": jointly_normal(values),
        "normal deviates": rng.normal(size=values.shape),
    }
    for alleles in options.alleles:
        for name, scores in kinds.items():
            found = inflation(rng, scores, alleles, options.tests)
            told = {"people": len(values), "alleles": alleles, "scores": name}
            print(json.dumps(told | found), flush=True)


if __name__ == "__main__":
    main()
