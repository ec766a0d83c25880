"""The association study, stage by stage: each writes into a folder what the next ones read.

    prepare_cohort        who is analysed, their phenotypes and covariates
    prepare_null_model    what whole-genome regression predicts of the phenotypes
    associate_variants    every variant against every phenotype
    associate_genes       rare variants, gene by gene (genes.py)
    describe_findings     loci, their signals and LD, heritability, genetic correlation

Each stage is a step of the pipeline and returns its summary. It runs again only if something that
it depends on has changed: another clumping threshold or gene table repeats no association test.

Throughout, `genotypes`, `cohort_folder`, `null_model` and `tests` are the folders that
`prepare_genotypes`, `prepare_cohort`, `prepare_null_model` and `associate_variants` wrote;
`folder` is where a stage writes.
"""

import logging
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import SparkSession

from ecg_spark.errors import DataError
from ecg_spark.genetics.findings.catalogue import Tests, read_annotation, write_loci
from ecg_spark.genetics.findings.gene_level import write_common_genes
from ecg_spark.genetics.findings.polygenic import write_polygenic
from ecg_spark.genetics.findings.published import open_published
from ecg_spark.genetics.genotypes.choice import choose
from ecg_spark.genetics.genotypes.contigs import AUTOSOMES
from ecg_spark.genetics.genotypes.parts import GenotypeSet, open_set
from ecg_spark.genetics.genotypes.site_rows import site_rows
from ecg_spark.genetics.genotypes.view import packed_view
from ecg_spark.genetics.methods import methods, study_wide
from ecg_spark.genetics.null_model.cohort import (
    TOGETHER,
    Brought,
    Cohort,
    gather,
    load_cohort,
    save_cohort,
    save_told,
    together,
)
from ecg_spark.genetics.null_model.loco import kept_variance, load_loco, save_loco, take_loco
from ecg_spark.genetics.null_model.phenotypes import (
    by_missingness,
)
from ecg_spark.genetics.null_model.traits import ranked_again
from ecg_spark.genetics.null_model.whole_genome import (
    BLOCK_VARIANTS,
    MAX_VARIANTS,
    Offsets,
    predict_by_genome,
    thinned,
)
from ecg_spark.genetics.outputs.associations import (
    BY_VARIANT,
    WRITTEN,
    refuse_repeated,
    write_tests,
)
from ecg_spark.genetics.outputs.sumstats import (
    MODEL,
    export_sumstats,
    write_regenie_inputs,
)
from ecg_spark.genetics.outputs.tables import OMNIBUS, RELATIVES, SCORES
from ecg_spark.genetics.people.analysed import has_result, in_words, left_out_of, variant_flow
from ecg_spark.genetics.sidecar import context_of
from ecg_spark.genetics.sizes import of_associations, of_findings, of_null_model
from ecg_spark.genetics.testing import blocks
from ecg_spark.genetics.testing.inflation import group_means, inflation, joint_inflation
from ecg_spark.genetics.testing.results import TESTS, Sink, question
from ecg_spark.needs import require
from ecg_spark.session import start_hail
from ecg_spark.study import Genotypes, Gwas
from ecg_spark.tables import ASSOCIATIONS, FLOW, OWN, VARIANT, read_table, write_rows

log = logging.getLogger(__name__)

VARIANTS = "variants"
"""The folder of the checked genotype set among what `prepare_genotypes` writes."""


