"""The regions about the loci, a task each: fine-mapping, and the linkage of the lead variants.

A region is the stretch from `FLANK_BP` before a locus to as much behind it, of the loci of all
methods together where these overlap. Its task reads the genotypes and writes its part of the
tables itself: neither genotypes nor linkage are ever on the driver. A task holds the genotypes as
they are in the set, 2 bytes a dosage or 2 bits a call, and 24 bytes for each pair of variants: of
`MOST_VARIANTS` and 31,000 people 0.25 GB and 0.4 GB.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import SparkSession
from pyspark.sql.pandas.types import to_arrow_schema

from ecg_spark.genetics.findings.finemapping import (
    Signal,
    rows_of_sets,
    rows_of_signals,
    signals_of,
)
from ecg_spark.genetics.findings.modifiers import people_of, rows_of_interactions
from ecg_spark.genetics.findings.region import Products, products_of
from ecg_spark.genetics.genotypes.excerpt import Excerpt, read_excerpt
from ecg_spark.genetics.genotypes.packed import Calls, Packed
from ecg_spark.genetics.outputs.associations import part_files
from ecg_spark.genetics.outputs.tables import CREDIBLE_SETS, INTERACTIONS, LD, SIGNALS
from ecg_spark.genetics.testing.results import Question, Terms, terms_on
from ecg_spark.session import partition_number
from ecg_spark.study import Genotypes
from ecg_spark.tables import VARIANT, Table, check_table, make_empty, plain

Whole = NDArray[np.int64]
Lead = tuple[int, str, str]
"""Position, ref and alt of a lead variant."""

FLANK_BP = 250_000
"""How far about a locus a cause is looked for: a variant that acts need not be significant."""

MOST_VARIANTS = 4_000
"""The largest region that is fine-mapped: work and memory grow with the square."""

TABLES = (SIGNALS, CREDIBLE_SETS, INTERACTIONS, LD)

_FOUND = "region int, phenotype string, signal int, position int, n_variants int, pip double"


@dataclass(frozen=True)
class Region:
    """A region: what its task is sent.

    `of_set`: the number of the genotype set that it is in; `calls`: of its variants alone;
    `is_whole`: whether all of them are in it, else those nearest to its only lead variant;
    `wanted`: the phenotypes and omnibus tests that have a locus here; `leads`: the lead variants
    that are told of here, with the phenotypes of each; `loci`: the loci by their numbers.
    """

    number: int
    of_set: int
    contig: str
    start: int
    end: int
    calls: Calls
    is_whole: bool
    wanted: tuple[str, ...]
    leads: Mapping[Lead, tuple[str, ...]]
    loci: tuple[int, ...]


def regions_of(packed: Packed, loci: Sequence[Mapping[str, Any]]) -> list[Region]:
    """The regions about loci, in the order of the genome.

    `packed`: the variants that were tested, in the order of the genome, with the number of their
    `set`. Loci of which the regions overlap share one, unless it would have more than
    `MOST_VARIANTS`.
    """
    if not loci:
        return []
    of_set = packed.sites["set"].to_numpy()
    at = _places_of(packed, loci)
    gathered: list[tuple[int, str, int, int, list[int]]] = []
    for one in sorted(range(len(loci)), key=lambda one: (of_set[at[one]], at[one])):
        locus = loci[one]
        number, contig = int(of_set[at[one]]), locus["contig"]
        start, end = max(locus["start"] - FLANK_BP, 1), locus["end"] + FLANK_BP
        if gathered:
            *before, first, last, members = gathered[-1]
            union = min(first, start), max(last, end)
            overlap = before == [number, contig] and start <= last
            if overlap and len(_within(packed, number, contig, *union)) <= MOST_VARIANTS:
                gathered[-1] = (number, contig, *union, [*members, one])
                continue
        gathered.append((number, contig, start, end, [one]))
    found: list[Region] = []
    told: set[tuple[Any, ...]] = set()
    for number, contig, start, end, members in gathered:
        within = _within(packed, number, contig, start, end)
        is_whole = len(within) <= MOST_VARIANTS
        if not is_whole:  # of a region of its own
            lies = packed.sites["position"].to_numpy()[within]
            far = np.abs(lies - loci[members[0]]["position"])
            within = within[np.sort(np.argsort(far, kind="stable")[:MOST_VARIANTS])]
        leads: dict[Lead, tuple[str, ...]] = {}
        for one in members:
            contig, *lead = (loci[one][key] for key in VARIANT)
            if (contig, *lead) not in told:
                own = leads.get(tuple(lead), ())
                leads[tuple(lead)] = (*own, loci[one]["phenotype"])
        told |= {(contig, *lead) for lead in leads}
        wanted = dict.fromkeys(name for one in members for name in loci[one]["phenotypes"])
        found.append(
            Region(
                len(found), number, contig, start, end, packed.calls.only(within), is_whole,
                tuple(wanted), leads, tuple(members),
            )
        )  # fmt: skip
    return found


def _places_of(packed: Packed, loci: Sequence[Mapping[str, Any]]) -> list[int]:
    """The place of each locus's lead variant in the set."""
    leads = pd.DataFrame([{key: one[key] for key in VARIANT} for one in loci])
    places = packed.rows(leads.drop_duplicates())
    index = pd.MultiIndex.from_frame(packed.named(places)[VARIANT])
    return [int(one) for one in places[index.get_indexer(pd.MultiIndex.from_frame(leads))]]


