"""The interactive genome of the page: thinned points of every method, and each locus in
detail.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecg_spark.report import locus, packed, regional
from ecg_spark.report.figures import GROUP_COLOURS
from ecg_spark.report.loci import Region
from ecg_spark.tables import VARIANT

ACROSS, DOWN = 1_500, 0.12
"""The grid (number of columns over the genome, height in -log10 p) in which one point per cell is
kept below the threshold."""
CLOSE_UP = 400
"""How many times finer the grid is above the threshold."""
IN_A_LOCUS, LOCUS_DOWN = 90, 0.5
"""The same grid for a locus, for variants in low LD with the lead variant."""
LINKED = 0.2


def points_of(
    groups: Sequence[tuple[str, str, pd.DataFrame, float]], extents: Mapping[str, int]
) -> dict[str, Any]:
    """The Manhattan plots as genome.js draws them, at most half a megabyte per group.

    Args:
        groups: title, name, points and threshold of each, as in `figures.manhattan`.
        extents: the contigs in order, with their lengths in bp.
    """
    return {
        "contigs": [[name.removeprefix("chr"), int(length)] for name, length in extents.items()],
        "groups": [
            {
                "title": title,
                "colour": GROUP_COLOURS[name],
                "threshold": threshold,
                **_packed(thinned(points, threshold, extents), extents),
            }
            for title, name, points, threshold in groups
        ],
    }


def thinned(points: pd.DataFrame, threshold: float, extents: Mapping[str, int]) -> pd.DataFrame:
    """Keep only the highest of points that fall on the same spot of the figure."""
    fine = np.where(points["neg_log10_p"] >= threshold, CLOSE_UP, 1)
    width = sum(extents.values()) / ACROSS / fine
    cells = {
        "contig": points["contig"],
        "x": (points["position"] / width).astype(np.int64),
        "y": (points["neg_log10_p"] / DOWN * np.sqrt(fine)).astype(np.int64),
    }
    highest = points.assign(**{f"cell_{key}": value for key, value in cells.items()})
    highest = highest.sort_values("neg_log10_p", ascending=False, kind="stable")
    return highest.drop_duplicates([f"cell_{key}" for key in cells])


def _packed(points: pd.DataFrame, extents: Mapping[str, int]) -> dict[str, Any]:
    order = {name: number for number, name in enumerate(extents)}
    points = points.assign(number=points["contig"].map(order).astype(int))
    points = points.sort_values(["number", "position"])
    codes, names = pd.factorize(points["phenotype"])
    return {
        "counts": [int((points["number"] == number).sum()) for number in order.values()],
        "positions": packed.whole(points["position"]),
        "heights": packed.rounded(points["neg_log10_p"].to_numpy(float)[None]),
        "phenotypes": list(names),
        "best": packed.whole(codes),
    }


def details(
    regions: Sequence[Region],
    tests: Sequence[pd.DataFrame],
    linked: regional.Linkage,
    genes: pd.DataFrame,
    effects: Mapping[str, pd.DataFrame],
    phenotypes: Sequence[str],
    thresholds: Mapping[str, float],
    beside: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Everything about each locus: its region, LD and genes, and its effects on phenotypes.

    A further part of a locus is added by a key of its entry in `beside` and a function in
    `ecgSpark.loci.parts` that draws it.

    Args:
        tests: from `regional.tests`, in the order of the regions.
        linked: from `regional.linkage`.
        genes: from `regional.genes`.
        effects: beta and se by phenotype, for each lead variant.
        phenotypes: those whose effects are shown.
        thresholds: of each method, as -log10 p.
        beside: further keys of each entry, from `locus.known`.
    """
    beta, se = (
        np.array(
            [_effect(effects.get(region.variant), column, phenotypes) for region in regions]
        ).reshape(len(regions), len(phenotypes))
        for column in ("beta", "se")
    )
    return {
        "phenotypes": list(phenotypes),
        "beta": packed.exact(beta),
        "se": packed.exact(se),
        "flank_bp": regional.FLANK_BP,
        "tables": locus.heads(),
        "loci": [
            {
                **region.row(),
                "contig": region.contig.removeprefix("chr"),
                "position": int(region.lead["position"]),
                "start": region.start,
                "end": region.end,
                "phenotype": str(region.lead["phenotype"]),
                "threshold": thresholds[region.lead["method"]],
                "genes": _genes(region, genes),
                **_region(region, test, linked, more["variants"]),
                **more,
            }
            for region, test, more in zip(regions, tests, beside, strict=True)
        ],
    }


def _effect(
    known: pd.DataFrame | None, column: str, phenotypes: Sequence[str]
) -> NDArray[np.float64]:
    if known is None:
        return np.full(len(phenotypes), np.nan)
    return known[column].reindex(list(phenotypes)).to_numpy(float)


def _genes(region: Region, genes: pd.DataFrame) -> list[list[Any]]:
    near = regional.genes_near(region, genes)
    return [[gene.gene, int(gene.start), int(gene.end)] for gene in near.itertuples()]


def _region(
    region: Region, test: pd.DataFrame, linked: regional.Linkage, held: Sequence[Sequence[Any]]
) -> dict[str, Any]:
    """The tests around the lead variant: distance, -log10 p, r² with it, and rs number.

    Args:
        held: the variants of the credible sets, from `locus.known`; none of them is thinned out.
    """
    rows = test.merge(regional.linked_with(linked, region), on=VARIANT[1:], how="left")
    r2 = rows["r2"].fillna(0)
    away = rows["position"] - int(region.lead["position"])
    in_sets = {(one[0], one[1]) for one in held}
    changes = rows["ref"] + ">" + rows["alt"]
    is_held = np.array([one in in_sets for one in zip(away, changes, strict=True)], bool)
    cells = pd.DataFrame(
        {
            "x": rows["position"] // (2 * regional.FLANK_BP / IN_A_LOCUS),
            "y": rows["neg_log10_p"] // LOCUS_DOWN,
            "own": np.where((r2 >= LINKED) | is_held, np.arange(len(rows)), -1),
        }
    )
    kept = rows[~cells.duplicated()]
    return {
        "away": packed.whole(away[kept.index]),
        "rs": packed.whole(_rs_numbers(kept["rsid"])),
        "heights": packed.rounded(kept["neg_log10_p"].to_numpy(float)[None]),
        "r2": packed.rounded(r2[kept.index].to_numpy(float)[None]),
    }


def _rs_numbers(rsids: pd.Series) -> NDArray[np.int32]:
    """The numbers of rsids as the bits of an unsigned 32-bit number, 0 for any other name."""
    found = rsids.str.extract(r"^rs([1-9]\d{0,9})$", expand=False).astype(float).fillna(0)
    known = found.where(found < 2**32, 0).to_numpy().astype(np.uint32)
    return known.view(np.int32)
