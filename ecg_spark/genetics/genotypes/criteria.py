"""What a variant must be to be tested: the thresholds of a study, on whatever people are counted.

They are applied twice: to all who are genotyped, for what structure and the whole-genome model
stand on, and to the people of each test.
"""

import hail as hl

from ecg_spark.genetics.genotypes.reading import called
from ecg_spark.genetics.genotypes.thresholds import (
    FREQUENCY_ROUNDING,
    NO_VARIATION,
    ROUNDING,
    as_reason,
    call_rate_name,
    hwe_name,
    info_name,
    mac_name,
    maf_name,
)
from ecg_spark.study import Genotypes

CONSTANT = 1e-6
"""Dosages that differ by no more than this are one."""


def variant_counts(n_alt: hl.Float64Expression) -> hl.StructExpression:
    """Of a variant, over the columns: `call_rate`, `af` of the alternate allele, statistics of the
    `dosages` and the number of calls of each genotype (`hom_ref`, `het`, `hom_alt`)."""
    call = called(n_alt)
    dosages = hl.agg.stats(n_alt)
    return hl.struct(
        call_rate=hl.agg.fraction(hl.is_defined(n_alt)),
        af=hl.agg.mean(n_alt) / 2,
        dosages=dosages,
        hom_ref=hl.int32(hl.agg.count_where(call == 0)),
        het=hl.int32(hl.agg.count_where(call == 1)),
        hom_alt=hl.int32(hl.agg.count_where(call == 2)),
    )


def quality_criteria(
    counts: hl.StructExpression, settings: Genotypes
) -> dict[str, hl.BooleanExpression]:
    """Whether a variant passes each threshold of quality, by its name.

    The Hardy-Weinberg test (exact, Wigginton et al. 2005) is for an excess of heterozygotes alone:
    genotyping errors make one, while several populations in one sample make a lack of them
    (`--hwe keep-fewhet` of plink2).
    """
    af, dosages = counts.af, counts.dosages
    hwe = hl.hardy_weinberg_test(counts.hom_ref, counts.het, counts.hom_alt, one_sided=True)
    return {
        call_rate_name(settings): (counts.call_rate >= settings.min_variant_call_rate),
        hwe_name(settings): (hwe.p_value >= settings.min_hwe_p),
        info_name(settings): (dosages.stdev**2 >= settings.min_info * 2 * af * (1 - af)),
    }


def frequency_criteria(
    counts: hl.StructExpression, settings: Genotypes
) -> dict[str, hl.BooleanExpression]:
    """Whether a variant passes each threshold of frequency, by its name."""
    minor = hl.min(counts.af, 1 - counts.af)
    return {
        maf_name(settings): minor >= settings.min_maf - FREQUENCY_ROUNDING,
        mac_name(settings): (minor_alleles(counts) >= settings.min_mac - ROUNDING),
    }


def varies(counts: hl.StructExpression) -> hl.BooleanExpression:
    """Whether not all dosages of a variant are one."""
    return counts.dosages.max - counts.dosages.min > CONSTANT


def minor_alleles(counts: hl.StructExpression) -> hl.Float64Expression:
    """How many of the alleles of a variant are the rarer one."""
    dosages = counts.dosages
    return hl.min(dosages.sum, 2 * dosages.n - dosages.sum)


def first_failed(counts: hl.StructExpression, settings: Genotypes) -> hl.StringExpression:
    """The first criterion that a variant fails, as a reason; missing where it fails none."""
    criteria = {NO_VARIATION: varies(counts)}
    criteria |= quality_criteria(counts, settings) | frequency_criteria(counts, settings)
    failed = hl.missing(hl.tstr)
    for name, passes in reversed(criteria.items()):
        failed = hl.if_else(hl.coalesce(passes, False), failed, as_reason(name))
    return failed
