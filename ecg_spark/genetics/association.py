"""Association of every variant with every phenotype: linear regression by Hail, in log space.

Each phenotype y is regressed on an intercept, the covariates and the dosage x of the alternate
allele; missing dosages are at the variant's mean over the samples that have the phenotype. The
omnibus test asks whether a variant moves any of a group of phenotypes: with r the partial
correlations of x with them and R their residual correlation,

    R² = r' R⁻¹ r,    F = (R² / k) / ((1 - R²) / (n - c - k)),    r = t / √(n - c - 1 + t²)

for n samples and c covariates with the intercept. (n - c) R² is the chi-squared statistic of the
decorrelated z-scores; F is exact also where samples are few.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

import hail as hl
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from ecg_spark.genetics.phenotypes import by_missingness, residuals
from ecg_spark.genetics.whole_genome import Loco

BLOCK_SIZE = 256
_SINGULAR = 1e-8


def associate(
    spark: SparkSession,
    genotypes: hl.MatrixTable,
    phenotypes: pd.DataFrame,
    covariates: pd.DataFrame,
    together: Mapping[str, Sequence[str]],
    folder: str,
    offsets: Loco | None = None,
) -> hl.Table:
    """Test every variant; write and return the table `folder`/associations.ht.

    `phenotypes` (NaN where missing) and `covariates` (complete, without the intercept) have one
    row a sample, indexed by sample id. `together` names groups of phenotypes, known for the same
    samples, for the omnibus test. Phenotypes known for the same samples share one pass. With
    `offsets`, what the other chromosomes predict of a phenotype is taken off it before its tests
    on each chromosome, which then share one pass each.

    Rows are keyed by locus and alleles (the second is the effect allele), with

    - `rsid`
    - `results`: one struct a phenotype, in the order of the global `phenotypes`: `beta` (per
      effect allele), `se`, `t`, `neg_log10_p` (missing where the variant does not vary), `n`,
      `af` (of the effect allele, over the n samples)
    - `omnibus`: one struct a group, in the order of the global `together`: `chi2`, `df`,
      `neg_log10_p`, `n`, `af`
    """
    passes = by_missingness(phenotypes)
    tables = []
    for number, names in enumerate(passes):
        known = phenotypes[names[0]].notna()
        complete, terms = phenotypes.loc[known, names], covariates[known]
        groups = {key: list(members) for key, members in together.items() if members[0] in names}
        for key, members in groups.items():
            if not set(members) <= set(names):
                raise ValueError(f"the phenotypes of {key} are known for different samples")
        parts = [
            _one_pass(spark, part, complete - offset, terms, groups)
            for part, offset in _by_offset(genotypes, complete, offsets)
        ]
        found = parts[0] if len(parts) == 1 else parts[0].union(*parts[1:])
        tables.append(found.checkpoint(f"{folder}/.pass-{number}.ht", overwrite=True))
    first, *others = tables
    parts = [first.row_value, *(other[first.key] for other in others)]
    joined = first.select(
        rsid=parts[0].rsid,
        results=hl.flatten([part.results for part in parts]),
        omnibus=hl.flatten([part.omnibus for part in parts]),
    )
    order = [key for names in passes for key, members in together.items() if members[0] in names]
    joined = joined.select_globals(
        phenotypes=[name for names in passes for name in names],
        together=hl.literal(order, hl.tarray(hl.tstr)),
    )
    result: hl.Table = joined.checkpoint(f"{folder}/associations.ht", overwrite=True)
    for number in range(len(passes)):
        hl.current_backend().fs.rmtree(f"{folder}/.pass-{number}.ht")
    return result


def neg_log10_p_of_t(t: hl.Float64Expression, df: int) -> hl.Float64Expression:
    """-log10 of the two-sided p-value of Student's t, without underflow."""
    log_p = math.log(2) + hl.pT(-hl.abs(t), df, lower_tail=True, log_p=True)
    return hl.max(0.0, -log_p / math.log(10))


def neg_log10_p_of_f(f: hl.Float64Expression, df1: int, df2: int) -> hl.Float64Expression:
    """-log10 of the upper tail of F, without underflow."""
    return hl.max(0.0, -hl.pF(f, df1, df2, lower_tail=False, log_p=True) / math.log(10))


def whitening(phenotypes: NDArray[np.float64]) -> NDArray[np.float64]:
    """W [rank, k] with W'W = R⁻¹ for the correlation R of residual phenotypes [n, k].

    Directions in which the phenotypes do not vary are left out, so rank may be below k.
    """
    correlation = np.atleast_2d(np.corrcoef(phenotypes, rowvar=False))
    values, vectors = np.linalg.eigh(correlation)
    held = values > _SINGULAR * values.max()
    return np.asarray((vectors[:, held] / np.sqrt(values[held])).T)


