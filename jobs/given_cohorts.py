"""Where cohorts are that the commands meta and replicate are given, and who they are."""

import os

import fsspec
from pyspark.sql import SparkSession

from ecg_spark.genetics.cohorts.reading import Cohort, open_cohort
from ecg_spark.locations import resolve
from ecg_spark.study import load_study


def cohort_at(spark: SparkSession, place: str, number: int) -> Cohort:
    """The cohort of a study file, in the output folder of a study or in a folder of GWAS-SSF.

    It is named in messages by its number, from 1, and the last part of its path. Raises
    `UsageError` for a study file with mistakes, and what `open_cohort` raises.
    """
    whole = resolve(os.getcwd(), place).rstrip("/")
    files, base = fsspec.core.url_to_fs(whole)
    name = f"cohort {number} ({whole.rsplit('/', 1)[-1]})"
    if files.isfile(base):
        study = load_study(whole)
        whole, name = study.output_path, f"cohort {number} ({study.name})"
    return open_cohort(spark, whole, name)
