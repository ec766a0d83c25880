"""Quality control of samples and variants, with what each filter left."""

from dataclasses import asdict, dataclass
from typing import Any

import hail as hl

from ecg_spark.errors import DataError
from ecg_spark.genetics.genotypes import called
from ecg_spark.study import Genotypes

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
    """Leave out poorly genotyped samples, then poor variants; count at each filter.

    Samples by call rate; variants by unknown or repeated alleles, call rate, minor allele
    frequency and Hardy-Weinberg. The Hardy-Weinberg test (exact, Wigginton et al. 2005) is for an
    excess of heterozygotes alone: genotyping errors make one, while several populations in one
    sample make a lack of them (`--hwe keep-fewhet` of plink2). Variants keep `call_rate` and `af`
    (of the alternate allele), samples `sample_call_rate`.

    Raises `DataError` that names the filter which left no sample or no variant.
    """
    genotypes = genotypes.annotate_cols(
        call_rate=hl.agg.fraction(hl.is_defined(genotypes.n_alt)), n_rows=hl.agg.count()
    )
    samples = genotypes.cols().checkpoint(f"{scratch}/samples.ht", overwrite=True)
    n_samples = samples.count()
    n_variants = samples.aggregate(hl.agg.max(samples.n_rows)) or 0
    left = [Left("as imported", n_samples, n_variants)]
    _require(left, settings)
    good = samples.filter(samples.call_rate >= settings.min_sample_call_rate)
    left.append(
        Left(f"sample call rate ≥ {settings.min_sample_call_rate:g}", good.count(), n_variants)
    )
    _require(left, settings)
    genotypes = genotypes.drop("call_rate", "n_rows")
    if left[-1].samples < n_samples:
        genotypes = genotypes.semi_join_cols(good)
    genotypes = genotypes.distinct_by_row()

    call = called(genotypes.n_alt)
    counted = genotypes.select_rows(
        "rsid",
        call_rate=hl.agg.fraction(hl.is_defined(genotypes.n_alt)),
        af=hl.agg.mean(genotypes.n_alt) / 2,
        n_calls=hl.struct(
            hom_ref=hl.int32(hl.agg.count_where(call == 0)),
            het=hl.int32(hl.agg.count_where(call == 1)),
            hom_alt=hl.int32(hl.agg.count_where(call == 2)),
        ),
    ).rows()
    counted = counted.checkpoint(f"{scratch}/variants.ht", overwrite=True)
    n = counted.n_calls
    hwe_p = hl.hardy_weinberg_test(n.hom_ref, n.het, n.hom_alt, one_sided=True).p_value
    unknown = hl.literal(set(UNKNOWN_ALLELES))
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
        f"Hardy-Weinberg p ≥ {settings.min_hwe_p:g} (excess of heterozygotes)": (
            hwe_p >= settings.min_hwe_p
        ),
    }
    passed = hl.bool(True)
    counts = []
    for condition in filters.values():
        passed = passed & hl.coalesce(condition, False)
        counts.append(hl.agg.count_where(passed))
    for name, count in zip(filters, counted.aggregate(tuple(counts)), strict=True):
        left.append(Left(name, left[-1].samples, count))
    _require(left, settings)
    kept = counted.filter(passed).select("call_rate", "af")
    genotypes = genotypes.semi_join_rows(kept)
    genotypes = genotypes.annotate_rows(**kept[genotypes.row_key])
    return genotypes.annotate_cols(sample_call_rate=samples[genotypes.s].call_rate), left


def _require(left: list[Left], settings: Genotypes) -> None:
    for one in left:
        if not one.samples or not one.variants:
            what = "sample" if not one.samples else "variant"
            raise DataError(
                f"No {what} of {settings.path} is left after the filter '{one.filter}': "
                f"loosen it under genotypes in the study file, or check that the files lie on "
                f"{settings.reference_genome}."
            )
