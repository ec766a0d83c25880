"""Small genotype sets with known content for the tests of the genetics room."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from ecg_spark.genetics.findings import ld_regression
from ecg_spark.genetics.null_model.cohort import Cohort

_CODES = np.array([3, 2, 0, 1], np.uint8)  # PLINK's two bits for 0, 1, 2 first alleles and missing


def write_plink(stem, calls, samples, contigs=None, positions=None, alleles=("A", "G"), rsids=None):
    """Write calls [variants, samples] (0, 1, 2 of the first allele, 3 missing) as a PLINK set, its
    variants rs1, rs2 and so on unless `rsids` names them."""
    n_variants, n_samples = calls.shape
    contigs = contigs if contigs is not None else ["1"] * n_variants
    positions = positions if positions is not None else 1_000_000 + 10_000 * np.arange(n_variants)
    codes = np.pad(_CODES[calls], ((0, 0), (0, -n_samples % 4))).reshape(n_variants, -1, 4)
    packed = (codes << np.array([0, 2, 4, 6], np.uint8)).sum(axis=2).astype(np.uint8)
    Path(f"{stem}.bed").write_bytes(b"\x6c\x1b\x01" + packed.tobytes())
    rsids = rsids if rsids is not None else [f"rs{i + 1}" for i in range(n_variants)]
    rows = zip(contigs, positions, rsids, strict=True)
    Path(f"{stem}.bim").write_text(
        "".join(f"{c}\t{r}\t0\t{p}\t{alleles[0]}\t{alleles[1]}\n" for c, p, r in rows)
    )
    Path(f"{stem}.fam").write_text("".join(f"0 {s} 0 0 0 -9\n" for s in samples))
    return f"{stem}.bed"


def read_plink(stem):
    """Calls [variants, samples] as floats with NaN, the bim and the sample ids of a PLINK set."""
    samples = pd.read_csv(f"{stem}.fam", sep=r"\s+", header=None)[1].astype(str).tolist()
    bim = pd.read_csv(
        f"{stem}.bim", sep="\t", header=None, names=["contig", "rsid", "cm", "position", "a1", "a2"]
    )
    packed = np.fromfile(f"{stem}.bed", np.uint8)[3:].reshape(len(bim), -1)
    codes = (packed[:, :, None] >> np.array([0, 2, 4, 6])) & 3
    values = np.array([2, np.nan, 1, 0])[codes.reshape(len(bim), -1)[:, : len(samples)]]
    return values, bim, samples


def people(n_samples, n_variants, seed=1, populations=1, fst=0.1, missing=0.0):
    """Independent variants of people from one or more populations: calls, population of each."""
    rng = np.random.default_rng(seed)
    ancestral = rng.uniform(0.1, 0.9, n_variants)
    a, b = ancestral * (1 - fst) / fst, (1 - ancestral) * (1 - fst) / fst
    frequencies = np.clip(rng.beta(a, b, (populations, n_variants)), 0.05, 0.95)
    population = np.arange(n_samples) % populations
    calls = rng.binomial(2, frequencies[population]).T.astype(np.int8)
    if missing:
        calls[rng.random(calls.shape) < missing] = 3
    return calls, population


def least_squares(y, x, covariates):
    """beta, se, t of x in a regression of y with an intercept and covariates; df, from NumPy."""
    x = np.where(np.isnan(x), np.nanmean(x), x)
    design = np.column_stack([x, np.ones(len(y)), covariates])
    inverse = np.linalg.inv(design.T @ design)
    beta = inverse @ design.T @ y
    df = len(y) - design.shape[1]
    left = y - design @ beta
    se = np.sqrt(left @ left / df * inverse[0, 0])
    return beta[0], se, beta[0] / se, df


def genetic_correlations(z, n, scores):
    """Of every two columns of z [m, p], with n [p] people behind them, what the study's tables tell
    of the pair; nothing where the LD scores [m] are not enough."""
    if not ld_regression.enough(scores):
        return {}
    used = np.ones(len(z), bool)
    own = [ld_regression.univariate(z[:, k], n[k], scores, used) for k in range(z.shape[1])]
    return {
        (i, j): ld_regression.correlation(
            (z[:, i], z[:, j]), (own[i], own[j]), scores, (used, used)
        )
        for i, j in combinations(range(z.shape[1]), 2)
    }


def cohort_of(people, tested, terms, unrelated, groups):
    """A cohort of one genotype set, by all of whom variants are judged; sex and age not known."""
    samples = tested.index
    judges = pd.DataFrame({"by": True, "on_x": True}, samples)
    unknown = pd.Series(np.nan, samples)
    sets = pd.Series([[0]] * len(samples), samples)
    return Cohort(people, tested, terms, unrelated, judges, unknown, unknown, sets, groups)
