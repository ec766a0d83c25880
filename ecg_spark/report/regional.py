"""Regional plots: a locus's p-values by linkage with its lead variant, above the genes there."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ecg_spark.report import figures
from ecg_spark.report.loci import Region
from ecg_spark.report.sections import Material
from ecg_spark.tables import VARIANT

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


@mpl.rc_context(figures.STYLE)
def regional(
    material: Material, regions: Sequence[Region], thresholds: dict[str, float]
) -> Figure | None:
    """A panel a region, the strongest first; None where there is no region."""
    shown = list(regions[:SHOWN])
    if not shown:
        return None
    tests = _tests(material, shown)
    linked = material.table("findings", "ld").to_table().to_pandas()
    genes = material.table("findings", "nearby_genes").to_table().to_pandas()
    sets = _sets(material, shown)
    rows = -(-len(shown) // COLUMNS)
    figure = figures.new_figure(2.9 * rows + 0.3)
    outer = figure.add_gridspec(rows, COLUMNS)
    for number, (region, test) in enumerate(zip(shown, tests, strict=True)):
        inner = outer[number // COLUMNS, number % COLUMNS].subgridspec(
            2, 1, height_ratios=(3, 1.2), hspace=0.02
        )
        above = figure.add_subplot(inner[0])
        below = figure.add_subplot(inner[1], sharex=above)
        _points(above, region, test.merge(_ld_of(linked, region), on=VARIANT[1:], how="left"))
        own = sets[
            (sets["contig"] == region.contig) & (sets["phenotype"] == region.lead["phenotype"])
        ]
        inside = test.merge(own[VARIANT[1:]], on=VARIANT[1:])
        above.scatter(
            inside["position"] / 1e6, inside["neg_log10_p"], s=46, facecolor="none",
            edgecolor=figures.INK, linewidths=0.8, zorder=4,
        )  # fmt: skip
        above.axhline(thresholds[region.lead["method"]], color=figures.MUTED, lw=0.7, ls="--")
        _genes(below, region, genes)
    handles = [
        figure.axes[0].scatter([], [], s=14, color=colour, label=f"r² from {low:g}")
        for low, colour in zip((0, *_LEVELS), COLOURS, strict=True)
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=len(handles), fontsize=8)
    return figure


def _tests(material: Material, regions: Sequence[Region]) -> list[pd.DataFrame]:
    """position, ref, alt and neg_log10_p of the lead's phenotype about each region's lead."""
    found = []
    for region in regions:
        lead = region.lead
        near = (
            (pc.field("contig") == region.contig)
            & (pc.field("position") >= int(lead["position"]) - FLANK_BP)
            & (pc.field("position") <= int(lead["position"]) + FLANK_BP)
        )
        if str(lead["method"]).endswith("omnibus"):
            table, own = "omnibus", pc.field("model") == lead["method"].removesuffix(" omnibus")
        else:
            table, own = "associations", pc.field("phenotype") == lead["phenotype"]
        columns = [*VARIANT[1:], "neg_log10_p"]
        rows = material.table("associations", table).to_table(columns=columns, filter=near & own)
        found.append(rows.to_pandas().dropna())
    return found


def _sets(material: Material, regions: Sequence[Region]) -> pd.DataFrame:
    """The variants of the credible sets of the leads' phenotypes."""
    phenotypes = pc.field("phenotype").isin([str(one.lead["phenotype"]) for one in regions])
    table = material.table("findings", "credible_sets")
    return table.to_table(columns=["phenotype", *VARIANT], filter=phenotypes).to_pandas()


def _ld_of(linked: pd.DataFrame, region: Region) -> pd.DataFrame:
    lead = region.lead
    own = (linked["contig"] == region.contig) & (linked["lead"] == lead["position"])
    own &= (linked["lead_ref"] == lead["ref"]) & (linked["lead_alt"] == lead["alt"])
    return linked.loc[own, [*VARIANT[1:], "r2"]]


def _points(axes: Axes, region: Region, rows: pd.DataFrame) -> None:
    lead = region.lead
    phenotype = lead["phenotype"].replace("_", " ")
    figures.styled(axes, f"{region.name} · {phenotype}", "", "−log₁₀ p")
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


def _genes(axes: Axes, region: Region, genes: pd.DataFrame) -> None:
    """Genes as bars, in lanes so that none lies on another."""
    centre = int(region.lead["position"])
    start, end = centre - FLANK_BP, centre + FLANK_BP
    own = genes[(genes["contig"] == region.contig) & (genes["end"] >= start)]
    own = own[own["start"] <= end].sort_values("start")
    named = ~own["gene"].str.fullmatch(r"LOC\d+")
    if len(own) > CROWDED and named.any():
        own = own[named]
    if len(own) > GENES_SHOWN:  # the nearest
        away = np.maximum(np.maximum(own["start"] - centre, centre - own["end"]), 0)
        own = own.loc[away.sort_values().index[:GENES_SHOWN]].sort_values("start")
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
