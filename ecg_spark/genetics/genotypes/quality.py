"""Quality control of samples and variants, with the counts that remain after each filter."""

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from ecg_spark.errors import DataError
from ecg_spark.flow import SAMPLES, VARIANTS, Row, flow_rows
from ecg_spark.genetics.genotypes.contigs import AUTOSOMES, CONTIGS
from ecg_spark.genetics.genotypes.packed import MISSING
from ecg_spark.genetics.genotypes.parts import (
    Batch,
    GenotypeSet,
)
from ecg_spark.genetics.genotypes.reading import Imported
from ecg_spark.genetics.genotypes.rows import NO_DOSAGE, Rows, as_calls, in_order
from ecg_spark.genetics.genotypes.thresholds import (
    NO_VARIATION,
    ROUNDING,
    as_reason,
    frequency_criteria,
    quality_criteria,
    tallies,
)
from ecg_spark.genetics.genotypes.writing import (
    WRITTEN,
    told,
    write_part,
    write_parts,
    written,
)
from ecg_spark.ids import read_id_list
from ecg_spark.study import Genotypes
from ecg_spark.tables import VARIANT

log = logging.getLogger(__name__)

Filter = tuple[str, str, Callable[[pd.DataFrame], pd.Series]]
"""A filter of samples: its name, the reason given for those it leaves out, and a function from the
table of the remaining samples to whether each is kept."""

UNKNOWN_ALLELES = {"*", ".", "0"}
_REASONS = {
    "no repeated variant": "repeated variant",
    "known alleles": "unknown allele",
    NO_VARIATION: "does not vary in all genotyped",
}


LENIENT = 0.8
"""The call rate of a sample is computed over variants with at least this call rate (or the study's
threshold, if that is lower): a variant that failed says nothing about the sample."""

FEWEST_OF_ANCESTRY = 20
"""People of an ancestry, of fewer of whom nothing is made and their number is not told."""

SHARE_ANALYSED = 0.1
"""The share of the genotyped people who must be analysed for no variant to be missed: a variant
that reaches `min_maf` among these has at least this share of `min_maf` among all."""


@dataclass(frozen=True)
class RemainingCounts:
    """How many samples and variants remain after a filter.

    Attributes:
        filter: the name of the filter.
        reason: why the others were left out.
    """

    filter: str
    samples: int
    variants: int
    reason: str = ""

    def row(self) -> dict[str, Any]:
        """The counts as a row of the published table."""
        return {"filter": self.filter, "samples": self.samples, "variants": self.variants}


@dataclass(frozen=True)
class Checked:
    """A genotype set after quality control.

    Attributes:
        by_sample: `call_rate` and `heterozygosity` of each sample that is kept.
        left: what remained after each filter, in their order.
        flow: rows of the table `flow`.
    """

    genotypes: GenotypeSet
    by_sample: pd.DataFrame
    left: list[RemainingCounts]
    flow: list[Row]


def quality_control(
    spark: SparkSession,
    imported: Imported,
    settings: Genotypes,
    folder: str,
    among: tuple[str, Collection[str]] | None = None,
    joins: GenotypeSet | None = None,
    ancestry: pd.Series | None = None,
) -> Checked:
    """Leave out poor samples, then poor variants, and count what remains after each filter.

    Samples are filtered by `among`, the lists `settings.exclude` and `settings.keep`, and their
    call rate (see `LENIENT`). Variants are left out on Y, which women lack; if an allele is unknown
    or the variant is repeated; and by the criteria of `thresholds` over the remaining samples.
    Variants that fail only the criteria of frequency stay, for the tests of rare variants:
    `is_common` is false for these, and `is_candidate` is true if they may still pass among the
    people analysed, as long as these are at least `SHARE_ANALYSED` of all, or of one population.

    The remaining variants are written into `folder`, with `call_rate`, `af` (of the alternate
    allele) and `set`, the number of the genotype set that they come from.

    Args:
        among: the key of another genotype set in the study file, and its samples: only these are
            kept.
        joins: a set that this one extends, in the same folder. The result has the samples of that
            set, and the variants of both; a sample that this set lacks has no dosage of its
            variants.
        ancestry: the population of each sample by its id, None where it is of none.

    Raises:
        DataError: if a filter leaves no sample or no variant (the message names it), or if a list
            cannot be read.
    """
    raw = imported.genotypes
    # Read first, so that a bad list is refused before hours of counting.
    listed = _listed(settings, raw.samples)
    least = min(LENIENT, settings.min_variant_call_rate)
    table, n_on_y = _by_sample(spark, raw, least)
    n_variants = raw.variants
    left = [RemainingCounts("as imported", len(table), n_variants)]
    if n_on_y:
        n_variants -= n_on_y
        left.append(
            RemainingCounts("not on chromosome Y", len(table), n_variants, "on chromosome Y")
        )
    _require(left, settings)
    good = table
    if among is not None:
        name = f"in the checked set {among[0]}"
        listed.append((name, f"not {name}", _membership(set(among[1]), True)))
    for name, reason, keep in [*listed, *_sample_filters(settings)]:
        good = good[keep(good)]
        left.append(RemainingCounts(name, len(good), n_variants, reason))
        _require(left, settings)
    groups = [np.ones(len(good), bool)]
    if ancestry is not None:
        known = ancestry.reindex(good.index)
        sizes = known.value_counts()
        enough = sizes.index[sizes >= FEWEST_OF_ANCESTRY]
        groups += [(known == name).to_numpy() for name in enough]
    found, counted = _write(
        spark, raw, raw.samples.get_indexer(good.index), groups, settings, folder, joins
    )
    filters, flow_filters = (
        {name: int(sum(one[key].get(name, 0) for one in counted)) for name in counted[0][key]}
        for key in ("filters", "flow")
    )
    for name, count in filters.items():
        left.append(RemainingCounts(name, left[-1].samples, count))
    _require(left, settings)
    left_out = dict(imported.left_out)
    before = [one for one in left if one.reason == "on chromosome Y"]
    left_out |= {one.reason: left[0].variants - one.variants for one in before}
    now = n_variants
    for name, count in flow_filters.items():
        left_out[_REASONS.get(name, as_reason(name))] = now - count
        now = count
    came_in = now + sum(left_out.values())
    flow = flow_rows("genotypes", SAMPLES, *_samples_of(left))
    flow += flow_rows("genotypes", VARIANTS, came_in, left_out, now)
    return Checked(found, good, left, flow)


