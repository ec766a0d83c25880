"""What all variants say together: LD scores, heritability and genetic correlation of phenotypes."""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ecg_spark.genetics.findings.ld_score import genetic_correlations, heritability, ld_scores
from ecg_spark.genetics.genotypes.contigs import AUTOSOMES, CONTIGS
from ecg_spark.genetics.genotypes.packed import Packed
from ecg_spark.genetics.outputs.tables import GENETIC_CORRELATION, HERITABILITY
from ecg_spark.tables import VARIANT, write_rows

log = logging.getLogger(__name__)

MIN_MAF = 0.01
MAX_VARIANTS = 1_000_000
"""Of a set of more variants a share is taken: the tests of each, some 600 bytes for 47 phenotypes,
come to the driver."""

_DRAWS = 1 << 20


def write_polygenic(
    spark: SparkSession,
    packed: Packed,
    wide: DataFrame,
    covariates: pd.DataFrame,
    phenotypes: Sequence[str],
    correlated: Sequence[str],
    folder: str,
) -> dict[str, Any]:
    """Write the tables heritability and genetic_correlation of a study; return their summary.

    `wide`: a row a variant with contig, position, ref, alt and `results` (phenotype, beta, se, n,
    af). LD scores come from the samples of `covariates`, on which they are conditioned. Common
    autosomal variants are used; of a set of more than `MAX_VARIANTS`, a share that leaves as many
    of the set, drawn by their names. Every one of `phenotypes` gets a heritability, every pair of
    `correlated` a correlation.
    """
    tests = _tests(wide, phenotypes, MAX_VARIANTS / len(packed.sites))
    places = packed.rows(tests)
    if len(places) < len(tests):
        raise ValueError("the packed genotypes lack variants that were tested")
    tests = _in_order(tests, packed.named(places))
    samples = packed.places(list(covariates.index))
    scores = ld_scores(spark, packed, places, samples, covariates.to_numpy(float))
    z, n = np.array(tests["z"].tolist(), float), np.array(tests["n"].tolist(), float)
    sound = np.isfinite(z).all(axis=1)
    z, n, scores = z[sound], n[sound].mean(axis=0), scores[sound]
    rows = []
    for i, name in enumerate(phenotypes):
        found = heritability(z[:, i] ** 2, n[i], scores)
        rows.append({"phenotype": name, "n": int(n[i]), "variants": len(z), **asdict(found)})
    write_rows(rows, HERITABILITY, f"{folder}/{HERITABILITY.name}")
    chosen = [phenotypes.index(name) for name in correlated]
    pairs = genetic_correlations(z[:, chosen], n[chosen], scores)
    write_rows(
        [
            {"phenotype_1": correlated[i], "phenotype_2": correlated[j], **asdict(one)}
            for (i, j), one in pairs.items()
        ],
        GENETIC_CORRELATION,
        f"{folder}/{GENETIC_CORRELATION.name}",
    )
    log.info("gwas: heritability of %d phenotypes from %d variants", len(rows), len(z))
    return {
        "ld_score_variants": len(z),
        "mean_ld_score": round(float(scores.mean()), 2),
        "h2": {row["phenotype"]: round(row["h2"], 4) for row in rows if np.isfinite(row["h2"])},
    }


def _tests(wide: DataFrame, phenotypes: Sequence[str], share: float) -> pd.DataFrame:
    """z and n of every phenotype, in their order, at a `share` of the common autosomal variants.

    Whether a variant is taken depends on what it is alone, so that partitions change nothing.
    """
    by_name = F.map_from_entries(
        F.transform("results", lambda one: F.struct(one["phenotype"], one))
    )
    autosomal = [contig for contig, one in CONTIGS.items() if one in AUTOSOMES]
    frame = wide.filter(F.col("contig").isin(autosomal))
    if share < 1:
        drawn = F.pmod(F.xxhash64(*VARIANT), F.lit(_DRAWS))
        frame = frame.filter(drawn < int(share * _DRAWS))
    frame = frame.withColumn("test", by_name)
    af = F.col("test")[phenotypes[0]]["af"]
    frame = frame.filter(F.least(af, 1 - af) >= MIN_MAF)
    tests = [F.col("test")[name] for name in phenotypes]
    return frame.select(
        *VARIANT,
        F.array(*[one["beta"] / one["se"] for one in tests]).alias("z"),
        F.array(*[one["n"].cast("int") for one in tests]).alias("n"),
    ).toPandas()


def _in_order(tests: pd.DataFrame, sites: pd.DataFrame) -> pd.DataFrame:
    """Tests in the order of the sites."""
    return tests.set_index(VARIANT).loc[pd.MultiIndex.from_frame(sites[VARIANT])].reset_index()
