"""Polygenic scores of everybody in a genotype set: sums of weights times alleles, computed in
tasks.

A task reads some parts of the set once and adds up all scores of all people over the variants
there. The sums of the tasks are then added in further tasks, one run of people each, so the driver
holds none of them. A missing genotype counts as the mean of the known ones, as in plink2 --score.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark import RDD, StorageLevel
from pyspark.sql import DataFrame, SparkSession

from ecg_spark.genetics.genotypes.packed import MISSING
from ecg_spark.genetics.genotypes.parts import Batch, GenotypeSet, Part, read_part
from ecg_spark.genetics.genotypes.rows import NO_DOSAGE, SCALE, Rows, as_calls
from ecg_spark.session import broadcast
from ecg_spark.tables import Table

Reals = NDArray[np.float64]

RUN = 8_192
"""How many people's genotypes a task expands to numbers at a time."""

_CONSTANT = -1
"""In place of the number of a run: the sums that are the same for everybody."""

_SUMS = "number int, sums binary"


@dataclass(frozen=True)
class Run:
    """A run of people, by their places in the set, who are scored by the same model."""

    model: int
    people: NDArray[np.int64]


@dataclass(frozen=True)
class Sums:
    """The scores of everybody in a set.

    Attributes:
        runs: the runs of people.
        centred: for each run its number and the scores of its people [people, scores], relative to
            the mean genotypes.
        means: the scores of the mean genotypes, [models, scores].
        kept: the RDD that Spark has cached; call its `unpersist` when done.
    """

    runs: Sequence[Run]
    centred: "RDD[tuple[int, Reals]]"
    means: Reals
    kept: "RDD[Any]"


def runs_of(model: NDArray[np.int64]) -> list[Run]:
    """Divide people into runs, each scored by one model.

    Args:
        model: the number of each sample's model, [samples].
    """
    runs = []
    for one in np.unique(model):
        people = np.flatnonzero(model == one)
        ends = np.linspace(0, len(people), 1 + -(-len(people) // RUN)).astype(int)
        runs += [Run(int(one), people[start:stop]) for start, stop in pairwise(ends)]
    return runs


def add_up(
    spark: SparkSession,
    genotypes: GenotypeSet,
    weights: DataFrame,
    model: NDArray[np.int64],
    scores: int,
) -> Sums:
    """Compute the scores of everybody in a set, each by one of several models.

    Args:
        weights: rows with `part`, `row` and `weights`, the weights of the alternate allele
            [models, scores] as one flat list; no variant twice.
        model: the number of each sample's model, [samples].
        scores: how many scores each model has.

    Raises:
        ValueError: in a task, if a variant is scored twice.
    """
    runs = runs_of(model)
    models = 1 + int(model.max())
    tasks = max(1, min(len(genotypes.parts), 2 * spark.sparkContext.defaultParallelism))
    by_number = {part.number: part for part in genotypes.parts}
    folder, samples = genotypes.folder, len(genotypes.samples)
    shared = broadcast(spark, (runs, by_number))

    def add(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        runs, by_number = shared.value
        own_batches = [batch for batch in batches if len(batch)]
        if not own_batches:
            return
        table = pa.Table.from_batches(own_batches)
        part, row = (table.column(name).to_numpy() for name in ("part", "row"))
        values = pc.list_flatten(table.column("weights")).to_numpy()
        values = values.reshape(len(part), models, scores)
        totals = [np.zeros((len(run.people), scores)) for run in runs]
        means = np.zeros((models, scores))
        for number in np.unique(part):
            own = part == number
            chosen = _chosen(by_number[number], row[own])
            found = read_part(folder, by_number[number], chosen, samples, ["position"])
            _add_part(found, samples, values[own], runs, totals, means)
        sums = [means.tobytes(), *(one.tobytes() for one in totals)]
        numbers = pa.array(range(_CONSTANT, len(runs)), pa.int32())
        yield pa.record_batch([numbers, pa.array(sums, pa.binary())], ["number", "sums"])

    rows = weights.select("part", "row", "weights").repartition(tasks, "part")
    found = rows.sortWithinPartitions("part", "row").mapInArrow(add, _SUMS).rdd
    by_run = (
        found.map(lambda one: (one["number"], np.frombuffer(one["sums"])))
        .reduceByKey(np.add, tasks)
        .persist(StorageLevel.MEMORY_AND_DISK)
    )
    constant = by_run.filter(lambda one: one[0] == _CONSTANT).values().collect()
    means = constant[0] if constant else np.zeros(models * scores)
    centred = by_run.filter(lambda one: one[0] != _CONSTANT).mapValues(
        lambda own: own.reshape(-1, scores)
    )
    return Sums(runs, centred, means.reshape(models, scores), by_run)


def score_rows(
    spark: SparkSession, sums: Sums, people: pd.DataFrame, names: Sequence[str], table: Table
) -> DataFrame:
    """The rows of a table of scores.

    Args:
        people: the columns before the scores, one row per sample of the set.
        names: the names of the scores.
        table: the declaration of the table.
    """
    shared = broadcast(spark, (sums.runs, people, list(names)))

    def rows(runs: Iterable[tuple[int, NDArray[np.float64]]]) -> Iterator[tuple[Any, ...]]:
        of_number, people, names = shared.value
        for number, values in runs:
            told = people.iloc[of_number[number].people].itertuples(index=False, name=None)
            for one, own in zip(told, values.tolist(), strict=True):
                yield (*one, dict(zip(names, own, strict=True)))

    return spark.createDataFrame(sums.centred.mapPartitions(rows), table.schema)


def _chosen(part: Part, row: NDArray[np.int32]) -> NDArray[np.bool_]:
    """A mask of the variants of a part that lie in the given rows."""
    chosen = np.zeros(part.variants, bool)
    chosen[row] = True
    if chosen.sum() != len(row):
        raise ValueError("a variant is scored twice")
    return chosen


def _add_part(
    batches: Iterable[Batch],
    samples: int,
    weights: Reals,
    runs: Sequence[Run],
    totals: Sequence[Reals],
    means: Reals,
) -> None:
    """Add the scores of some variants of a part, in their order, to the totals."""
    first = 0
    for batch in batches:
        rows = batch.rows()
        own = weights[first : first + len(rows)]
        first += len(rows)
        calls = rows if rows.dtype == np.uint16 else as_calls(rows, samples)
        mean = _mean(calls)
        means += np.einsum("v,vms->ms", mean, own)
        for run, total in zip(runs, totals, strict=True):
            total += _about(calls[:, run.people], mean).T @ own[:, run.model]


def _mean(genotypes: Rows | NDArray[np.int8]) -> Reals:
    """The mean of the known genotypes of each variant, in alleles."""
    known, unit = _known(genotypes)
    count = np.maximum(known.sum(axis=1), 1)
    sums = np.where(known, genotypes, 0).sum(axis=1, dtype=np.int64)
    return np.asarray(sums / (unit * count))


def _about(genotypes: Rows | NDArray[np.int8], mean: Reals) -> Reals:
    """Genotypes minus the mean of each variant, in alleles; 0 where missing."""
    known, unit = _known(genotypes)
    return np.where(known, genotypes / unit - mean[:, None], 0.0)


def _known(genotypes: Rows | NDArray[np.int8]) -> tuple[NDArray[np.bool_], int]:
    """Which genotypes are known, and the integer that stands for one allele."""
    if genotypes.dtype == np.uint16:
        return genotypes != NO_DOSAGE, SCALE
    return genotypes != MISSING, 1
