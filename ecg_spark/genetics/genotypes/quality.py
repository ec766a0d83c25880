"""Quality control of samples and variants, with what each filter left."""

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import hail as hl
import pandas as pd

from ecg_spark.errors import DataError
from ecg_spark.flow import SAMPLES, VARIANTS, Row, flow_rows
from ecg_spark.genetics.genotypes.criteria import (
    NO_VARIATION,
    ROUNDING,
    as_reason,
    frequency_criteria,
    minor_alleles,
    quality_criteria,
    variant_counts,
    varies,
)
from ecg_spark.genetics.genotypes.reading import called
from ecg_spark.ids import read_id_list
from ecg_spark.study import Genotypes

log = logging.getLogger(__name__)

Filter = tuple[str, str, Callable[[pd.DataFrame], pd.Series]]
"""A filter of samples: its name, the reason for leaving the others out, whom of those left it
keeps."""

UNKNOWN_ALLELES = ("*", ".", "0")
_REASONS = {
    "no repeated variant": "repeated variant",
    "known alleles": "unknown allele",
    NO_VARIATION: "does not vary in all genotyped",
}


SHARE_ANALYSED = 0.1
"""The smallest share of the genotyped people who must be analysed for no variant to be missed: one
that reaches `min_maf` among these has at least this part of it among all."""


@dataclass(frozen=True)
class Left:
    """How many samples and variants were left after a filter, and why the others were not."""

    filter: str
    samples: int
    variants: int
    reason: str = ""

    def row(self) -> dict[str, Any]:
        """The count as a row of the published table."""
        return {"filter": self.filter, "samples": self.samples, "variants": self.variants}


@dataclass(frozen=True)
class Checked:
    """A genotype set after quality control, what each filter left, and the rows of `flow`."""

    genotypes: hl.MatrixTable
    left: list[Left]
    flow: list[Row]


def quality_control(
    genotypes: hl.MatrixTable,
    settings: Genotypes,
    scratch: str,
    among: tuple[str, Collection[str]] | None = None,
) -> Checked:
    """Leave out poor samples, then poor variants; count at each filter.

    Samples that are not `among` those of another set, of which the first item is the key; samples
    by the lists `settings.exclude` and `settings.keep`, call rate and heterozygosity;
    variants on Y, which women lack, by unknown or repeated alleles, and by the criteria of
    `criteria` over the samples left. Variants that fail those of frequency alone stay: with
    `is_common` false, and `is_candidate` true where they may pass them among the people analysed
    (as long as these are at least `SHARE_ANALYSED` of all); the others are for the tests of rare
    variants. Variants keep `call_rate` and `af` (of the alternate allele), samples
    `sample_call_rate`.

    Raises `DataError` that names the filter which left no sample or no variant.
    """
    # Read, and refused, before the hours of counting.
    listed = _listed(settings, genotypes.s.collect())
    call = called(genotypes.n_alt)
    on_y = _is_on_y(genotypes.locus)
    genotypes = genotypes.annotate_cols(
        call_rate=hl.agg.filter(~on_y, hl.agg.fraction(hl.is_defined(genotypes.n_alt))),
        n_rows=hl.agg.count(),
        n_on_y=hl.agg.count_where(on_y),
        heterozygosity=hl.agg.filter(
            hl.is_defined(call) & genotypes.locus.in_autosome(), hl.agg.fraction(call == 1)
        ),
    )
    samples = genotypes.cols().checkpoint(f"{scratch}/samples.ht", overwrite=True)
    fields = ("call_rate", "n_rows", "n_on_y", "heterozygosity")
    table = samples.select(*fields).to_pandas().set_index("s")
    n_variants = int(table["n_rows"].max()) if len(table) else 0
    left = [Left("as imported", len(table), n_variants)]
    if n_on_y := int(table["n_on_y"].max()) if len(table) else 0:
        n_variants -= n_on_y
        left.append(Left("not on chromosome Y", len(table), n_variants, "on chromosome Y"))
        genotypes = genotypes.filter_rows(~_is_on_y(genotypes.locus))
    _require(left, settings)
    good = table
    if among is not None:
        name = f"in the checked set {among[0]}"
        listed.append((name, f"not {name}", _membership(set(among[1]), True)))
    for name, reason, chosen in [*listed, *_sample_filters(settings)]:
        good = good[chosen(good)]
        left.append(Left(name, len(good), n_variants, reason))
        _require(left, settings)
    n_samples = len(table)
    genotypes = genotypes.drop(*fields)
    if left[-1].samples < n_samples:
        chosen = hl.literal(set(good.index), hl.tset(hl.tstr))
        genotypes = genotypes.filter_cols(chosen.contains(genotypes.s))
    genotypes = genotypes.distinct_by_row()

    counted = genotypes.select_rows("rsid", **variant_counts(genotypes.n_alt)).rows()
    counted = counted.checkpoint(f"{scratch}/variants.ht", overwrite=True)
    known = ~counted.alleles.any(hl.literal(set(UNKNOWN_ALLELES)).contains)
    alleles = {"no repeated variant": hl.bool(True), "known alleles": known}
    quality, frequency = (
        {name: hl.coalesce(passes, False) for name, passes in criteria(counted, settings).items()}
        for criteria in (quality_criteria, frequency_criteria)
    )
    call_rate = next(iter(quality))  # told before the frequencies
    filters = alleles | {call_rate: quality[call_rate]} | frequency
    filters |= {"not the same in everybody": varies(counted)} | quality
    kept = hl.all(varies(counted), *alleles.values(), *quality.values())
    minor, least = minor_alleles(counted), SHARE_ANALYSED * settings.min_maf
    candidates = {
        NO_VARIATION: varies(counted),
        "too rare in all genotyped for any choice of people": (
            (minor >= settings.min_mac - ROUNDING) & (minor >= 2 * least * counted.dosages.n)
        ),
    }
    flow_filters = alleles | quality | candidates
    counts = counted.aggregate((_passing(filters), _passing(flow_filters)))
    for name, count in zip(filters, counts[0], strict=True):
        left.append(Left(name, left[-1].samples, count))
    _require(left, settings)
    kept_rows = counted.select(
        "call_rate",
        "af",
        is_common=hl.all(*filters.values()),
        is_candidate=hl.all(kept, *candidates.values()),
        is_kept=kept,
    )
    kept_rows = kept_rows.filter(kept_rows.is_kept).drop("is_kept")
    genotypes = genotypes.semi_join_rows(kept_rows)
    genotypes = genotypes.annotate_rows(**kept_rows[genotypes.row_key])
    genotypes = genotypes.annotate_cols(sample_call_rate=samples[genotypes.s].call_rate)
    left_out = dict(hl.eval(genotypes.left_out))
    before = [one for one in left if one.reason == "on chromosome Y"]
    left_out |= {one.reason: left[0].variants - one.variants for one in before}
    now = n_variants
    for name, count in zip(flow_filters, counts[1], strict=True):
        left_out[_REASONS.get(name, as_reason(name))] = now - count
        now = count
    came_in = now + sum(left_out.values())
    flow = flow_rows("genotypes", SAMPLES, *_samples_of(left))
    return Checked(genotypes, left, flow + flow_rows("genotypes", VARIANTS, came_in, left_out, now))