def _by_offset(
    genotypes: hl.MatrixTable, phenotypes: pd.DataFrame, offsets: Loco | None
) -> Iterator[tuple[hl.MatrixTable, pd.DataFrame | float]]:
    """Parts of the genome, each with what is to be taken off the phenotypes there."""
    if offsets is None:
        yield genotypes, 0.0
        return
    genome = genotypes.locus.dtype.reference_genome
    present = genotypes.aggregate_rows(hl.agg.collect_as_set(genotypes.locus.contig))
    for contig in (name for name in genome.contigs if name in present):
        whole = hl.parse_locus_interval(contig, reference_genome=genome)
        part = hl.filter_intervals(genotypes, [hl.eval(whole)])
        yield part, offsets.without(contig).loc[phenotypes.index, list(phenotypes.columns)]


def _one_pass(
    spark: SparkSession,
    genotypes: hl.MatrixTable,
    phenotypes: pd.DataFrame,
    covariates: pd.DataFrame,
    together: Mapping[str, Sequence[str]],
) -> hl.Table:
    """The tests of complete phenotypes."""
    n, names = len(phenotypes), list(phenotypes.columns)
    df = n - covariates.shape[1] - 2
    rows = pd.DataFrame(
        {
            "s": phenotypes.index.astype(str),
            "y": phenotypes.to_numpy(float).tolist(),
            "c": covariates.to_numpy(float).tolist(),
        }
    )
    design = hl.Table.from_spark(
        spark.createDataFrame(rows, "s string, y array<double>, c array<double>")
    ).key_by("s")
    design = design.checkpoint(hl.utils.new_temp_file("design", "ht"))
    used = genotypes.semi_join_cols(design)
    used = used.annotate_cols(**design[used.s])
    tested = hl.linear_regression_rows(
        y=[used.y[i] for i in range(len(names))],
        x=used.n_alt,
        covariates=[1.0, *(used.c[i] for i in range(covariates.shape[1]))],
        block_size=BLOCK_SIZE,
        pass_through=["rsid"],
    )
    af = tested.sum_x / (2 * tested.n)

    def result(i: int) -> hl.StructExpression:
        beta, se, t = tested.beta[i], tested.standard_error[i], tested.t_stat[i]
        sound = hl.is_finite(beta) & hl.is_finite(t) & (se > 0)
        return hl.struct(
            beta=hl.or_missing(sound, beta),
            se=hl.or_missing(sound, se),
            t=hl.or_missing(sound, t),
            neg_log10_p=hl.or_missing(sound, neg_log10_p_of_t(t, df)),
            n=tested.n,
            af=af,
        )

    numbers = hl.range(len(names))
    tested = tested.select("rsid", n=tested.n, af=af, results=numbers.map(result))
    omnibus = []
    for members in together.values():
        places = [names.index(name) for name in members]
        left = residuals(phenotypes[list(members)].to_numpy(float), covariates.to_numpy(float))
        omnibus.append(_omnibus(tested, places, whitening(left), df))
    empty = hl.empty_array(hl.tstruct(**_OMNIBUS))
    found: hl.Table = tested.select(
        "rsid", "results", omnibus=hl.array(omnibus) if omnibus else empty
    ).select_globals()
    return found


_OMNIBUS = {
    "chi2": hl.tfloat64,
    "df": hl.tint32,
    "neg_log10_p": hl.tfloat64,
    "n": hl.tint32,
    "af": hl.tfloat64,
}


def _omnibus(
    tested: hl.Table, places: Sequence[int], whiten: NDArray[np.float64], df: int
) -> hl.StructExpression:
    k, df2 = len(whiten), df + 1 - len(whiten)
    t = hl.literal(list(places), hl.tarray(hl.tint32)).map(lambda i: tested.results[i].t)
    r = t.map(lambda one: one / hl.sqrt(df + one**2))
    weights = hl.literal(whiten.tolist(), hl.tarray(hl.tarray(hl.tfloat64)))
    r2 = hl.sum(
        weights.map(lambda row: hl.sum(hl.zip(row, r).map(lambda pair: pair[0] * pair[1])) ** 2)
    )
    sound = hl.all(lambda one: hl.is_defined(one), t) & (df2 > 0)
    f = (r2 / k) / ((1 - r2) / df2)
    return hl.struct(
        chi2=hl.or_missing(sound, (df + 1) * r2),
        df=k,
        neg_log10_p=hl.or_missing(sound, neg_log10_p_of_f(f, k, df2)),
        n=tested.n,
        af=tested.af,
    )
