"""The step `gwas`: from phenotypes and genotypes to associations, loci and exchange files."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from scipy.stats import chi2

from ecg_spark.errors import DataError
from ecg_spark.genetics.findings.catalogue import Tests, read_annotation, write_loci
from ecg_spark.genetics.findings.polygenic import write_polygenic
from ecg_spark.genetics.genotypes.choice import choose
from ecg_spark.genetics.genotypes.contigs import AUTOSOMES, CONTIGS
from ecg_spark.genetics.genotypes.packed import Packed
from ecg_spark.genetics.genotypes.parts import GenotypeSet, open_set
from ecg_spark.genetics.genotypes.view import packed_view
from ecg_spark.genetics.null_model.cohort import Brought, Cohort, gather
from ecg_spark.genetics.null_model.loco import take_loco
from ecg_spark.genetics.null_model.phenotypes import (
    correlation_of,
    effective_number,
    rank_inverse_normal,
)
from ecg_spark.genetics.null_model.whole_genome import Offsets, predict_by_genome, thinned
from ecg_spark.genetics.outputs.sumstats import Context, export_sumstats, write_regenie_inputs
from ecg_spark.genetics.outputs.tables import (
    ANALYSED,
    GENES,
    RELATIVES,
    SCORES,
    write_associations,
    write_omnibus,
)
from ecg_spark.genetics.people.analysed import (
    has_result,
    in_words,
    left_out_of,
    people_of,
    variant_flow,
)
from ecg_spark.genetics.testing import blocks
from ecg_spark.genetics.testing.results import TESTS
from ecg_spark.session import start_hail
from ecg_spark.store import remove_folder
from ecg_spark.study_genetics import Genotypes, Gwas
from ecg_spark.tables import FLOW, read_table, write_rows

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
    is_male: pd.Series | None = None,
    told: Sequence[str] = (),
) -> dict[str, Any]:
    """Test the variants of a prepared genotype set against every phenotype, and find the loci.

    `genotypes_folder`: what `prepare_genotypes` wrote. `phenotypes` and `covariates` have one row a
    participant, indexed by participant id, NaN where missing; `groups` names the columns of
    `phenotypes` by group: `vae` and `pca` (also tested together) and `traits`. Everybody is
    analysed who has every covariate and, unless the null model is whole_genome, is in the unrelated
    set; phenotypes are rank-inverse-normal transformed, covariates and principal components are
    terms of the regression. People whose X chromosome contradicts `is_male` (1, 0 or NaN, by
    participant) are left out. Variants must pass the thresholds of `genotype_settings` among the
    people of each phenotype. `told` are notes on the tables that these came from; they stand
    before those of this step. Ids are compared in normal form (`ecg_spark.ids`).

    Writes the tables associations, omnibus, loci, signals, ld, nearby_genes, heritability,
    genetic_correlation, genes, flow (who and what was left out, why) and analysed (who was not),
    sumstats/ (GWAS-SSF, and REGENIE's format), regenie/ (the phenotypes as tested and the
    covariates, for its runs) and whole_genome/ (predictions as its step 1 writes them).
    A locus of a single phenotype passes `settings.p_threshold` divided by the effective number of
    phenotypes in its group, one of the omnibus test `p_threshold`. Returns the summary: who was
    analysed, thresholds as -log10 p, lambda and heritability of every phenotype, loci found.

    Raises `DataError` where ids do not match, a person has two samples, the sexes are coded the
    other way round, or nothing can be tested.
    """
    brought = Brought(phenotypes, groups, covariates, is_male, told)
    table_of_scores = read_table(spark, SCORES, f"{genotypes_folder}/scores")
    scores = pd.DataFrame(table_of_scores.toPandas()).set_index("s")
    whole = settings.null_model == "whole_genome"
    cohort = gather(scores, brought, genotype_settings, whole, seed)
    # Tables that the study names are read, and refused, before the hours of computing.
    annotation = read_annotation(settings)
    plan = _variants(spark, genotypes_folder, genotype_settings, settings)
    offsets = Offsets(None, None)
    if whole:
        given = settings.predictions
        offsets = _offsets(
            spark, genotypes_folder, plan, cohort, genotype_settings, given, folder, seed
        )
    rows, notes_on_sets = _tests(spark, plan, cohort, offsets, genotype_settings, folder)
    rows_of_flow = [*cohort.flow.rows(), *variant_flow(rows, plan.unwanted)]
    write_rows(rows_of_flow, FLOW, f"{folder}/{FLOW.name}")
    analysed = [{"s": s, "participant_id": owner} for s, owner in cohort.people.items()]
    write_rows(analysed, ANALYSED, f"{folder}/{ANALYSED.name}")
    n_variants = rows_of_flow[-1]["n"]
    if not n_variants:
        raise DataError(
            f"No variant can be tested in the people analysed: {in_words(rows_of_flow[-3:])} "
            f"Loosen the thresholds under genotypes in the study file."
        )
    rows = rows.filter(has_result())
    associations = write_associations(rows, folder)
    omnibus = write_omnibus(rows, folder)
    log.info("gwas: %d phenotypes tested in %d samples", cohort.tested.shape[1], len(cohort.terms))

    thresholds, effective = _thresholds(cohort, settings)
    tests = Tests(associations, omnibus, cohort.groups, thresholds)
    found = write_loci(plan.candidates, tests, cohort, offsets, settings, annotation, folder)
    before = read_table(spark, FLOW, f"{genotypes_folder}/{FLOW.name}").orderBy("unit", "place")
    whole_flow = [*[row.asDict() for row in before.collect()], *rows_of_flow]
    notes_on_pairing = []
    if genotype_settings.pairing == "random":
        notes_on_pairing.append(
            "Samples and participants were paired at random: there is no association to find."
        )
    context = Context(
        genotype_settings.reference_genome,
        list(cohort.terms.columns),
        genotype_settings.min_maf,
        plan.engine,
        whole,
        " ".join([*notes_on_pairing, in_words(whole_flow)]),
    )
    files = export_sumstats(associations, f"{folder}/sumstats", context)
    write_regenie_inputs(cohort.tested, cohort.terms, f"{folder}/regenie")
    lambdas, chi_squared = inflation(associations)
    polygenic = write_polygenic(
        spark, plan.candidates, rows, cohort.terms, list(cohort.tested.columns),
        [name for key in ("vae", "traits") for name in cohort.groups.get(key, [])], folder,
    )  # fmt: skip
    genes = _genes(spark, plan, cohort, settings, genotype_settings.reference_genome)
    write_rows(genes, GENES, f"{folder}/{GENES.name}")
    remove_folder(f"{folder}/.tests")
    return {
        "participants": cohort.participants,
        "genotyped_samples": cohort.flow.filters[0]["samples"],
        "matched": cohort.matched,
        "people": cohort.flow.filters,
        "analysed": len(cohort.terms),
        "pairing": genotype_settings.pairing,
        "variants": n_variants,
        "left_out": left_out_of(whole_flow),
        "phenotypes": {key: len(members) for key, members in cohort.groups.items()},
        "covariates": list(cohort.terms.columns),
        "notes": [
            *cohort.notes, *plan.notes, *notes_on_sets, *cohort.notes_on_phenotypes, *offsets.notes
        ],
        "thresholds": {key: round(float(value), 4) for key, value in thresholds.items()},
        "effective_phenotypes": {key: round(value, 2) for key, value in effective.items()},
        "lambda": {name: round(value, 4) for name, value in lambdas.items()},
        "mean_lambda": _group_means(lambdas, cohort.groups),
        "mean_chi2": _group_means(chi_squared, cohort.groups),
        "loci": found,
        "sumstats": len(files),
        "null_model": settings.null_model,
        "engine": plan.engine,
        "predicted_by_genome": dict(offsets.loco.r2) if offsets.loco else {},
        **polygenic,
        "genes": len({one["gene"] for one in genes}),
    }  # fmt: skip


@dataclass(frozen=True)
class Variants:
    """What is tested: the genotype set, the chosen variants `to_test`, the calls of all
    `candidates`, the chosen `genes`, the `engine`, how many variants the study did not want, by
    reason, and notes."""

    genotypes: GenotypeSet
    to_test: GenotypeSet
    candidates: Packed
    genes: pd.DataFrame | None
    engine: str
    unwanted: Mapping[str, int]
    notes: tuple[str, ...]


def _variants(
    spark: SparkSession, folder: str, genotype_settings: Genotypes, settings: Gwas
) -> Variants:
    """What is tested, and by which engine."""
    genotypes = open_set(f"{folder}/variants")
    notes, chosen = [], None
    if settings.rare is not None:
        start_hail(spark)
        from ecg_spark.genetics.testing.rare import matched_genes, read_genes

        genome = genotype_settings.reference_genome
        chosen = read_genes(settings.rare.genes, genome, settings.rare.consequences)
        chosen, note = matched_genes(spark, genotypes, chosen)
        notes.append(note)
    candidates = genotypes.where("is_candidate")
    to_test, unwanted, listed = choose(spark, candidates, genotype_settings)
    engine, seen = settings.engine_used, packed_view(candidates)
    return Variants(genotypes, to_test, seen, chosen, engine, unwanted, (*notes, *listed))


def _offsets(
    spark: SparkSession,
    genotypes_folder: str,
    plan: Variants,
    cohort: Cohort,
    settings: Genotypes,
    given: str | None,
    folder: str,
    seed: int,
) -> Offsets:
    """What the whole genome says of the phenotypes, and who is related."""
    pairs = read_table(spark, RELATIVES, f"{genotypes_folder}/relatives")
    if given:
        loco = take_loco(given, cohort.tested, cohort.terms)
        return Offsets(loco, pd.DataFrame(pairs.toPandas()))
    order = np.random.default_rng(seed).permutation(len(cohort.terms))  # tears families apart
    stands_on = plan.candidates
    if settings.model:
        stands_on = packed_view(open_set(f"{genotypes_folder}/model"))
    is_common = stands_on.sites["is_common"].to_numpy()
    autosomal = stands_on.sites["contig"].map(CONTIGS).isin(AUTOSOMES)
    variants = np.flatnonzero(autosomal & is_common)
    tested, terms = cohort.tested.iloc[order], cohort.terms.iloc[order]
    if not settings.model:
        variants = thinned(spark, stands_on, variants, terms.index, seed)
    place = f"{folder}/whole_genome"
    loco = predict_by_genome(spark, stands_on, variants, tested, terms, place, seed)
    log.info("gwas: the whole genome predicts up to %.3f", max(loco.r2.values()))
    return Offsets(loco, pd.DataFrame(pairs.toPandas()))


def _tests(
    spark: SparkSession,
    plan: Variants,
    cohort: Cohort,
    offsets: Offsets,
    settings: Genotypes,
    folder: str,
) -> tuple[DataFrame, list[str]]:
    """The tests of all sets, one row per variant (see `results.TESTS`), and notes."""
    if plan.engine == "hail":
        start_hail(spark)
        from ecg_spark.genetics.testing.hail import associate as by_hail

        associate: Any = partial(by_hail, reference_genome=settings.reference_genome)
    else:
        associate = blocks.associate
    together = {key: cohort.groups[key] for key in LATENT_GROUPS if key in cohort.groups}
    notes, frames = [], []
    of_set = plan.to_test.sites(["set"])["set"].to_numpy()
    for number in range(1 + len(settings.separate)):
        own = people_of(number, cohort.sets, cohort.terms.index)
        if not len(own):
            notes.append(f"nobody analysed is in set {number} of genotypes.separate")
            continue
        values, terms = cohort.tested.loc[own].apply(_ranked), cohort.terms.loc[own]
        part = plan.to_test.only(of_set == number)
        frames.append(
            associate(
                spark,
                part,
                phenotypes=values,
                covariates=terms,
                together=together,
                offsets=offsets.loco,
                relatives=offsets.relatives,
                thresholds=settings,
            )
        )
    reduce(DataFrame.unionByName, frames).write.parquet(f"{folder}/.tests")
    return spark.read.schema(TESTS).parquet(f"{folder}/.tests"), notes


def _thresholds(cohort: Cohort, settings: Gwas) -> tuple[dict[str, float], dict[str, float]]:
    """-log10 p of every method, and the effective number of the phenotypes of each group."""
    thresholds, effective = {}, {}
    for key, members in cohort.groups.items():
        effective[key] = effective_number(correlation_of(cohort.tested[members], cohort.terms))
        thresholds[key] = -np.log10(settings.p_threshold / effective[key])
    for key in LATENT_GROUPS:
        if key in cohort.groups:
            thresholds[f"{key} omnibus"] = -np.log10(settings.p_threshold)
    return thresholds, effective


def _genes(
    spark: SparkSession, plan: Variants, cohort: Cohort, settings: Gwas, reference_genome: str
) -> list[dict[str, Any]]:
    """The tests of rare variants, where the study wants them."""
    if plan.genes is None or settings.rare is None:
        return []
    from ecg_spark.genetics.testing.rare import gene_tests

    # An offset is for one chromosome; relatives are left out of these tests instead.
    alone = cohort.terms.index.isin(cohort.unrelated)
    return gene_tests(
        spark, plan.genotypes, reference_genome, plan.genes, settings.rare.max_maf,
        cohort.tested[alone], cohort.terms[alone],
    )  # fmt: skip


def inflation(associations: DataFrame) -> tuple[dict[str, float], dict[str, float]]:
    """Two figures of each phenotype, in one pass over its tests: lambda, the median chi-squared
    over its expectation (genomic control), and the mean chi-squared, (beta / se)².

    Both are 1 where there is nothing to find.
    """
    square = F.when(F.col("se") > 0, F.pow(F.col("beta") / F.col("se"), 2))
    rows = (
        associations.groupBy("phenotype")
        .agg(
            F.percentile_approx("neg_log10_p", 0.5, 100_000).alias("median"),
            F.avg(square).alias("mean"),
        )
        .orderBy("phenotype")
        .collect()
    )
    expected = chi2.ppf(0.5, 1)
    lambdas = {
        row["phenotype"]: float(chi2.isf(10 ** -row["median"], 1) / expected)
        for row in rows
        if row["median"] is not None
    }
    return lambdas, {row["phenotype"]: row["mean"] for row in rows if row["mean"] is not None}


def _ranked(values: pd.Series) -> pd.Series:
    """A phenotype rank-inverse-normal transformed among those who are left."""
    return pd.Series(rank_inverse_normal(values.to_numpy(float)), values.index)


def _group_means(
    values: Mapping[str, float], groups: Mapping[str, Sequence[str]]
) -> dict[str, float]:
    """The mean over the phenotypes of each group that have the figure."""
    known = {key: [values[name] for name in groups[key] if name in values] for key in groups}
    return {key: round(float(np.mean(own)), 4) for key, own in known.items() if own}
