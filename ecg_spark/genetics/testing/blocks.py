"""Association of packed calls with every phenotype, block by block in Spark: no Hail.

A task reads the bytes of a run of variants of one contig and tests them against the phenotypes of
that contig (see `kernel`). It is sent the phenotypes and the covariates' bases, eight bytes for
each person, column and pattern of missing phenotypes: 20 MB for 31,000 people, 20 phenotypes, 17
covariates and 4 patterns.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession

from ecg_spark.genetics.genotypes.packed import NO_RSID, Calls, Packed
from ecg_spark.genetics.genotypes.thresholds import first_failed
from ecg_spark.genetics.null_model.phenotypes import by_missingness, variance_by_relatives
from ecg_spark.genetics.null_model.whole_genome import Loco
from ecg_spark.genetics.testing.kernel import (
    Pattern,
    Regression,
    basis_of_pattern,
    pattern,
    regress,
    repacked,
)
from ecg_spark.genetics.testing.omnibus import omnibus, whitening
from ecg_spark.genetics.testing.p_values import neg_log10_p_of_t
from ecg_spark.study import Genotypes
from ecg_spark.tables import VARIANT

TASK_VARIANTS = 4_000
READ_VARIANTS = 512
MOST_TAKEN_OUT = 0.5
"""Up to this share of a set's people are taken out of its bytes before the tests; of more, the
others stay in as people without phenotypes."""

_RESULT = "phenotype string, beta double, se double, t double, neg_log10_p double, n int, af double"
_JOINT = "model string, chi2 double, df int, neg_log10_p double, n int, af double"
TESTS = (
    "contig string, position int, ref string, alt string, rsid string, "
    f"results array<struct<{_RESULT.replace(' ', ':').replace(',:', ',')}>>, "
    f"omnibus array<struct<{_JOINT.replace(' ', ':').replace(',:', ',')}>>, failed array<string>"
)
"""A row a variant: a result a phenotype, a test together a group of phenotypes, and, for each group
of phenotypes that the same people have, the first threshold that the variant does not pass."""

_SITES = ["place", *VARIANT, "rsid"]

Reals = NDArray[np.float64]


@dataclass(frozen=True)
class _Plan:
    """What every task is sent.

    `samples`: the people's places in the set, None for all of them; `y` [n, p], NaN where missing;
    `members` and `bases`: the numbers of the phenotypes of each pattern, and its basis.
    """

    calls: Calls
    samples: NDArray[np.int64] | None
    ids: pd.Index
    names: tuple[str, ...]
    y: Reals
    members: tuple[tuple[int, ...], ...]
    bases: tuple[Reals, ...]
    together: Mapping[str, tuple[int, ...]]
    offsets: Loco | None
    relatives: pd.DataFrame | None
    thresholds: Genotypes | None


def associate(
    spark: SparkSession,
    packed: Packed,
    variants: NDArray[np.int64],
    phenotypes: pd.DataFrame,
    covariates: pd.DataFrame,
    together: Mapping[str, Sequence[str]],
    offsets: Loco | None = None,
    relatives: pd.DataFrame | None = None,
    thresholds: Genotypes | None = None,
) -> DataFrame:
    """Test the variants at some places of a packed set; a frame of `TESTS`.

    The arguments are those of `hail.associate`, and so are the numbers.
    """
    samples: NDArray[np.int64] | None = packed.places(list(phenotypes.index))
    if len(phenotypes) > MOST_TAKEN_OUT * len(packed.samples):
        samples = None
        phenotypes, covariates = (one.reindex(packed.samples) for one in (phenotypes, covariates))
    names = list(map(str, phenotypes.columns))
    y = phenotypes.to_numpy(float)
    passes = by_missingness(phenotypes)
    members = tuple(tuple(phenotypes.columns.get_loc(name) for name in own) for own in passes)
    groups = {key: tuple(map(names.index, own)) for key, own in together.items()}
    for key, own in groups.items():
        if not any(set(own) <= set(each) for each in members):
            raise ValueError(f"the phenotypes of {key} are known for different samples")
    terms = covariates.to_numpy(float)
    plan = _Plan(
        packed.calls,
        samples,
        phenotypes.index,
        tuple(names),
        y,
        members,
        tuple(basis_of_pattern(np.isfinite(y[:, own[0]]), terms) for own in members),
        groups,
        offsets,
        relatives,
        thresholds,
    )
    shared = spark.sparkContext.broadcast(plan)

    def test(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for sites in batch.column("sites").to_pylist():
                with pa.ipc.open_stream(sites) as reader:
                    yield from _tested(shared.value, reader.read_all())

    tasks = _tasks(packed.sites, variants)
    rows = spark.sparkContext.parallelize([(one,) for one in tasks], max(1, len(tasks)))
    return spark.createDataFrame(rows, "sites binary").mapInArrow(test, TESTS)


def _tasks(sites: pd.DataFrame, variants: NDArray[np.int64]) -> list[bytes]:
    """Runs of variants of one contig, each an Arrow stream of their places and names."""
    own = sites.iloc[variants]
    contigs = own["contig"].to_numpy()
    ends = [0, *(np.flatnonzero(contigs[1:] != contigs[:-1]) + 1).tolist(), len(own)]
    tasks = []
    for start, stop in pairwise(ends):
        for first in range(start, stop, TASK_VARIANTS):
            run = own.iloc[first : min(first + TASK_VARIANTS, stop)]
            run = run.assign(place=variants[first : first + len(run)])[_SITES]
            table = pa.Table.from_pandas(run, preserve_index=False)
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, table.schema) as writer:
                writer.write_table(table)
            tasks.append(sink.getvalue().to_pybytes())
    return tasks


def _tested(plan: _Plan, sites: pa.Table) -> Iterator[pa.RecordBatch]:
    """The tests of variants of one contig."""
    y = plan.y
    if plan.offsets is not None:
        contig = sites.column("contig")[0].as_py()
        y = y - plan.offsets.without(contig).reindex(plan.ids)[list(plan.names)].to_numpy(float)
    patterns = [
        pattern(own, np.isfinite(plan.y[:, own[0]]), basis, y[:, own])
        for own, basis in zip(plan.members, plan.bases, strict=True)
    ]
    wider = [_wider(plan, each) for each in patterns]
    weights = {key: _weights(patterns, own) for key, own in plan.together.items()}
    places = sites.column("place").to_numpy()
    for start in range(0, len(places), READ_VARIANTS):
        here = sites.slice(start, READ_VARIANTS)
        own = plan.calls.packed(places[start : start + READ_VARIANTS])
        rows = own if plan.samples is None else repacked(own, plan.samples)
        found = regress(rows, patterns)
        yield _batch(plan, here, patterns, found, wider, weights)


def _wider(plan: _Plan, each: Pattern) -> Reals:
    """The factors of the standard errors of a pattern's phenotypes, for relatives among them."""
    left, ids = each.left[each.known], plan.ids[each.known]
    return np.sqrt(variance_by_relatives(left, ids, plan.relatives))


