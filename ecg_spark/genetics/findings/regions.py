"""The regions around the loci: which loci belong to each, and which variants it contains.

A region reaches from `FLANK_BP` before a locus to as far behind it; overlapping regions, also of
loci of different methods, are one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecg_spark.genetics.genotypes.packed import Calls, Packed
from ecg_spark.tables import VARIANT

Whole = NDArray[np.int64]
Lead = tuple[int, str, str]
"""Position, ref and alt of a lead variant."""

FLANK_BP = 250_000
"""How far around a locus a cause is sought: the causal variant need not be significant itself."""

MOST_VARIANTS = 4_000
"""Larger regions are not fine-mapped, since work and memory grow with the square."""


@dataclass(frozen=True)
class Region:
    """A region, as it is sent to its task.

    Attributes:
        of_set: the number of the genotype set whose variants it has.
        calls: where the genotypes of its variants are.
        is_whole: whether all its variants are included, or only those nearest to its single lead
            variant.
        wanted: the phenotypes and omnibus tests that have a locus here.
        leads: the lead variants that this region reports on, each with its phenotypes.
        loci: the numbers of its loci.
    """

    number: int
    of_set: int
    contig: str
    start: int
    end: int
    calls: Calls
    is_whole: bool
    wanted: tuple[str, ...]
    leads: Mapping[Lead, tuple[str, ...]]
    loci: tuple[int, ...]


def regions_of(packed: Packed, loci: Sequence[Mapping[str, Any]]) -> list[Region]:
    """The regions around loci, in the order of the genome.

    Loci whose regions overlap share one, unless it would have more than `MOST_VARIANTS`.

    Args:
        packed: the variants that were tested, in the order of the genome, with the number of their
            `set`.
        loci: the loci as `find_loci` returns them.
    """
    if not loci:
        return []
    of_set = packed.sites["set"].to_numpy()
    at = _places_of(packed, loci)
    gathered: list[tuple[int, str, int, int, list[int]]] = []
    for one in sorted(range(len(loci)), key=lambda one: (of_set[at[one]], at[one])):
        locus = loci[one]
        number, contig = int(of_set[at[one]]), locus["contig"]
        start, end = max(locus["start"] - FLANK_BP, 1), locus["end"] + FLANK_BP
        if gathered:
            *before, first, last, members = gathered[-1]
            union = min(first, start), max(last, end)
            overlap = before == [number, contig] and start <= last
            if overlap and len(_within(packed, number, contig, *union)) <= MOST_VARIANTS:
                gathered[-1] = (number, contig, *union, [*members, one])
                continue
        gathered.append((number, contig, start, end, [one]))
    found: list[Region] = []
    told: set[tuple[Any, ...]] = set()
    for number, contig, start, end, members in gathered:
        within = _within(packed, number, contig, start, end)
        is_whole = len(within) <= MOST_VARIANTS
        if not is_whole:  # such a region has a single locus
            lies = packed.sites["position"].to_numpy()[within]
            far = np.abs(lies - loci[members[0]]["position"])
            within = within[np.sort(np.argsort(far, kind="stable")[:MOST_VARIANTS])]
        leads: dict[Lead, tuple[str, ...]] = {}
        for one in members:
            contig, *lead = (loci[one][key] for key in VARIANT)
            if (contig, *lead) not in told:
                own = leads.get(tuple(lead), ())
                leads[tuple(lead)] = (*own, loci[one]["phenotype"])
        told |= {(contig, *lead) for lead in leads}
        wanted = dict.fromkeys(name for one in members for name in loci[one]["phenotypes"])
        found.append(
            Region(
                len(found), number, contig, start, end, packed.calls.only(within), is_whole,
                tuple(wanted), leads, tuple(members),
            )
        )  # fmt: skip
    return found


def _places_of(packed: Packed, loci: Sequence[Mapping[str, Any]]) -> list[int]:
    """The place of each locus's lead variant in the set."""
    leads = pd.DataFrame([{key: one[key] for key in VARIANT} for one in loci])
    places = packed.rows(leads.drop_duplicates())
    index = pd.MultiIndex.from_frame(packed.named(places)[VARIANT])
    return [int(one) for one in places[index.get_indexer(pd.MultiIndex.from_frame(leads))]]


def _within(packed: Packed, of_set: int, contig: str, start: int, end: int) -> Whole:
    """The places of the variants of one genotype set from `start` to `end`."""
    places = packed.within(contig, start, end)
    return places[packed.sites["set"].to_numpy()[places] == of_set]
