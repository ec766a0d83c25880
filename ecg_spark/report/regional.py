"""Regional plots: a locus's p-values by linkage with its lead variant, above the genes there."""

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
"""Of more genes than this, those without a name of their own are left out."""
LETTER_BP = 11_000  # as wide as a letter of a gene's name is drawn

# From linked hardly at all to linked fully, told apart with any kind of colour vision.
COLOURS = ("#46327e", "#365c8d", "#1fa187", "#a0da39", "#fde725")
_LEVELS = (0.2, 0.4, 0.6, 0.8)

Linkage = Any
"""Linkage by lead variant: a `DataFrameGroupBy`, which the stubs of pandas do not name."""


@mpl.rc_context(figures.STYLE)
def regional(
    regions: Sequence[Region],
    found: Sequence[pd.DataFrame],
    linked: Linkage,
    known: pd.DataFrame,
    thresholds: Mapping[str, float],
) -> Figure | None:
    """A panel for each of the first `SHOWN` regions; None where there is no region.

    `found`, `linked` and `known`: of `tests`, `linkage` and `genes`.
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
    """A region's tests into one pair of axes, of those that `tests`, `linkage` and `genes` give."""
    _points(above, region, test.merge(linked_with(linked, region), on=VARIANT[1:], how="left"))
    inside = test[test["in_set"]]
    above.scatter(
        inside["position"] / 1e6, inside["neg_log10_p"], s=46, facecolor="none",
        edgecolor=figures.INK, linewidths=0.8, zorder=4,
    )  # fmt: skip
    above.axhline(threshold, color=figures.MUTED, lw=0.7, ls="--")
    _genes(below, region, genes)


def keys(axes: Axes) -> list[Any]:
    """What a legend of the linkage needs."""
    return [
        axes.scatter([], [], s=14, color=colour, label=f"r² from {low:g}")
        for low, colour in zip((0, *_LEVELS), COLOURS, strict=True)
    ]


def tests(material: ReportInputs, regions: Sequence[Region]) -> list[pd.DataFrame]:
    """position, ref, alt, rsid and neg_log10_p of the lead's phenotype about each region's lead;
    `in_set` where a variant is in one of its credible sets."""
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
    """The variants of the credible sets of the leads' phenotypes."""
    wanted = pa.array([str(one.lead["phenotype"]) for one in regions], pa.string())
    phenotypes = pc.field("phenotype").isin(wanted)
    table = material.table("findings", "credible_sets")
    return table.to_table(columns=["phenotype", *VARIANT], filter=phenotypes).to_pandas()


def _rows_about(
    table: ds.Dataset, name: str, contig: str, regions: Sequence[Region]
) -> pd.DataFrame:
    """The tests about the leads of regions of one contig, read once; `test` says of what each is.

    Regions that lie together are one stretch.
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
    """The phenotype of a region's lead, or the model whose latents were tested together."""
    lead = region.lead
    return str(lead["method"].removesuffix(TOGETHER) if _is_omnibus(region) else lead["phenotype"])


def linkage(material: ReportInputs) -> Linkage:
    """The linkage of lead variants with their neighbours, by lead variant."""
    table = material.table("findings", "ld").to_table().to_pandas()
    return table.groupby(["contig", "lead", "lead_ref", "lead_alt"])


def genes(material: ReportInputs) -> pd.DataFrame:
    """The genes about the loci."""
    return material.table("findings", "nearby_genes").to_table().to_pandas()


def linked_with(linked: Linkage, region: Region) -> pd.DataFrame:
    """position, ref, alt and r2 of the neighbours of a region's lead."""
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
    """The genes about a region's lead, by their start: the nearest, and those with a name."""
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
    """Genes as bars, in lanes so that none lies on another."""
    centre = int(region.lead["position"])
    start, end = centre - FLANK_BP, centre + FLANK_BP
    own = genes_near(region, genes)
    lanes: list[float] = []
    for gene in own.itertuples():
        left, right = max(gene.start, start), min(gene.end, end)
        right = max(right, left + 2_000)  # that it can be seen
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
