"""Fine-mapping on planted truth: coverage of 95 % credible sets, their size, power.

    python tests/bench/bench_finemapping.py [--loci 200] [--people 5000] [--plink STEM]
    python tests/bench/bench_finemapping.py --size 3000 [--people 31000] [--phenotypes 10]

The second prints what one region of so many imputed variants takes: processor time of its products
and of its signals, of phenotypes one by one and all together, which three variants move; and the
memory and the file of the task. The first:

Each locus is a region of 400 variants of a genome as `ecg-spark simulate` makes it, one every 500
bp, or of the calls of STEM in mosaics of its people, pieces of 100 variants. In it one to three
variants act, drawn from all that are tested, each with 0.4 to 1.5 % of the variance. A twentieth of
the variants are typed, the others imputed: their dosages are what the typed ones beside them let
expect, while the phenotype comes from the true alleles. Half of the loci are fitted to one
phenotype, half to four together, which the variants move in random directions.

A set covers where it holds a variant that acts, whether or not that was imputed well. A variant is
found where a set holds it. Prints a line of JSON for each way and bin.
"""

import argparse
import json
import os
import resource
import sys
import time
from collections import defaultdict
from itertools import pairwise

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri

from ecg_spark.genetics.findings.finemapping import signals_of
from ecg_spark.genetics.findings.region import products_of
from ecg_spark.genetics.genotypes.excerpt import excerpt_of
from ecg_spark.genetics.genotypes.packed import read_packed
from ecg_spark.genetics.genotypes.parts import batch_variants
from ecg_spark.genetics.genotypes.rows import decode, encode
from ecg_spark.genetics.testing.results import question, terms_on
from ecg_spark.simulate.genome import make_genome
from ecg_spark.study import Genotypes

VARIANTS, SPACING_BP, LINKAGE_BP, PIECE = 400, 500, 120_000, 100
TYPED = 0.05
INFO_BINS, MAF_BINS = (0.0, 0.6, 0.8, 0.95, 1.01), (0.0, 0.05, 0.2, 0.51)


def simulated(rng, people):
    """True dosages and imputed ones [variants, people], by haplotypes of an AR(1) process."""
    genome = make_genome(int(rng.integers(1, 1 << 30)), 64 * 50)
    threshold = ndtri(genome.frequency[0, rng.permutation(genome.n_variants)[:VARIANTS]])[:, None]
    walked = np.cumsum(rng.exponential(SPACING_BP, VARIANTS)) / LINKAGE_BP
    latent = np.empty((VARIANTS, 2 * people))
    latent[0] = rng.standard_normal(2 * people)
    for j, rho in enumerate(np.exp(-np.diff(walked)), 1):
        latent[j] = rho * latent[j - 1] + np.sqrt(1 - rho**2) * rng.standard_normal(2 * people)
    true = (latent < threshold).astype(float)
    imputed = true.copy()
    typed = np.flatnonzero(rng.random(VARIANTS) < TYPED)
    typed = np.unique([0, *typed, VARIANTS - 1])
    for j in np.setdiff1d(np.arange(VARIANTS), typed):
        after = np.searchsorted(typed, j)
        left, right = typed[after - 1], typed[after]
        a, b = np.exp(walked[left] - walked[j]), np.exp(walked[j] - walked[right])
        weights = np.array([a * (1 - b**2), b * (1 - a**2)]) / (1 - (a * b) ** 2)
        spread = np.sqrt(1 - weights @ [a, b])
        imputed[j] = ndtr((threshold[j] - weights @ latent[[left, right]]) / spread)
    return (one.reshape(VARIANTS, people, 2).sum(axis=2) for one in (true, imputed))


