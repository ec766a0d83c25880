"""The work of one task of a meta-analysis: combine variants and write a part of each table."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql.pandas.types import to_arrow_schema

from ecg_spark.genetics.cohorts.fixed_effects import Combined, combine, directions
from ecg_spark.genetics.cohorts.joint import Joined, Take, contigs
from ecg_spark.genetics.cohorts.tables import (
    META_ASSOCIATIONS,
    META_OMNIBUS,
    META_RESULT,
    META_TESTS,
)
from ecg_spark.genetics.cohorts.together import Joint, Together, joint_test
from ecg_spark.genetics.outputs.associations import BY_VARIANT, are_known, elements, part_files
from ecg_spark.session import partition_number
from ecg_spark.tables import VARIANT_COLUMNS

Reals = NDArray[np.float64]


@contextmanager
def combining(
    folder: str,
    build: str,
    phenotypes: tuple[str, ...],
    factors: tuple[dict[str, float], ...],
    together: dict[str, Together],
) -> Iterator[Take]:
    """A worker that combines variants and writes its part of by_variant, associations and omnibus.

    Args:
        build: GRCh37 or GRCh38.
        phenotypes: the phenotypes of the variants' results, in their order.
        factors: for each cohort, the factors of its standard errors by phenotype; empty for none.
        together: the groups that are tested jointly, by name.
    """
    by_cohort = [[own.get(name, 1.0) for own in factors] for name in phenotypes]
    inflated = np.array(by_cohort) if factors else np.ones(1)
    with part_files(folder, f"part-{partition_number():05d}.parquet") as write:

        def take(joined: Joined) -> Reals:
            se = joined.se * inflated
            found = combine(joined.beta, se)
            tests = _rows(joined, found, build, phenotypes)
            written = {BY_VARIANT: tests, META_ASSOCIATIONS.name: _long(tests)}
            if together:
                joint = {key: joint_test(joined, se, own) for key, own in together.items()}
                written[META_OMNIBUS.name] = _omnibus(tests, joint)
            write(written)
            return np.asarray(found.z)[None]

        yield take


def _rows(joined: Joined, found: Combined, build: str, phenotypes: Sequence[str]) -> pa.Table:
    """Rows of `META_TESTS`."""
    m, p, _ = joined.beta.shape
    known = np.isfinite(joined.beta)
    n = np.where(known, np.nan_to_num(joined.n), 0.0)
    weight = np.where(np.isfinite(joined.af), n, 0.0)
    with np.errstate(invalid="ignore"):
        af = (weight * np.nan_to_num(joined.af)).sum(axis=2) / weight.sum(axis=2)
    fields = {
        "phenotype": pa.DictionaryArray.from_arrays(
            pa.array(np.tile(np.arange(p, dtype=np.int32), m)), pa.array(phenotypes)
        ).cast(pa.string()),
        "beta": _reals(found.beta),
        "se": _reals(found.se),
        "t": _reals(found.z),
        "neg_log10_p": _reals(found.neg_log10_p),
        "n": pa.array(n.sum(axis=2).ravel().astype(np.int32)),
        "af": _reals(af),
        "cohorts": pa.array(found.cohorts.ravel().astype(np.int32)),
        "direction": pa.array(directions(joined.beta).ravel()).cast(pa.string()),
        "q": _reals(found.q),
        "i2_percent": _reals(found.i2_percent),
        "het_neg_log10_p": _reals(found.het_neg_log10_p),
    }
    ends = pa.array(np.arange(m + 1, dtype=np.int32) * p)
    structs = pa.StructArray.from_arrays([fields[name] for name in META_RESULT], META_RESULT)
    schema = to_arrow_schema(META_TESTS)
    columns = [
        pa.array(contigs(build, joined.chromosome)),
        pa.array(joined.position.astype(np.int32)),
        pa.array(joined.ref),
        pa.array(joined.alt),
        joined.rsid,
        pa.ListArray.from_arrays(ends, structs),
    ]
    return pa.Table.from_arrays(columns, schema.names).cast(schema)


def _long(tests: pa.Table) -> pa.Table:
    """The rows of the table associations, from rows of `META_TESTS`."""
    batch = tests.combine_chunks().to_batches()[0]
    fields, of_variant = elements(batch, "results")
    own = np.flatnonzero(are_known(fields["neg_log10_p"]))
    places, rows = pa.array(own), pa.array(of_variant[own])
    schema = to_arrow_schema(META_ASSOCIATIONS.schema)
    return pa.Table.from_arrays(
        [
            fields[name].take(places) if name in fields else batch.column(name).take(rows)
            for name in schema.names
        ],
        schema=schema,
    )


def _omnibus(tests: pa.Table, joint: Mapping[str, Joint]) -> pa.Table:
    """The rows of the table omnibus for those variants that were tested."""
    schema = to_arrow_schema(META_OMNIBUS.schema)
    parts = []
    for key, found in joint.items():
        own = np.flatnonzero(np.isfinite(found.chi2))
        sites = tests.select(list(VARIANT_COLUMNS)).take(pa.array(own))
        fields = {
            "model": pa.array([key] * len(own), pa.string()),
            "df": pa.array(np.full(len(own), found.df, np.int32)),
            "n": pa.array(found.n[own].astype(np.int32)),
            "cohorts": pa.array(found.cohorts[own].astype(np.int32)),
        }
        reals = ("chi2", "neg_log10_p", "af", "q", "i2_percent", "het_neg_log10_p")
        fields |= {name: _reals(getattr(found, name)[own]) for name in reals}
        fields |= {name: sites[name].combine_chunks() for name in VARIANT_COLUMNS}
        parts.append(pa.Table.from_arrays([fields[name] for name in schema.names], schema=schema))
    return pa.concat_tables(parts)


def _reals(values: Reals) -> pa.Array:
    return pa.array(np.ravel(values), pa.float64(), from_pandas=True)
