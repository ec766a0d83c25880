"""The loci of every method, with their independent signals, nearest genes and what is published."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from ecg_spark.errors import DataError
from ecg_spark.genetics.findings.annotation import (
    genes_within,
    is_published,
    nearest_gene,
    read_gene_positions,
    read_published,
)
from ecg_spark.genetics.findings.clumping import (
    Correlations,
    find_loci,
    significant_variants,
)
from ecg_spark.genetics.findings.signals import independent_signals
from ecg_spark.genetics.genotypes.packed import Packed, centred, standardised
from ecg_spark.genetics.genotypes.parts import BATCH_BYTES
from ecg_spark.genetics.null_model.cohort import Cohort
from ecg_spark.genetics.null_model.whole_genome import Offsets
from ecg_spark.genetics.outputs.tables import LD, LOCI, NEARBY_GENES, SIGNALS
from ecg_spark.study import Gwas
from ecg_spark.tables import VARIANT, write_columns, write_rows

MAX_NEIGHBOURS = 4_000
"""Signals are looked for among so many variants about a lead variant."""

MOST_HITS = 500_000
"""Tests of a method that pass its threshold, beyond which no study of real loci is."""

NEIGHBOUR_BP = 250_000
"""The linkage of a lead variant is told of variants this near."""


@dataclass(frozen=True)
class Tests:
    """The published tests, the phenotypes of each group, and each method's threshold (-log10 p)."""

    associations: DataFrame
    omnibus: DataFrame
    groups: Mapping[str, Sequence[str]]
    thresholds: Mapping[str, float]


@dataclass(frozen=True)
class Annotation:
    """Genes and published loci, where the study names tables of them."""

    genes: pd.DataFrame | None
    published: pd.DataFrame | None


def read_annotation(settings: Gwas) -> Annotation:
    """Read the tables of genes and of published loci; `DataError` where they cannot be used."""
    return Annotation(
        read_gene_positions(settings.genes) if settings.genes else None,
        read_published(settings.published) if settings.published else None,
    )


def write_loci(
    packed: Packed,
    tests: Tests,
    cohort: Cohort,
    offsets: Offsets,
    settings: Gwas,
    annotation: Annotation,
    folder: str,
) -> dict[str, int]:
    """Write the tables loci, signals, ld and nearby_genes; return each method's number of loci.

    A method is a key of `tests.thresholds`: a group of phenotypes, or a group's omnibus test.
    Signals are those of a locus's best phenotype, by conditional regression at the method's
    threshold, and are not looked for behind an omnibus test. Raises `DataError` where more tests
    pass a threshold than `MOST_HITS`.
    """
    thresholds = tests.thresholds
    hits = {method: hits_of(tests, method, least) for method, least in thresholds.items()}
    people = packed.places(list(cohort.terms.index))
    correlations = correlations_of(packed, significant_variants(list(hits.values())), people)
    genes, published = annotation.genes, annotation.published
    window = settings.clump_window_bp
    loci, signals, counts = [], [], {}
    for method, rows in hits.items():
        found = find_loci(rows, correlations, window, settings.clump_r2)
        counts[method] = len(found)
        for locus in found:
            own: list[dict[str, Any]] | None = None
            if locus["phenotype"] in cohort.tested:
                own = _signals(packed, locus, thresholds[method], cohort, offsets)
                signals += [{"method": method, "lead": locus["position"], **one} for one in own]
            near = genes is not None and nearest_gene(genes, locus["contig"], locus["position"])
            place = (locus["contig"], locus["start"], locus["end"])
            loci.append(
                {
                    "method": method,
                    **locus,
                    "n_signals": None if own is None else len(own),
                    "nearest_gene": near[0] if near else None,
                    "gene_distance_bp": near[1] if near else None,
                    "published": None
                    if published is None
                    else is_published(published, *place, window),
                }
            )
    write_rows(loci, LOCI, f"{folder}/{LOCI.name}")
    write_rows(signals, SIGNALS, f"{folder}/{SIGNALS.name}")
    leads = pd.DataFrame(loci, columns=VARIANT).drop_duplicates()
    linked = [_ld(packed, lead, people) for lead in leads.itertuples()]
    table = pd.concat(linked) if linked else pd.DataFrame(columns=LD.schema.names)
    columns: dict[str, Any] = {name: table[name].to_numpy() for name in LD.schema.names}
    write_columns(columns, LD, f"{folder}/{LD.name}")
    nearby: list[dict[str, Any]] = []
    if genes is not None and len(leads):
        stretches = [
            genes_within(genes, lead.contig, *_stretch(lead.position))
            for lead in leads.itertuples()
        ]
        nearby = pd.concat(stretches).drop_duplicates().to_dict("records")
    write_rows(nearby, NEARBY_GENES, f"{folder}/{NEARBY_GENES.name}")
    return counts


def _stretch(position: int) -> tuple[int, int]:
    return position - NEIGHBOUR_BP, position + NEIGHBOUR_BP


