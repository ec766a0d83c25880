"""The loci of every method, with their signals, nearest genes and published loci."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
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
from ecg_spark.genetics.findings.describing import Known, describe_regions
from ecg_spark.genetics.findings.modifiers import modifiers_of
from ecg_spark.genetics.findings.published import cut_to_regions
from ecg_spark.genetics.findings.regions import (
    FLANK_BP,
    MOST_VARIANTS,
    Region,
    regions_of,
)
from ecg_spark.genetics.genotypes.packed import Packed, standardised
from ecg_spark.genetics.genotypes.parts import BATCH_BYTES
from ecg_spark.genetics.null_model.cohort import Cohort
from ecg_spark.genetics.outputs.reading import Cohort as Published
from ecg_spark.genetics.outputs.tables import LOCI, NEARBY_GENES
from ecg_spark.genetics.testing.gene_table import read_consequences
from ecg_spark.genetics.testing.results import Question
from ecg_spark.store import remove_folder
from ecg_spark.study import Genotypes, Gwas
from ecg_spark.tables import TOGETHER, VARIANT, write_rows

MOST_HITS = 500_000
"""The most significant tests of a method that are accepted; more can only be due to inflation."""


@dataclass(frozen=True)
class Tests:
    """The published tests.

    Attributes:
        associations: the table of single tests.
        omnibus: the table of omnibus tests.
        groups: the phenotypes of each group.
        thresholds: the threshold of each method, as -log10 p.
    """

    associations: DataFrame
    omnibus: DataFrame
    groups: Mapping[str, Sequence[str]]
    thresholds: Mapping[str, float]


@dataclass(frozen=True)
class Annotation:
    """The tables by which loci are described; each None or empty if the study names none.

    Attributes:
        genes: positions of genes.
        published: positions of published loci.
        gene_table: the path of a table of variants' consequences, and its build.
        colocalise: published statistics to colocalise with.
    """

    genes: pd.DataFrame | None
    published: pd.DataFrame | None
    gene_table: tuple[str, str] | None  # its path and its build
    colocalise: Sequence[Published] = ()


def read_annotation(settings: Gwas, reference_genome: str) -> Annotation:
    """Read the tables of genes and of published loci that a study names.

    Raises:
        DataError: if one cannot be used.
    """
    of_genes = settings.rare and settings.rare.genes
    return Annotation(
        read_gene_positions(settings.genes) if settings.genes else None,
        read_published(settings.published) if settings.published else None,
        (of_genes, reference_genome) if of_genes else None,
    )


def write_loci(
    spark: SparkSession,
    packed: Packed,
    tests: Tests,
    cohort: Cohort,
    questions: Mapping[int, Question],
    settings: Gwas,
    thresholds: Genotypes,
    annotation: Annotation,
    sites: DataFrame,
    folder: str,
) -> tuple[dict[str, int], list[str]]:
    """Find the loci of every method, and write the tables loci and nearby_genes and those of the
    regions around the loci (see `regions`).

    A method is a key of `tests.thresholds`: a group of phenotypes, or the omnibus test of a group.

    Args:
        packed: the variants that were to be tested, with the number of their `set`.
        questions: what the variants of each set were tested for, by the number of the set.
        thresholds: what a variant must pass to be tested.
        sites: contig, position, ref and alt of the variants.

    Returns:
        The number of loci of each method, and notes.

    Raises:
        DataError: if more than `MOST_HITS` tests of a method pass its threshold.
    """
    hits = {method: hits_of(tests, method, least) for method, least in tests.thresholds.items()}
    people = packed.places(list(cohort.terms.index))
    correlations = correlations_of(packed, significant_variants(list(hits.values())), people)
    genes, published = annotation.genes, annotation.published
    window = settings.clump_window_bp
    loci: list[dict[str, Any]] = []
    for method, rows in hits.items():
        for locus in find_loci(rows, correlations, window, settings.clump_r2):
            near = genes is not None and nearest_gene(genes, locus["contig"], locus["position"])
            place = (locus["contig"], locus["start"], locus["end"])
            known = None if published is None else is_published(published, *place, window)
            loci.append(
                {
                    "method": method,
                    **locus,
                    "nearest_gene": near[0] if near else None,
                    "gene_distance_bp": near[1] if near else None,
                    "published": known,
                }
            )
    regions = regions_of(packed, loci)
    groups = {name: key for key, members in tests.groups.items() for name in members}
    groups |= {
        method: method.removesuffix(TOGETHER) for method in hits if method not in tests.groups
    }
    consequences = None
    if annotation.gene_table:
        stretches = [(region.contig, region.start, region.end) for region in regions]
        consequences = read_consequences(*annotation.gene_table, stretches)
    told = Known(
        packed.samples, questions, thresholds, modifiers_of(cohort), groups, genes, consequences
    )
    if annotation.colocalise and regions:
        scratch = f"{folder}/.published"
        cut_to_regions(spark, annotation.colocalise, sites, regions, scratch)
        signals = describe_regions(spark, regions, replace(told, published=scratch), folder)
        remove_folder(scratch)
    else:
        signals = describe_regions(spark, regions, told, folder)
    for region in regions:
        own = signals[signals["region"] == region.number]
        for number in region.loci:
            loci[number] |= _signals_of(number, region, loci, own)
    write_rows(loci, LOCI, f"{folder}/{LOCI.name}")
    nearby: list[dict[str, Any]] = []
    if genes is not None and loci:
        stretches = [
            genes_within(
                genes, one["contig"], one["position"] - FLANK_BP, one["position"] + FLANK_BP
            )
            for one in loci
        ]
        nearby = pd.concat(stretches).drop_duplicates().to_dict("records")
    write_rows(nearby, NEARBY_GENES, f"{folder}/{NEARBY_GENES.name}")
    counts = {method: sum(one["method"] == method for one in loci) for method in hits}
    return counts, _notes(regions, signals)


def _notes(regions: Sequence[Region], signals: pd.DataFrame) -> list[str]:
    """What fine-mapping could not do."""
    notes = []
    if left_out := sum(len(region.loci) for region in regions if not region.is_whole):
        notes.append(
            f"{left_out} loci are not fine-mapped: more than {MOST_VARIANTS:,} variants lie about "
            f"them, as where linkage reaches far"
        )
    if unsure := int((~signals["has_converged"].astype(bool)).sum()):
        notes.append(
            f"{unsure} of {len(signals)} signals are provisional: their fit did not converge "
            f"(has_converged in the table signals)"
        )
    return notes


def _signals_of(
    number: int, region: Region, loci: Sequence[Mapping[str, Any]], signals: pd.DataFrame
) -> dict[str, Any]:
    """The columns of `loci` on the signals of a locus's phenotype.

    A signal counts for the locus if it is nearer to it than to any other locus of the same method
    in the region.
    """
    locus = loci[number]
    nothing: dict[str, Any] = {"set_variants": None, "set_pip": None}
    nothing |= {"set_genes": [], "set_consequences": []}
    if not region.is_whole:
        return {"n_signals": None, **nothing}
    rivals = [one for one in region.loci if loci[one]["method"] == locus["method"]]
    rivals = [one for one in rivals if locus["phenotype"] in loci[one]["phenotypes"]]
    own = signals[signals["phenotype"] == locus["phenotype"]].sort_values("signal")
    at = own["position"].to_numpy()[:, None]
    starts, ends = (np.array([loci[one][key] for one in rivals]) for key in ("start", "end"))
    away = np.maximum(np.maximum(starts - at, at - ends), 0)
    own = own[away.argmin(axis=1) == rivals.index(number)]
    if own.empty:
        return {"n_signals": 0, **nothing}
    strongest = own.iloc[0]
    return {
        "n_signals": len(own),
        "set_variants": strongest["n_variants"],
        "set_pip": strongest["probability"],
        "set_genes": list(strongest["genes"]),
        "set_consequences": list(strongest["consequences"]),
    }


def hits_of(tests: Tests, method: str, threshold: float) -> pd.DataFrame:
    """The tests of a method that pass its threshold; raises what `passing` raises."""
    if method in tests.groups:
        rows = tests.associations.filter(F.col("phenotype").isin(list(tests.groups[method])))
    else:
        rows = (
            tests.omnibus.filter(F.col("model") == method.removesuffix(TOGETHER))
            .withColumn("phenotype", F.lit(method))
            .withColumn("beta", F.lit(None).cast("double"))
            .withColumn("se", F.lit(None).cast("double"))
            .select(tests.associations.columns)
        )
    return passing(rows, threshold, f"the method {method}")


def passing(tests: DataFrame, threshold: float, of: str) -> pd.DataFrame:
    """The rows of some tests, which messages say are `of` something, with at least this -log10 p.

    Raises `DataError` where they are more than `MOST_HITS`, which the driver would have to hold.
    """
    hits = tests.filter(F.col("neg_log10_p") >= threshold).limit(MOST_HITS + 1).toPandas()
    if len(hits) > MOST_HITS:
        raise DataError(
            f"More than {MOST_HITS:,} tests of {of} pass their threshold: they are inflated. Look "
            f"at their lambda in the summary of associations; more components, or "
            f"gwas.null_model: whole_genome, may be missing."
        )
    return hits


def correlations_of(
    packed: Packed, variants: pd.DataFrame, people: NDArray[np.int64]
) -> Correlations:
    """The correlations among significant variants.

    Genotypes are read when a correlation is asked for, a few at a time, however many variants
    there are.

    Args:
        variants: contig, position, ref and alt.
        people: places of the people analysed in the set.
    """
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
    """The correlation of one variant with others, which are read a few at a time."""
    own = standardised(packed.calls.read(np.array([lead]), people))[0]
    pieces = [standardised(calls) @ own for calls in _batches(packed, places, people)]
    return np.concatenate([np.empty(0, np.float32), *pieces])


def _batches(
    packed: Packed, places: NDArray[np.int64], people: NDArray[np.int64]
) -> Iterator[NDArray[np.int8]]:
    """The calls of variants in their order, a few variants at a time."""
    step = max(1, BATCH_BYTES // (8 * len(people)))
    for start in range(0, len(places), step):
        yield packed.calls.read(places[start : start + step], people)
