"""The step `genotypes`: import a genotype set, apply quality control, and find its structure."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import SparkSession

from ecg_spark.errors import DataError
from ecg_spark.flow import VARIANTS, merged
from ecg_spark.genetics.genotypes.parts import (
    GenotypeSet,
)
from ecg_spark.genetics.genotypes.quality import quality_control
from ecg_spark.genetics.genotypes.reading import import_genotypes
from ecg_spark.genetics.genotypes.view import IS_SNP, packed_view
from ecg_spark.genetics.genotypes.writing import (
    save,
    with_samples,
)
from ecg_spark.genetics.outputs.tables import RELATIVES, SCORES
from ecg_spark.genetics.people.ancestry import infer_ancestry, people_of, read_populations
from ecg_spark.genetics.people.heterozygosity import beyond_ancestry
from ecg_spark.genetics.people.sex import x_inbreeding
from ecg_spark.genetics.people.structure import structure
from ecg_spark.store import remove_folder
from ecg_spark.study import Genotypes
from ecg_spark.tables import FLOW, VARIANT, write_rows

log = logging.getLogger(__name__)


def prepare_genotypes(
    spark: SparkSession, settings: Genotypes, path: str, folder: str, seed: int
) -> dict[str, Any]:
    """Import the genotypes at `path`, apply quality control, and find principal components and
    relatives.

    Writes the set in parts `folder`/variants (see `parts`; its sites have call_rate, af,
    is_common, is_candidate and set) and the tables `folder`/flow, scores and relatives (see
    `outputs`), with all samples, whichever population is analysed.

    If the study names a set for the model (`settings.model`), principal components, relatives and
    whole-genome regression use that set, which is written as `folder`/model, and only samples that
    are in both sets are kept.

    Sets under `settings.separate` go through quality control by themselves and are then joined to
    the first. Autosomes and X, for example, are often called separately, and some samples fail on
    one of them. The first set says who is in the study; a separate set adds variants for all or
    some of these people.

    Args:
        path: the genotype set, as in `import_genotypes`.
        folder: where everything is written; temporary files go into `folder`/.scratch.
        seed: for the choices made by the principal components and the ancestry inference.

    Returns:
        The summary of the step: the counts after each filter, how many variants the structure
        uses, how many pairs are related, the size of the unrelated set, and notes.

    Raises:
        DataError: if genotypes cannot be read, if quality control leaves nothing, or if a variant
            is in two of the joined sets.
    """
    scratch = f"{folder}/.scratch"
    partitions = max(4, 2 * spark.sparkContext.defaultParallelism)
    genome = settings.reference_genome
    imported = import_genotypes(spark, path, genome, scratch, partitions, settings.sample)
    notes, model, among = [], None, None
    if settings.model:
        model = _model_set(spark, settings, settings.model, f"{scratch}/model", partitions)
        among = ("genotypes.model", list(model.samples))
    variants = f"{folder}/variants"
    ancestry, told = _ancestry(spark, settings, model or imported.genotypes, scratch, seed)
    notes += told
    checked = quality_control(spark, imported, settings, variants, among, ancestry=ancestry)
    left, flow = checked.left, checked.flow
    genotypes, samples = checked.genotypes, checked.genotypes.samples
    sets = {name: [0] for name in samples}
    for number, other in enumerate(settings.separate, 1):
        own = f"{scratch}/separate-{number}"
        known = ("genotypes.path", list(samples))
        with _of("separate"):
            further = import_genotypes(spark, other, genome, own, partitions)
            part = quality_control(spark, further, settings, variants, known, genotypes, ancestry)
        genotypes = part.genotypes
        for name in part.by_sample.index:
            sets[name].append(number)
        flow = merged(flow, [row for row in part.flow if row["unit"] == VARIANTS])
        notes.append(
            f"set {number} of genotypes.separate has {part.left[-1].variants} variants, which "
            f"are tested in {part.left[-1].samples} of the {left[-1].samples} samples"
        )
    save(genotypes)
    _refuse_repeated(spark, genotypes)
    write_rows(flow, FLOW, f"{folder}/{FLOW.name}")
    log.info("genotypes: %d samples, %d variants pass", left[-1].samples, left[-1].variants)
    candidates = genotypes.where("is_candidate")
    asked = ("is_common", "af", IS_SNP)
    if model is not None:
        model = with_samples(spark, model, samples, f"{folder}/model")
        save(model)
        notes.append(
            f"principal components, relatives and the whole-genome model use the "
            f"{model.variants} variants of genotypes.model that pass quality control"
        )
    stands_on = packed_view(candidates if model is None else model, *asked)
    populations = ancestry.reindex(samples).to_numpy(object)
    found = structure(
        spark,
        stands_on,
        np.where(stands_on.sites["is_common"], stands_on.sites["af"], 0.0),
        genome,
        settings.components,
        settings.max_kinship,
        populations,
        seed,
    )
    x_f = x_inbreeding(spark, genotypes, genome)
    if x_f is None and model is not None:
        x_f = x_inbreeding(spark, model, genome)
    notes += found.notes
    if x_f is None:
        notes.append("chromosome X has too few variants to check anybody's sex")
    by_sample = checked.by_sample.loc[samples]
    beyond = beyond_ancestry(
        by_sample["heterozygosity"].to_numpy(float), found.scores, found.unrelated, populations,
        found.of_ancestry,
    )  # fmt: skip
    if beyond is None:
        notes.append("too few samples to judge anybody's heterozygosity")
    records = [
        {
            "s": name,
            "call_rate": float(by_sample["call_rate"].iloc[i]),
            "heterozygosity_sd": None if beyond is None else float(beyond[i]),
            "unrelated": bool(found.unrelated[i]),
            "ancestry": ancestry.get(name),
            "pc": found.scores[i].tolist(),
            "pc_of_ancestry": None
            if np.isnan(found.of_ancestry[i]).any()
            else found.of_ancestry[i].tolist(),
            "x_f": None if x_f is None or np.isnan(x_f[i]) else float(x_f[i]),
            "sets": sets[name],
        }
        for i, name in enumerate(samples)
    ]
    write_rows(records, SCORES, f"{folder}/{SCORES.name}")
    pairs = [
        {"s1": samples[a], "s2": samples[b], "kinship": kinship}
        for (a, b), kinship in zip(found.related, found.kinship, strict=True)
    ]
    write_rows(pairs, RELATIVES, f"{folder}/{RELATIVES.name}")
    remove_folder(scratch)
    return {
        "samples": left[-1].samples,
        "variants": left[-1].variants,
        "unrelated": int(found.unrelated.sum()),
        "ancestry": people_of(pd.Series(populations)),
        "related_pairs": len(pairs),
        "structure_variants": found.n_variants,
        "components": found.scores.shape[1],
        "left_out_at_import": imported.left_out,
        "filters": [one.row() for one in left],
        "notes": notes,
        "reference_genome": genome,
    }


def _ancestry(
    spark: SparkSession, settings: Genotypes, genotypes: GenotypeSet, scratch: str, seed: int
) -> tuple[pd.Series, list[str]]:
    """The population of each sample of a set (None where it is uncertain), and notes.

    Empty if the study names no reference. Raises `DataError` if the reference cannot be used.
    """
    own, genome = settings.ancestry, settings.reference_genome
    if own is None:
        return pd.Series(dtype=object), []
    populations = read_populations(own.populations)
    with _of("ancestry.reference"):
        found = import_genotypes(spark, own.reference, genome, f"{scratch}/reference")
    inferred = infer_ancestry(
        spark,
        packed_view(genotypes, IS_SNP),
        packed_view(found.genotypes, IS_SNP),
        populations,
        genome,
        seed,
    )
    ancestry = pd.Series(inferred.populations, genotypes.samples, dtype=object)
    unknown = int(ancestry.isna().sum())
    notes = [
        f"ancestry was inferred from {inferred.variants} variants that the reference shares; "
        f"{unknown} of {len(ancestry)} samples could not be assigned to one of its populations"
    ]
    return ancestry, notes


def _model_set(
    spark: SparkSession, settings: Genotypes, path: str, scratch: str, partitions: int
) -> GenotypeSet:
    """The quality-controlled set for structure, relatives and whole-genome regression."""
    with _of("model"):
        found = import_genotypes(spark, path, settings.reference_genome, scratch, partitions)
        model = quality_control(spark, found, settings, f"{scratch}/checked").genotypes
    return model.where("is_common")


def _refuse_repeated(spark: SparkSession, genotypes: GenotypeSet) -> None:
    """Raise `DataError` if a variant is in two of the joined sets."""
    if genotypes.parts[-1].number and genotypes.sites(["set"])["set"].any():
        sites = spark.read.parquet(f"{genotypes.folder}/part-*.parquet").select(*VARIANT)
        repeated = sites.groupBy(*VARIANT).count().filter("count > 1").count()
        if repeated:
            raise DataError(
                f"{repeated} variants are in two of the sets of genotypes.path and "
                f"genotypes.separate: keep each in one of them."
            )


@contextmanager
def _of(key: str) -> Iterator[None]:
    """Make errors that speak of genotypes.path name another key of the study file instead."""
    try:
        yield
    except DataError as error:
        told = str(error).replace("genotypes.path", f"genotypes.{key}")
        raise DataError(told.replace("the genotype set", f"the set genotypes.{key}")) from None
