"""Tests of genes by their rare variants: are they calibrated, what do they find, how fast are they?

    python tests/bench/bench_genes.py null      false positives of each test over null genes
    python tests/bench/bench_genes.py power     planted genes found by each test and by all together
    python tests/bench/bench_genes.py speed     genes a second at the study's size; Hail's SKAT

Genes have 20 to 80 variants whose frequencies are spread as those of an exome: half of them have
one or two carriers. Phenotypes are ranks, as those that are tested.
"""

import sys
import time

import numpy as np
from scipy.sparse import csc_array

from ecg_spark.genetics.null_model.phenotypes import rank_inverse_normal
from ecg_spark.genetics.testing.gene_kernel import Carried, Gene, gene_of, set_tests
from ecg_spark.genetics.testing.kernel import basis_of_pattern, pattern
from ecg_spark.genetics.testing.omnibus import together

TESTS = ("burden", "skat", "acat_v", "acat_o")


def phenotypes(rng, n, k, covariates=5):
    """Residuals of k correlated phenotypes in n people, as a pattern, and their groups."""
    shared = rng.normal(size=(n, 1))
    y = np.apply_along_axis(rank_inverse_normal, 0, 0.5 * shared + rng.normal(size=(n, k)))
    return y, rng.normal(size=(n, covariates))


def design(y, covariates):
    known = np.ones(len(y), bool)
    each = pattern(range(y.shape[1]), known, basis_of_pattern(known, covariates), y, known)
    correlation = np.corrcoef(each.left, rowvar=False)
    return each, {"all": (np.arange(y.shape[1]), together(correlation, correlation, 0.5))}


def variants(rng, n, m):
    """Minor alleles [n, m] by their carriers: counts of 1, 2, ... as 1 / count, up to 1 %."""
    top = max(int(0.02 * n), 3)
    share = 1 / np.arange(1, top)
    counts = rng.choice(np.arange(1, top), m, p=share / share.sum())
    rows = [rng.choice(n, count, replace=False) for count in counts]
    columns = np.repeat(np.arange(m), counts)
    return csc_array((np.ones(counts.sum()), (np.concatenate(rows), columns)), (n, m))


def as_gene(minor, each, groups) -> Gene:
    m = minor.shape[1]
    carried = Carried(minor, csc_array(minor.shape))
    return gene_of(carried, np.full(m, np.nan), each, np.ones(each.left.shape[1]), groups)


def null(genes=6_000, n=31_000, k=47):
    rng = np.random.default_rng(1)
    y, covariates = phenotypes(rng, n, k)
    each, groups = design(y, covariates)
    found = []
    for _ in range(genes):
        minor = variants(rng, n, int(rng.integers(20, 80)))
        tests = set_tests(as_gene(minor, each, groups), np.ones(minor.shape[1], bool))
        if tests is not None:
            found.append(np.stack([getattr(tests, name) for name in TESTS]))
    values = np.array(found)
    print(f"{len(values)} genes x {k} phenotypes and their omnibus, {n} people")
    for level in (1e-2, 1e-3, 1e-4, 1e-5):
        single, joint = values[:, :, :-1], values[:, :, -1]
        over = [(one > -np.log10(level)).mean() / level for one in single.transpose(1, 0, 2)]
        group = [(one > -np.log10(level)).mean() / level for one in joint.T]
        ratios = {name: (round(over[i], 2), round(group[i], 2)) for i, name in enumerate(TESTS)}
        print(f"{level:g}: observed over expected, single and together", ratios)


def power(genes=300, n=31_000, k=20):
    """Genes of which half of the variants act on two phenotypes: in one direction, in both, and by
    few variants; found at 0.05 / 20,000 genes."""
    rng = np.random.default_rng(2)
    y, covariates = phenotypes(rng, n, k)
    limit = -np.log10(0.05 / 20_000 / k)
    for name, share, both in (
        ("one way", 0.5, False),
        ("both ways", 0.5, True),
        ("few", 0.1, False),
    ):
        counts = dict.fromkeys((*TESTS, "omnibus"), 0)
        for _ in range(genes):
            minor = variants(rng, n, int(rng.integers(20, 80)))
            m = minor.shape[1]
            beta = np.where(rng.random(m) < share, 0.5, 0.0)
            beta *= 1 / np.sqrt(share / 0.5)
            if both:
                beta *= rng.choice([-1, 1], m)
            moved = y.copy()
            moved[:, :2] += (minor @ beta)[:, None]
            each, groups = design(moved, covariates)
            found = set_tests(as_gene(minor, each, groups), np.ones(m, bool))
            if found is None:
                continue
            for test in TESTS:
                counts[test] += bool((getattr(found, test)[:2] > limit).any())
            counts["omnibus"] += bool(found.acat_o[-1] > limit + np.log10(k))
        print(f"{name}: of {genes} genes", counts)


def speed(n=31_000, k=47, genes=40):
    rng = np.random.default_rng(3)
    y, covariates = phenotypes(rng, n, k, 17)
    each, groups = design(y, covariates)
    kept = [variants(rng, n, int(rng.integers(20, 80))) for _ in range(genes)]
    began = time.process_time()
    for minor in kept:
        gene = as_gene(minor, each, groups)
        for share in (1.0, 0.7, 0.4):
            inside = rng.random(minor.shape[1]) < share
            for cut in (0.01, 0.001):
                set_tests(gene, inside & (gene.frequency <= cut))
    taken = (time.process_time() - began) / genes
    print(
        f"{n} people x {k} phenotypes, 6 sets a gene: {taken * 1e3:.0f} ms of one core, "
        f"{1 / taken * (k + 1):.0f} gene x phenotype a second; "
        f"20,000 genes {taken * 20_000 / 3600:.1f} core-hours"
    )
    _hails(n, min(genes, 5), kept, y[:, :1], covariates)


def _hails(n, genes, kept, y, covariates):
    """SKAT alone of one phenotype by Hail, on genotypes in memory."""
    from ecg_spark.session import spark_session, start_hail

    hl = start_hail(spark_session("bench", "6g"))
    rows = []
    for g, minor in enumerate(kept[:genes]):
        dense = minor.toarray().astype(int)
        rows += [
            {"row": f"{g}:{j}", "gene": str(g), "x": dense[:, j].tolist()}
            for j in range(dense.shape[1])
        ]
    table = hl.Table.parallelize(
        rows, hl.tstruct(row=hl.tstr, gene=hl.tstr, x=hl.tarray(hl.tint32))
    )
    table = table.annotate(entries=hl.map(lambda one: hl.struct(x=one), table.x)).drop("x")
    people = [hl.struct(col=i, y=float(y[i, 0]), c=covariates[i].tolist()) for i in range(n)]
    table = table.annotate_globals(people=hl.literal(people, hl.tarray(hl.tstruct(
        col=hl.tint32, y=hl.tfloat64, c=hl.tarray(hl.tfloat64)))))  # fmt: skip
    part = table._unlocalize_entries("entries", "people", ["col"]).key_rows_by("row")
    part = part.checkpoint(hl.utils.new_temp_file("bench", "mt"))
    began = time.monotonic()
    hl.skat(
        key_expr=part.gene, weight_expr=hl.float64(1), y=part.y, x=hl.float64(part.x) + 0,
        covariates=[1.0, *(part.c[i] for i in range(covariates.shape[1]))],
    ).collect()  # fmt: skip
    taken = (time.monotonic() - began) / genes
    print(f"Hail's SKAT alone, one phenotype, two cores: {taken:.2f} s a gene")


if __name__ == "__main__":
    {"null": null, "power": power, "speed": speed}[sys.argv[1]]()
