"""Polygenic scores of a study's own phenotypes, for everybody genotyped."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ecg_spark.errors import DataError
from ecg_spark.genetics.cohorts.alignment import UNCLEAR
from ecg_spark.genetics.genotypes.contigs import AUTOSOMES
from ecg_spark.genetics.genotypes.packed import Packed
from ecg_spark.genetics.genotypes.parts import GenotypeSet, open_set
from ecg_spark.genetics.genotypes.view import packed_view
from ecg_spark.genetics.gwas import VARIANTS
from ecg_spark.genetics.null_model.cohort import Cohort, load_cohort
from ecg_spark.genetics.null_model.levels import blocks_of
from ecg_spark.genetics.null_model.ridge import FOLDS
from ecg_spark.genetics.null_model.traits import units_kept
from ecg_spark.genetics.null_model.whole_genome import BLOCK_VARIANTS, MAX_VARIANTS, thinned
from ecg_spark.genetics.outputs.alleles import AMBIGUOUS
from ecg_spark.genetics.outputs.tables import RELATIVES
from ecg_spark.genetics.people.matching import owners_of
from ecg_spark.genetics.people.pruning import at_most
from ecg_spark.genetics.scoring.accuracy import accuracy, effective_segments
from ecg_spark.genetics.scoring.adding_up import add_up, score_rows
from ecg_spark.genetics.scoring.catalog_file import write_scoring_file
from ecg_spark.genetics.scoring.fitting import WEIGHTS, fit_scores
from ecg_spark.genetics.scoring.folds import families_of, family_folds
from ecg_spark.genetics.scoring.tables import POLYGENIC_SCORES, POLYGENIC_WEIGHTS, SCORE_ACCURACY
from ecg_spark.genetics.sizes import of_scores
from ecg_spark.locations import make_folder
from ecg_spark.needs import require
from ecg_spark.store import remove_folder
from ecg_spark.study import Genotypes
from ecg_spark.tables import PEER, VARIANT, read_table, write_rows, write_table

log = logging.getLogger(__name__)

WEIGHTS_FOLDER = "weights"


def score_study(
    spark: SparkSession,
    genotypes: str,
    cohort_folder: str,
    settings: Genotypes,
    scale: str,
    folder: str,
    seed: int,
) -> dict[str, Any]:
    """Fit a polygenic score of every factor and trait, and score everybody genotyped.

    The people analysed are parted into folds of whole families (relatives as the step genotypes
    knows them), each scored by the model of the others; everybody else in the checked set by the
    mean of the models. Variants are those of whole-genome regression, without those A/T and C/G
    whose strand no other cohort could tell.

    Writes the tables polygenic_scores, polygenic_weights and score_accuracy, and weights/, a file
    of the PGS Catalog's format for each phenotype, which names the last part of `folder` as its
    run. `scale`: that of the cohort (see `Gwas`). Raises `DataError` where no variant is left or
    the people are too few families.
    """
    cohort = load_cohort(cohort_folder)
    names = [name for key, own in cohort.groups.items() if key != PEER for name in own]
    if not names:
        raise DataError("The study has no factor and no trait to score: add phenotypes.")
    relatives = pd.DataFrame(read_table(spark, RELATIVES, f"{genotypes}/relatives").toPandas())
    families = families_of(cohort.terms.index, relatives)
    fold = family_folds(families, FOLDS, seed)
    whole = open_set(f"{genotypes}/model" if settings.model else f"{genotypes}/{VARIANTS}")
    packed = packed_view(whole.where("is_common"), "af")
    variants = np.flatnonzero(packed.on(AUTOSOMES))
    if not settings.model:
        variants = thinned(spark, packed, variants, cohort.terms.index, seed)
    variants = _told_apart(packed, at_most(variants, MAX_VARIANTS, seed))
    if not len(variants):
        raise DataError(
            "No common autosomal variant is left for polygenic scores: loosen the thresholds under "
            "genotypes, or take scores out of the study file."
        )
    contigs = packed.sites["contig"].iloc[variants].to_numpy()
    blocks = blocks_of(variants, contigs, BLOCK_VARIANTS)
    people, genotyped = len(cohort.terms), len(whole.samples)
    require(
        spark,
        f"Polygenic scores of {len(names)} phenotypes of {genotyped} people",
        folder,
        of_scores(people, genotyped, len(names), cohort.terms.shape[1], len(packed.sites),
                  len(blocks)),
    )  # fmt: skip
    tested = cohort.tested[names]
    fitted = fit_scores(spark, packed, blocks, tested, cohort.terms, fold, folder)
    place = f"{folder}/.weights"
    fitted.weights.write.parquet(place)
    remove_folder(fitted.scratch)
    weights = spark.read.schema(WEIGHTS).parquet(place)
    build = settings.reference_genome
    _write_weights(weights, names, units_kept(cohort.groups, scale), build, folder)
    log.info("scores: %d variants for %d phenotypes", len(variants), len(names))

    models = np.full(genotyped, FOLDS)
    models[whole.samples.get_indexer(cohort.terms.index)] = fold
    sums = add_up(spark, whole, weights, models, len(names))
    told = _people(whole, cohort, relatives, settings, fold)
    table = f"{folder}/{POLYGENIC_SCORES.name}"
    write_table(score_rows(spark, sums, told, names, POLYGENIC_SCORES), POLYGENIC_SCORES, table)
    sums.kept.unpersist()
    remove_folder(place)
    rows = _accuracy(read_table(spark, POLYGENIC_SCORES, table), cohort, names, fold, families)
    write_rows(rows, SCORE_ACCURACY, f"{folder}/{SCORE_ACCURACY.name}")
    alone = np.flatnonzero(cohort.unrelated.to_numpy())
    segments = effective_segments(
        spark, packed, blocks, cohort.terms.index[alone].tolist(),
        cohort.terms.to_numpy(float)[alone], seed,
    )  # fmt: skip
    return {
        "scored": genotyped,
        "out_of_sample": int((models == FOLDS).sum()),
        "with_a_relative_analysed": int(told["relative_analysed"].sum()),
        "variants": len(variants),
        "effective_segments": round(segments, 1),
        "r2": {row["phenotype"]: round(row["r2"], 4) for row in rows},
        "notes": _notes(rows),
    }


def run_of(folder: str) -> str:
    """The name of the run that a folder holds."""
    return folder.rstrip("/").rsplit("/", 1)[-1]


def _told_apart(packed: Packed, variants: NDArray[np.int64]) -> NDArray[np.int64]:
    """The variants whose strand any cohort can resolve: by their alleles, or by a frequency
    that is not close to one half.
    """
    found = packed.named(variants)
    pairs = np.minimum(found["ref"], found["alt"]) + "/" + np.maximum(found["ref"], found["alt"])
    af = packed.sites["af"].to_numpy(float)[variants]
    unclear = pairs.isin(AMBIGUOUS).to_numpy() & (np.abs(af - 0.5) <= UNCLEAR)
    return variants[~unclear]


def _people(
    genotypes: GenotypeSet,
    cohort: Cohort,
    relatives: pd.DataFrame,
    settings: Genotypes,
    fold: NDArray[np.int64],
) -> pd.DataFrame:
    """The columns of polygenic_scores before the scores, for each genotyped sample."""
    samples, analysed = genotypes.samples, cohort.terms.index
    owners = dict(cohort.people)
    if settings.pairing == "id":
        owners = owners_of(samples, settings.id_map) | owners
    folds = pd.Series(fold, analysed).reindex(samples)
    near = [
        relatives.loc[relatives[other].isin(analysed), one]
        for one, other in (("s1", "s2"), ("s2", "s1"))
    ]
    outside = folds.isna().to_numpy()
    return pd.DataFrame(
        {
            "s": samples,
            "participant_id": [owners.get(one) for one in samples],
            "fold": [
                None if lacks else int(one) for one, lacks in zip(folds, outside, strict=True)
            ],
            "relative_analysed": outside & samples.isin(pd.concat(near)),
        },
        dtype=object,
    )


def _write_weights(
    weights: DataFrame, names: Sequence[str], in_units: Sequence[str], build: str, folder: str
) -> None:
    """Write the table of weights, and a scoring file for each phenotype."""
    count = len(names)
    by_phenotype = F.explode(
        F.array(
            *[
                F.struct(
                    F.lit(name).alias("phenotype"),
                    F.col("weights")[FOLDS * count + k].alias("weight"),
                    F.array(*[F.col("weights")[j * count + k] for j in range(FOLDS)]).alias(
                        "by_fold"
                    ),
                )
                for k, name in enumerate(names)
            ]
        )
    ).alias("own")
    rows = weights.select(*VARIANT, "rsid", "af", by_phenotype).select(
        *VARIANT, "rsid", "af", "own.*"
    )
    place = f"{folder}/{POLYGENIC_WEIGHTS.name}"
    write_table(rows, POLYGENIC_WEIGHTS, place)
    written = read_table(weights.sparkSession, POLYGENIC_WEIGHTS, place).drop("by_fold")
    files = f"{folder}/{WEIGHTS_FOLDER}"
    make_folder(files)
    written.groupBy("phenotype").applyInPandas(
        partial(_write_file, files, in_units, build, run_of(folder)), "phenotype string"
    ).collect()


def _write_file(
    folder: str, in_units: Sequence[str], build: str, run: str, key: tuple[str], table: pd.DataFrame
) -> pd.DataFrame:
    write_scoring_file(folder, key[0], key[0] in in_units, table, build, run)
    return pd.DataFrame({"phenotype": [key[0]]})


def _accuracy(
    scores: DataFrame,
    cohort: Cohort,
    names: Sequence[str],
    fold: NDArray[np.int64],
    families: NDArray[np.int64],
) -> list[dict[str, Any]]:
    """The rows of the table score_accuracy."""
    own = [F.col("scores")[name].alias(f"score_{k}") for k, name in enumerate(names)]
    analysed = scores.filter(F.col("fold").isNotNull()).select("s", *own)
    found = pd.DataFrame(analysed.toPandas()).set_index("s").loc[cohort.terms.index].to_numpy(float)
    # The mean score differs between the models of two folds, so the folds count as covariates.
    of_folds = (fold[:, None] == np.arange(1, FOLDS)).astype(float)
    beside = np.column_stack([cohort.terms.to_numpy(float), of_folds])
    rows = []
    for k, name in enumerate(names):
        y = cohort.tested[name].to_numpy(float)
        known = np.isfinite(y)
        told = accuracy(y[known], found[known, k], beside[known], families[known])
        fitted = int(known.sum() - np.bincount(fold[known], minlength=FOLDS).mean())
        rows.append({"phenotype": name, "n_fitted": fitted, **asdict(told)})
    return rows


def _notes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A note that names the phenotypes whose scores may not predict anything."""
    names = [row["phenotype"] for row in rows if row["r2_low"] is None or row["r2_low"] <= 0]
    if not names:
        return []
    return [
        f"the scores of {len(names)} of {len(rows)} phenotypes may not predict them (their "
        f"interval of R² is not above 0): {', '.join(names)}"
    ]
