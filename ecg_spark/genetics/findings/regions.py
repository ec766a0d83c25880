"""The regions about the loci: of which loci each is, and which variants are in it.

A region is the stretch from `FLANK_BP` before a locus to as much behind it, of the loci of all
methods together where these overlap.
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
"""How far about a locus a cause is looked for: a variant that acts need not be significant."""

MOST_VARIANTS = 4_000
"""The largest region that is fine-mapped: work and memory grow with the square."""


@dataclass(frozen=True)
class Region:
    """A region: what its task is sent.

    `of_set`: the number of the genotype set that it is in; `calls`: of its variants alone;
    `is_whole`: whether all of them are in it, else those nearest to its only lead variant;
    `wanted`: the phenotypes and omnibus tests that have a locus here; `leads`: the lead variants
    that are told of here, with the phenotypes of each; `loci`: the loci by their numbers.
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
    """The regions about loci, in the order of the genome.

    `packed`: the variants that were tested, in the order of the genome, with the number of their
    `set`. Loci of which the regions overlap share one, unless it would have more than
    `MOST_VARIANTS`.
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
        if not is_whole:  # of a region of its own
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
    """The places of the variants of a set from `start` to `end`."""
    places = packed.within(contig, start, end)
    return places[packed.sites["set"].to_numpy()[places] == of_set]