def prepare_cohort(
    spark: SparkSession,
    genotypes: str,
    brought: Brought,
    genotype_settings: Genotypes,
    settings: Gwas,
    folder: str,
    seed: int,
) -> dict[str, Any]:
    """Choose who is analysed, and prepare their phenotypes and covariates.

    A person of the population that is chosen is analysed if every covariate is known and, unless
    the null model is whole_genome, if no closer relative is kept instead. People whose X chromosome
    contradicts their reported sex are left out. Phenotypes are rank-inverse-normal transformed,
    except those that `settings.scale` leaves in their units; covariates and principal components
    (of a population, its own) become terms of the regression. Ids are compared in normal form
    (`ecg_spark.ids`).

    Writes the tables `analysed` (who) and `flow` (who was left out, and why), phenotypes and
    covariates (see `save_cohort`), the same as input files for REGENIE in regenie/, and the table
    of `save_told`.

    Args:
        brought: the phenotypes and covariates of the participants.
        seed: for random pairing, if the study asks for it.

    Raises:
        DataError: if ids do not match, a person has two samples, the coding of sex is reversed, or
            no phenotype can be tested.
    """
    scores = pd.DataFrame(read_table(spark, SCORES, f"{genotypes}/scores").toPandas())
    relatives = pd.DataFrame(read_table(spark, RELATIVES, f"{genotypes}/relatives").toPandas())
    found = gather(scores.set_index("s"), relatives, brought, genotype_settings, settings, seed)
    cohort = found.cohort
    save_cohort(cohort, folder)
    save_told(brought, cohort.people, folder)
    write_rows(found.flow.rows(), FLOW, f"{folder}/{FLOW.name}")
    write_regenie_inputs(cohort.tested, cohort.terms, f"{folder}/regenie")
    log.info("cohort: %d people, %d phenotypes", *cohort.tested.shape)
    return {
        "participants": found.participants,
        "genotyped_samples": found.flow.filters[0]["samples"],
        "matched": found.matched,
        "people": found.flow.filters,
        "analysed": len(cohort.terms),
        "ancestry": found.ancestry,
        "pairing": genotype_settings.pairing,
        "phenotypes": {key: len(members) for key, members in cohort.groups.items()},
        "covariates": list(cohort.terms.columns),
        "notes": list(found.notes),
    }


def prepare_null_model(
    spark: SparkSession,
    genotypes: str,
    cohort_folder: str,
    genotype_settings: Genotypes,
    settings: Gwas,
    folder: str,
    seed: int,
) -> dict[str, Any]:
    """Fit the whole-genome regression, or take over the REGENIE predictions that the study names.

    Writes whole_genome/ (predictions in the format of REGENIE's step 1) and loco.json, which
    describes them; nothing if the null model is `none`.

    Args:
        seed: for the choice of variants, and the order of people that makes the folds.

    Raises:
        DataError: if predictions cannot be used, no variant is left for the model, or the machine
            lacks the memory or disk that the model needs.
    """
    if settings.null_model == "none":
        return {"null_model": "none", "predicted_by_genome": {}, "notes": []}
    cohort = load_cohort(cohort_folder)
    if settings.predictions:
        loco = take_loco(settings.predictions, cohort.tested, cohort.terms)
    else:
        # Relatives next to each other would fall into one fold; shuffling separates them.
        order = np.random.default_rng(seed).permutation(len(cohort.terms))
        tested, terms = cohort.tested.iloc[order], cohort.terms.iloc[order]
        of_model = genotype_settings.model and open_set(f"{genotypes}/model")
        stands_on = packed_view(of_model or _candidates(genotypes), "is_common")
        is_common = stands_on.sites["is_common"].to_numpy()
        variants = np.flatnonzero(stands_on.on(AUTOSOMES) & is_common)
        if not genotype_settings.model:
            variants = thinned(spark, stands_on, variants, terms.index, seed)
        people, phenotypes = tested.shape
        blocks = min(len(variants), MAX_VARIANTS) // BLOCK_VARIANTS + len(AUTOSOMES)
        require(
            spark,
            f"Whole-genome regression of {phenotypes} phenotypes of {people} people",
            folder,
            of_null_model(
                people, len(stands_on.samples), phenotypes, terms.shape[1], len(stands_on.sites),
                blocks,
            ),
        )  # fmt: skip
        place = f"{folder}/whole_genome"
        loco = predict_by_genome(spark, stands_on, variants, tested, terms, place, seed)
        log.info("null model: the whole genome predicts up to %.3f", max(loco.r2.values()))
    save_loco(loco.of(cohort.terms.index), folder)
    return {
        "null_model": settings.null_model,
        "predicted_by_genome": dict(loco.r2),
        "notes": Offsets(loco, None).notes,
    }


def _candidates(genotypes: str) -> GenotypeSet:
    """The variants of the checked set that may be common enough among the people analysed."""
    return open_set(f"{genotypes}/{VARIANTS}").where("is_candidate")


def offsets_of(
    spark: SparkSession, genotypes: str, cohort: Cohort, null_model: str, settings: Gwas
) -> Offsets:
    """The predictions of the null model and the pairs of relatives; neither if the null model
    is `none`.
    """
    if settings.null_model == "none":
        return Offsets(None, None)
    pairs = read_table(spark, RELATIVES, f"{genotypes}/relatives")
    return Offsets(load_loco(null_model, cohort.terms.index), pd.DataFrame(pairs.toPandas()))


