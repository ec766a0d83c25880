"""Association of every variant with every phenotype: linear regression by Hail, in log space.

Each phenotype y is regressed on an intercept, the covariates and the dosage x of the alternate
allele; missing dosages are at the variant's mean over the samples that have the phenotype. The
omnibus test of a group of phenotypes is that of `omnibus`, as an expression of Hail.

A variant that does not vary among the people of a test, or only as the covariates do, has no
result: what is left of x is then rounding, and its standard error a large number.
"""

import math
from collections.abc import Mapping, Sequence

import hail as hl
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession

from ecg_spark.genetics.genotypes.criteria import first_failed, variant_counts
from ecg_spark.genetics.null_model.phenotypes import by_missingness, variance_by_relatives
from ecg_spark.genetics.null_model.projection import residuals
from ecg_spark.genetics.null_model.whole_genome import Loco
from ecg_spark.genetics.testing.kernel import LEAST_LEFT
from ecg_spark.genetics.testing.omnibus import whitening
from ecg_spark.study import Genotypes

BLOCK_SIZE = 256
MAX_COLUMNS = 150
MAX_PRODUCTS = 4e9
"""Chromosomes share a pass up to so many phenotypes in it, and products of a genotype with one."""


def associate(
    spark: SparkSession,
    genotypes: hl.MatrixTable,
    phenotypes: pd.DataFrame,
    covariates: pd.DataFrame,
    together: Mapping[str, Sequence[str]],
    folder: str,
    offsets: Loco | None = None,
    relatives: pd.DataFrame | None = None,
    thresholds: Genotypes | None = None,
) -> hl.Table:
    """Test every variant; write and return the table `folder`/associations.ht.

    `phenotypes` (NaN where missing) and `covariates` (complete, without the intercept) have one
    row a sample, indexed by sample id. `together` names groups of phenotypes, known for the same
    samples, for the omnibus test. Phenotypes known for the same samples share one pass. With
    `offsets`, what the other chromosomes predict of a phenotype is taken off it before its tests
    on each chromosome; small chromosomes share a pass. With `relatives` (s1, s2, kinship)
    standard errors are those of a test among such people (see `variance_by_relatives`); without,
    those of independent people. With `thresholds`, a variant has a result only for phenotypes in
    whose people it passes them (see `criteria`).

    Rows are keyed by locus and alleles (the second is the effect allele), with

    - `rsid`
    - `results`: one struct a phenotype, in the order of the global `phenotypes`: `beta` (per
      effect allele), `se`, `t`, `neg_log10_p` (missing where the variant does not vary), `n`,
      `af` (of the effect allele, over the n samples)
    - `omnibus`: one struct a group, in the order of the global `together`: `chi2`, `df`,
      `neg_log10_p`, `n`, `af`
    - `failed`: for each group of phenotypes that are known for the same samples, the first of the
      thresholds that the variant does not pass among these, missing where it passes all
    """
    passes = by_missingness(phenotypes)
    sizes = _sizes(genotypes) if offsets else {}
    tables = []
    for names in passes:
        known = phenotypes[names[0]].notna()
        complete, terms = phenotypes.loc[known, names], covariates[known]
        groups = {key: list(members) for key, members in together.items() if members[0] in names}
        for key, members in groups.items():
            if not set(members) <= set(names):
                raise ValueError(f"the phenotypes of {key} are known for different samples")
        tables.append(
            _one_pattern(
                spark, genotypes, complete, terms, groups, offsets, sizes, relatives, thresholds
            )
        )
    first, *others = tables
    parts = [first.row_value, *(other[first.key] for other in others)]
    # In the order in which they were asked for, whatever they share.
    names = [name for own in passes for name in own]
    groups_done = [key for own in passes for key in together if together[key][0] in own]
    results = hl.flatten([part.results for part in parts])
    omnibus = hl.flatten([part.omnibus for part in parts])
    keys = [key for key in together if key in groups_done]
    joined = first.select(
        rsid=parts[0].rsid,
        results=hl.literal([names.index(name) for name in phenotypes.columns]).map(
            lambda place: results[place]
        ),
        omnibus=hl.literal([groups_done.index(key) for key in keys], hl.tarray(hl.tint32)).map(
            lambda place: omnibus[place]
        ),
        failed=hl.array([part.failed for part in parts]),
    )
    joined = joined.select_globals(
        phenotypes=list(map(str, phenotypes.columns)),
        together=hl.literal(keys, hl.tarray(hl.tstr)),
    )
    result: hl.Table = joined.checkpoint(f"{folder}/associations.ht", overwrite=True)
    return result


def neg_log10_p_of_t(t: hl.Float64Expression, df: int) -> hl.Float64Expression:
    """-log10 of the two-sided p-value of Student's t, without underflow; missing where `t` is."""
    log_p = math.log(2) + hl.pT(-hl.abs(t), df, lower_tail=True, log_p=True)
    return hl.max(0.0, -log_p / math.log(10), filter_missing=False)


