"""Polygenic scores from scoring files, whoever fitted them, for everybody in a genotype set."""

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ecg_spark.errors import DataError
from ecg_spark.genetics.genotypes.parts import open_set
from ecg_spark.genetics.gwas import VARIANTS
from ecg_spark.genetics.people.matching import owners_of
from ecg_spark.genetics.scoring.adding_up import add_up, score_rows
from ecg_spark.genetics.scoring.catalog_file import RUN, open_scoring_file, read_weights
from ecg_spark.genetics.scoring.matching import match_weights
from ecg_spark.genetics.scoring.tables import APPLIED_FILES, APPLIED_SCORES
from ecg_spark.study import Genotypes
from ecg_spark.tables import write_rows, write_table


def apply_files(
    spark: SparkSession,
    genotypes: str,
    settings: Genotypes,
    paths: Sequence[str],
    folder: str,
    fitted_here: str | None,
) -> dict[str, Any]:
    """Score everybody in a study's checked genotypes by scoring files in the PGS Catalog's format.

    A score is named by the pgs_id of its file. Writes the tables applied_scores and applied_files.

    Args:
        genotypes: the folder that `prepare_genotypes` wrote.
        paths: the scoring files.
        folder: where the tables are written.
        fitted_here: the run that published the study's own scores, if there is one. The notes warn
            that files of that run were fitted to the people analysed.

    Raises:
        DataError: if a file cannot be used (no header, another build, too few of its variants in
            the set, a variant twice), or if two files are of one score.
    """
    files = [open_scoring_file(path, number) for number, path in enumerate(paths, 1)]
    names = [file.score for file in files]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(
            f"Two of the files of weights are of a score of the same name (pgs_id "
            f"{', '.join(repeated)}): rename one in its header, or give one at a time."
        )
    whole = open_set(f"{genotypes}/{VARIANTS}")
    read = [read_weights(spark, file, settings.reference_genome) for file in files]
    found = [
        match_weights(spark, whole, rows, file.name) for rows, file in zip(read, files, strict=True)
    ]
    rows = _side_by_side([one.rows for one in found])
    sums = add_up(spark, whole, rows, np.zeros(len(whole.samples), np.int64), len(files))
    constants = sums.means[0] + [one.constant for one in found]
    raw = replace(sums, centred=sums.centred.mapValues(lambda own: own + constants))
    known = owners_of(whole.samples, settings.id_map) if settings.pairing == "id" else {}
    people = pd.DataFrame(
        {"s": whole.samples, "participant_id": [known.get(one) for one in whole.samples]},
        dtype=object,
    )
    place = f"{folder}/{APPLIED_SCORES.name}"
    write_table(score_rows(spark, raw, people, names, APPLIED_SCORES), APPLIED_SCORES, place)
    sums.kept.unpersist()
    for one in found:
        one.kept.unpersist()
    told = [
        {"score": file.score, "file": str(number), "weight_type": file.header.get("weight_type")}
        | one.told
        for number, (file, one) in enumerate(zip(files, found, strict=True), 1)
    ]
    write_rows(told, APPLIED_FILES, f"{folder}/{APPLIED_FILES.name}")
    seen = [file.score for file in files if fitted_here and file.header.get(RUN) == fitted_here]
    notes = [f"{one['score']}: {_sentence(one)}" for one in told if one["used"] < one["variants"]]
    if seen:
        notes.append(
            f"{', '.join(seen)} was fitted to the people analysed in this study: for them, use the "
            f"cross-fitted table polygenic_scores of the step scores"
        )
    return {
        "scored": len(whole.samples),
        "scores": {one["score"]: {"variants": one["variants"], "used": one["used"],
                                  "weight_used": round(one["weight_used"], 4)} for one in told},
        "notes": notes,
    }  # fmt: skip


def _side_by_side(weights: Sequence[DataFrame]) -> DataFrame:
    """The weights of several files as one row per variant; 0 where a file does not have the
    variant.
    """
    rows = reduce(
        DataFrame.unionByName,
        [one.withColumn("score", F.lit(number)) for number, one in enumerate(weights)],
    )
    by_score = [
        F.sum(F.when(F.col("score") == number, F.col("weight")).otherwise(0.0))
        for number in range(len(weights))
    ]
    return rows.groupBy("part", "row").agg(F.array(*by_score).alias("weights"))


def _sentence(told: dict[str, Any]) -> str:
    """What was left out of a file, in words."""
    words = {
        "not_in_set": "not in the checked set", "unclear_strand": "of an unclear strand",
        "not_autosomal": "on no autosome", "several_in_set": "twice in the set",
        "no_weight": "without a weight, place or allele",
    }  # fmt: skip
    left = ", ".join(f"{told[key]} {text}" for key, text in words.items() if told[key])
    return f"{told['used']} of {told['variants']} variants are used; {left}"