def _is_on_y(locus: hl.LocusExpression) -> hl.BooleanExpression:
    return hl.literal(set(locus.dtype.reference_genome.y_contigs)).contains(locus.contig)


def _passing(filters: dict[str, hl.BooleanExpression]) -> hl.TupleExpression:
    """How many rows pass the first filter, the first two, and so on."""
    conditions = list(filters.values())
    return hl.tuple(
        [hl.agg.count_where(hl.all(*conditions[: i + 1])) for i in range(len(conditions))]
    )


def _samples_of(left: list[Left]) -> tuple[int, dict[str, int], int]:
    """How many samples came in, were left out by reason, and went on."""
    out: dict[str, int] = {}
    for before, after in pairwise(left):
        if after.samples < before.samples:
            out[after.reason] = before.samples - after.samples
    return left[0].samples, out, left[-1].samples


def _listed(settings: Genotypes, samples: list[str]) -> list[Filter]:
    """The filters of the lists that a study names, told with how many of their ids are there.

    Raises `DataError` where a list cannot be read, or none of its ids is a sample's.
    """
    filters: list[Filter] = []
    for key, name, reason in (
        ("exclude", "not in the list of the excluded", "in the list genotypes.exclude"),
        ("keep", "in the list of those to keep", "not in the list genotypes.keep"),
    ):
        if path := getattr(settings, key):
            found, note = read_id_list(path, f"list genotypes.{key}").among(samples)
            log.info("genotypes: %s", note)
            filters.append((f"{name} ({note})", reason, _membership(found, key == "keep")))
    return filters


def _membership(ids: set[str], wanted: bool) -> Callable[[pd.DataFrame], pd.Series]:
    return lambda table: pd.Series(table.index.isin(list(ids)) == wanted, table.index)


def _sample_filters(settings: Genotypes) -> list[Filter]:
    """Names of the filters of samples by their calls, and what each keeps of those left."""
    limit = settings.max_heterozygosity_sd
    return [
        (
            f"sample call rate ≥ {settings.min_sample_call_rate:g}",
            f"sample call rate < {settings.min_sample_call_rate:g}",
            lambda t: t["call_rate"] >= settings.min_sample_call_rate,
        ),
        (
            f"heterozygosity within {limit:g} standard deviations",
            f"heterozygosity beyond {limit:g} standard deviations",
            lambda t: (
                (
                    (t["heterozygosity"] - t["heterozygosity"].mean()).abs()
                    <= limit * t["heterozygosity"].std(ddof=0) + 1e-12
                )
                | t["heterozygosity"].isna()  # no autosome
            ),
        ),
    ]


def _require(left: list[Left], settings: Genotypes) -> None:
    for one in left:
        if not one.samples or not one.variants:
            what = "sample" if not one.samples else "variant"
            raise DataError(
                f"No {what} of the genotype set is left after the filter '{one.filter}': "
                f"loosen it under genotypes in the study file, or check that the files lie on "
                f"{settings.reference_genome}."
            )
