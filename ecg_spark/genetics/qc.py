"""Quality control of samples and variants, with what each filter left."""

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import hail as hl
import pandas as pd

from ecg_spark.errors import DataError
from ecg_spark.genetics.genotypes import called
from ecg_spark.ids import read_id_list
from ecg_spark.study import Genotypes

log = logging.getLogger(__name__)

Filter = tuple[str, Callable[[pd.DataFrame], pd.Series]]
"""The name of a filter of samples, and which of those left it keeps."""

UNKNOWN_ALLELES = ("*", ".", "0")


@dataclass(frozen=True)
class Left:
    """How many samples and variants were left after a filter."""

    filter: str
    samples: int
    variants: int

    def row(self) -> dict[str, Any]:
        """The count as a row of the published table."""
        return asdict(self)


def quality_control(
    genotypes: hl.MatrixTable, settings: Genotypes, scratch: str
) -> tuple[hl.MatrixTable, list[Left]]:
    """Leave out poor samples, then poor variants; count at each filter.

    Samples by the lists `settings.exclude` and `settings.keep`, call rate and heterozygosity;
    variants by unknown or repeated alleles, call rate, minor allele frequency and count,
    imputation quality and Hardy-Weinberg. The Hardy-Weinberg test (exact, Wigginton et al. 2005) is
    for an excess of heterozygotes alone: genotyping errors make one, while several populations in
    one sample make a lack of them (`--hwe keep-fewhet` of plink2). Variants that fail the frequency
    or count alone stay, for the tests of rare variants, with `is_common` false. Variants keep
    `call_rate` and `af` (of the alternate allele), samples `sample_call_rate`.

    Raises `DataError` that names the filter which left no sample or no variant.
    """
    # Read, and refused, before the hours of counting.
    listed = _listed(settings, genotypes.s.collect())
    call = called(genotypes.n_alt)
    genotypes = genotypes.annotate_cols(
        call_rate=hl.agg.fraction(hl.is_defined(genotypes.n_alt)),
        n_rows=hl.agg.count(),
        heterozygosity=hl.agg.filter(
            hl.is_defined(call) & genotypes.locus.in_autosome(), hl.agg.fraction(call == 1)
        ),
    )
    samples = genotypes.cols().checkpoint(f"{scratch}/samples.ht", overwrite=True)
    table = samples.select("call_rate", "n_rows", "heterozygosity").to_pandas().set_index("s")
    n_variants = int(table["n_rows"].max()) if len(table) else 0
    left = [Left("as imported", len(table), n_variants)]
    _require(left, settings)
    good = table
    for name, chosen in [*listed, *_sample_filters(settings)]:
        good = good[chosen(good)]
        left.append(Left(name, len(good), n_variants))
        _require(left, settings)
    n_samples = len(table)
    genotypes = genotypes.drop("call_rate", "n_rows", "heterozygosity")
    if left[-1].samples < n_samples:
        chosen = hl.literal(set(good.index), hl.tset(hl.tstr))
        genotypes = genotypes.filter_cols(chosen.contains(genotypes.s))
    genotypes = genotypes.distinct_by_row()

    call = called(genotypes.n_alt)
    counted = genotypes.select_rows(
        "rsid",
        call_rate=hl.agg.fraction(hl.is_defined(genotypes.n_alt)),
        dosages=hl.agg.stats(genotypes.n_alt),
        n_calls=hl.struct(
            hom_ref=hl.int32(hl.agg.count_where(call == 0)),
            het=hl.int32(hl.agg.count_where(call == 1)),
            hom_alt=hl.int32(hl.agg.count_where(call == 2)),
        ),
    ).rows()
    counted = counted.annotate(af=counted.dosages.mean / 2)
    counted = counted.checkpoint(f"{scratch}/variants.ht", overwrite=True)
    n = counted.n_calls
    hwe_p = hl.hardy_weinberg_test(n.hom_ref, n.het, n.hom_alt, one_sided=True).p_value
    unknown = hl.literal(set(UNKNOWN_ALLELES))
    p, d = counted.af, counted.dosages
    filters = {
        "no repeated variant": True,
        "known alleles": ~counted.alleles.any(unknown.contains),
        f"variant call rate ≥ {settings.min_variant_call_rate:g}": (
            counted.call_rate >= settings.min_variant_call_rate
        ),
        f"minor allele frequency ≥ {settings.min_maf:g}": (
            (hl.min(counted.af, 1 - counted.af) >= settings.min_maf)
            & (counted.af > 0)
            & (counted.af < 1)
        ),
        f"minor allele count ≥ {settings.min_mac}": (
            hl.min(d.sum, 2 * d.n - d.sum) >= settings.min_mac
        ),
        f"Hardy-Weinberg p ≥ {settings.min_hwe_p:g} (excess of heterozygotes)": (
            hwe_p >= settings.min_hwe_p
        ),
        f"imputation quality ≥ {settings.min_info:g}": (
            d.stdev**2 >= settings.min_info * 2 * p * (1 - p)
        ),
    }
    passed = hl.bool(True)
    but_for_frequency = (counted.af > 0) & (counted.af < 1)
    counts = []
    for name, condition in filters.items():
        passed = passed & hl.coalesce(condition, False)
        if not name.startswith("minor allele"):
            but_for_frequency = but_for_frequency & hl.coalesce(condition, False)
        counts.append(hl.agg.count_where(passed))
    for name, count in zip(filters, counted.aggregate(tuple(counts)), strict=True):
        left.append(Left(name, left[-1].samples, count))
    _require(left, settings)
    kept = counted.select("call_rate", "af", is_common=passed, is_kept=but_for_frequency)
    kept = kept.filter(kept.is_kept).drop("is_kept")
    genotypes = genotypes.semi_join_rows(kept)
    genotypes = genotypes.annotate_rows(**kept[genotypes.row_key])
    return genotypes.annotate_cols(sample_call_rate=samples[genotypes.s].call_rate), left


def _listed(settings: Genotypes, samples: list[str]) -> list[Filter]:
    """The filters of the lists that a study names, told with how many of their ids are there.

    Raises `DataError` where a list cannot be read, or none of its ids is a sample's.
    """
    filters: list[Filter] = []
    for key, name in (
        ("exclude", "not in the list of the excluded"),
        ("keep", "in the list of those to keep"),
    ):
        if path := getattr(settings, key):
            found, note = read_id_list(path, f"list genotypes.{key}").among(samples)
            log.info("genotypes: %s", note)
            filters.append((f"{name} ({note})", _membership(found, key == "keep")))
    return filters


def _membership(ids: set[str], wanted: bool) -> Callable[[pd.DataFrame], pd.Series]:
    return lambda table: pd.Series(table.index.isin(list(ids)) == wanted, table.index)


def _sample_filters(settings: Genotypes) -> list[Filter]:
    """Names of the filters of samples by their calls, and what each keeps of those left."""
    limit = settings.max_heterozygosity_sd
    return [
        (
            f"sample call rate ≥ {settings.min_sample_call_rate:g}",
            lambda t: t["call_rate"] >= settings.min_sample_call_rate,
        ),
        (
            f"heterozygosity within {limit:g} standard deviations",
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
