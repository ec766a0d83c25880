"""The loci of all methods side by side, and the effects of their lead variants on all factors.

A method's locus is a row of the published table `loci`; its method is one of `comparison.METHODS`.
Loci of any methods within `MERGE_BP` of each other are one region of the report.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd
import pyarrow.compute as pc
import pyarrow.dataset as ds

from ecg_spark.display import in_a_row
from ecg_spark.report.associations import contig_order
from ecg_spark.report.comparison import METHODS
from ecg_spark.tables import OWN, PEER, TOGETHER, VARIANT

MERGE_BP = 500_000

FOUND_BY = {"vae": "latents", "traits": "traits", OWN: "own phenotypes", PEER: "components"}
"""What is said to have found a locus, by the group of its phenotype."""


class Placed(NamedTuple):
    """A row as a table shows it, and the contig and position that it is of."""

    contig: str
    position: int
    row: list[Any]


@dataclass(frozen=True)
class Region:
    """A stretch of the genome where at least one method has a locus.

    Attributes:
        methods: the methods that have a locus here.
        phenotypes: the phenotypes with significant variants here.
        lead: the row of its most significant locus.
    """

    contig: str
    start: int
    end: int
    methods: tuple[str, ...]
    phenotypes: tuple[str, ...]
    lead: pd.Series

    @property
    def name(self) -> str:
        """The lead variant's rsid or, if it has none, its position and alleles."""
        return str(self.lead["rsid"]) if self.lead["rsid"] else self.variant

    @property
    def found_by(self) -> tuple[str, ...]:
        """What found it, in words: latents, traits, …, where an omnibus test counts for its
        group.
        """
        groups = (method.removesuffix(TOGETHER) for method in self.methods)
        return tuple(dict.fromkeys(FOUND_BY[group] for group in groups))

    @property
    def variant(self) -> str:
        """contig:position:ref:alt of the lead variant."""
        return ":".join(str(self.lead[column]) for column in VARIANT)

    def row(self) -> dict[str, object]:
        """The region as a row of the table of loci; None where a number is missing."""
        lead = self.lead
        return {
            "name": self.name,
            "variant": self.variant,
            "region": f"{self.contig.removeprefix('chr')}: {self.start / 1e6:.2f}–"
            f"{self.end / 1e6:.2f} Mb",
            "found_by": in_a_row(self.found_by),
            "methods": ", ".join(self.methods),
            "phenotypes": list(self.phenotypes) or ["all together"],
            "gene": _gene(lead["nearest_gene"], lead["gene_distance_bp"]),
            "published": {True: "known", False: "novel"}.get(lead["published"], "–"),
            "in_set": _in_set(lead["set_genes"], lead["set_consequences"]),
            "signals": None if pd.isna(lead["n_signals"]) else int(lead["n_signals"]),
            "set": _set(lead["set_variants"], lead["set_pip"]),
            "beta": _known(lead["beta"]),
            "se": _known(lead["se"]),
            "neg_log10_p": float(lead["neg_log10_p"]),
            "af": float(lead["af"]),
            "n": int(lead["n"]),
        }


def _known(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)


def _gene(name: str | None, distance_bp: float | None) -> str:
    """The nearest gene, with its distance if the locus lies outside it."""
    if not name:
        return "–"
    return name if not distance_bp else f"{name} ({distance_bp / 1e3:,.0f} kb)"


def _in_set(genes: Sequence[str], consequences: Sequence[str]) -> str:
    """The genes that variants of the strongest signal's credible set lie in, and their
    consequences.
    """
    does = "; ".join(one.replace("_", " ") for one in consequences)
    within = f"in {', '.join(genes)}" if len(genes) else ""
    return "; ".join(part for part in (within, does) if part)


def _set(variants: float | None, pip: float | None) -> str:
    """The size of the strongest signal's credible set, and the probability of its best
    variant.
    """
    return "–" if variants is None or pd.isna(variants) else f"{int(variants)} ({pip:.2f})"


def merge(loci: pd.DataFrame) -> list[Region]:
    """The regions over the loci of all methods, the most significant first."""
    regions: list[Region] = []
    gathered: list[pd.Series] = []
    ordered = loci.sort_values(
        ["contig", "start"], key=lambda c: c.map(contig_order) if c.name == "contig" else c
    )
    for _, row in ordered.iterrows():
        if gathered and (
            row["contig"] != gathered[0]["contig"]
            or row["start"] - max(item["end"] for item in gathered) > MERGE_BP
        ):
            regions.append(_region(gathered))
            gathered = []
        gathered.append(row)
    if gathered:
        regions.append(_region(gathered))
    return sorted(regions, key=lambda region: -region.lead["neg_log10_p"])


def _region(rows: Sequence[pd.Series]) -> Region:
    strongest = sorted(rows, key=lambda row: -row["neg_log10_p"])
    present = {row["method"] for row in rows}
    return Region(
        str(rows[0]["contig"]),
        int(min(row["start"] for row in rows)),
        int(max(row["end"] for row in rows)),
        tuple(method for method in METHODS if method in present),
        tuple(
            dict.fromkeys(
                str(name) for row in strongest for name in row["phenotypes"] if name not in METHODS
            )
        ),
        strongest[0],
    )


def union(regions: Sequence[Region]) -> list[tuple[str, int]]:
    """How many regions the groups of phenotypes have found in common and alone, and how many in
    total.

    The components serve only as a comparison: their loci count where nothing else found them.
    """
    peer = FOUND_BY[PEER]
    found = Counter(
        tuple(name for name in region.found_by if name != peer) or (peer,) for region in regions
    )
    order = list(FOUND_BY.values())
    rows = sorted(found.items(), key=lambda item: (-len(item[0]), order.index(item[0][0])))
    named = [(in_a_row(names) if len(names) > 1 else f"{names[0]} alone", n) for names, n in rows]
    return [*named, ("all together", len(regions))]


def effects_at(associations: ds.Dataset, regions: Sequence[Region]) -> dict[str, pd.DataFrame]:
    """The effects of each region's lead variant.

    Returns:
        By variant, beta and se indexed by phenotype; a variant without associations is left out.
    """
    if not regions:
        return {}
    wanted = pc.field("position").isin([int(region.lead["position"]) for region in regions])
    rows = associations.to_table(
        columns=[*VARIANT, "phenotype", "beta", "se"], filter=wanted
    ).to_pandas()
    rows["variant"] = rows[VARIANT].astype(str).agg(":".join, axis=1)
    return {
        region.variant: part.set_index("phenotype")[["beta", "se"]].astype(float)
        for region in regions
        if len(part := rows[rows["variant"] == region.variant])
    }


def z_scores(
    regions: Sequence[Region], effects: dict[str, pd.DataFrame], phenotypes: Sequence[str]
) -> pd.DataFrame:
    """beta / se of each region's lead variant for each phenotype; NaN where not tested."""
    rows = {
        f"{region.name} ({region.contig.removeprefix('chr')})": (
            effects[region.variant]["beta"] / effects[region.variant]["se"]
        ).reindex(phenotypes)
        for region in regions
        if region.variant in effects
    }
    return pd.DataFrame(rows, index=list(phenotypes), dtype=float).T


def read_loci(table: ds.Dataset) -> pd.DataFrame:
    """The published loci, one row per method and locus."""
    return table.to_table().to_pandas()