def neg_log10_p_of_f(
    f: hl.Float64Expression, df1: hl.Int32Expression | int, df2: hl.Int32Expression | int
) -> hl.Float64Expression:
    """-log10 of the upper tail of F, without underflow; missing where `f` is."""
    log_p = hl.pF(f, df1, df2, lower_tail=False, log_p=True)
    return hl.max(0.0, -log_p / math.log(10), filter_missing=False)


def _sizes(genotypes: hl.MatrixTable) -> dict[str, int]:
    """The number of variants of each contig that has any, in the order of the genome."""
    found = genotypes.aggregate_rows(hl.agg.counter(genotypes.locus.contig))
    return {name: found[name] for name in genotypes.locus.dtype.reference_genome.contigs
            if name in found}  # fmt: skip


def shared_passes(sizes: Mapping[str, int], samples: int, phenotypes: int) -> list[list[str]]:
    """Contigs, with their numbers of variants, in runs that are worth testing in one pass.

    A pass tests its variants against the phenotypes of all its contigs, of which one contig's are
    of use; a pass on its own takes a second whatever it holds.
    """
    runs: list[list[str]] = []
    for contig, size in sizes.items():
        if runs:
            columns = phenotypes * (len(runs[-1]) + 1)
            variants = size + sum(sizes[one] for one in runs[-1])
            if columns <= MAX_COLUMNS and variants * samples * columns <= MAX_PRODUCTS:
                runs[-1].append(contig)
                continue
        runs.append([contig])
    return runs


def _one_pattern(
    spark: SparkSession,
    genotypes: hl.MatrixTable,
    phenotypes: pd.DataFrame,
    covariates: pd.DataFrame,
    together: Mapping[str, Sequence[str]],
    offsets: Loco | None,
    sizes: Mapping[str, int],
    relatives: pd.DataFrame | None,
    thresholds: Genotypes | None,
) -> hl.Table:
    """The tests of complete phenotypes."""
    names = list(phenotypes.columns)
    df = len(phenotypes) - covariates.shape[1] - 2
    whiten: dict[str, dict[str, NDArray[np.float64]]] = {key: {} for key in together}
    wider: dict[str, list[float]] = {}  # by contig, the factor of each phenotype's standard error
    squares: dict[str, list[float]] = {}  # by contig, the sum of squares of each that is explained

    def left_on(contig: str) -> pd.DataFrame:
        """The phenotypes to be tested on a contig; how its omnibus tests are decorrelated."""
        y = phenotypes
        if offsets is not None:
            y = y - offsets.without(contig).loc[y.index, names]
        left = residuals(y.to_numpy(float), covariates.to_numpy(float))
        squares[contig] = (left**2).sum(axis=0).tolist()
        wider[contig] = np.sqrt(variance_by_relatives(left, y.index, relatives)).tolist()
        for key, members in together.items():
            whiten[key][contig] = whitening(left[:, [names.index(name) for name in members]])
        return y

    if offsets is None:
        tested = _linear_regression(spark, genotypes, {"": left_on("")}, covariates, thresholds)
    else:
        genome = genotypes.locus.dtype.reference_genome
        parts = []
        for contigs in shared_passes(sizes, *phenotypes.shape):
            places = [hl.eval(hl.parse_locus_interval(one, genome)) for one in contigs]
            part = hl.filter_intervals(genotypes, places)
            y = {contig: left_on(contig) for contig in contigs}
            parts.append(_linear_regression(spark, part, y, covariates, thresholds))
        tested = parts[0] if len(parts) == 1 else parts[0].union(*parts[1:])
    af = tested.sum_x / (2 * tested.n)
    place = tested.locus.contig if offsets else ""
    by_contig = hl.tdict(hl.tstr, hl.tarray(hl.tfloat64))
    factor, explained = hl.literal(wider, by_contig)[place], hl.literal(squares, by_contig)[place]

    def result(i: int) -> hl.StructExpression:
        beta, se, t = tested.beta[i], tested.se[i] * factor[i], tested.t[i] / factor[i]
        # The residual sum of squares is se² x'x df and also y'y - beta² x'x.
        left = explained[i] / (df * tested.se[i] ** 2 + beta**2)
        sound = hl.is_finite(beta) & hl.is_finite(t) & (se > 0) & hl.is_missing(tested.failed)
        sound = sound & (left > LEAST_LEFT * hl.min(tested.sum_x, 2 * tested.n))
        return hl.struct(
            beta=hl.or_missing(sound, beta),
            se=hl.or_missing(sound, se),
            t=hl.or_missing(sound, t),
            neg_log10_p=hl.or_missing(sound, neg_log10_p_of_t(t, df)),
            n=tested.n,
            af=af,
        )

    numbers = hl.range(len(names))
    tested = tested.select("rsid", "failed", n=tested.n, af=af, results=numbers.map(result))
    omnibus = []
    for key, members in together.items():
        places = [names.index(name) for name in members]
        weights = {contig: matrix.tolist() for contig, matrix in whiten[key].items()}
        own = hl.literal(weights, hl.tdict(hl.tstr, hl.tarray(hl.tarray(hl.tfloat64))))
        omnibus.append(_omnibus(tested, places, own[tested.locus.contig if offsets else ""], df))
    empty = hl.empty_array(hl.tstruct(**_OMNIBUS))
    found: hl.Table = tested.select(
        "rsid", "results", "failed", omnibus=hl.array(omnibus) if omnibus else empty
    ).select_globals()
    return found


