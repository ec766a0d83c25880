"""The step `genotypes`: a genotype set, imported once, checked, with its structure."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from pyspark.sql import SparkSession

from ecg_spark.errors import DataError
from ecg_spark.flow import VARIANTS, merged
from ecg_spark.genetics.genotypes.packed import read_packed
from ecg_spark.genetics.outputs.tables import RELATIVES, SCORES
from ecg_spark.genetics.people.structure import structure
from ecg_spark.session import start_hail
from ecg_spark.store import remove_folder
from ecg_spark.study import Genotypes
from ecg_spark.tables import FLOW, write_rows

log = logging.getLogger(__name__)


def prepare_genotypes(
    spark: SparkSession, settings: Genotypes, path: str, folder: str, seed: int
) -> dict[str, Any]:
    """Import, quality control, principal components and relatives of the genotypes at `path`.

    Writes `folder`/genotypes.mt (entry `n_alt`; rows with rsid, call_rate, af, is_common,
    is_candidate, and is_called where no dosage lies between two calls), the hard calls of the
    variants that may be tested as packed.bed, .bim and .fam, and the tables `folder`/flow, scores
    and relatives (see `outputs`). Returns the summary: counts at each filter, how many variants the
    structure stands on, related pairs, the size of the unrelated set, notes.

    Where the study names a set for the model (`settings.model`), components, relatives and
    model.bed, .bim and .fam, for whole-genome regression, come from that one, and only samples of
    both sets are used.

    Sets of their own (`settings.separate`) are checked each by itself, and joined to the first
    (see `sets`).

    Raises `DataError` for genotypes that cannot be read or of which nothing is left.
    """
    hl = start_hail(spark)
    # These import Hail, which takes seconds and must come after its start.
    from ecg_spark.genetics.genotypes.quality import quality_control
    from ecg_spark.genetics.genotypes.reading import import_genotypes, write_packed
    from ecg_spark.genetics.genotypes.sets import joined
    from ecg_spark.genetics.people.sex import x_inbreeding

    scratch = f"{folder}/.scratch"
    partitions = max(4, 2 * spark.sparkContext.defaultParallelism)
    genotypes = import_genotypes(
        path, settings.reference_genome, scratch, partitions, settings.sample
    )
    left_out = dict(hl.eval(genotypes.left_out))
    notes, model, among = [], None, None
    if settings.model:
        model = _model_set(settings, settings.model, f"{scratch}/model", partitions)
        model = model.checkpoint(f"{scratch}/model.mt", overwrite=True)
        among = ("genotypes.model", model.s.collect())
    checked = quality_control(genotypes, settings, scratch, among)
    left, flow = checked.left, checked.flow
    sets = [checked.genotypes]
    for number, other in enumerate(settings.separate):
        own = f"{scratch}/separate-{number}"
        with _of("separate"):
            further = import_genotypes(other, settings.reference_genome, own, partitions)
            known = ("genotypes.path", checked.genotypes.s.collect())
            part = quality_control(further, settings, own, known)
        sets.append(part.genotypes)
        flow = merged(flow, [row for row in part.flow if row["unit"] == VARIANTS])
        notes.append(
            f"set {number + 1} of genotypes.separate has {part.left[-1].variants} variants, which "
            f"are tested in {part.left[-1].samples} of the {left[-1].samples} samples"
        )
    write_rows(flow, FLOW, f"{folder}/{FLOW.name}")
    genotypes = joined(sets)
    n_alt = genotypes.n_alt
    is_called = hl.agg.all(hl.is_missing(n_alt) | (n_alt == hl.floor(n_alt)))
    genotypes = genotypes.annotate_rows(is_called=is_called)
    genotypes = genotypes.checkpoint(f"{folder}/genotypes.mt", overwrite=True)
    log.info("genotypes: %d samples, %d variants pass", left[-1].samples, left[-1].variants)
    candidates = genotypes.filter_rows(genotypes.is_candidate)
    write_packed(candidates, f"{folder}/packed")
    stem, stands_on = "packed", candidates
    if model is not None:
        own = hl.literal(set(genotypes.s.collect()))
        stem, stands_on = "model", model.filter_cols(own.contains(model.s))
        write_packed(stands_on, f"{folder}/{stem}")
        notes.append(
            f"structure, relatives and the whole-genome model stand on the {model.count_rows()} "
            f"variants of genotypes.model that pass"
        )
    packed = read_packed(f"{folder}/{stem}")
    found = structure(
        spark,
        packed,
        np.array(hl.if_else(stands_on.is_common, stands_on.af, 0.0).collect()),
        settings.reference_genome,
        settings.components,
        settings.max_kinship,
        seed,
    )
    # Unkeyed: a keyed table of columns is sorted by id, which is not the order of the calls.
    samples = genotypes.key_cols_by().cols().collect()
    place = {name: i for i, name in enumerate(packed.samples)}
    order = [place[sample.s] for sample in samples]
    x_f = x_inbreeding(genotypes) or (model and x_inbreeding(model))
    notes += found.notes
    if x_f is None:
        notes.append("chromosome X holds too few variants to check anybody's sex")
    records = [
        {
            "s": sample.s,
            "call_rate": sample.sample_call_rate,
            "unrelated": bool(unrelated),
            "pc": scores.tolist(),
            "x_f": x_f and x_f[sample.s],
            "sets": sample.sets,
        }
        for sample, unrelated, scores in zip(
            samples, found.unrelated[order], found.scores[order], strict=True
        )
    ]
    write_rows(records, SCORES, f"{folder}/{SCORES.name}")
    pairs = [
        {"s1": packed.samples[a], "s2": packed.samples[b], "kinship": kinship}
        for (a, b), kinship in zip(found.related, found.kinship, strict=True)
    ]
    write_rows(pairs, RELATIVES, f"{folder}/{RELATIVES.name}")
    remove_folder(scratch)
    return {
        "samples": left[-1].samples,
        "variants": left[-1].variants,
        "unrelated": int(found.unrelated.sum()),
        "related_pairs": len(pairs),
        "structure_variants": found.n_variants,
        "components": found.scores.shape[1],
        "left_out_at_import": left_out,
        "filters": [one.row() for one in left],
        "notes": notes,
        "reference_genome": settings.reference_genome,
        "hail": hl.version(),
    }


def _model_set(settings: Genotypes, path: str, scratch: str, partitions: int) -> Any:
    """The checked set that structure, relatives and whole-genome regression stand on."""
    from ecg_spark.genetics.genotypes.quality import quality_control
    from ecg_spark.genetics.genotypes.reading import import_genotypes

    with _of("model"):
        found = import_genotypes(path, settings.reference_genome, scratch, partitions)
        model = quality_control(found, settings, scratch).genotypes
    return model.filter_rows(model.is_common)


@contextmanager
def _of(key: str) -> Iterator[None]:
    """Errors of a set that another key than genotypes.path names."""
    try:
        yield
    except DataError as error:
        told = str(error).replace("genotypes.path", f"genotypes.{key}")
        raise DataError(told.replace("the genotype set", f"the set genotypes.{key}")) from None