def mosaics(rng, people, packed):
    """Calls [variants, people], pieces of which are those of one person of a set; twice."""
    first = int(rng.integers(0, len(packed.sites) - VARIANTS))
    calls = packed.calls.read(np.arange(first, first + VARIANTS)).astype(float)
    calls[calls == 3] = 0
    found = np.empty((VARIANTS, people))
    for start in range(0, VARIANTS, PIECE):
        donors = rng.integers(0, calls.shape[1], people)
        found[start : start + PIECE] = calls[start : start + PIECE, donors]
    return found, found


def planted(rng, true, imputed, phenotypes):
    """A locus: what its signals cover, and what of the variants that act is found."""
    people = true.shape[1]
    af = true.mean(axis=1) / 2
    maf = np.minimum(af, 1 - af)
    spread = imputed.var(axis=1) / np.maximum(true.var(axis=1), 1e-9)
    tested = np.flatnonzero((maf >= 0.01) & (spread >= 0.3))
    acting = rng.choice(tested, rng.integers(1, 4), replace=False)
    x = (true[acting] - true[acting].mean(axis=1, keepdims=True)).T
    x /= x.std(axis=0)
    share = rng.uniform(0.004, 0.015, len(acting))
    direction = rng.standard_normal((len(acting), phenotypes))
    direction *= np.sqrt(share)[:, None] / np.linalg.norm(direction, axis=1, keepdims=True)
    covariates = rng.standard_normal((people, 3))
    mixed = (
        rng.standard_normal((people, phenotypes))
        @ np.linalg.cholesky(np.full((phenotypes, phenotypes), 0.4) + 0.6 * np.eye(phenotypes)).T
    )
    values = x @ direction + covariates @ rng.standard_normal((3, phenotypes)) + mixed
    names = [f"vae_{k:02d}" for k in range(phenotypes)]
    table, terms = pd.DataFrame(values, columns=names), pd.DataFrame(covariates)
    together = {"vae": names} if phenotypes > 1 else {}
    asked = question(table, terms, together, None, None, None, None)
    on = terms_on(asked, "1")
    sites = pd.DataFrame({"position": np.arange(VARIANTS), "ref": "A", "alt": "C"})
    excerpt = excerpt_of(sites, ((np.arange(VARIANTS), encode(imputed)),))
    # In mosaics an excess of heterozygotes among a few hundred is one among thousands.
    thresholds = Genotypes(path="x.bed", min_hwe_p=0)
    (products,) = products_of(excerpt, on.patterns, on.factors, thresholds)
    groups = {"vae": (np.arange(phenotypes), on.weights["vae"])} if together else {}
    wanted = ["vae omnibus"] if together else names
    start = time.monotonic()
    found = [one for one in signals_of(products, names, wanted, groups) if one.phenotype in wanted]
    seconds = time.monotonic() - start
    sets = [set(one.places[one.found.variants].tolist()) for one in found]
    return {
        "seconds": seconds,
        "sets": [
            (len(own), bool(own & set(acting.tolist())), maf[one.likeliest], spread[one.likeliest])
            for own, one in zip(sets, found, strict=True)
        ],
        "acting": [(any(v in own for own in sets), maf[v], spread[v]) for v in acting.tolist()],
    }


def imputed_region(rng, variants, people):
    """Dosages of linked variants, a batch at a time."""
    latent, held, places = rng.standard_normal(2 * people, np.float32), [], []
    rho = np.float32(np.exp(-SPACING_BP / LINKAGE_BP))
    for j in range(variants):
        step = rng.standard_normal(2 * people, np.float32)
        latent = rho * latent + np.sqrt(1 - rho**2) * step
        threshold = ndtri(rng.uniform(0.02, 0.5))
        haplotypes = ndtr((threshold - latent) / np.float32(0.3))
        held.append(haplotypes.reshape(people, 2).sum(axis=1))
        places.append(j)
        if len(places) == batch_variants(people) or j == variants - 1:
            yield np.array(places), encode(np.array(held, float))
            held, places = [], []


