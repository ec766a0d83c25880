"""What a locus that a reader opens tells beside its tests: sets, diseases, replication, causes."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecg_spark.report import causes, cohorts, diseases
from ecg_spark.report.loci import Placed, Region
from ecg_spark.report.regional import FLANK_BP
from ecg_spark.report.sections import ReportInputs
from ecg_spark.tables import PEER, TOGETHER, VARIANT, group_of

SETS_SHOWN, MEMBERS_SHOWN, ROWS_SHOWN = 10, 12, 12
"""Credible sets of a locus, variants of a set, and rows of any other table: the strongest."""

SIGNAL = ["phenotype", "contig", "region_start", "signal"]


@dataclass(frozen=True)
class Listed:
    """A table of a locus: the key of its rows in the locus's entry, its title, heads and a note."""

    key: str
    title: str
    heads: tuple[str, ...]
    note: str


TABLES = (
    Listed(
        "diseases",
        "Diseases",
        diseases.HEADS,
        "The strongest tests of its lead variants, by one effect allele, whether they pass or not; "
        "q is the false discovery rate over all tests of the study.",
    ),
    Listed(
        "replicated",
        "In other cohorts",
        cohorts.REPLICATED,
        "Its lead variants there, with the phenotype that found them.",
    ),
    Listed(
        "shared",
        "Phenotypes that share a cause",
        causes.SHARED_HEADS,
        "Signals that have the same cause with a probability of at least "
        f"{100 * causes.SHARED:.0f} % (H4; H3: two causes).",
    ),
    Listed(
        "modified",
        "Effects by sex and age",
        causes.MODIFIED_HEADS,
        "β ± standard error among women and men, and what ten years add to it.",
    ),
)


def known(
    material: ReportInputs, regions: Sequence[Region], tests: Sequence[pd.DataFrame]
) -> list[dict[str, Any]]:
    """Of each region the rows of `TABLES`, and its credible sets with their variants.

    `tests`: of `regional.tests`. What lies more than `FLANK_BP` from a region is none of its own.
    """
    entries = _credible_sets(material, regions, tests)
    placed = {
        "diseases": diseases.of_variants(material, ROWS_SHOWN),
        "replicated": cohorts.replicated(material),
        "shared": causes.shared(material),
        "modified": causes.modified(material),
    }
    for key, rows in placed.items():
        for entry, own in zip(entries, _by_region(rows, regions), strict=True):
            entry[key] = own
    return entries


def heads() -> list[dict[str, Any]]:
    """`TABLES` for the page's scripts."""
    return [asdict(one) for one in TABLES]


def _by_region(rows: Iterable[Placed], regions: Sequence[Region]) -> list[list[list[Any]]]:
    """The first `ROWS_SHOWN` rows of each region."""
    rows = list(rows)
    places = pd.DataFrame({"contig": [one.contig for one in rows],
                           "position": [one.position for one in rows]})  # fmt: skip
    found: list[list[list[Any]]] = [[] for _ in regions]
    for one, number in zip(rows, region_of(places, regions), strict=True):
        if number >= 0 and len(found[number]) < ROWS_SHOWN:
            found[number].append(one.row)
    return found


def region_of(places: pd.DataFrame, regions: Sequence[Region]) -> NDArray[np.int64]:
    """The number of the region that each place (contig, position) lies in or next to, else -1.

    Regions lie further apart than twice `FLANK_BP`: a place is of one of them at most.
    """
    found = np.full(len(places), -1)
    contig, position = places["contig"].to_numpy(object), places["position"].to_numpy(np.int64)
    for name in {region.contig for region in regions}:
        numbers = [k for k, region in enumerate(regions) if region.contig == name]
        numbers.sort(key=lambda k: regions[k].start)
        starts = np.array([regions[k].start - FLANK_BP for k in numbers])
        ends = np.array([regions[k].end + FLANK_BP for k in numbers])
        own = np.flatnonzero(contig == name)
        before = np.searchsorted(starts, position[own], "right") - 1
        inside = (before >= 0) & (position[own] <= ends[before])
        found[own[inside]] = np.array(numbers)[before[inside]]
    return found


