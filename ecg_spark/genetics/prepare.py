"""The step `genotypes`: a genotype set, imported once, checked, with its structure."""

import logging
from typing import Any

import numpy as np
from pyspark.sql import SparkSession

from ecg_spark.genetics.outputs import RELATIVES, SCORES, write_rows
from ecg_spark.genetics.packed import read_packed
from ecg_spark.genetics.structure import structure
from ecg_spark.session import start_hail
from ecg_spark.store import remove_folder
from ecg_spark.study import Genotypes

log = logging.getLogger(__name__)


def prepare_genotypes(
    spark: SparkSession, settings: Genotypes, path: str, folder: str, seed: int
) -> dict[str, Any]:
    """Import, quality control, principal components and relatives of the genotypes at `path`.

    Writes `folder`/genotypes.mt (entry `n_alt`; rows with rsid, call_rate, af, is_common), the hard
    calls of its common variants as packed.bed, .bim and .fam, and the tables `folder`/scores and
    relatives (see `outputs`). Returns the summary: counts at each filter, how many variants the
    structure stands on, related pairs, the size of the unrelated set, notes.

    Raises `DataError` for genotypes that cannot be read or of which nothing is left.
    """
    hl = start_hail(spark)
    # These import Hail, which takes seconds and must come after its start.
    from ecg_spark.genetics.genotypes import import_genotypes, write_packed
    from ecg_spark.genetics.qc import quality_control
    from ecg_spark.genetics.sex import x_inbreeding

    scratch = f"{folder}/.scratch"
    partitions = max(4, 2 * spark.sparkContext.defaultParallelism)
    genotypes = import_genotypes(
        path, settings.reference_genome, scratch, partitions, settings.sample
    )
    left_out = dict(hl.eval(genotypes.left_out))
    genotypes, left = quality_control(genotypes, settings, scratch)
    genotypes = genotypes.checkpoint(f"{folder}/genotypes.mt", overwrite=True)
    log.info("genotypes: %d samples, %d variants pass", left[-1].samples, left[-1].variants)
    common = genotypes.filter_rows(genotypes.is_common)
    write_packed(common, f"{folder}/packed")
    found = structure(
        spark,
        read_packed(f"{folder}/packed"),
        np.array(common.af.collect()),
        settings.reference_genome,
        settings.components,
        settings.max_kinship,
        seed,
    )
    # Unkeyed: a keyed table of columns is sorted by id, which is not the order of the calls.
    samples = genotypes.key_cols_by().cols().collect()
    x_f = x_inbreeding(genotypes)
    notes = list(found.notes)
    if x_f is None:
        notes.append("chromosome X holds too few variants to check anybody's sex")
    records = [
        {
            "s": sample.s,
            "call_rate": sample.sample_call_rate,
            "unrelated": bool(unrelated),
            "pc": scores.tolist(),
            "x_f": x_f and x_f[sample.s],
        }
        for sample, unrelated, scores in zip(samples, found.unrelated, found.scores, strict=True)
    ]
    write_rows(spark, records, SCORES, folder)
    pairs = [
        {"s1": samples[a].s, "s2": samples[b].s, "kinship": kinship}
        for (a, b), kinship in zip(found.related, found.kinship, strict=True)
    ]
    write_rows(spark, pairs, RELATIVES, folder)
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
