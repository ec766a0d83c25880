"""Meta-analysis of several cohorts: their results combined, and the loci among these."""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ecg_spark.errors import DataError, UsageError
from ecg_spark.genetics.cohorts.combining import combining
from ecg_spark.genetics.cohorts.fixed_effects import MEDIAN_CHI2
from ecg_spark.genetics.cohorts.joint import Gathered, looking_only, pass_over
from ecg_spark.genetics.cohorts.overlap import (
    refuse_different,
    refuse_shared,
    refuse_unlike,
    shared_people,
)
from ecg_spark.genetics.cohorts.tables import (
    META_ASSOCIATIONS,
    META_LOCI,
    META_OMNIBUS,
    META_TESTS,
)
from ecg_spark.genetics.cohorts.together import groups_together, sampled
from ecg_spark.genetics.findings.clumping import find_loci
from ecg_spark.genetics.outputs.associations import BY_VARIANT
from ecg_spark.genetics.outputs.reading import Cohort
from ecg_spark.genetics.outputs.sumstats import META, Context, export_sumstats
from ecg_spark.genetics.testing.inflation import RANKS, group_means, inflation
from ecg_spark.genetics.testing.multiplicity import effective_tests
from ecg_spark.study import Gwas
from ecg_spark.tables import TOGETHER, group_of, is_latent, read_table, write_rows

log = logging.getLogger(__name__)

Reals = NDArray[np.float64]

FEWEST, MOST = 2, 50
"""The least and the largest number of cohorts of a meta-analysis."""

MOST_HITS = 500_000
"""The most significant results that are accepted; more can only be due to inflation."""

_DEFAULTS = {name: field.default for name, field in Gwas.model_fields.items()}
P_THRESHOLD, WINDOW_BP = _DEFAULTS["p_threshold"], _DEFAULTS["clump_window_bp"]
"""The defaults of a study, since a meta-analysis has no study file."""


def require_number(cohorts: int) -> None:
    """Refuse too few or too many cohorts.

    Raises:
        UsageError: unless there are `FEWEST` to `MOST`.
    """
    if not FEWEST <= cohorts <= MOST:
        raise UsageError(f"A meta-analysis is of {FEWEST} to {MOST} cohorts, not of {cohorts}.")


def meta_analyse(
    spark: SparkSession, cohorts: Sequence[Cohort], folder: str, *, genomic_control: bool = False
) -> dict[str, Any]:
    """Combine the results of 2 to 50 cohorts, and find the loci among them.

    Phenotypes of at least two cohorts are combined (`fixed_effects`), each at every variant of at
    least one cohort, with alleles aligned as `alignment` says. The latents of each kind are also
    tested jointly (`together`). A locus of any method passes `P_THRESHOLD` divided by the
    effective number of tests of a variant, which allows for the correlation of z-scores at
    variants without effect (see `multiplicity`). Without genotypes there is no LD: significant
    variants that follow each other within `WINDOW_BP` are one locus, which may contain several
    signals.

    Writes by_variant, the tables associations and omnibus (see `META_ASSOCIATIONS` and
    `META_OMNIBUS`), sumstats/ (in GWAS-SSF and REGENIE format, with which the result can serve as
    a cohort itself) and the table loci.

    Args:
        folder: where everything is written.
        genomic_control: first multiply the standard errors of each cohort and phenotype by
            √lambda, where lambda is above 1.

    Returns:
        The summary.

    Raises:
        UsageError: for too few or too many cohorts.
        DataError: if they cannot be combined: no common phenotype, different builds, latents of
            different models, people in common, or effect alleles that contradict the frequencies.
    """
    require_number(len(cohorts))
    refuse_different(cohorts)
    named = [name for one in cohorts for name in one.models]
    phenotypes = sorted({name for name in named if named.count(name) > 1})
    if not phenotypes:
        raise DataError("No phenotype is in two of the cohorts: name their files alike.")
    alone = sorted(set(named) - set(phenotypes))
    # A sample first, so that cohorts that do not fit are usually refused before the main work.
    sample = pass_over(spark, sampled(cohorts), phenotypes, looking_only)
    _refuse(cohorts, sample)
    groups = _groups(phenotypes)
    latents = {key: members for key, members in groups.items() if is_latent(members[0])}
    together, apart = groups_together(latents, phenotypes, sample)
    for key, reason in apart.items():
        log.warning("meta: the latents %s are not tested together: %s", key, reason)

    lambdas = [_lambdas(one, phenotypes) for one in cohorts] if genomic_control else []
    worker = partial(
        combining, folder, cohorts[0].build, tuple(phenotypes), _factors(lambdas), together
    )
    gathered = pass_over(spark, cohorts, phenotypes, worker)
    _refuse(cohorts, gathered)
    log.info("meta: %d results of %d cohorts", gathered.counts["results"].sum(), len(cohorts))

    tests = spark.read.schema(META_TESTS).parquet(f"{folder}/{BY_VARIANT}")
    variants = tests.count()
    models = {name: digest for one in cohorts for name, digest in one.models.items() if digest}
    notes = f"{len(cohorts)} cohorts" + (", genomic control of each" if genomic_control else "")
    files = export_sumstats(
        tests, variants, len(phenotypes), f"{folder}/sumstats",
        Context(cohorts[0].build, [], None, META, notes=notes, models=models),
    )  # fmt: skip
    associations = read_table(spark, META_ASSOCIATIONS, f"{folder}/{META_ASSOCIATIONS.name}")
    of_groups = [one.columns for one in together.values()]
    tested, effective = effective_tests(gathered.correlation[0], of_groups, P_THRESHOLD)
    threshold = float(-np.log10(P_THRESHOLD / effective))
    methods = [*groups, *(f"{key}{TOGETHER}" for key in together)]
    loci = []
    for method in methods:
        if method in groups:
            tests = associations.filter(F.col("phenotype").isin(groups[method]))
        else:
            tests = _as_associations(spark, folder, method)
        loci += [{"method": method} | one for one in _loci(tests, method, threshold)]
    write_rows(loci, META_LOCI, f"{folder}/{META_LOCI.name}")
    lambda_of_all, chi_squared = inflation(associations)
    rho, _ = shared_people(gathered)
    pairs = rho[np.triu_indices(len(cohorts), 1)]
    return {
        "cohorts": [
            {
                "name": one.name,
                "n": int(gathered.n[number]),
                **{key: int(counts[number]) for key, counts in gathered.counts.items()},
            }
            | ({"lambda": _rounded(lambdas[number])} if genomic_control else {})
            for number, one in enumerate(cohorts)
        ],
        "genome_assembly": cohorts[0].build,
        "genomic_control": genomic_control,
        "variants": variants,
        "phenotypes": {key: len(members) for key, members in groups.items()},
        "in_one_cohort_only": alone,
        "highest_share_of_people_in_common": round(max(0.0, float(np.nanmax(pairs))), 4)
        if np.isfinite(pairs).any()
        else None,
        "lambda": _rounded(lambda_of_all),
        "mean_lambda": group_means(lambda_of_all, groups),
        "mean_chi2": group_means(chi_squared, groups),
        "thresholds": dict.fromkeys(methods, round(threshold, 4)),
        "tests_of_a_variant": tested,
        "effective_tests": round(effective, 2),
        "degrees_of_freedom": {
            f"{key}{TOGETHER}": len(one.columns) for key, one in together.items()
        },
        "loci": {key: sum(one["method"] == key for one in loci) for key in methods},
        "not_together": apart,
        "sumstats": len(files),
    }