def design_table(
    spark: SparkSession, phenotypes: NDArray[np.float64], covariates: pd.DataFrame
) -> hl.Table:
    """Complete phenotypes `y` [samples, p] and covariates `c`, as arrays by sample `s`."""
    rows = pd.DataFrame(
        {
            "s": covariates.index.astype(str),
            "y": phenotypes.tolist(),
            "c": covariates.to_numpy(float).tolist(),
        }
    )
    frame = spark.createDataFrame(rows, "s string, y array<double>, c array<double>")
    table = hl.Table.from_spark(frame).key_by("s")
    return table.checkpoint(hl.utils.new_temp_file("design", "ht"))


def _linear_regression(
    spark: SparkSession,
    genotypes: hl.MatrixTable,
    phenotypes: Mapping[str, pd.DataFrame],
    covariates: pd.DataFrame,
    thresholds: Genotypes | None,
) -> hl.Table:
    """Hail's regression of the phenotypes of each contig, or of all under "", on its variants:
    rsid, n, sum_x, the threshold that failed, and beta, se and t of every phenotype."""
    values = np.column_stack([one.to_numpy(float) for one in phenotypes.values()])
    design = design_table(spark, values, covariates)
    used = genotypes.semi_join_cols(design)
    used = used.annotate_cols(**design[used.s])
    failed = hl.missing(hl.tstr)
    if thresholds is not None:
        used = used.annotate_rows(counts=variant_counts(used.n_alt))
        failed = first_failed(used.counts, thresholds)
    used = used.annotate_rows(failed=failed)
    # Several lists of phenotypes in one call (chained) took ten times as long.
    tested = hl.linear_regression_rows(
        y=[used.y[i] for i in range(values.shape[1])],
        x=used.n_alt,
        covariates=[1.0, *(used.c[i] for i in range(covariates.shape[1]))],
        block_size=BLOCK_SIZE,
        pass_through=["rsid", "failed"],
    )
    found = tested.select(
        "rsid", "failed", "n", "sum_x", beta=tested.beta, se=tested.standard_error, t=tested.t_stat
    )
    if len(phenotypes) > 1:
        count = values.shape[1] // len(phenotypes)
        start = hl.literal({contig: i * count for i, contig in enumerate(phenotypes)})
        first = start[found.locus.contig]
        found = found.annotate(
            **{key: found[key][first : first + count] for key in ("beta", "se", "t")}
        )
    raw: hl.Table = found.select_globals()
    return raw


_OMNIBUS = {
    "chi2": hl.tfloat64,
    "df": hl.tint32,
    "neg_log10_p": hl.tfloat64,
    "n": hl.tint32,
    "af": hl.tfloat64,
}


def _omnibus(
    tested: hl.Table, places: Sequence[int], weights: hl.ArrayExpression, df: int
) -> hl.StructExpression:
    """The omnibus test of the phenotypes at `places`, decorrelated by `weights` [k, phenotypes]."""
    k = hl.len(weights)
    df2 = df + 1 - k
    t = hl.literal(list(places), hl.tarray(hl.tint32)).map(lambda i: tested.results[i].t)
    r = t.map(lambda one: one / hl.sqrt(df + one**2))
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


def wide_rows(table: hl.Table) -> DataFrame:
    """The results of `associate` as a Spark frame, as those of `blocks.associate` are."""
    table = table.key_by()
    named = hl.zip(table.phenotypes, table.results).map(
        lambda pair: hl.struct(phenotype=pair[0], **pair[1])
    )
    jointly = hl.zip(table.together, table.omnibus).map(
        lambda pair: hl.struct(model=pair[0], **pair[1])
    )
    plain = table.select(
        contig=table.locus.contig,
        position=table.locus.position,
        ref=table.alleles[0],
        alt=table.alleles[1],
        rsid=table.rsid,
        results=named,
        omnibus=jointly,
        failed=table.failed,
    )
    return plain.select_globals().to_spark(flatten=False)