def _ld(packed: Packed, lead: Any, people: NDArray[np.int64]) -> pd.DataFrame:
    """r² of a lead variant (contig, position, ref, alt) with each neighbour, itself among them."""
    places = _nearest(packed, lead.contig, *_stretch(lead.position), lead.position)
    found = packed.named(places)
    own = (found[["position", "ref", "alt"]] == [lead.position, lead.ref, lead.alt]).all(axis=1)
    r2 = _products(packed, int(places[np.flatnonzero(own)[0]]), places, people) ** 2
    names = {"lead": lead.position, "lead_ref": lead.ref, "lead_alt": lead.alt}
    return found[VARIANT].assign(**names, r2=np.minimum(r2.astype(float), 1.0))


def _nearest(packed: Packed, contig: str, start: int, end: int, position: int) -> NDArray[np.int64]:
    """The places of the variants from `start` to `end`, in order, and of more than `MAX_NEIGHBOURS`
    those nearest to a position."""
    sites = packed.sites
    places = np.flatnonzero((sites["contig"] == contig) & sites["position"].between(start, end))
    far = np.abs(sites["position"].to_numpy()[places] - position)
    return np.sort(places[np.argsort(far, kind="stable")[:MAX_NEIGHBOURS]])


def hits_of(tests: Tests, method: str, threshold: float) -> pd.DataFrame:
    """The tests of a method that pass its threshold.

    Raises `DataError` where they are more than `MOST_HITS`, which the driver would have to hold.
    """
    if method in tests.groups:
        rows = tests.associations.filter(F.col("phenotype").isin(list(tests.groups[method])))
    else:
        rows = (
            tests.omnibus.filter(F.col("model") == method.removesuffix(" omnibus"))
            .withColumn("phenotype", F.lit(method))
            .withColumn("beta", F.lit(None).cast("double"))
            .withColumn("se", F.lit(None).cast("double"))
            .select(tests.associations.columns)
        )
    hits = rows.filter(F.col("neg_log10_p") >= threshold).limit(MOST_HITS + 1).toPandas()
    if len(hits) > MOST_HITS:
        raise DataError(
            f"More than {MOST_HITS:,} tests of the method {method} pass its threshold: they are "
            f"inflated. Look at its lambda in the summary of associations; more components, or "
            f"gwas.null_model: whole_genome, may be missing."
        )
    return hits


def correlations_of(
    packed: Packed, variants: pd.DataFrame, people: NDArray[np.int64]
) -> Correlations:
    """The correlations among significant variants, whose genotypes are read when they are asked
    for: however many there are, a few are in memory."""
    places = packed.rows(variants)
    index = pd.MultiIndex.from_frame(packed.named(places)[VARIANT])

    def of(lead: pd.DataFrame, others: pd.DataFrame) -> NDArray[np.float32]:
        one, more = (
            places[index.get_indexer(pd.MultiIndex.from_frame(frame[VARIANT]))]
            for frame in (lead, others)
        )
        return _products(packed, int(one[0]), more, people)

    return of


def _products(
    packed: Packed, lead: int, places: NDArray[np.int64], people: NDArray[np.int64]
) -> NDArray[np.float32]:
    """r of the variant at one place with those at others, some read at a time."""
    own = standardised(packed.calls.read(np.array([lead]), people))[0]
    pieces = [standardised(calls) @ own for calls in _batches(packed, places, people)]
    return np.concatenate([np.empty(0, np.float32), *pieces])


def _batches(
    packed: Packed, places: NDArray[np.int64], people: NDArray[np.int64]
) -> Iterator[NDArray[np.int8]]:
    """The calls of the variants at some places, in their order, a few variants at a time."""
    step = max(1, BATCH_BYTES // (8 * len(people)))
    for start in range(0, len(places), step):
        yield packed.calls.read(places[start : start + step], people)


def _signals(
    packed: Packed,
    locus: Mapping[str, Any],
    threshold: float,
    cohort: Cohort,
    offsets: Offsets,
) -> list[dict[str, Any]]:
    """The independent signals of a locus, the lead variant's first as a rule."""
    name, stretch = locus["phenotype"], (locus["start"], locus["end"])
    places = _nearest(packed, locus["contig"], *stretch, locus["position"])
    y = cohort.tested[name].dropna()
    if offsets.loco is not None:
        y = y - offsets.loco.without(locus["contig"]).loc[y.index, name]
    people = packed.places(list(y.index))
    terms = cohort.terms.loc[y.index].to_numpy(float)

    def genotypes() -> Iterator[NDArray[np.float32]]:
        return map(centred, _batches(packed, places, people))

    chosen = independent_signals(genotypes, y, terms, threshold, offsets.relatives)
    sites = packed.named(places[[one.variant for one in chosen]]).to_dict("records")
    found = []
    for order, (site, one) in enumerate(zip(sites, chosen, strict=True), 1):
        numbers = {"beta": one.beta, "se": one.se, "neg_log10_p": one.neg_log10_p}
        found.append({**site, "phenotype": name, "step": order, **numbers})
    return found