def _within(packed: Packed, of_set: int, contig: str, start: int, end: int) -> Whole:
    """The places of the variants of a set from `start` to `end`."""
    codes, positions = packed.sites["contig"].cat.codes.to_numpy(), packed.sites["position"]
    own = packed.sites["contig"].cat.categories.get_loc(contig)
    first, last = np.searchsorted(codes, own, "left"), np.searchsorted(codes, own, "right")
    here = positions.to_numpy()[first:last]
    places = np.arange(
        first + np.searchsorted(here, start, "left"), first + np.searchsorted(here, end, "right")
    )
    return places[packed.sites["set"].to_numpy()[places] == of_set]


def describe_regions(
    spark: SparkSession,
    regions: Sequence[Region],
    samples: pd.Index,
    questions: Mapping[int, Question],
    modifiers: pd.DataFrame,
    thresholds: Genotypes,
    folder: str,
) -> pd.DataFrame:
    """Write the tables `TABLES` of regions into a folder; a frame of the signals found.

    `samples`: those of the genotype set, by their places; `questions`: what was asked of the
    variants of each set by its number, without thresholds; `modifiers`: sex and age (see
    `modifiers_of`); a variant counts where it passes the `thresholds`. The frame has, of each
    signal, its region, phenotype and number, the position of its likeliest variant with its
    probability (`pip`), and how many variants are in its set.
    """
    if not regions:
        for table in TABLES:
            make_empty(f"{folder}/{table.name}")
        return pd.DataFrame(columns=[one.split()[0] for one in _FOUND.split(", ")])
    shared = spark.sparkContext.broadcast((tuple(regions), samples, dict(questions), modifiers))

    def work(numbers: Iterable[int]) -> Iterator[tuple[Any, ...]]:
        regions, samples, questions, modifiers = shared.value
        tables = {table.name: table for table in TABLES}
        with part_files(folder, f"part-{partition_number():05d}.parquet") as write:
            for number in numbers:
                region = regions[number]
                asked = questions[region.of_set]
                places = samples.get_indexer(asked.people)
                excerpt = read_excerpt(region.calls, places)
                rows, signals = _described(region, excerpt, asked, modifiers, thresholds)
                write({key: _as_table(own, tables[key]) for key, own in rows.items()})
                for one in signals:
                    top = one.found.variants[0]
                    yield (
                        number, one.phenotype, one.number,
                        int(excerpt.sites["position"].iloc[one.likeliest]),
                        len(one.found.variants), float(one.found.alpha[top]),
                    )  # fmt: skip

    numbers = spark.sparkContext.parallelize(range(len(regions)), len(regions))
    found = spark.createDataFrame(numbers.mapPartitions(work), _FOUND).toPandas()
    shared.unpersist()
    for table in TABLES:
        check_table(spark, table, f"{folder}/{table.name}")
    return found


def _described(
    region: Region,
    excerpt: Excerpt,
    asked: Question,
    modifiers: pd.DataFrame,
    thresholds: Genotypes,
) -> tuple[dict[str, list[dict[str, Any]]], list[Signal]]:
    """The rows of each table, and the signals."""
    terms = terms_on(asked, region.contig)
    signals: list[Signal] = []
    linked: dict[Lead, list[dict[str, Any]]] = {}
    for number, own in enumerate(products_of(excerpt, terms.patterns, terms.factors, thresholds)):
        for lead in region.leads:
            if lead not in linked and (found := _linkage(lead, own, excerpt.sites)):
                linked[lead] = found
        if region.is_whole:
            names = [asked.names[k] for k in terms.patterns[number].places]
            groups = _together(asked, terms, number)
            signals += signals_of(own, names, region.wanted, groups)
    places = {lead: _place_of(lead, excerpt.sites) for lead in region.leads}
    leads = [(place, region.leads[lead]) for lead, place in places.items()]
    people = people_of(modifiers, asked.people)
    changed = rows_of_interactions(excerpt, terms.patterns, asked, leads, people)
    stretch = (region.start, region.end)
    rows = {
        SIGNALS.name: rows_of_signals(signals, excerpt.sites, stretch),
        CREDIBLE_SETS.name: rows_of_sets(signals, excerpt.sites, stretch),
        INTERACTIONS.name: list(changed),
        LD.name: [row for found in linked.values() for row in found],
    }
    return rows, signals


def _together(
    asked: Question, terms: Terms, number: int
) -> dict[str, tuple[Whole, NDArray[np.float64]]]:
    """Of each group that is tested together by the people of a pattern, the columns and weights."""
    places = terms.patterns[number].places.tolist()
    return {
        key: (np.array([places.index(one) for one in own]), terms.weights[key])
        for key, own in asked.together.items()
        if set(own) <= set(places)
    }


def _place_of(lead: Lead, sites: pd.DataFrame) -> int:
    """The place of a lead variant in an excerpt."""
    own = (sites[["position", "ref", "alt"]] == list(lead)).all(axis=1)
    return int(np.flatnonzero(own)[0])


def _linkage(lead: Lead, products: Products, sites: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of the table ld of a lead variant; none where it was not tested in these people."""
    own, position = sites.iloc[products.variants], lead[0]
    here = products.variants == _place_of(lead, sites)
    if not here.any():
        return []
    one = int(np.flatnonzero(here)[0])
    r = products.gram[one] / np.sqrt(products.length[one] * products.length)
    near = np.flatnonzero(np.abs(own["position"].to_numpy() - position) <= FLANK_BP)
    names = dict(zip(("lead", "lead_ref", "lead_alt"), lead, strict=True))
    return [
        {**site, **names, "r2": min(float(r[k]) ** 2, 1.0)}
        for k, site in zip(near, own.iloc[near][VARIANT].to_dict("records"), strict=True)
    ]


def _as_table(rows: list[dict[str, Any]], table: Table) -> pa.Table:
    schema = to_arrow_schema(table.schema)
    columns = {name: [plain(one[name]) for one in rows] for name in schema.names}
    return pa.Table.from_pydict(columns, schema=schema)
