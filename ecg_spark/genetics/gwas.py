"""The step `gwas`: from phenotypes and genotypes to associations, loci and exchange files."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from scipy.stats import chi2

from ecg_spark.genetics.loci import find_loci, significant_variants
from ecg_spark.genetics.outputs import (
    LOCI,
    SCORES,
    write_associations,
    write_omnibus,
    write_rows,
)
from ecg_spark.genetics.packed import VARIANT, read_packed, standardised
from ecg_spark.genetics.phenotypes import (
    correlation_of,
    effective_number,
    match,
    usable_covariates,
    usable_phenotypes,
)
from ecg_spark.genetics.polygenic import write_polygenic
from ecg_spark.genetics.structure import AUTOSOMES
from ecg_spark.genetics.sumstats import Context, export_sumstats
from ecg_spark.genetics.whole_genome import predict_by_genome
from ecg_spark.session import start_hail
from ecg_spark.store import remove_folder
from ecg_spark.study import Genotypes, Gwas
from ecg_spark.tables import read_table

log = logging.getLogger(__name__)

LATENT_GROUPS = ("vae", "pca")
"""Groups of phenotypes that are also tested together."""


def run_gwas(
    spark: SparkSession,
    genotypes_folder: str,
    phenotypes: pd.DataFrame,
    groups: Mapping[str, Sequence[str]],
    covariates: pd.DataFrame,
    genotype_settings: Genotypes,
    settings: Gwas,
    folder: str,
    seed: int,
) -> dict[str, Any]:
    """Test every variant of a prepared genotype set against every phenotype, and find the loci.

    `genotypes_folder`: what `prepare_genotypes` wrote. `phenotypes` and `covariates` have one row a
    participant, indexed by participant id, NaN where missing; `groups` names the columns of
    `phenotypes` by group: `vae` and `pca` (also tested together) and `traits`. Everybody is
    analysed who has every covariate and, unless the null model is whole_genome, is in the unrelated
    set; phenotypes are rank-inverse-normal transformed, covariates and principal components are
    terms of the regression.

    Writes `folder`/associations.ht (Hail), the tables associations, omnibus, loci, heritability and
    genetic_correlation, and sumstats/ (GWAS-SSF). A locus of a single phenotype passes
    `settings.p_threshold` divided by the effective number of phenotypes in its group, one of the
    omnibus test `p_threshold`. Returns the summary: who was analysed, thresholds as -log10 p,
    lambda and heritability of every phenotype, loci found.

    Raises `DataError` where ids do not match or nothing can be tested.
    """
    hl = start_hail(spark)
    from ecg_spark.genetics.association import associate

    scores = read_table(spark, SCORES, f"{genotypes_folder}/scores").toPandas().set_index("s")
    n_genotyped = len(scores)
    if settings.null_model == "none":
        scores = scores[scores["unrelated"]]
    people, analysed = _people(scores, phenotypes, covariates, genotype_settings.pairing, seed)
    terms, notes = usable_covariates(analysed)
    values = phenotypes.loc[people[terms.index]].set_axis(terms.index)
    names = [name for members in groups.values() for name in members]
    tested, more_notes = usable_phenotypes(values[names], terms.shape[1])
    present = {key: [name for name in groups[key] if name in tested] for key in groups}
    present = {key: members for key, members in present.items() if members}
    together = {key: present[key] for key in LATENT_GROUPS if key in present}

    genotypes = hl.read_matrix_table(f"{genotypes_folder}/genotypes.mt")
    packed = read_packed(f"{genotypes_folder}/packed")
    offsets = None
    if settings.null_model == "whole_genome":
        order = np.random.default_rng(seed).permutation(len(terms))  # tears families apart
        model = np.flatnonzero(packed.sites["contig"].str.removeprefix("chr").isin(AUTOSOMES))
        offsets = predict_by_genome(
            spark, packed, model, tested.iloc[order], terms.iloc[order], f"{folder}/.model", seed
        )
        log.info("gwas: the whole genome predicts up to %.3f", max(offsets.r2.values()))
    table = associate(spark, genotypes, tested, terms, together, folder, offsets)
    remove_folder(f"{folder}/.model")
    rows = _wide_rows(hl, table)
    associations = write_associations(rows, folder)
    omnibus = write_omnibus(rows, folder)
    log.info("gwas: %d phenotypes tested in %d samples", tested.shape[1], len(terms))

    thresholds, effective = {}, {}
    for key, members in present.items():
        effective[key] = effective_number(correlation_of(tested[members], terms))
        thresholds[key] = -np.log10(settings.p_threshold / effective[key])
    thresholds |= {f"{key} omnibus": -np.log10(settings.p_threshold) for key in together}
    hits = {
        method: _hits(associations, omnibus, method, present, threshold)
        for method, threshold in thresholds.items()
    }
    variants = significant_variants(list(hits.values()))
    dosages = {}
    if len(variants):
        places = packed.rows(variants)
        calls = packed.calls.read(places, packed.places(list(terms.index)))
        keys = packed.sites.iloc[places][VARIANT].itertuples(index=False, name=None)
        dosages = dict(zip(keys, standardised(calls), strict=True))
    found = {
        method: find_loci(rows, dosages, settings.clump_window_bp, settings.clump_r2)
        for method, rows in hits.items()
    }
    records = [{"method": method, **locus} for method, loci in found.items() for locus in loci]
    write_rows(spark, records, LOCI, folder)
    notes_on_pairing = (
        "Samples and participants were paired at random: there is no association to find."
        if genotype_settings.pairing == "random"
        else None
    )
    context = Context(
        genotype_settings.reference_genome,
        list(terms.columns),
        genotype_settings.min_maf,
        notes_on_pairing,
    )
    files = export_sumstats(associations, f"{folder}/sumstats", context)
    lambdas = lambda_gc(associations)
    polygenic = write_polygenic(
        spark, packed, rows, terms, list(tested.columns),
        [name for key in ("vae", "traits") for name in present.get(key, [])], folder,
    )  # fmt: skip
    return {
        "participants": len(phenotypes),
        "genotyped_samples": n_genotyped,
        "matched": len(people),
        "analysed": len(terms),
        "pairing": genotype_settings.pairing,
        "variants": table.count(),
        "phenotypes": {key: len(members) for key, members in present.items()},
        "covariates": list(terms.columns),
        "notes": notes + more_notes,
        "thresholds": {key: round(float(value), 4) for key, value in thresholds.items()},
        "effective_phenotypes": {key: round(value, 2) for key, value in effective.items()},
        "lambda": {name: round(value, 4) for name, value in lambdas.items()},
        "mean_lambda": {
            key: round(float(np.mean([lambdas[name] for name in members])), 4)
            for key, members in present.items()
        },
        "loci": {method: len(loci) for method, loci in found.items()},
        "sumstats": len(files),
        "null_model": settings.null_model,
        "predicted_by_genome": offsets.r2 if offsets else {},
        **polygenic,
    }


def lambda_gc(associations: DataFrame) -> dict[str, float]:
    """The median chi-squared of each phenotype over its expectation (genomic control)."""
    medians = associations.groupBy("phenotype").agg(
        F.percentile_approx("neg_log10_p", 0.5, 100_000).alias("median")
    )
    expected = chi2.ppf(0.5, 1)
    return {
        row["phenotype"]: float(chi2.isf(10 ** -row["median"], 1) / expected)
        for row in medians.orderBy("phenotype").collect()
        if row["median"] is not None
    }


def _people(
    scores: pd.DataFrame,
    phenotypes: pd.DataFrame,
    covariates: pd.DataFrame,
    pairing: str,
    seed: int,
) -> tuple[pd.Series, pd.DataFrame]:
    """The participant of each matched sample, and its covariates and components."""
    matching = match(list(scores.index), list(phenotypes.index), pairing, seed)
    people = pd.Series(matching.participants, index=matching.samples)
    terms = covariates.reindex(people.to_numpy()).set_axis(people.index)
    components = np.array(scores.loc[people.index, "pc"].tolist(), float)
    for i in range(components.shape[1]):
        terms[f"pc_{i + 1}"] = components[:, i]
    return people, terms


def _wide_rows(hl: Any, table: Any) -> DataFrame:
    """Hail's results as a Spark frame: the variant, and its tests with their names."""
    table = table.key_by()
    named = hl.zip(table.phenotypes, table.results).map(
        lambda pair: hl.struct(phenotype=pair[0], **pair[1].drop("t"))
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
    )
    return plain.select_globals().to_spark(flatten=False)


def _hits(
    associations: DataFrame,
    omnibus: DataFrame,
    method: str,
    present: Mapping[str, Sequence[str]],
    threshold: float,
) -> pd.DataFrame:
    """The tests of a method that pass its threshold."""
    if method in present:
        rows = associations.filter(F.col("phenotype").isin(list(present[method])))
    else:
        rows = (
            omnibus.filter(F.col("model") == method.removesuffix(" omnibus"))
            .withColumn("phenotype", F.lit(method))
            .withColumn("beta", F.lit(None).cast("double"))
            .withColumn("se", F.lit(None).cast("double"))
            .select(associations.columns)
        )
    return rows.filter(F.col("neg_log10_p") >= threshold).toPandas()
