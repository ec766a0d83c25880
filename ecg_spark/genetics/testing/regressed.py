"""Rows of tests from the regressions that Hail has written, made in Spark's Python workers.

Hail is not imported here: every worker would spend three seconds on that.
"""

from collections.abc import Iterable, Iterator
from dataclasses import fields
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark import Broadcast

from ecg_spark.genetics.genotypes.parts import SITES
from ecg_spark.genetics.genotypes.thresholds import Tally
from ecg_spark.genetics.testing.kernel import Pattern, Regression, checked
from ecg_spark.genetics.testing.results import Question, Sink, runs_of, terms_on, tests_of

_TESTS = ("beta", "se", "t")


def column_of(number: int) -> str:
    """The column that holds the results of a group of phenotypes."""
    return f"found_{number}"


def tests_told(
    shared: Broadcast[Question], sink: Sink, batches: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """Turn rows of Hail's results into rows of `TESTS`, and hand them to the sink.

    Args:
        shared: the question, as a broadcast variable.
        batches: sites and, in the columns `column_of`, a struct of each group's results: `sum_x`,
            lists beta, se and t over the group's phenotypes, the counts of `Tally`, and in
            `judged` the same counts over those by whom a variant is judged.
    """

    def told() -> Iterator[pa.RecordBatch]:
        asked = shared.value
        terms = lru_cache(1)(lambda contig: terms_on(asked, contig))
        for batch in batches:
            for contig, start, stop in runs_of(batch.column("contig")):
                own, here = batch.slice(start, stop - start), terms(contig)
                results = [
                    _regression(own.column(column_of(i)), each)
                    for i, each in enumerate(here.patterns)
                ]
                yield tests_of(asked, here, own.select(SITES.names), results)

    return sink.take(told())


def _regression(found: pa.StructArray, each: Pattern) -> Regression:
    """What Hail found for variants against one pattern of phenotypes."""

    def numbers(name: str) -> NDArray[Any]:
        return np.asarray(found.field(name).to_numpy(zero_copy_only=False))

    counts = _tally(found, int(each.known.sum()))
    judged = _tally(found.field("judged"), int(each.judges.sum()))
    k = each.left.shape[1]
    beta, se, t = (found.field(name).flatten().to_numpy().reshape(-1, k) for name in _TESTS)
    yy = np.einsum("ij,ij->j", each.left, each.left)
    # Hail does not return x'x after covariates. The residual sum of squares is both se² x'x df and
    # y'y - beta² x'x, which gives it.
    with np.errstate(divide="ignore", invalid="ignore"):
        left = yy / (each.df * se**2 + beta**2)
    return checked(beta, se, t, left, numbers("sum_x"), counts, judged)


def _tally(found: pa.StructArray, people: int) -> Tally:
    names = [field.name for field in fields(Tally)[1:]]
    return Tally(
        people, *(np.asarray(found.field(one).to_numpy(zero_copy_only=False)) for one in names)
    )
