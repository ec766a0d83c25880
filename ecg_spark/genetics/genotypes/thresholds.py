"""The thresholds that a variant must pass to be tested, computed over any group of people.

They are applied twice: over everybody genotyped, for the principal components and the whole-genome
model, and over the people of each test, whichever engine computes it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from ecg_spark.genetics.genotypes.rows import NEAREST, NO_DOSAGE, SCALE, Rows
from ecg_spark.study import Genotypes

NO_VARIATION = "does not vary"
"""A criterion that always holds, whatever the thresholds of the study."""

ROUNDING = 1e-6
"""Tolerance for the rounding of a sum of dosages."""

FREQUENCY_ROUNDING = 1e-9

Counts = NDArray[np.int64]
Reals = NDArray[np.float64]


def call_rate_name(settings: Genotypes) -> str:
    """The name of the criterion of the variant call rate."""
    return f"variant call rate ≥ {settings.min_variant_call_rate:g}"


def hwe_name(settings: Genotypes) -> str:
    """The name of the criterion of the Hardy-Weinberg test."""
    return f"Hardy-Weinberg p ≥ {settings.min_hwe_p:g} (excess of heterozygotes)"


def info_name(settings: Genotypes) -> str:
    """The name of the criterion of imputation quality."""
    return f"imputation quality ≥ {settings.min_info:g}"


def maf_name(settings: Genotypes) -> str:
    """The name of the criterion of the minor allele frequency."""
    return f"minor allele frequency ≥ {settings.min_maf:g}"


def mac_name(settings: Genotypes) -> str:
    """The name of the criterion of the minor allele count."""
    return f"minor allele count ≥ {settings.min_mac}"


def as_reason(name: str) -> str:
    """The reason reported for variants that fail a criterion: its name with ≥ turned into <.

    Example:
        >>> as_reason("minor allele count ≥ 20")
        'minor allele count < 20'
    """
    return name.replace("≥", "<")


@dataclass(frozen=True)
class Tally:
    """Counts of the genotypes of each variant in a group of people.

    Attributes:
        people: how many people there are.
        known: how many of them have a dosage, [variants].
        total: the sum of their dosages, [variants].
        square: the sum of the squares of their dosages, [variants].
        varies: whether their dosages differ, [variants].
        hom_ref: how many have no alternate allele by their hard call, [variants].
        het: how many have one, [variants].
        hom_alt: how many have two, [variants].
    """

    people: int
    known: Counts
    total: Reals
    square: Reals
    varies: NDArray[np.bool_]
    hom_ref: Counts
    het: Counts
    hom_alt: Counts

    @property
    def mean(self) -> Reals:
        """The mean dosage [variants]; 0 where nobody has one."""
        return np.asarray(self.total / np.maximum(self.known, 1))

    @property
    def af(self) -> Reals:
        """The frequency of the alternate allele, [variants]."""
        return self.mean / 2

    @property
    def minor(self) -> Reals:
        """The minor allele count, [variants]."""
        return np.asarray(np.minimum(self.total, 2 * self.known - self.total))


def tally(rows: Rows, known: NDArray[np.bool_]) -> Tally:
    """Count the genotypes of a group of people.

    Args:
        rows: packed calls or dosages (see `rows`).
        known: a mask of the samples: who is in the group.
    """
    if rows.dtype == np.uint16:
        return _of_dosages(rows, known)
    width = -(-rows.shape[1] // 8) * 8
    words = np.zeros((len(rows), width), np.uint8)
    words[:, : rows.shape[1]] = rows
    mask = np.zeros(width * 4, np.uint8)
    mask[: len(known)] = known
    four = mask.reshape(-1, 4)
    bits = four[:, 0] | four[:, 1] << 2 | four[:, 2] << 4 | four[:, 3] << 6
    chosen = np.asarray(bits, np.uint8).view(np.uint64)
    pairs = words.view(np.uint64)
    low, high = pairs & chosen, (pairs >> np.uint64(1)) & chosen
    both = np.bitwise_count(low & high).sum(axis=1, dtype=np.int64)
    low_count, high_count = (
        np.bitwise_count(one).sum(axis=1, dtype=np.int64) for one in (low, high)
    )
    people = int(known.sum())
    # .bed: 00 two alternate alleles, 01 missing, 10 one, 11 none.
    het, missing = high_count - both, low_count - both
    return of_calls(both, het, people - both - het - missing, people)


def tallies(rows: Rows, groups: Sequence[NDArray[np.bool_]]) -> list[Tally]:
    """Count the genotypes of several groups of people, each different group once.

    Counting dosages is slow. They are counted once over everybody in any group; a group that lacks
    only a few of these is obtained by subtraction. The sums are of integers, hence exact.

    Args:
        rows: packed calls or dosages (see `rows`).
        groups: masks of the samples. The same mask object given twice is counted once.
    """
    once = list({id(known): known for known in groups}.values())
    if rows.dtype != np.uint16 or len(once) == 1:
        found = [tally(rows, known) for known in once]
    else:
        everybody = np.logical_or.reduce(once)
        whole, found = tally(rows, everybody), []
        for known in once:
            lacking = everybody & ~known
            if not lacking.any():
                found.append(whole)
            elif lacking.sum() < known.sum():
                found.append(_without(whole, tally(rows, lacking)))
            else:
                found.append(tally(rows, known))
    by_group = dict(zip(map(id, once), found, strict=True))
    return [by_group[id(known)] for known in groups]


def _without(whole: Tally, lacking: Tally) -> Tally:
    """The counts of those people of one tally who are not in the other."""
    known = whole.known - lacking.known
    total, square = whole.total - lacking.total, whole.square - lacking.square
    # k people all have the same dosage c if and only if their sum is k c and their sum of squares
    # is k c².
    sums, squares = np.rint(total * SCALE).astype(np.int64), np.rint(square * SCALE**2)
    each = sums // np.maximum(known, 1)
    varies = (sums != known * each) | (squares.astype(np.int64) != known * each**2)
    return Tally(
        whole.people - lacking.people, known, total, square, varies,
        whole.hom_ref - lacking.hom_ref, whole.het - lacking.het, whole.hom_alt - lacking.hom_alt,
    )  # fmt: skip


def of_calls(hom_ref: Counts, het: Counts, hom_alt: Counts, people: int) -> Tally:
    """The tally of people who all have hard calls, from the number of people with each call."""
    known = hom_ref + het + hom_alt
    kinds = (hom_ref > 0).astype(int) + (het > 0) + (hom_alt > 0)
    total, square = (het + k * hom_alt for k in (2.0, 4.0))
    return Tally(people, known, total, square, kinds > 1, hom_ref, het, hom_alt)


def _of_dosages(rows: NDArray[Any], among: NDArray[np.bool_]) -> Tally:
    m, people = len(rows), np.flatnonzero(among)
    known, hom_ref, het, hom_alt = np.zeros((4, m), np.int64)
    total, square = np.zeros((2, m))
    varies = np.zeros(m, bool)
    for i, row in enumerate(rows):
        # One variant at a time, so that it stays in the processor's cache. The sums of integers
        # are exact.
        own = row if len(people) == len(row) else row.take(people)
        own = own[own != NO_DOSAGE]
        if not len(own):
            continue
        x = own.astype(np.float64)
        known[i], total[i], square[i] = len(own), x.sum() / SCALE, x @ x / SCALE**2
        varies[i] = own.max() > own.min()
        hom_ref[i], het[i], hom_alt[i] = (
            np.count_nonzero((own >= call - NEAREST) & (own <= call + NEAREST))
            for call in (0, SCALE, 2 * SCALE)
        )
    return Tally(len(people), known, total, square, varies, hom_ref, het, hom_alt)


def imputation_quality(counts: Tally) -> Reals:
    """The imputation quality of each variant: the variance of its dosages over the variance
    2p(1-p) of hard calls in Hardy-Weinberg equilibrium, [variants].

    NaN for a variant that does not vary. This is MaCH's r², as plink2 reports it (`--freq
    cols=+machr2`).

    Example:
        >>> counts = of_calls(np.array([25, 10]), np.array([50, 0]), np.array([25, 0]), 100)
        >>> imputation_quality(counts).tolist()
        [1.0, nan]
    """
    af = counts.af
    variance = counts.square / np.maximum(counts.known, 1) - 4 * af**2
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(counts.varies, variance / (2 * af * (1 - af)), np.nan)


def call_rate(counts: Tally) -> Reals:
    """The share of the people who have a dosage, [variants]."""
    return np.asarray(counts.known / max(counts.people, 1))


def quality_criteria(
    counts: Tally, judged: Tally, settings: Genotypes
) -> dict[str, NDArray[np.bool_]]:
    """Whether each variant passes each threshold of quality, by the name of the criterion.

    The Hardy-Weinberg test looks only for an excess of heterozygotes. Genotyping errors cause an
    excess, whereas several populations in one sample cause a deficit (`--hwe keep-fewhet` of
    plink2).

    Args:
        counts: over everybody, for the call rate.
        judged: over the people by whom the other criteria are judged, in whom genotypes are
            expected to be in Hardy-Weinberg proportions.
    """
    af = judged.af
    variance = judged.square / np.maximum(judged.known, 1) - 4 * af**2
    some = judged.known > 0
    with np.errstate(divide="ignore"):
        most = -np.log10(settings.min_hwe_p)
    return {
        call_rate_name(settings): call_rate(counts) >= settings.min_variant_call_rate,
        hwe_name(settings): excess_of_heterozygotes(judged) <= most,
        info_name(settings): some
        & (variance >= settings.min_info * 2 * af * (1 - af) - FREQUENCY_ROUNDING),
    }


def frequency_criteria(counts: Tally, settings: Genotypes) -> dict[str, NDArray[np.bool_]]:
    """Whether each variant passes each threshold of frequency, by the name of the criterion."""
    af, some = counts.af, counts.known > 0
    return {
        maf_name(settings): some
        & (np.minimum(af, 1 - af) >= settings.min_maf - FREQUENCY_ROUNDING),
        mac_name(settings): some & (counts.minor >= settings.min_mac - ROUNDING),
    }


def first_failed(counts: Tally, judged: Tally, settings: Genotypes) -> NDArray[np.object_]:
    """The reason of the first criterion that each variant fails; None if it fails none.

    Args:
        counts: over everybody tested, for variation, call rate and frequencies.
        judged: as in `quality_criteria`.
    """
    passes = {NO_VARIATION: counts.varies}
    passes |= quality_criteria(counts, judged, settings) | frequency_criteria(counts, settings)
    failed = np.full(len(counts.known), None, object)
    for name, one in reversed(passes.items()):
        failed[~one] = as_reason(name)
    return failed


def excess_of_heterozygotes(counts: Tally) -> Reals:
    """The exact test for an excess of heterozygotes, as -log10 p with the mid-p correction,
    [variants].

    0.3 (p = 0.5) where nobody has a call. Wigginton et al. 2005, Am J Hum Genet 76:887; mid-p:
    Graffelman & Moreno 2013, Stat Appl Genet Mol Biol 12:433.
    """
    n, het = counts.hom_ref + counts.het + counts.hom_alt, counts.het
    alternate = het + 2 * counts.hom_alt
    rare = np.minimum(alternate, 2 * n - alternate)
    fewer = (rare - het) // 2
    more = n - het - fewer
    log_p = gammaln(n + 1.0) + gammaln(rare + 1.0) + gammaln(2 * n - rare + 1.0)
    log_p = log_p - gammaln(2 * n + 1.0) + het * np.log(2)
    log_p = log_p - sum(gammaln(one + 1.0) for one in (het, fewer, more))
    # Summed from the observed count away from the mode, so that the terms decrease and the sum can
    # stop early; on the other side of the mode p is one minus that tail.
    ratio = 4.0 * fewer * more / ((het + 2.0) * (het + 1.0))
    up = ratio < 1
    step = np.where(up, 1, -1)
    h, f, m = (one.astype(float) for one in (het, fewer, more))
    beyond, term = np.zeros((2, len(n)))
    active = np.arange(len(n))
    term[:] = 1.0
    while len(active):
        x, y, z, sign = h[active], f[active], m[active], step[active]
        rising = 4 * y * z / ((x + 2) * (x + 1))
        falling = x * (x - 1) / (4 * (y + 1) * (z + 1))
        term[active] *= np.where(sign > 0, rising, falling)
        beyond[active] += term[active]
        h[active], f[active], m[active] = x + 2 * sign, y - sign, z - sign
        active = active[term[active] > 1e-12 * (beyond[active] + 0.5)]
    tail = log_p + np.log(0.5 + beyond)
    with np.errstate(divide="ignore"):
        p = np.where(up, tail, np.log1p(-np.minimum(np.exp(tail), 1.0)))
    return np.asarray(np.maximum(-p / np.log(10), 0.0))