def size(options):
    """What one region takes."""
    n, p, k = options.people, options.size, options.phenotypes
    rng = np.random.default_rng(1)
    sites = pd.DataFrame({"position": np.arange(p), "ref": "A", "alt": "C"})
    excerpt = excerpt_of(sites, imputed_region(rng, p, n))
    acting = np.linspace(0, p - 1, 5).astype(int)[1:-1]
    x = np.concatenate([decode(excerpt.variant(one)) for one in acting]).T
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    names = [f"vae_{j:02d}" for j in range(k)]
    values = np.sqrt(0.003) * x @ rng.choice([-1, 1], (3, k)) + rng.standard_normal((n, k))
    table, terms = pd.DataFrame(values, columns=names), pd.DataFrame(rng.standard_normal((n, 15)))
    on = terms_on(question(table, terms, {"vae": names}, None, None, None, None), "1")
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    thresholds = Genotypes(path="x.bed", min_hwe_p=0, min_info=0)
    (products,) = products_of(excerpt, on.patterns, on.factors, thresholds)
    line = {"people": n, "variants": len(products.variants), "phenotypes": k}
    line["products_s"] = round(time.process_time() - start, 1)
    groups = {"vae": (np.arange(k), on.weights["vae"])}
    found = []
    for way, own, wanted in (("one_by_one", names, names), ("together", [], ["vae omnibus"])):
        start = time.process_time()
        found += signals_of(products, own, wanted, groups)
        line[f"{way}_s"] = round(time.process_time() - start, 1)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    line["signals"] = len(found)
    line["converged"] = sum(one.has_converged for one in found)
    line |= {"memory_before_gb": round(before / 1e6, 2), "memory_gb": round(after / 1e6, 2)}
    line["file_gb"] = round(os.fstat(excerpt._file.fileno()).st_size / 1e9, 2)
    print(json.dumps(line), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--loci", type=int, default=200)
    parser.add_argument("--people", type=int)
    parser.add_argument("--plink")
    parser.add_argument("--size", type=int)
    parser.add_argument("--phenotypes", type=int, default=10)
    options = parser.parse_args()
    options.people = options.people or (31_000 if options.size else 5_000)
    if options.size:
        size(options)
        return
    rng = np.random.default_rng(1)
    packed = read_packed(options.plink) if options.plink else None
    sets, acting, seconds = defaultdict(list), defaultdict(list), defaultdict(list)
    for number in range(options.loci):
        k = (1, 4)[number % 2]
        pair = mosaics(rng, options.people, packed) if packed else simulated(rng, options.people)
        found = planted(rng, *pair, k)
        sets[k] += found["sets"]
        acting[k] += found["acting"]
        seconds[k].append(found["seconds"])
        print(number, found["sets"], found["acting"], file=sys.stderr)
    for k in sets:
        way = "one phenotype" if k == 1 else f"{k} together"
        told(way, "all", sets[k], acting[k], seconds=round(float(np.median(seconds[k])), 2))
    sets, acting = ([one for own in each.values() for one in own] for each in (sets, acting))
    told("both", "all", sets, acting)
    for name, column, bins in (("maf", 1, MAF_BINS), ("info", 2, INFO_BINS)):
        for low, high in pairwise(bins):
            told(
                "both", f"{name} {low:g} to {high:g}",
                [one for one in sets if low <= one[column + 1] < high],
                [one for one in acting if low <= one[column] < high],
            )  # fmt: skip


def told(way, which, sets, acting, **more):
    """A line: of sets by their likeliest variant, of acting variants by their own figures."""
    covered = [one[1] for one in sets]
    line = {"way": way, "bin": which, "sets": len(sets), "acting": len(acting)}
    if sets:
        line["coverage"] = round(float(np.mean(covered)), 4)
        line["median_size"] = float(np.median([one[0] for one in sets]))
    if acting:
        line["power"] = round(float(np.mean([one[0] for one in acting])), 4)
    print(json.dumps(line | more), flush=True)


if __name__ == "__main__":
    main()
