"""The thresholds that a variant must pass, by their names, and what counts of calls say of them.

The names are those by which a study is told what it left out, whichever engine counts.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from ecg_spark.study import Genotypes

NO_VARIATION = "does not vary"
"""The criterion that no threshold of a study can loosen."""

ROUNDING = 1e-6
"""Of a sum of dosages."""

FREQUENCY_ROUNDING = 1e-9

Counts = NDArray[np.int64]


def call_rate_name(settings: Genotypes) -> str:
    """The name of the threshold of the call rate."""
    return f"variant call rate ≥ {settings.min_variant_call_rate:g}"


def hwe_name(settings: Genotypes) -> str:
    """The name of the threshold of the Hardy-Weinberg test."""
    return f"Hardy-Weinberg p ≥ {settings.min_hwe_p:g} (excess of heterozygotes)"


def info_name(settings: Genotypes) -> str:
    """The name of the threshold of imputation quality."""
    return f"imputation quality ≥ {settings.min_info:g}"


def maf_name(settings: Genotypes) -> str:
    """The name of the threshold of the minor allele frequency."""
    return f"minor allele frequency ≥ {settings.min_maf:g}"


def mac_name(settings: Genotypes) -> str:
    """The name of the threshold of the minor allele count."""
    return f"minor allele count ≥ {settings.min_mac}"


def as_reason(name: str) -> str:
    """What is told of those that do not pass a criterion of this name."""
    return name.replace("≥", "<")


@dataclass(frozen=True)
class Tally:
    """How many people have each call of each variant [variants], and how many there are."""

    hom_ref: Counts
    het: Counts
    hom_alt: Counts
    people: int

    @property
    def called(self) -> Counts:
        """How many people have a call."""
        return self.hom_ref + self.het + self.hom_alt

    @property
    def alternate(self) -> Counts:
        """How many alternate alleles they have."""
        return self.het + 2 * self.hom_alt


def first_failed(tally: Tally, settings: Genotypes) -> NDArray[np.object_]:
    """The first criterion that each variant fails, as a reason; None where it fails none.

    The criteria of `criteria.first_failed`, in its order, of variants whose dosages are calls.
    """
    called = tally.called
    some = np.maximum(called, 1)
    af = tally.alternate / (2 * some)
    mean_square = (tally.het + 4 * tally.hom_alt) / some
    kinds = sum((one > 0).astype(int) for one in (tally.hom_ref, tally.het, tally.hom_alt))
    minor = np.minimum(tally.alternate, 2 * called - tally.alternate)
    passes: dict[str, NDArray[Any]] = {
        NO_VARIATION: np.asarray(kinds) > 1,
        call_rate_name(settings): called / tally.people >= settings.min_variant_call_rate,
        hwe_name(settings): excess_of_heterozygotes(tally, settings.min_hwe_p)
        >= settings.min_hwe_p,
        info_name(settings): mean_square - 4 * af**2 >= settings.min_info * 2 * af * (1 - af),
        maf_name(settings): np.minimum(af, 1 - af) >= settings.min_maf - FREQUENCY_ROUNDING,
        mac_name(settings): minor >= settings.min_mac - ROUNDING,
    }
    failed = np.full(len(called), None, object)
    for name, one in reversed(passes.items()):
        failed[~one] = as_reason(name)
    return failed


def excess_of_heterozygotes(tally: Tally, least: float = 1.0) -> NDArray[np.float64]:
    """p of the exact test for an excess of heterozygotes, with the mid-p correction, [variants].

    Wigginton et al. (2005, Am J Hum Genet 76:887). Where the probability of the count alone makes
    p at least `least`, that half of it is told in place of p. 1 where nobody has a call.
    """
    n, het = tally.called, tally.het
    alternate = tally.alternate
    rare = np.minimum(alternate, 2 * n - alternate)
    rest = gammaln(n + 1.0) + gammaln(rare + 1.0) + gammaln(2 * n - rare + 1.0)
    rest = rest - gammaln(2 * n + 1.0)

    def log_probability(h: NDArray[Any], i: Any) -> NDArray[np.float64]:
        homozygous = (rare[i] - h) // 2, n[i] - (rare[i] + h) // 2
        logs = sum(gammaln(one + 1.0) for one in (h, *homozygous))
        return np.asarray(rest[i] + h * np.log(2) - logs)

    p = np.exp(log_probability(het, slice(None))) / 2
    for i in np.flatnonzero(p < least):
        further = np.arange(het[i] + 2, rare[i] + 1, 2)
        p[i] += np.exp(log_probability(further, i)).sum()
    return p