def _refuse(cohorts: Sequence[Cohort], gathered: Gathered) -> None:
    """Raise `DataError` if the results cannot be combined."""
    refuse_unlike(cohorts, gathered)
    refuse_shared(cohorts, gathered)


def _lambdas(cohort: Cohort, phenotypes: Sequence[str]) -> dict[str, float]:
    """The median of (beta / se)² over its expectation, for each phenotype of a cohort."""
    one = F.explode("results").alias("one")
    square = F.when(F.col("one.se") > 0, F.pow(F.col("one.beta") / F.col("one.se"), 2))
    rows = (
        cohort.rows.select(one)
        .groupBy(F.col("one.phenotype").alias("phenotype"))
        .agg(F.percentile_approx(square, 0.5, RANKS).alias("median"))
        .collect()
    )
    medians = {row["phenotype"]: row["median"] for row in rows}
    known = [name for name in phenotypes if medians.get(name) is not None]
    return {name: float(medians[name] / MEDIAN_CHI2) for name in known}


def _factors(lambdas: Sequence[Mapping[str, float]]) -> tuple[dict[str, float], ...]:
    """The factors of the standard errors of each cohort, by phenotype."""
    return tuple(
        {name: float(np.sqrt(max(1.0, value))) for name, value in own.items()} for own in lambdas
    )


def _groups(phenotypes: Sequence[str]) -> dict[str, list[str]]:
    """The phenotypes of each group (see `tables.group_of`)."""
    groups: dict[str, list[str]] = {}
    for name in phenotypes:
        groups.setdefault(group_of(name), []).append(name)
    return groups


def _as_associations(spark: SparkSession, folder: str, method: str) -> DataFrame:
    """The omnibus tests of a method in the form of associations, without effects."""
    table = read_table(spark, META_OMNIBUS, f"{folder}/{META_OMNIBUS.name}")
    own = table.filter(F.col("model") == method.removesuffix(TOGETHER))
    effects = {name: F.lit(None).cast("double") for name in ("beta", "se")}
    words = {"phenotype": F.lit(method), "direction": F.lit(None).cast("string")}
    return own.withColumns(effects | words).select(META_ASSOCIATIONS.schema.names)


def _loci(tests: DataFrame, method: str, threshold: float) -> list[dict[str, Any]]:
    """The loci of a method among its tests.

    Raises `DataError` if more than `MOST_HITS` results pass the threshold.
    """
    rows = tests.filter(F.col("neg_log10_p") >= threshold)
    hits = pd.DataFrame(rows.limit(MOST_HITS + 1).toPandas())
    if len(hits) > MOST_HITS:
        raise DataError(
            f"More than {MOST_HITS:,} results of the group {method} pass its threshold: a cohort "
            f"is inflated; --genomic-control reports its lambda."
        )
    found = find_loci(hits, _all_linked, WINDOW_BP, 0.0)
    more = ["cohorts", "direction", "i2_percent", "het_neg_log10_p"]
    told = hits.set_index(list(META_ASSOCIATIONS.key))[more]
    loci = []
    for locus in found:
        own = told.loc[tuple(locus[name] for name in META_ASSOCIATIONS.key)].to_dict()
        loci.append({key: locus[key] for key in META_LOCI.schema.names if key in locus} | own)
    return loci


def _all_linked(lead: pd.DataFrame, others: pd.DataFrame) -> NDArray[np.float32]:
    """Correlations of 1: without genotypes, everything within the window counts as linked."""
    return np.ones(len(others), np.float32)


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items()}
