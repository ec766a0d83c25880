"""The meta-analysis of several cohorts: their results combined, and the loci among them."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema

from ecg_spark.errors import DataError, UsageError
from ecg_spark.genetics.cohorts.fixed_effects import MEDIAN_CHI2, Combined, combine, directions
from ecg_spark.genetics.cohorts.joint import Joined, Take, contigs, pass_over
from ecg_spark.genetics.cohorts.overlap import (
    refuse_different,
    refuse_shared,
    refuse_unlike,
    shared_people,
)
from ecg_spark.genetics.cohorts.reading import Cohort, is_latent
from ecg_spark.genetics.cohorts.tables import (
    META_ASSOCIATIONS,
    META_LOCI,
    META_RESULT,
    META_TESTS,
)
from ecg_spark.genetics.findings.clumping import find_loci
from ecg_spark.genetics.null_model.phenotypes import effective_number
from ecg_spark.genetics.outputs.associations import BY_VARIANT, are_known, elements, part_files
from ecg_spark.genetics.outputs.sumstats import META, Context, export_sumstats
from ecg_spark.genetics.testing.inflation import RANKS, group_means, inflation
from ecg_spark.session import partition_number
from ecg_spark.study import Gwas
from ecg_spark.tables import read_table, write_rows

log = logging.getLogger(__name__)

Reals = NDArray[np.float64]

FEWEST, MOST = 2, 50
"""Cohorts of a meta-analysis."""

MOST_HITS = 500_000
"""Results that pass the threshold, beyond which no meta-analysis of real loci is."""

_DEFAULTS = {name: field.default for name, field in Gwas.model_fields.items()}
P_THRESHOLD, WINDOW_BP = _DEFAULTS["p_threshold"], _DEFAULTS["clump_window_bp"]
"""Those of a study by default: a meta-analysis has no study file."""


def meta_analyse(
    spark: SparkSession, cohorts: Sequence[Cohort], folder: str, *, genomic_control: bool = False
) -> dict[str, Any]:
    """Combine the results of 2 to 50 cohorts, and find the loci among them.

    Phenotypes of at least two cohorts are combined, each at every variant of at least one cohort
    (`fixed_effects`), in the terms that `alignment` says. With `genomic_control` the standard
    errors of each cohort and phenotype are multiplied by √lambda first, where lambda is above 1.

    A locus passes `P_THRESHOLD` divided by the effective number of phenotypes of its group (the
    latents of a kind, or the traits), by the correlation of z-scores at variants without an effect.
    There are no genotypes, and so no linkage: significant variants that follow each other within
    `WINDOW_BP` are one locus, in which there may be several signals.

    Writes by_variant and the table associations (see `META_ASSOCIATIONS`), sumstats/ (GWAS-SSF and
    REGENIE's format, with which the whole is a cohort itself) and the table loci.

    Raises `UsageError` for too few or too many cohorts, `DataError` where they cannot be combined:
    on two builds, latents of two models, people in common, other alleles than their frequencies.
    """
    if not FEWEST <= len(cohorts) <= MOST:
        raise UsageError(
            f"A meta-analysis is of {FEWEST} to {MOST} cohorts, and {len(cohorts)} were given."
        )
    refuse_different(cohorts)
    named = [name for one in cohorts for name in one.models]
    phenotypes = sorted({name for name in named if named.count(name) > 1})
    if not phenotypes:
        raise DataError("No phenotype is in two of the cohorts: name their files alike.")
    alone = sorted(set(named) - set(phenotypes))
    lambdas = [_lambdas(one, phenotypes) for one in cohorts] if genomic_control else []
    worker = partial(_combining, folder, cohorts[0].build, tuple(phenotypes), _factors(lambdas))
    gathered = pass_over(spark, cohorts, phenotypes, worker)
    refuse_unlike(cohorts, gathered)
    refuse_shared(cohorts, gathered)
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
    groups = _groups(phenotypes)
    thresholds, effective = _thresholds(groups, phenotypes, gathered.correlation[0])
    loci = [
        {"method": method} | locus
        for method, members in groups.items()
        for locus in _loci(associations, method, members, thresholds[method])
    ]
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
        "thresholds": {key: round(value, 4) for key, value in thresholds.items()},
        "effective_phenotypes": {key: round(value, 2) for key, value in effective.items()},
        "loci": {key: sum(one["method"] == key for one in loci) for key in groups},
        "sumstats": len(files),
    }


def _lambdas(cohort: Cohort, phenotypes: Sequence[str]) -> dict[str, float]:
    """The median of (beta / se)² over its expectation, of each phenotype of a cohort."""
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
    """What the standard errors of each cohort are multiplied by, by phenotype."""
    return tuple(
        {name: float(np.sqrt(max(1.0, value))) for name, value in own.items()} for own in lambdas
    )


@contextmanager
def _combining(
    folder: str,
    build: str,
    phenotypes: tuple[str, ...],
    factors: tuple[dict[str, float], ...],
) -> Iterator[Take]:
    """A worker that combines variants and writes its part of by_variant and associations."""
    by_cohort = [[own.get(name, 1.0) for own in factors] for name in phenotypes]
    inflated = np.array(by_cohort) if factors else np.ones(1)
    with part_files(folder, f"part-{partition_number():05d}.parquet") as write:

        def take(joined: Joined) -> Reals:
            found = combine(joined.beta, joined.se * inflated)
            tests = _rows(joined, found, build, phenotypes)
            write({BY_VARIANT: tests, META_ASSOCIATIONS.name: _long(tests)})
            return np.asarray(found.z)[None]

        yield take


def _rows(joined: Joined, found: Combined, build: str, phenotypes: Sequence[str]) -> pa.Table:
    """Rows of `META_TESTS`."""
    m, p, _ = joined.beta.shape
    known = np.isfinite(joined.beta)
    n = np.where(known, np.nan_to_num(joined.n), 0.0)
    weight = np.where(np.isfinite(joined.af), n, 0.0)
    with np.errstate(invalid="ignore"):
        af = (weight * np.nan_to_num(joined.af)).sum(axis=2) / weight.sum(axis=2)

    def reals(values: Reals) -> pa.Array:
        return pa.array(np.ravel(values), pa.float64(), from_pandas=True)

    fields = {
        "phenotype": pa.DictionaryArray.from_arrays(
            pa.array(np.tile(np.arange(p, dtype=np.int32), m)), pa.array(phenotypes)
        ).cast(pa.string()),
        "beta": reals(found.beta),
        "se": reals(found.se),
        "t": reals(found.z),
        "neg_log10_p": reals(found.neg_log10_p),
        "n": pa.array(n.sum(axis=2).ravel().astype(np.int32)),
        "af": reals(af),
        "cohorts": pa.array(found.cohorts.ravel().astype(np.int32)),
        "direction": pa.array(directions(joined.beta).ravel()).cast(pa.string()),
        "q": reals(found.q),
        "i2_percent": reals(found.i2_percent),
        "het_neg_log10_p": reals(found.het_neg_log10_p),
    }
    ends = pa.array(np.arange(m + 1, dtype=np.int32) * p)
    structs = pa.StructArray.from_arrays([fields[name] for name in META_RESULT], META_RESULT)
    schema = to_arrow_schema(META_TESTS)
    columns = [
        pa.array(contigs(build, joined.chromosome)),
        pa.array(joined.position.astype(np.int32)),
        pa.array(joined.ref),
        pa.array(joined.alt),
        joined.rsid,
        pa.ListArray.from_arrays(ends, structs),
    ]
    return pa.Table.from_arrays(columns, schema.names).cast(schema)


def _long(tests: pa.Table) -> pa.Table:
    """The rows of the table associations of some rows of `META_TESTS`."""
    batch = tests.combine_chunks().to_batches()[0]
    fields, of_variant = elements(batch, "results")
    own = np.flatnonzero(are_known(fields["neg_log10_p"]))
    places, rows = pa.array(own), pa.array(of_variant[own])
    schema = to_arrow_schema(META_ASSOCIATIONS.schema)
    return pa.Table.from_arrays(
        [
            fields[name].take(places) if name in fields else batch.column(name).take(rows)
            for name in schema.names
        ],
        schema=schema,
    )


def _groups(phenotypes: Sequence[str]) -> dict[str, list[str]]:
    """Phenotypes by what is tested with them: vae, pca, traits."""
    groups: dict[str, list[str]] = {}
    for name in phenotypes:
        groups.setdefault(name[:3] if is_latent(name) else "traits", []).append(name)
    return groups


def _thresholds(
    groups: Mapping[str, Sequence[str]], phenotypes: Sequence[str], correlation: Reals
) -> tuple[dict[str, float], dict[str, float]]:
    """-log10 p of every group, and the effective number of its phenotypes."""
    effective = {}
    for key, members in groups.items():
        own = [phenotypes.index(name) for name in members]
        effective[key] = effective_number(correlation[np.ix_(own, own)])
    thresholds = {
        key: float(-np.log10(P_THRESHOLD / max(number, 1.0))) for key, number in effective.items()
    }
    return thresholds, effective


def _loci(
    associations: DataFrame, method: str, members: Sequence[str], threshold: float
) -> list[dict[str, Any]]:
    """The loci of some phenotypes.

    Raises `DataError` where more results than `MOST_HITS` pass the threshold.
    """
    rows = associations.filter(
        F.col("phenotype").isin(list(members)) & (F.col("neg_log10_p") >= threshold)
    )
    hits = pd.DataFrame(rows.limit(MOST_HITS + 1).toPandas())
    if len(hits) > MOST_HITS:
        raise DataError(
            f"More than {MOST_HITS:,} results of the group {method} pass its threshold: a cohort "
            f"is inflated; --genomic-control tells its lambda."
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
    """Without genotypes all that lies within the window counts as linked."""
    return np.ones(len(others), np.float32)


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items()}