def associate_variants(
    spark: SparkSession,
    genotypes: str,
    cohort_folder: str,
    null_model: str,
    genotype_settings: Genotypes,
    settings: Gwas,
    folder: str,
    model: str | None = None,
) -> dict[str, Any]:
    """Test the variants of the checked set against every phenotype of the cohort.

    A variant is tested against a phenotype if it passes the thresholds of `genotype_settings`
    among the people who have that phenotype.

    Writes the tests by variant, one row per variant; the tables `associations`, `omnibus` (joint
    tests of the groups of `TOGETHER`) and `flow` (which variants were left out, and why); and
    sumstats/ in GWAS-SSF and REGENIE format.

    Args:
        model: the digest of the model whose latents are among the phenotypes. The summary and the
            sidecars of the latents' summary statistics repeat it.

    Returns:
        The summary of the stage, with lambda of every phenotype and omnibus test and the mean
        chi-squared of every phenotype.

    Raises:
        DataError: if no variant can be tested, a list of variants cannot be used, or the machine
            lacks the memory or disk that the tests need.
    """
    cohort = load_cohort(cohort_folder)
    offsets = offsets_of(spark, genotypes, cohort, null_model, settings)
    to_test, unwanted, listed = choose(spark, _candidates(genotypes), genotype_settings)
    if settings.engine_used == "hail":
        start_hail(spark)
        from ecg_spark.genetics.testing.hail import associate as by_hail

        associate: Any = partial(by_hail, reference_genome=genotype_settings.reference_genome)
    else:
        associate = partial(blocks.associate, offsets=offsets.loco)
    people, phenotypes = cohort.tested.shape
    patterns = len(by_missingness(cohort.tested))
    require(
        spark,
        f"The tests of {to_test.variants} variants against {phenotypes} phenotypes of {people} "
        f"people",
        folder,
        of_associations(people, phenotypes, cohort.terms.shape[1], patterns, to_test.variants),
    )
    joint = together(cohort.tested, cohort.groups, settings.scale)
    notes, parts = list(listed), 0
    notes += [
        f"the phenotypes of the group {key} are not tested together: some people have only part "
        f"of them, or they are not rank-transformed"
        for key in TOGETHER
        if key in cohort.groups and key not in joint
    ]
    of_set = to_test.sites(["set"])["set"].to_numpy()
    for number in range(1 + len(genotype_settings.separate)):
        own = cohort.of_set(number)
        if not len(own):
            notes.append(f"nobody analysed is in set {number} of genotypes.separate")
            continue
        phenotypes_of_set, covariates = people_of_set(cohort, settings, number)
        written = associate(
            spark,
            to_test.only(of_set == number),
            phenotypes=phenotypes_of_set,
            covariates=covariates,
            together=joint,
            relatives=offsets.relatives,
            thresholds=genotype_settings,
            judges=cohort.judges.loc[own],
            sink=Sink(WRITTEN, partial(write_tests, folder, number)),
        )
        parts += len(written.collect())
    if not parts:
        raise DataError("No variant is left to be tested: loosen the thresholds under genotypes.")
    rows = spark.read.schema(TESTS).parquet(f"{folder}/{BY_VARIANT}")
    refuse_repeated(rows)
    own_flow = variant_flow(rows, unwanted)
    write_rows(own_flow, FLOW, f"{folder}/{FLOW.name}")
    n_variants = own_flow[-1]["n"]
    if not n_variants:
        raise DataError(
            f"No variant can be tested in the people analysed: {in_words(own_flow[-3:])} "
            f"Loosen the thresholds under genotypes in the study file."
        )
    rows = rows.filter(has_result())
    associations = read_table(spark, ASSOCIATIONS, f"{folder}/{ASSOCIATIONS.name}")
    log.info("associations: %d variants, %d phenotypes", n_variants, cohort.tested.shape[1])
    flow = [*_flow_of(spark, genotypes), *_flow_of(spark, cohort_folder), *own_flow]
    files = export_sumstats(
        rows, n_variants, phenotypes, f"{folder}/sumstats",
        context_of(cohort, genotype_settings, settings, flow, model),
    )  # fmt: skip
    lambdas, chi_squared = inflation(associations)
    of_joint, degrees = joint_inflation(read_table(spark, OMNIBUS, f"{folder}/{OMNIBUS.name}"))
    lambdas |= of_joint
    groups = {**cohort.groups, **{name: [name] for name in of_joint}}
    return {
        "variants": n_variants,
        "left_out": left_out_of(flow),
        "lambda": {name: round(value, 4) for name, value in lambdas.items()},
        "mean_lambda": group_means(lambdas, groups),
        "degrees_of_freedom": degrees,
        "mean_chi2": group_means(chi_squared, cohort.groups),
        "sumstats": len(files),
        "engine": settings.engine_used,
        MODEL: model,
        "notes": notes,
    }