def _by_sample(
    spark: SparkSession, genotypes: GenotypeSet, least: float
) -> tuple[pd.DataFrame, int]:
    """The `call_rate` and `heterozygosity` of each sample, and how many variants are on Y.

    Computed over the variants with a call rate of at least `least`, or over all if there are none;
    without Y, and heterozygosity over autosomes only.
    """
    n = len(genotypes.samples)
    if not genotypes.parts:
        return pd.DataFrame({"call_rate": 0.0, "heterozygosity": np.nan}, genotypes.samples), 0

    def count(batches: Iterator[Batch]) -> NDArray[np.float64]:
        counts, sizes = np.zeros((2, 3, n)), np.zeros((2, 2))
        for batch in batches:
            chromosome = _chromosomes(batch.sites)
            on_y = chromosome == "Y"
            autosomal = np.isin(chromosome, AUTOSOMES)
            rows = batch.rows()
            calls = as_calls(rows, n)
            known = rows != NO_DOSAGE if rows.dtype == np.uint16 else calls != MISSING
            sound = known.mean(axis=1) >= least
            for k, own in enumerate((sound, ~sound)):
                sizes[k] += [(own & ~on_y).sum(), (own & on_y).sum()]
                counts[k, 0] += known[own & ~on_y].sum(axis=0)
                counts[k, 1] += (calls[own & autosomal] == 1).sum(axis=0)
                counts[k, 2] += (calls[own & autosomal] != MISSING).sum(axis=0)
        return np.concatenate([sizes.ravel(), counts.ravel()])

    total = genotypes.total(spark, count, ["contig"])
    sizes, counts = total[:4].reshape(2, 2), total[4:].reshape(2, 3, n)
    n_on_y = int(sizes[:, 1].sum())
    chosen = 0 if sizes[0, 0] else 1
    n_rows, (known, het, called) = int(sizes[chosen, 0]), counts[chosen]
    with np.errstate(invalid="ignore", divide="ignore"):
        table = pd.DataFrame(
            {"call_rate": known / n_rows, "heterozygosity": het / called}, genotypes.samples
        )
    return table, n_on_y


def _write(
    spark: SparkSession,
    genotypes: GenotypeSet,
    places: NDArray[np.int64],
    groups: Sequence[NDArray[np.bool_]],
    settings: Genotypes,
    folder: str,
    joins: GenotypeSet | None,
) -> tuple[GenotypeSet, list[Any]]:
    """Write the variants that pass in the samples at `places`, and count how many pass each
    filter. `groups` [places]: all of them, then those of each population of enough people.
    """
    n, number, first = len(genotypes.samples), 0, 0
    samples = genotypes.samples[places]
    columns: NDArray[np.int64] | None = None
    if joins is not None:
        number = 1 + int(joins.sites(["set"])["set"].max())
        first = 1 + joins.parts[-1].number
        columns = samples.get_indexer(joins.samples)
    everybody = len(places) == n and bool((places == np.arange(n)).all())

    def write(part: int, batches: Iterator[Batch]) -> Iterator[pa.RecordBatch]:
        counts: dict[str, dict[str, int]] = {"filters": {}, "flow": {}}
        last: tuple[Any, ...] = ()

        def passing() -> Iterator[Batch]:
            nonlocal last
            for batch in batches:
                keys = list(zip(*(batch.sites.column(k).to_pylist() for k in VARIANT), strict=True))
                repeated = np.array([a == b for a, b in pairwise([last, *keys])])
                last = keys[-1]
                looked_at = _chromosomes(batch.sites) != "Y"
                rows = batch.rows()[looked_at]
                rows = rows if everybody else in_order(rows, places)
                sites = batch.sites.filter(pa.array(looked_at))
                kept, table = _judged(sites, rows, repeated[looked_at], groups, settings, counts)
                rows = rows[kept] if columns is None else in_order(rows[kept], columns)
                table = table.filter(pa.array(kept))
                its_set = pa.array([number] * len(table), pa.int32())
                yield written(table.append_column("set", its_set), rows)

        return told(write_part(folder, passing(), first), counts)

    frame = genotypes.map(spark, write, WRITTEN)
    found, counted = write_parts(folder, samples if joins is None else joins.samples, frame)
    if joins is not None:
        found = GenotypeSet(folder, joins.samples, (*joins.parts, *found.parts))
    return found, counted