def _credible_sets(
    material: ReportInputs, regions: Sequence[Region], tests: Sequence[pd.DataFrame]
) -> list[dict[str, Any]]:
    """Of each region its sets, those of the phenotype that it is drawn for first, and the variants
    of any of them: how far from the lead, alleles, rsid, consequence, and their height in the plot.
    """
    signals = _signals(material, regions)
    counts = signals["locus"].value_counts()
    signals = signals.groupby("locus").head(SETS_SHOWN)
    members = material.table("findings", "credible_sets").to_table(
        columns=[*SIGNAL, *VARIANT[1:], "rsid", "probability", "pip", "consequences"]
    )
    members = members.to_pandas().merge(signals[[*SIGNAL, "locus"]], on=SIGNAL)
    members = members.sort_values("probability", ascending=False, kind="stable")
    by_set = dict(list(members.groupby(SIGNAL)))
    by_locus = dict(list(signals.groupby("locus")))
    entries = []
    for number, (region, test) in enumerate(zip(regions, tests, strict=True)):
        own = by_locus.get(number, signals[:0])
        keys = own[SIGNAL].itertuples(index=False, name=None)
        parts = [by_set[key].head(MEMBERS_SHOWN) for key in keys]
        left = int(counts.get(number, 0)) - len(own)
        entries.append(_entry(region, test, own, parts) | {"sets_left": left})
    return entries


def _signals(material: ReportInputs, regions: Sequence[Region]) -> pd.DataFrame:
    """The signals about the regions, the strongest first; the peer's only where it leads."""
    table = material.table("findings", "signals").to_table(
        columns=[*SIGNAL, "position", "n_variants", "log10_bf"]
    )
    signals = table.to_pandas()
    signals["locus"] = region_of(signals, regions)
    signals = signals[signals["locus"] >= 0]
    leads = np.array([str(region.lead["phenotype"]) for region in regions], object)
    is_lead = signals["phenotype"].to_numpy() == leads[signals["locus"]]
    is_peer = signals["phenotype"].map(
        lambda name: group_of(name) == PEER or name == f"{PEER}{TOGETHER}"
    )
    signals = signals.assign(is_lead=is_lead)[is_lead | ~is_peer.to_numpy(bool)]
    return signals.sort_values(["is_lead", "log10_bf"], ascending=False, kind="stable")


def _entry(
    region: Region, test: pd.DataFrame, signals: pd.DataFrame, parts: Sequence[pd.DataFrame]
) -> dict[str, Any]:
    names = test[VARIANT[1:]].itertuples(index=False, name=None)
    heights = dict(zip(names, test["neg_log10_p"], strict=True))
    numbers: dict[tuple[int, str, str], int] = {}
    variants: list[list[Any]] = []
    sets = []
    for signal, part in zip(signals.itertuples(), parts, strict=True):
        shown = []
        for one in part.itertuples():
            key = (int(one.position), str(one.ref), str(one.alt))
            if key not in numbers:
                numbers[key] = len(variants)
                height = heights.get(key)
                variants.append([
                    key[0] - int(region.lead["position"]), f"{one.ref}>{one.alt}", one.rsid or "",
                    "; ".join(one.consequences).replace("_", " "),
                    None if height is None else round(float(height), 2),
                ])  # fmt: skip
            shown.append([numbers[key], round(float(one.pip), 3)])
        sets.append({
            "phenotype": str(signal.phenotype), "signal": int(signal.signal),
            "n": int(signal.n_variants), "log10_bf": round(float(signal.log10_bf), 1),
            "is_lead": bool(signal.is_lead), "members": shown,
        })  # fmt: skip
    return {"variants": variants, "sets": sets}
