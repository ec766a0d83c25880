"""The description of the regions around the loci, one task per region, which reads its genotypes.

Tasks write their parts of the tables themselves; neither genotypes nor LD ever reach the driver. A
task holds the genotypes as they are stored, 2 bytes per dosage or 2 bits per call, and 24 bytes
per pair of variants: for `MOST_VARIANTS` and 31,000 people 0.25 GB and 0.4 GB.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from ecg_spark.genetics.findings.annotation import genes_within
from ecg_spark.genetics.findings.colocalisation import rows_of_pairs
from ecg_spark.genetics.findings.finemapping import (
    Signal,
    rows_of_sets,
    rows_of_signals,
    signals_of,
)
from ecg_spark.genetics.findings.modifiers import people_of, rows_of_interactions
from ecg_spark.genetics.findings.published import published_in
from ecg_spark.genetics.findings.region import Products, products_of
from ecg_spark.genetics.findings.regions import FLANK_BP, Lead, Region
from ecg_spark.genetics.genotypes.excerpt import read_excerpt
from ecg_spark.genetics.outputs.associations import part_files
from ecg_spark.genetics.outputs.tables import (
    COLOCALISATION,
    CREDIBLE_SETS,
    INTERACTIONS,
    LD,
    SIGNALS,
)
from ecg_spark.genetics.testing.gene_table import consequences_of
from ecg_spark.genetics.testing.omnibus import Together
from ecg_spark.genetics.testing.results import Question, Terms, terms_on
from ecg_spark.session import broadcast, partition_number
from ecg_spark.study import Genotypes
from ecg_spark.tables import VARIANT, check_table, table_of, write_rows

Whole = NDArray[np.int64]

TABLES = (SIGNALS, CREDIBLE_SETS, COLOCALISATION, INTERACTIONS, LD)

_FOUND = [
    "phenotype", "signal", "position", "n_variants", "probability", "genes", "consequences",
]  # fmt: skip


@dataclass(frozen=True)
class Known:
    """What the tasks know besides their regions.

    Attributes:
        samples: the sample ids of the genotype set, in its order.
        questions: what the variants of each set were tested for, without thresholds, by the number
            of the set.
        thresholds: what a variant must pass.
        modifiers: sex and age (see `modifiers_of`).
        groups: the group of each phenotype and omnibus test.
        genes: see `read_gene_positions`; None if the study names no table of them.
        consequences: see `read_consequences`; None if the study names no table of them.
        published: the folder of published statistics (see `published.cut_to_regions`); None if
            there are none.
    """

    samples: pd.Index
    questions: Mapping[int, Question]
    thresholds: Genotypes
    modifiers: pd.DataFrame
    groups: Mapping[str, str]
    genes: pd.DataFrame | None
    consequences: pd.DataFrame | None
    published: str | None = None

    def about(self, regions: Sequence[Region]) -> "Known":
        """The same, with only those genes and consequences that lie in the regions."""
        genes, table = self.genes, self.consequences
        if genes is not None:
            near = [genes_within(genes, one.contig, one.start, one.end) for one in regions]
            genes = pd.concat(near).drop_duplicates()
        if table is not None:
            inside = np.zeros(len(table), bool)
            for one in regions:
                here = table["position"].between(one.start, one.end)
                inside |= (here & (table["contig"] == one.contig)).to_numpy()
            table = table[inside]
        return replace(self, genes=genes, consequences=table)

    def lies_in(self, sites: pd.DataFrame) -> list[tuple[list[str], list[str]]]:
        """For each variant, the coding genes that contain it and its consequences, as in
        `SCN5A missense_variant`.
        """
        genes: list[list[str]] = [[] for _ in range(len(sites))]
        if self.genes is not None:
            coding, positions = self.genes[self.genes["is_coding"]], sites["position"].to_numpy()
            coding = coding[coding["contig"].isin(sites["contig"])]
            for one in coding.itertuples():
                for k in np.flatnonzero((positions >= one.start) & (positions <= one.end)):
                    genes[k].append(one.gene)
        does: list[list[str]] = [[] for _ in range(len(sites))]
        if self.consequences is not None:
            found = consequences_of(sites, self.consequences)
            does = [[f"{gene} {consequence}" for gene, consequence in own] for own in found]
        return list(zip(genes, does, strict=True))


def describe_regions(
    spark: SparkSession, regions: Sequence[Region], known: Known, folder: str
) -> pd.DataFrame:
    """Describe regions and write the tables `TABLES` into a folder.

    Returns:
        One row per signal: the number of its region, and some columns of the table signals.
    """
    if not regions:
        for table in TABLES:
            write_rows([], table, f"{folder}/{table.name}")
        return pd.DataFrame(columns=["region", *_FOUND])
    shared = broadcast(spark, (tuple(regions), known.about(regions)))

    def work(numbers: Iterable[int]) -> Iterator[tuple[Any, ...]]:
        regions, known = shared.value
        tables = {table.name: table for table in TABLES}
        with part_files(folder, f"part-{partition_number():05d}.parquet") as write:
            for number in numbers:
                rows = _described(regions[number], known)
                write({key: table_of(own, tables[key]) for key, own in rows.items()})
                for one in rows[SIGNALS.name]:
                    yield (number, *(one[key] for key in _FOUND))

    numbers = spark.sparkContext.parallelize(range(len(regions)), len(regions))
    found = numbers.mapPartitions(work).collect()
    shared.unpersist()
    for table in TABLES:
        check_table(spark, table, f"{folder}/{table.name}")
    return pd.DataFrame(found, columns=["region", *_FOUND])


def _described(region: Region, known: Known) -> dict[str, list[dict[str, Any]]]:
    """The rows of each table for one region."""
    asked = known.questions[region.of_set]
    excerpt = read_excerpt(region.calls, known.samples.get_indexer(asked.people))
    terms, sites = terms_on(asked, region.contig), excerpt.sites
    signals: list[Signal] = []
    linked: dict[Lead, list[dict[str, Any]]] = {}
    of_patterns = products_of(excerpt, terms.patterns, terms.factors, known.thresholds)
    af = np.full(len(sites), np.nan)
    for number, own in enumerate(of_patterns):
        af[own.variants] = own.af
        for lead in region.leads:
            if lead not in linked and (found := _linkage(lead, own, sites)):
                linked[lead] = found
        if region.is_whole:
            names = [asked.names[k] for k in terms.patterns[number].places]
            signals += signals_of(own, names, region.wanted, _together(asked, terms, number))
    leads = [(_place_of(lead, sites), names) for lead, names in region.leads.items()]
    people = people_of(known.modifiers, asked.people)
    stretch = (region.start, region.end)
    about = known.lies_in(sites)
    published = published_in(known.published, region.number, sites, af) if known.published else {}
    return {
        SIGNALS.name: rows_of_signals(signals, sites, about, stretch),
        CREDIBLE_SETS.name: rows_of_sets(signals, sites, about, stretch),
        COLOCALISATION.name: list(rows_of_pairs(signals, known.groups, published, sites, stretch)),
        INTERACTIONS.name: list(
            rows_of_interactions(excerpt, terms.patterns, asked, leads, people)
        ),
        LD.name: [row for found in linked.values() for row in found],
    }


def _together(asked: Question, terms: Terms, number: int) -> dict[str, tuple[Whole, Together]]:
    """For each group that is tested jointly in the people of a pattern: the columns of its
    phenotypes, and how the tests are combined.
    """
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
    """The rows of the table ld of a lead variant; none if it was not tested in these people."""
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
