"""Published statistics (GWAS-SSF) for colocalisation, cut to the regions of the loci."""

from collections.abc import Sequence

import fsspec
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from scipy.special import logsumexp

from ecg_spark.errors import DataError
from ecg_spark.genetics.findings.colocalisation import Evidence, log_bf_of_published
from ecg_spark.genetics.findings.regions import Region
from ecg_spark.genetics.outputs.alleles import KEY, keyed
from ecg_spark.genetics.outputs.reading import Cohort, chromosome_number, open_cohort

FEWEST_VARIANTS = 10
"""A published trait with fewer variants in a region is ignored there."""

_COLUMNS = ["trait", "position", "ref", "alt", "beta", "se", "n", "af"]
_STRETCHES = "region int, contig string, start int, end int"


def open_published(
    spark: SparkSession, folders: Sequence[str], reference_genome: str
) -> list[Cohort]:
    """Open the published statistics in some folders (see `outputs.reading.open_cohort`).

    Raises:
        DataError: if a folder holds none, or they lie on another build than the study.
    """
    found = []
    for number, folder in enumerate(folders, 1):
        cohort = open_cohort(spark, folder, f"gwas.colocalise, folder {number}")
        if cohort.build != reference_genome:
            raise DataError(
                f"The statistics of {cohort.name} lie on {cohort.build}, the study on "
                f"{reference_genome}: give them on the study's build."
            )
        found.append(cohort)
    return found


def cut_to_regions(
    spark: SparkSession,
    published: Sequence[Cohort],
    sites: DataFrame,
    regions: Sequence[Region],
    folder: str,
) -> None:
    """Write what published statistics say about the variants in regions, one part of a folder per
    region.

    A variant gets the study's names of its alleles, whichever allele and strand the published
    statistics use; they are null if the study has not tested it.

    Args:
        sites: contig, position, ref and alt of the study's variants.
        folder: where the parts are written.
    """
    stretches = [(one.number, one.contig, one.start, one.end) for one in regions]
    about = spark.createDataFrame(stretches, _STRETCHES)
    about = F.broadcast(about.withColumn("chromosome", chromosome_number(F.col("contig"))))
    sites = sites.withColumn("chromosome", chromosome_number(F.col("contig")))
    named = keyed(sites.withColumns({"own_ref": F.col("ref"), "own_alt": F.col("alt")}))
    named = named.select(*KEY, F.col("own_ref").alias("ref"), F.col("own_alt").alias("alt"))
    rows = None
    for number, cohort in enumerate(published, 1):
        label = " (published)" if len(published) == 1 else f" (published {number})"
        inside = cohort.rows.join(about.drop("contig"), "chromosome").filter(
            F.col("position").between(F.col("start"), F.col("end"))
        )
        told = inside.select("region", "chromosome", "position", "ref", "alt",
                             F.explode("results").alias("result"))  # fmt: skip
        told = told.withColumn("trait", F.concat("result.phenotype", F.lit(label)))
        rows = told if rows is None else rows.unionByName(told)
    assert rows is not None
    joined = keyed(rows).join(named, list(KEY), "left")
    result = [F.col(f"result.{name}").alias(name) for name in ("beta", "se", "n", "af")]
    joined.select("region", "trait", "position", "ref", "alt", *result).repartition(
        "region"
    ).write.partitionBy("region").parquet(folder)


def published_in(
    folder: str, region: int, sites: pd.DataFrame, af: NDArray[np.float64]
) -> dict[str, Evidence]:
    """The evidence of the published traits in a region, from what `cut_to_regions` wrote.

    Traits with fewer than `FEWEST_VARIANTS` usable variants are left out.

    Args:
        region: the number of the region.
        sites: the variants of the region, by their places.
        af: their frequencies in the study, used where none is published; NaN where unknown.
    """
    files, base = fsspec.core.url_to_fs(f"{folder}/region={region}")
    paths = files.glob(f"{base}/*.parquet")
    tables = [pq.read_table(path, columns=_COLUMNS, filesystem=files) for path in paths]
    frames = [one.to_pandas() for one in tables]
    if not frames:
        return {}
    rows = pd.concat(frames).drop_duplicates(["trait", "position", "ref", "alt"])
    rows = rows.merge(
        sites[["position", "ref", "alt"]].assign(place=np.arange(len(sites)), own=af),
        on=["position", "ref", "alt"], how="left",
    )  # fmt: skip
    rows["af"] = rows["af"].fillna(rows["own"])
    found = {}
    for trait, told in rows.groupby("trait"):
        told = told[
            (told["se"] > 0) & np.isfinite(told["beta"]) & told["af"].between(0, 1, "neither")
        ]
        told = told[told["n"] > 0]
        if len(told) < FEWEST_VARIANTS:
            continue
        columns = (told[key].to_numpy(float) for key in ("beta", "se", "af", "n"))
        log_bf = log_bf_of_published(*columns)
        here = told["place"].notna().to_numpy()
        alpha = np.exp(log_bf - logsumexp(log_bf))
        places = told["place"].to_numpy()[here].astype(np.int64)
        found[str(trait)] = (alpha[here], log_bf[here], places)
    return found
