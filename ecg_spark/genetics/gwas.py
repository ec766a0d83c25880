"""The step `gwas`: from phenotypes and genotypes to associations, loci and exchange files."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from scipy.stats import chi2

from ecg_spark.errors import DataError
from ecg_spark.genetics.findings.catalogue import Tests, read_annotation, write_loci
from ecg_spark.genetics.findings.polygenic import write_polygenic
from ecg_spark.genetics.genotypes.contigs import AUTOSOMES
from ecg_spark.genetics.genotypes.packed import read_packed
from ecg_spark.genetics.null_model.phenotypes import (
    correlation_of,
    effective_number,
    rank_inverse_normal,
    usable_covariates,
    usable_phenotypes,
)
from ecg_spark.genetics.null_model.whole_genome import predict_by_genome
from ecg_spark.genetics.outputs.sumstats import Context, export_sumstats, write_regenie_inputs
from ecg_spark.genetics.outputs.tables import (
    ANALYSED,
    GENES,
    RELATIVES,
    SCORES,
    write_associations,
    write_omnibus,
)
from ecg_spark.genetics.people.matching import (
    by_normal_id,
    check_sex_coding,
    contradicts,
    owners_of,
    people_of_samples,
    with_components,
)
from ecg_spark.session import start_hail
from ecg_spark.store import remove_folder
from ecg_spark.study import Genotypes, Gwas
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

    Writes `folder`/associations.ht (Hail), the tables associations, omnibus, loci, signals, ld,
    nearby_genes, heritability, genetic_correlation, genes, flow (who and what was left out, why)
    and analysed (who was not), sumstats/ (GWAS-SSF, and REGENIE's
    format) and regenie/ (the phenotypes as tested and the covariates, for its runs on packed.bed).
    A locus of a single phenotype passes `settings.p_threshold` divided by the effective number of
    phenotypes in its group, one of the omnibus test `p_threshold`. Returns the summary: who was
    analysed, thresholds as -log10 p, lambda and heritability of every phenotype, loci found.

    Raises `DataError` where ids do not match, a person has two samples, the sexes are coded the
    other way round, or nothing can be tested.
    """
    hl = start_hail(spark)
    from ecg_spark.genetics.genotypes.choice import choose
    from ecg_spark.genetics.genotypes.sets import people_of, union
    from ecg_spark.genetics.people.analysed import (
        Flow,
        has_result,
        in_words,
        left_out_of,
        variant_flow,
    )
    from ecg_spark.genetics.testing.hail import associate
    from ecg_spark.genetics.testing.rare import gene_tests, matched_genes, read_genes

    table_of_scores = read_table(spark, SCORES, f"{genotypes_folder}/scores")
    scores = pd.DataFrame(table_of_scores.toPandas()).set_index("s")
    phenotypes, covariates = by_normal_id(phenotypes), by_normal_id(covariates)
    owners = owners_of(scores.index, genotype_settings.id_map)
    unrelated = scores.index[scores["unrelated"]]
    names = [name for members in groups.values() for name in members]
    measured = phenotypes[phenotypes[names].notna().any(axis=1)]
    flow = Flow(len(scores), len(phenotypes), "in the checked genotype set")
    flow.people("no phenotype", len(measured))
    if settings.null_model == "none":
        scores = scores[scores["unrelated"]]
        flow.samples("close relative of another", "no close relative kept", len(scores))
    people = people_of_samples(scores, owners, measured, genotype_settings, seed)
    matched = len(people)
    flow.people("no genotypes, or left out there", matched)
    flow.samples("no participant with a phenotype", "paired with a participant", matched)
    if genotype_settings.pairing == "id":
        people = people[people.isin(covariates.index)]
        flow.both("not in the participant table", "in the participant table", len(people))
    if genotype_settings.pairing == "id" and is_male is not None and scores["x_f"].notna().any():
        reported = by_normal_id(is_male).reindex(people.to_numpy()).set_axis(people.index)
        check_sex_coding(scores.loc[people.index, "x_f"], reported)
        people = people[~contradicts(scores.loc[people.index, "x_f"], reported)]
        flow.both(
            "reported sex contradicts the X chromosome",
            "reported sex agrees with the X chromosome",
            len(people),
        )
    terms, found_notes = usable_covariates(with_components(scores, covariates, people))
    notes = [*told, *found_notes]
    if is_male is None:
        notes.append("no column of the participant table tells the sex: it was not checked")
    flow.both("a covariate is missing", "every covariate", len(terms))
    values = phenotypes.loc[people[terms.index]].set_axis(terms.index)
    tested, more_notes = usable_phenotypes(values[names], terms.shape[1])
    if not (has_any := tested.notna().any(axis=1)).all():
        # Those who have only phenotypes that cannot be tested.
        terms, found_notes = usable_covariates(terms[has_any])
        tested, notes = tested[has_any], notes + found_notes
    flow.both("no phenotype that can be tested", "a phenotype that is tested", len(terms))
    people = people[terms.index]
    present = {key: [name for name in groups[key] if name in tested] for key in groups}
    present = {key: members for key, members in present.items() if members}
    together = {key: present[key] for key in LATENT_GROUPS if key in present}

    genotypes = hl.read_matrix_table(f"{genotypes_folder}/genotypes.mt")
    # Tables that the study names are read, and refused, before the hours of computing.
    annotation = read_annotation(settings)
    chosen = None
    if settings.rare is not None:
        genome = genotype_settings.reference_genome
        chosen = read_genes(settings.rare.genes, genome, settings.rare.consequences)
        chosen, note = matched_genes(spark, genotypes, chosen)
        notes.append(note)

    candidates = genotypes.filter_rows(genotypes.is_candidate)
    to_test, unwanted, listed = choose(spark, candidates, genotype_settings)
    notes += listed
    packed = read_packed(f"{genotypes_folder}/packed")
    offsets = relatives = None
    if settings.null_model == "whole_genome":
        pairs = read_table(spark, RELATIVES, f"{genotypes_folder}/relatives")
        relatives = pd.DataFrame(pairs.toPandas())
        order = np.random.default_rng(seed).permutation(len(terms))  # tears families apart
        stands_on, is_common = packed, np.array(True)
        if genotype_settings.model:
            stands_on = read_packed(f"{genotypes_folder}/model")
        else:
            is_common = np.array(candidates.is_common.collect())
        autosomal = stands_on.sites["contig"].str.removeprefix("chr").isin(AUTOSOMES)
        model, scratch = np.flatnonzero(autosomal & is_common), f"{folder}/.model"
        offsets = predict_by_genome(
            spark, stands_on, model, tested.iloc[order], terms.iloc[order], scratch, seed
        )
        log.info("gwas: the whole genome predicts up to %.3f", max(offsets.r2.values()))
    tables = []
    for number in range(1 + len(genotype_settings.separate)):
        own = people_of(number, scores["sets"], terms.index)
        if not len(own):
            notes.append(f"nobody analysed is in set {number} of genotypes.separate")
            continue
        part, alone = to_test.filter_rows(to_test.set == number), not genotype_settings.separate
        tables.append(
            associate(
                spark, part, tested.loc[own].apply(_ranked), terms.loc[own], together,
                folder if alone else f"{folder}/.set-{number}", offsets, relatives,
                genotype_settings,
            )
        )  # fmt: skip
    table = union(tables, f"{folder}/associations.ht")
    for number in range(1 + len(genotype_settings.separate)):
        remove_folder(f"{folder}/.set-{number}")
    rows_of_flow = [*flow.rows(), *variant_flow(table, unwanted)]
    write_rows(rows_of_flow, FLOW, f"{folder}/{FLOW.name}")
    analysed = [{"s": s, "participant_id": owner} for s, owner in people.items()]
    write_rows(analysed, ANALYSED, f"{folder}/{ANALYSED.name}")
    n_variants = rows_of_flow[-1]["n"]
    if not n_variants:
        raise DataError(
            f"No variant can be tested in the people analysed: {in_words(rows_of_flow[-3:])} "
            f"Loosen the thresholds under genotypes in the study file."
        )
    table = table.filter(has_result(table))
    rows = _wide_rows(hl, table)
    associations = write_associations(rows, folder)
    omnibus = write_omnibus(rows, folder)
    log.info("gwas: %d phenotypes tested in %d samples", tested.shape[1], len(terms))

    thresholds, effective = {}, {}
    for key, members in present.items():
        effective[key] = effective_number(correlation_of(tested[members], terms))
        thresholds[key] = -np.log10(settings.p_threshold / effective[key])
    thresholds |= {f"{key} omnibus": -np.log10(settings.p_threshold) for key in together}
    found = write_loci(
        spark, packed, Tests(associations, omnibus, present), thresholds, tested, terms, offsets,
        relatives, settings, annotation, folder,
    )  # fmt: skip
    remove_folder(f"{folder}/.model")
    notes_on_pairing = []
    if genotype_settings.pairing == "random":
        notes_on_pairing.append(
            "Samples and participants were paired at random: there is no association to find."
        )
    before = read_table(spark, FLOW, f"{genotypes_folder}/{FLOW.name}").orderBy("unit", "place")
    flow_of_genotypes = [row.asDict() for row in before.collect()]
    context = Context(
        genotype_settings.reference_genome,
        list(terms.columns),
        genotype_settings.min_maf,
        offsets is not None,
        " ".join([*notes_on_pairing, in_words([*flow_of_genotypes, *rows_of_flow])]),
    )
    files = export_sumstats(associations, f"{folder}/sumstats", context)
    write_regenie_inputs(tested, terms, f"{folder}/regenie")
    lambdas, chi_squared = inflation(associations)
    polygenic = write_polygenic(
        spark, packed, rows, terms, list(tested.columns),
        [name for key in ("vae", "traits") for name in present.get(key, [])], folder,
    )  # fmt: skip
    genes: list[dict[str, Any]] = []
    if chosen is not None and settings.rare is not None:
        # An offset is for one chromosome; relatives are left out of these tests instead.
        alone = terms.index.isin(unrelated)
        genes = gene_tests(
            spark, genotypes, chosen, settings.rare.max_maf, tested[alone], terms[alone]
        )
    write_rows(genes, GENES, f"{folder}/{GENES.name}")
    return {
        "participants": len(phenotypes),
        "genotyped_samples": flow.filters[0]["samples"],
        "matched": matched,
        "people": flow.filters,
        "analysed": len(terms),
        "pairing": genotype_settings.pairing,
        "variants": n_variants,
        "left_out": left_out_of([*flow_of_genotypes, *rows_of_flow]),
        "phenotypes": {key: len(members) for key, members in present.items()},
        "covariates": list(terms.columns),
        "notes": notes + more_notes,
        "thresholds": {key: round(float(value), 4) for key, value in thresholds.items()},
        "effective_phenotypes": {key: round(value, 2) for key, value in effective.items()},
        "lambda": {name: round(value, 4) for name, value in lambdas.items()},
        "mean_lambda": _group_means(lambdas, present),
        "mean_chi2": _group_means(chi_squared, present),
        "loci": found,
        "sumstats": len(files),
        "null_model": settings.null_model,
        "predicted_by_genome": offsets.r2 if offsets else {},
        **polygenic,
        "genes": len({one["gene"] for one in genes}),
    }


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