def _judged(
    sites: pa.Table,
    rows: Rows,
    repeated: NDArray[np.bool_],
    groups: Sequence[NDArray[np.bool_]],
    settings: Genotypes,
    counts: dict[str, dict[str, int]],
) -> tuple[NDArray[np.bool_], pa.Table]:
    """Which variants are kept, and the table of all with what was computed.

    Adds to `counts` how many variants pass each filter and all filters before it. `groups` is as in
    `_write`.
    """
    of_groups = tallies(rows, groups)
    found = of_groups[0]
    alleles = [sites.column(name).to_pylist() for name in ("ref", "alt")]
    unknown = np.array([bool(set(one) & UNKNOWN_ALLELES) for one in zip(*alleles, strict=True)])
    first = {"no repeated variant": ~repeated, "known alleles": ~unknown.astype(bool)}
    quality = quality_criteria(found, found, settings)
    frequency = frequency_criteria(found, settings)
    call_rate = next(iter(quality))  # reported before the criteria of frequency
    filters = first | {call_rate: quality[call_rate]} | frequency
    filters |= {"not the same in everybody": found.varies} | quality
    least = SHARE_ANALYSED * settings.min_maf
    candidates = {
        NO_VARIATION: found.varies,
        "too rare in all genotyped for any choice of people": np.logical_or.reduce(
            [
                (one.minor >= settings.min_mac - ROUNDING) & (one.minor >= 2 * least * one.known)
                for one in of_groups
            ]
        ),
    }
    for key, chain in (("filters", filters), ("flow", first | quality | candidates)):
        passes = np.ones(len(rows), bool)
        for name, own in chain.items():
            passes &= own
            counts[key][name] = counts[key].get(name, 0) + int(passes.sum())
    kept = np.logical_and.reduce([found.varies, *first.values(), *quality.values()])
    more = {
        "call_rate": found.known / max(found.people, 1),
        "af": found.af,
        "is_common": np.logical_and.reduce(list(filters.values())),
        "is_candidate": np.logical_and.reduce([kept, *candidates.values()]),
    }
    for name, values in more.items():
        sites = sites.append_column(name, pa.array(values))
    return kept, sites


def _chromosomes(sites: pa.Table) -> NDArray[np.object_]:
    """The chromosome of each variant."""
    return np.array([CONTIGS[name] for name in sites.column("contig").to_pylist()], object)


def _samples_of(left: list[RemainingCounts]) -> tuple[int, dict[str, int], int]:
    """How many samples came in, were left out by reason, and remain."""
    out: dict[str, int] = {}
    for before, after in pairwise(left):
        if after.samples < before.samples:
            out[after.reason] = before.samples - after.samples
    return left[0].samples, out, left[-1].samples


def _listed(settings: Genotypes, samples: pd.Index) -> list[Filter]:
    """The filters for the lists that the study names; their names say how many ids were found.

    Raises `DataError` if a list cannot be read, or if none of its ids is a sample's.
    """
    filters: list[Filter] = []
    for key, name, reason in (
        ("exclude", "not in the list of the excluded", "in the list genotypes.exclude"),
        ("keep", "in the list of those to keep", "not in the list genotypes.keep"),
    ):
        if path := getattr(settings, key):
            found, note = read_id_list(path, f"list genotypes.{key}").among(list(samples))
            log.info("genotypes: %s", note)
            filters.append((f"{name} ({note})", reason, _membership(found, key == "keep")))
    return filters


def _membership(ids: set[str], wanted: bool) -> Callable[[pd.DataFrame], pd.Series]:
    return lambda table: pd.Series(table.index.isin(list(ids)) == wanted, table.index)


def _sample_filters(settings: Genotypes) -> list[Filter]:
    """The filters of samples by their own genotypes."""
    return [
        (
            f"sample call rate ≥ {settings.min_sample_call_rate:g}",
            f"sample call rate < {settings.min_sample_call_rate:g}",
            lambda t: t["call_rate"] >= settings.min_sample_call_rate,
        ),
    ]


def _require(left: list[RemainingCounts], settings: Genotypes) -> None:
    for one in left:
        if not one.samples or not one.variants:
            what = "sample" if not one.samples else "variant"
            raise DataError(
                f"No {what} of the genotype set is left after the filter '{one.filter}': "
                f"loosen it under genotypes in the study file, or check that the files lie on "
                f"{settings.reference_genome}."
            )