def _flow_of(spark: SparkSession, folder: str) -> list[dict[str, Any]]:
    """The rows of the table `flow` that a stage wrote."""
    table = read_table(spark, FLOW, f"{folder}/{FLOW.name}").orderBy("unit", "place")
    return [row.asDict() for row in table.collect()]


def describe_findings(
    spark: SparkSession,
    genotypes: str,
    cohort_folder: str,
    null_model: str,
    tests: str,
    genotype_settings: Genotypes,
    settings: Gwas,
    folder: str,
) -> dict[str, Any]:
    """Find the loci among the tests and describe them, and what all variants say together.

    Every method uses the same threshold: `settings.p_threshold` divided by the effective number of
    tests of a variant over all methods, which allows for their correlation (see `multiplicity`).

    Writes the tables loci, signals, credible_sets, colocalisation, interactions, ld, nearby_genes,
    common_genes, heritability and genetic_correlation.

    Returns:
        The summary of the stage, with the threshold of each method as -log10 p, the number of
        tests and of effective tests, and the number of loci of each method.

    Raises:
        DataError: if a table that the study names cannot be used, or the machine lacks the memory
            or disk that the stage needs.
    """
    # Tables that the study names are read first, so that bad ones are refused before the work.
    build = genotype_settings.reference_genome
    annotation = replace(
        read_annotation(settings, build),
        colocalise=open_published(spark, settings.colocalise, build),
    )
    cohort = load_cohort(cohort_folder)
    offsets = offsets_of(spark, genotypes, cohort, null_model, settings)
    chosen, _, _ = choose(spark, _candidates(genotypes), genotype_settings)
    people, phenotypes = cohort.tested.shape
    require(
        spark,
        f"The description of the findings among {chosen.variants} variants",
        folder,
        of_findings(people, phenotypes, chosen.variants),
    )
    candidates = packed_view(chosen, "set")
    tested, effective, threshold = study_wide(cohort, settings, settings.p_threshold)
    thresholds = dict.fromkeys(methods(cohort, settings), threshold)
    associations = read_table(spark, ASSOCIATIONS, f"{tests}/{ASSOCIATIONS.name}")
    omnibus = read_table(spark, OMNIBUS, f"{tests}/{OMNIBUS.name}")
    published = Tests(associations, omnibus, cohort.groups, thresholds)
    joint = together(cohort.tested, cohort.groups, settings.scale)
    questions = {
        number: question(
            *people_of_set(cohort, settings, number), joint, offsets.loco, offsets.relatives, None,
            cohort.judges.loc[cohort.of_set(number)],
        )
        for number in range(1 + len(genotype_settings.separate))
        if len(cohort.of_set(number))
    }  # fmt: skip
    loci, notes = write_loci(
        spark, candidates, published, cohort, questions, settings, genotype_settings, annotation,
        site_rows(spark, chosen, VARIANT), folder,
    )  # fmt: skip
    log.info("findings: %d loci", sum(loci.values()))
    common_genes = write_common_genes(
        spark, candidates, annotation.genes, questions, genotype_settings, folder
    )
    rows = spark.read.schema(TESTS).parquet(f"{tests}/{BY_VARIANT}").filter(has_result())
    kept = offsets.loco and kept_variance(spark, offsets.loco, cohort.tested, cohort.terms)
    polygenic = write_polygenic(
        spark, candidates, rows, cohort.terms, list(cohort.tested.columns),
        [name for key in ("vae", "traits", OWN) for name in cohort.groups.get(key, [])],
        kept or {}, folder,
    )  # fmt: skip
    return {
        "thresholds": {key: round(value, 4) for key, value in thresholds.items()},
        "tests_of_a_variant": tested,
        "effective_tests": round(effective, 2),
        "loci": loci,
        "common_genes": common_genes,
        "notes": notes,
        **polygenic,
    }


def people_of_set(cohort: Cohort, settings: Gwas, number: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The phenotypes and covariates of the people analysed who are in a genotype set.

    Phenotypes are rank-transformed again among these people.

    Args:
        number: the number of the set; 0 is the first.
    """
    own = cohort.of_set(number)
    return ranked_again(cohort.tested.loc[own], cohort.groups, settings.scale), cohort.terms.loc[
        own
    ]
