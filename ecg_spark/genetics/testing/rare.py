"""Gene tests of rare variants on a genotype set in parts.

A task reads the variants of a part that belong to a gene, and reports who carries them. A gene is
tested where its carriers are brought together, against all phenotypes at once (see `gene_kernel`).
A variant with a frequency of 1 % has about 600 carriers among 31,000 people.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import from_arrow_schema
from scipy.sparse import csc_array

from ecg_spark.genetics.genotypes.parts import SITES, Batch, GenotypeSet
from ecg_spark.genetics.genotypes.rows import NO_DOSAGE, SCALE, as_dosages, in_order
from ecg_spark.genetics.genotypes.site_rows import named
from ecg_spark.genetics.null_model.whole_genome import Loco
from ecg_spark.genetics.testing.blocks import require_samples
from ecg_spark.genetics.testing.cauchy import combined
from ecg_spark.genetics.testing.gene_kernel import (
    Carried,
    Found,
    Gene,
    gene_of,
    leave_one_out,
    set_tests,
)
from ecg_spark.genetics.testing.results import Question, Terms, question, terms_on
from ecg_spark.session import broadcast
from ecg_spark.tables import TOGETHER, VARIANT

LEAVE_ONE_OUT_FROM = 4.0
"""-log10 p of a gene above which it is checked whether a single variant drives the result."""

TESTS = ("burden", "skat", "acat_v")
"""The tests of a set of variants that are combined into the test of the gene."""

_CARRIERS = pa.schema(
    [*SITES, *(pa.field(name, pa.binary()) for name in ("carriers", "alleles", "missing"))]
)
_SET = (
    "mask string, max_maf double, n_variants int, alleles double, burden_beta double, "
    "burden_se double, burden_neg_log10_p double, skat_q double, skat_neg_log10_p double, "
    "acat_v_neg_log10_p double, acat_o_neg_log10_p double"
)
_OF_A_GENE = {
    "contig": "string", "gene": "string", "start": "int", "end": "int", "phenotype": "string",
    "n": "int", "neg_log10_p": "double", "mask": "string", "max_maf": "double", "test": "string",
    "leave_one_out_neg_log10_p": "double",
}  # fmt: skip
GENE_TESTS = (
    f"{', '.join(f'{one} {kind}' for one, kind in _OF_A_GENE.items())}, "
    f"sets array<struct<{_SET.replace(' ', ':').replace(',:', ',')}>>"
)
"""One row per gene and phenotype (or group of phenotypes tested jointly): p combined over all sets
of variants, the set and test with the smallest p, and the tests of each set."""

Sets = Sequence[tuple[str, float, NDArray[np.bool_]]]


def associate_sets(
    spark: SparkSession,
    genotypes: GenotypeSet,
    members: DataFrame,
    max_maf: Sequence[float],
    phenotypes: pd.DataFrame,
    covariates: pd.DataFrame,
    together: Mapping[str, Sequence[str]],
    offsets: Loco | None = None,
    relatives: pd.DataFrame | None = None,
) -> DataFrame:
    """Test the rare variants of each gene.

    Each mask of a gene is tested with the variants up to each frequency of `max_maf`, counted
    among those who have the phenotype. The remaining arguments are those of `blocks.associate`.

    Args:
        members: the variants of each gene, from `gene_table.matched_genes`.
        max_maf: the largest minor allele frequencies to be tested.

    Returns:
        Rows of `GENE_TESTS`.

    Raises:
        ValueError: if a sample is not in the set, or different samples have the phenotypes of a
            group.
    """
    places = require_samples(genotypes, phenotypes.index)
    asked = question(phenotypes, covariates, together, offsets, relatives, None, None)
    shared = broadcast(spark, (asked, places))
    largest, cuts = max(max_maf), tuple(sorted(set(max_maf), reverse=True))

    def carriers(_: int, batches: Iterator[Batch]) -> Iterator[pa.RecordBatch]:
        asked, places = shared.value
        known = np.stack([asked.known(own) for own in asked.members], axis=1)
        for batch in batches:
            yield _carriers(batch, places, known, largest)

    def test(rows: pd.DataFrame) -> pd.DataFrame:
        return _test_gene(
            rows, shared.value[0], _terms_of(shared, str(rows["contig"].iloc[0])), cuts
        )

    chosen = genotypes.only(named(genotypes, members))
    found = chosen.map(spark, carriers, from_arrow_schema(_CARRIERS), SITES.names)
    found = found.drop("rsid").join(members.drop("part", "row"), VARIANT)
    return found.groupBy("contig", "gene").applyInPandas(test, GENE_TESTS)


@lru_cache(1)
def _terms_of(shared: Any, contig: str) -> Terms:
    """The terms of a contig, cached: genes of one contig follow each other."""
    return terms_on(shared.value[0], contig)


def _carriers(
    batch: Batch, places: NDArray[np.int64], known: NDArray[np.bool_], largest: float
) -> pa.RecordBatch:
    """Who carries the minor allele of each variant that is rare in the people of some pattern."""
    n = len(places)
    dosages = as_dosages(in_order(batch.rows(), places), n)
    there = dosages != NO_DOSAGE
    values = np.where(there, dosages, 0)
    own = known.astype(np.float32)
    mean = (values.astype(np.float32) @ own / SCALE) / np.maximum(there.astype(np.float32) @ own, 1)
    rare = ((np.minimum(mean, 2 - mean) <= 2 * largest * (1 + 1e-5)) & (mean > 0) & (mean < 2)).any(
        axis=1
    )
    kept = np.flatnonzero(rare)
    turned = mean[:, 0] > 1
    columns: list[list[bytes]] = [[], [], []]
    for i in kept:
        minor = np.where(there[i], 2 * SCALE - values[i], 0) if turned[i] else values[i]
        people = np.flatnonzero(minor).astype(np.int32)
        columns[0].append(people.tobytes())
        columns[1].append(minor[people].astype(np.uint16).tobytes())
        columns[2].append(np.flatnonzero(~there[i]).astype(np.int32).tobytes())
    sites = [batch.sites.column(name).combine_chunks().take(pa.array(kept)) for name in SITES.names]
    return pa.record_batch(
        [*sites, *(pa.array(one, pa.binary()) for one in columns)], schema=_CARRIERS
    )


def _test_gene(
    rows: pd.DataFrame, asked: Question, terms: Terms, cuts: Sequence[float]
) -> pd.DataFrame:
    """The rows of `GENE_TESTS` of one gene, from the carriers of its variants."""
    rows = rows.sort_values(VARIANT).reset_index(drop=True)
    contig, gene = str(rows["contig"][0]), str(rows["gene"][0])
    carried = _carried(rows, len(asked.people))
    records: list[dict[str, Any]] = []
    for each, factors in zip(terms.patterns, terms.factors, strict=True):
        groups = {
            key: (np.searchsorted(each.places, own), terms.weights[key])
            for key, own in asked.together.items()
            if own[0] in each.places
        }
        here = gene_of(carried, rows["weight"].to_numpy(float), each, factors, groups)
        names = [*(asked.names[i] for i in each.places), *(f"{key}{TOGETHER}" for key in groups)]
        records += _records(here, _sets(rows["masks"], here, cuts), names)
    place = {"contig": contig, "gene": gene, "start": int(rows["position"].min()),
             "end": int(rows["position"].max())}  # fmt: skip
    return pd.DataFrame([place | one for one in records], columns=[*_OF_A_GENE, "sets"])


def _carried(rows: pd.DataFrame, people: int) -> Carried:
    """The carriers of a gene's variants as sparse matrices [people, variants]."""

    def columns(places: str, values: Callable[[int], NDArray[np.float64]]) -> csc_array:
        own = [np.frombuffer(one, np.int32) for one in rows[places]]
        data = [values(i) for i in range(len(own))]
        ends = np.concatenate([[0], np.cumsum([len(one) for one in own])])
        return csc_array((np.concatenate(data), np.concatenate(own), ends), (people, len(own)))

    return Carried(
        columns("carriers", lambda i: np.frombuffer(rows["alleles"][i], np.uint16) / SCALE),
        columns("missing", lambda i: np.ones(len(rows["missing"][i]) // 4)),
    )


def _sets(masks: pd.Series, gene: Gene, cuts: Sequence[float]) -> Sets:
    """Each mask at each frequency, with its variants; identical sets of a mask are listed
    once.
    """
    found: list[tuple[str, float, NDArray[np.bool_]]] = []
    for name in sorted({name for own in masks for name in own}):
        inside = np.array([name in own for own in masks])
        seen: set[bytes] = set()
        for cut in sorted(cuts):
            chosen = inside & (gene.frequency <= cut * (1 + 1e-6)) & (gene.alleles > 0)
            if chosen.any() and chosen.tobytes() not in seen:
                seen.add(chosen.tobytes())
                found.append((name, cut, chosen))
    return found


def _records(gene: Gene, sets: Sets, names: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of a gene for the phenotypes of a pattern and for groups of them."""
    tested = [
        (mask, cut, chosen, found)
        for mask, cut, chosen in sets
        if (found := set_tests(gene, chosen)) is not None
    ]
    if not tested:
        return []
    each = np.stack([np.stack([one.burden, one.skat, one.acat_v]) for *_, one in tested])
    log_p = combined(each.reshape(-1, len(names)))
    filled = np.nan_to_num(each, nan=-1.0)
    best = np.argmax(filled.reshape(-1, len(names)), axis=0)
    alone = np.full(len(names), np.nan)
    for number, (_, _, chosen, _) in enumerate(tested):
        places = np.flatnonzero((best // len(TESTS) == number) & (log_p >= LEAVE_ONE_OUT_FROM))
        if len(places):
            alone[places] = leave_one_out(gene, chosen, places.tolist())
    n = int(gene.pattern.known.sum())
    return [
        {
            "phenotype": name,
            "n": n,
            "neg_log10_p": _or_none(log_p[i]),
            "mask": tested[best[i] // len(TESTS)][0],
            "max_maf": tested[best[i] // len(TESTS)][1],
            "test": TESTS[best[i] % len(TESTS)],
            "leave_one_out_neg_log10_p": _or_none(alone[i]),
            "sets": [_set(mask, cut, found, i) for mask, cut, _, found in tested],
        }
        for i, name in enumerate(names)
    ]


def _set(mask: str, cut: float, found: Found, i: int) -> tuple[Any, ...]:
    """One element of `sets`, for the phenotype at place `i`."""
    numbers = (found.beta, found.se, found.burden, found.q, found.skat, found.acat_v, found.acat_o)
    return (mask, cut, found.variants, found.alleles, *(_or_none(one[i]) for one in numbers))


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
