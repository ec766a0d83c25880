"""Regional plots: the p-values of a locus, coloured by LD with its lead variant, above the
genes.
"""

import operator
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ecg_spark.report import figures
from ecg_spark.report.loci import Region
from ecg_spark.report.sections import ReportInputs
from ecg_spark.tables import TOGETHER, VARIANT

SHOWN = 9
FLANK_BP = 250_000
COLUMNS = 3
GENES_SHOWN = 14
CROWDED = 6
"""If there are more genes than this, those that only have a LOC number are left out."""
LETTER_BP = 11_000  # the width of a letter of a gene's name, as drawn

# From low to high LD; the colours can be distinguished with any kind of colour vision.
COLOURS = ("#46327e", "#365c8d", "#1fa187", "#a0da39", "#fde725")
_LEVELS = (0.2, 0.4, 0.6, 0.8)

Linkage = Any
"""LD by lead variant: a `DataFrameGroupBy`, which the stubs of pandas do not name."""


@mpl.rc_context(figures.STYLE)
def regional(
    regions: Sequence[Region],
    found: Sequence[pd.DataFrame],
    linked: Linkage,
    known: pd.DataFrame,
    thresholds: Mapping[str, float],
) -> Figure | None:
    """One panel for each of the first `SHOWN` regions; None if there are no regions.

    Args:
        found: from `tests`, in the order of the regions.
        linked: from `linkage`.
        known: from `genes`.
        thresholds: of each method, as -log10 p.
    """
    shown = list(regions[:SHOWN])
    if not shown:
        return None
    rows = -(-len(shown) // COLUMNS)
    figure = figures.new_figure(2.9 * rows + 0.3)
    outer = figure.add_gridspec(rows, COLUMNS)
    for number, (region, test) in enumerate(zip(shown, found[:SHOWN], strict=True)):
        inner = outer[number // COLUMNS, number % COLUMNS].subgridspec(
            2, 1, height_ratios=(3, 1.2), hspace=0.02
        )
        above = figure.add_subplot(inner[0])
        below = figure.add_subplot(inner[1], sharex=above)
        threshold = thresholds[region.lead["method"]]
        draw(above, below, region, test, linked, known, threshold)
    figure.legend(handles=keys(figure.axes[0]), loc="outside upper right", ncols=5, fontsize=8)
    return figure


def draw(
    above: Axes,
    below: Axes,
    region: Region,
    test: pd.DataFrame,
    linked: Linkage,
    genes: pd.DataFrame,
    threshold: float,
) -> None:
    """Draw one region into a pair of axes.

    Args:
        above: the axes of the p-values.
        below: the axes of the genes.
        test: from `tests`, for this region.
        linked: from `linkage`.
        genes: from `genes`.
        threshold: as -log10 p.
    """
    _points(above, region, test.merge(linked_with(linked, region), on=VARIANT[1:], how="left"))
    inside = test[test["in_set"]]
    above.scatter(
        inside["position"] / 1e6, inside["neg_log10_p"], s=46, facecolor="none",
        edgecolor=figures.INK, linewidths=0.8, zorder=4,
    )  # fmt: skip
    above.axhline(threshold, color=figures.MUTED, lw=0.7, ls="--")
    _genes(below, region, genes)


def keys(axes: Axes) -> list[Any]:
    """The handles of a legend for the LD colours."""
    return [
        axes.scatter([], [], s=14, color=colour, label=f"r² from {low:g}")
        for low, colour in zip((0, *_LEVELS), COLOURS, strict=True)
    ]


def tests(material: ReportInputs, regions: Sequence[Region]) -> list[pd.DataFrame]:
    """The tests around the lead variant of each region, for the phenotype of the lead.

    Returns:
        For each region position, ref, alt, rsid, neg_log10_p, and `in_set`: whether the variant
        is in one of the phenotype's credible sets.
    """
    sets = _sets(material, regions)
    wanted: dict[tuple[str, str], list[Region]] = defaultdict(list)
    for region in regions:
        table = "omnibus" if _is_omnibus(region) else "associations"
        wanted[table, region.contig].append(region)
    found = {}
    for (table, contig), own in wanted.items():
        rows = _rows_about(material.table("associations", table), table, contig, own)
        for region in own:
            place = rows["position"] - int(region.lead["position"])
            near = rows[place.abs().le(FLANK_BP) & (rows["test"] == _test_of(region))]
            near = near.drop(columns="test").reset_index(drop=True)
            held = sets[sets["phenotype"] == region.lead["phenotype"]]
            held = pd.MultiIndex.from_frame(held.loc[held["contig"] == contig, VARIANT[1:]])
            inside = pd.MultiIndex.from_frame(near[VARIANT[1:]]).isin(held)
            found[region.variant] = near.assign(in_set=inside)
    return [found[region.variant] for region in regions]


def _sets(material: ReportInputs, regions: Sequence[Region]) -> pd.DataFrame:
    """The variants in the credible sets of the leads' phenotypes."""
    wanted = pa.array([str(one.lead["phenotype"]) for one in regions], pa.string())
    phenotypes = pc.field("phenotype").isin(wanted)
    table = material.table("findings", "credible_sets")
    return table.to_table(columns=["phenotype", *VARIANT], filter=phenotypes).to_pandas()


def _rows_about(
    table: ds.Dataset, name: str, contig: str, regions: Sequence[Region]
) -> pd.DataFrame:
    """The tests around the leads of regions on one contig, read once; `test` is the phenotype of
    each.

    Regions that overlap are read as one stretch.
    """
    stretches: list[list[int]] = []
    for place in sorted(int(region.lead["position"]) for region in regions):
        if stretches and place - FLANK_BP <= stretches[-1][1]:
            stretches[-1][1] = place + FLANK_BP
        else:
            stretches.append([place - FLANK_BP, place + FLANK_BP])
    position = pc.field("position")
    near = [(position >= start) & (position <= end) for start, end in stretches]
    column = "model" if name == "omnibus" else "phenotype"
    own = pc.field(column).isin(sorted({_test_of(region) for region in regions}))
    rows = table.to_table(
        columns=[*VARIANT[1:], "rsid", column, "neg_log10_p"],
        filter=(pc.field("contig") == contig) & own & reduce(operator.or_, near),
    )
    return rows.to_pandas().dropna(subset="neg_log10_p").rename(columns={column: "test"})


def _is_omnibus(region: Region) -> bool:
    return str(region.lead["method"]).endswith(TOGETHER)


def _test_of(region: Region) -> str:
    """The phenotype of a region's lead, or the model whose latents were tested jointly."""
    lead = region.lead
    return str(lead["method"].removesuffix(TOGETHER) if _is_omnibus(region) else lead["phenotype"])


def linkage(material: ReportInputs) -> Linkage:
    """The LD of lead variants with their neighbours, grouped by lead variant."""
    table = material.table("findings", "ld").to_table().to_pandas()
    return table.groupby(["contig", "lead", "lead_ref", "lead_alt"])


def genes(material: ReportInputs) -> pd.DataFrame:
    """The genes around the loci."""
    return material.table("findings", "nearby_genes").to_table().to_pandas()


def linked_with(linked: Linkage, region: Region) -> pd.DataFrame:
    """position, ref, alt and r2 of the neighbours of a region's lead variant."""
    own = linked.indices.get(tuple(region.lead[VARIANT]), [])
    return linked.obj.iloc[own][[*VARIANT[1:], "r2"]]


def _points(axes: Axes, region: Region, rows: pd.DataFrame) -> None:
    lead = region.lead
    phenotype = lead["phenotype"].replace("_", " ")
    title = f"{figures.shortened(region.name)} · {figures.shortened(phenotype, 18)}"
    figures.styled(axes, title, "", "−log₁₀ p")
    rows = rows.sort_values("r2", na_position="first")
    level = np.searchsorted(_LEVELS, rows["r2"].fillna(0), "right")
    colours = np.array(COLOURS)[level]
    axes.scatter(rows["position"] / 1e6, rows["neg_log10_p"], s=12, c=colours, linewidths=0)
    axes.scatter(
        lead["position"] / 1e6, lead["neg_log10_p"], s=42, marker="D",
        color=figures.VERMILION, edgecolor="white", linewidths=0.6, zorder=3,
    )  # fmt: skip
    axes.set_ylim(0, lead["neg_log10_p"] * 1.12)
    axes.tick_params(labelbottom=False)


def genes_near(region: Region, genes: pd.DataFrame) -> pd.DataFrame:
    """The genes around a region's lead variant, sorted by start: the nearest, preferably with
    a proper name.
    """
    centre = int(region.lead["position"])
    start, end = centre - FLANK_BP, centre + FLANK_BP
    own = genes[(genes["contig"] == region.contig) & (genes["end"] >= start)]
    own = own[own["start"] <= end].sort_values("start")
    named = ~own["gene"].str.fullmatch(r"LOC\d+")
    if len(own) > CROWDED and named.any():
        own = own[named]
    if len(own) > GENES_SHOWN:
        away = np.maximum(np.maximum(own["start"] - centre, centre - own["end"]), 0)
        own = own.loc[away.sort_values().index[:GENES_SHOWN]].sort_values("start")
    return own


def _genes(axes: Axes, region: Region, genes: pd.DataFrame) -> None:
    """Draw genes as bars, in lanes so that none overlaps another."""
    centre = int(region.lead["position"])
    start, end = centre - FLANK_BP, centre + FLANK_BP
    own = genes_near(region, genes)
    lanes: list[float] = []
    for gene in own.itertuples():
        left, right = max(gene.start, start), min(gene.end, end)
        right = max(right, left + 2_000)  # wide enough to be visible
        width = LETTER_BP * len(gene.gene)
        at_the_end = left + width > end
        taken_from = min(left, right - width) if at_the_end else left
        lane = next((k for k, taken in enumerate(lanes) if taken < taken_from), len(lanes))
        lanes[lane : lane + 1] = [max(right, taken_from + width) + 8_000]
        axes.plot([left / 1e6, right / 1e6], [-lane, -lane], color=figures.BLUE, lw=3,
                  solid_capstyle="butt")  # fmt: skip
        axes.text((right if at_the_end else left) / 1e6, -lane - 0.22, gene.gene, fontsize=6.5,
                  ha="right" if at_the_end else "left", va="top", style="italic")  # fmt: skip
    axes.set_ylim(-max(len(lanes), 1) + 0.1, 0.5)
    axes.set_xlim(start / 1e6, end / 1e6)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(f"chromosome {region.contig.removeprefix('chr')}, Mb")