def _weights(patterns: Sequence[Pattern], own: Sequence[int]) -> Reals:
    for each in patterns:
        if own[0] in each.places:
            columns = np.searchsorted(each.places, own)
            return whitening(each.left[each.known][:, columns])
    raise ValueError("a phenotype is in no pattern")


def _batch(
    plan: _Plan,
    sites: pa.Table,
    patterns: Sequence[Pattern],
    found: Sequence[Regression],
    wider: Sequence[Reals],
    weights: Mapping[str, Reals],
) -> pa.RecordBatch:
    m, p = len(sites), len(plan.names)
    beta, se, t, log_p, af = np.full((5, m, p), np.nan)
    n = np.zeros(p, np.int32)
    df = np.zeros(p, np.int64)
    failed = []
    for each, one, factor in zip(patterns, found, wider, strict=True):
        reasons = np.full(m, None, object)
        if plan.thresholds is not None:
            reasons = first_failed(one.tally, plan.thresholds)
        failed.append(reasons)
        passes = np.array([reason is None for reason in reasons])[:, None]
        columns = each.places
        beta[:, columns] = np.where(passes, one.beta, np.nan)
        se[:, columns] = np.where(passes, one.se * factor, np.nan)
        t[:, columns] = np.where(passes, one.t / factor, np.nan)
        log_p[:, columns] = neg_log10_p_of_t(t[:, columns], each.df)
        af[:, columns] = one.sum_x[:, None] / (2 * one.n)
        n[columns], df[columns] = one.n, each.df
    results = {
        "phenotype": pa.array(list(plan.names) * m),
        **{
            name: pa.array(values.ravel(), from_pandas=True)
            for name, values in (("beta", beta), ("se", se), ("t", t), ("neg_log10_p", log_p))
        },
        "n": pa.array(np.tile(n, m), pa.int32()),
        "af": pa.array(af.ravel(), from_pandas=True),
    }
    joint: dict[str, list[NDArray[np.float64]]] = {"chi2": [], "neg_log10_p": [], "af": []}
    for key, own in plan.together.items():
        chi2, p_together = omnibus(t[:, own], weights[key], int(df[own[0]]))
        for name, values in (("chi2", chi2), ("neg_log10_p", p_together), ("af", af[:, own[0]])):
            joint[name].append(values)
    g = len(plan.together)
    by_variant = {
        name: np.stack(values, axis=1).ravel() if g else np.empty(0)
        for name, values in joint.items()
    }
    ranks = np.array([len(weights[key]) for key in plan.together], np.int32)
    sizes = np.array([n[own[0]] for own in plan.together.values()], np.int32)
    together = {
        "model": pa.array(list(plan.together) * m, pa.string()),
        "chi2": pa.array(by_variant["chi2"], pa.float64(), from_pandas=True),
        "df": pa.array(np.tile(ranks, m), pa.int32()),
        "neg_log10_p": pa.array(by_variant["neg_log10_p"], pa.float64(), from_pandas=True),
        "n": pa.array(np.tile(sizes, m), pa.int32()),
        "af": pa.array(by_variant["af"], pa.float64(), from_pandas=True),
    }
    why = pa.array(np.stack(failed, axis=1).ravel().tolist(), pa.string())
    names = [*VARIANT, "rsid"]
    place = {name: sites.column(name).combine_chunks() for name in names}
    place["position"] = place["position"].cast(pa.int32())
    place["rsid"] = pc.if_else(pc.equal(place["rsid"], NO_RSID), None, place["rsid"])
    return pa.record_batch(
        [*place.values(), _lists(results, m), _lists(together, m), _list_of(why, m)],
        [*names, "results", "omnibus", "failed"],
    )


def _lists(fields: Mapping[str, pa.Array], m: int) -> pa.ListArray:
    return _list_of(pa.StructArray.from_arrays(list(fields.values()), list(fields)), m)


def _list_of(values: pa.Array, m: int) -> pa.ListArray:
    """A list of as many values for each of m variants."""
    ends = np.arange(m + 1) * (len(values) // max(m, 1))
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), values)
