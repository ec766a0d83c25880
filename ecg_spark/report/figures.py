"""Figures of the genetic side and of the training, in one style that is safe for colour-blind
readers.

Every function takes numbers and returns a Matplotlib figure; `embed` turns one into a data URI.
Figures do not go through pyplot, so nothing is kept between two of them.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, StrMethodFormatter
from numpy.typing import NDArray
from scipy import stats

from ecg_spark.report.evidence import FEWEST_IN_BIN, MIN_GROUP_SIZE
from ecg_spark.tables import OWN, PEER, TOGETHER

# Okabe and Ito's palette, whose colours can be distinguished with any kind of colour vision.
BLUE, ORANGE, GREEN, PURPLE, VERMILION = "#0072B2", "#E69F00", "#009E73", "#9A5C8F", "#D55E00"
SKY, OLIVE = "#56B4E9", "#8A8300"
BY_BIN = (VERMILION, ORANGE, GREEN, BLUE)
INK, MUTED, FAINT = "#1f2933", "#7b8794", "#cbd2d9"

GROUP_COLOURS = {
    "vae": BLUE,
    "vae omnibus": PURPLE,
    PEER: ORANGE,
    f"{PEER}{TOGETHER}": VERMILION,
    "traits": GREEN,
    OWN: SKY,
    f"{OWN}{TOGETHER}": OLIVE,
}

STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "svg.hashsalt": "ecg-spark",
    "svg.fonttype": "path",
}
WIDTH = 9.6  # inches; the same for every figure, so that text has the same size in all


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure; `height` and `width` in inches, by default as wide as the report."""
    return Figure(figsize=(width, height), layout="constrained")


def embed(figure: Figure, kind: str = "svg") -> str:
    """A figure as a data URI.

    Args:
        kind: `svg`, or `png` if there are many points.
    """
    buffer = io.BytesIO()
    figure.set_dpi(140)
    with mpl.rc_context(STYLE):
        # The canvases' own methods draw once; savefig draws a second time for the layout.
        if kind == "svg":
            FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
        else:
            FigureCanvasAgg(figure).print_png(buffer)
    mime = "image/svg+xml" if kind == "svg" else "image/png"
    return f"data:{mime};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def picture_in(uri: str) -> tuple[str, bytes]:
    """The inverse of `embed`: the kind (svg or png) and the content of the file."""
    mime, _, body = uri.partition(";base64,")
    return "svg" if "svg" in mime else "png", base64.b64decode(body)


def styled(axes: Axes, title: str = "", x: str = "", y: str = "") -> Axes:
    """Set the title of a panel and the labels of its axes."""
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return axes


def shortened(name: str, letters: int = 24) -> str:
    """A name cut to `letters` characters: its beginning and its end.

    Example:
        >>> shortened("a_rather_long_phenotype_name", 12)
        'a_rathe…name'
    """
    end = letters // 3
    return name if len(name) <= letters else f"{name[: letters - end - 1]}…{name[-end:]}"


def training_curves(history: Sequence[Mapping[str, float]]) -> Figure:
    """The loss, reconstruction error, KL divergence and number of active latents by epoch.

    Args:
        history: the metrics of each epoch.
    """
    table = pd.DataFrame(history)
    panels = [
        ("Loss", [("train/loss", FAINT, "training"), ("val/loss", BLUE, "held out")], ""),
        ("Mean absolute error", [("guess/mae_uv", BLUE, "held out")], "µV"),
        (
            "KL divergence",
            [("train/kl", FAINT, "training"), ("val/kl", BLUE, "held out")],
            "nats",
        ),
        ("Active latents", [("val/active_units", BLUE, "held out")], ""),
    ]
    shown = [panel for panel in panels if any(key in table for key, _, _ in panel[1])]
    with mpl.rc_context(STYLE):
        figure = new_figure(2.5)
        grid = figure.subplots(1, max(len(shown), 1), squeeze=False)[0]
        for axes, (title, curves, unit) in zip(grid, shown, strict=False):
            for key, colour, label in curves:
                if key in table:
                    drawn = MUTED if colour == FAINT else colour
                    axes.plot(table["epoch"], table[key], color=drawn, lw=1.6, label=label)
            styled(axes, title, "epoch", unit)
            if len(curves) > 1:
                axes.legend(fontsize=8)
            if title == "Active latents":
                axes.set_ylim(bottom=0)
            if title == "Loss":
                _clip_start(axes, table[[key for key, _, _ in curves if key in table]])
    return figure


def _clip_start(axes: Axes, values: pd.DataFrame) -> None:
    """Cut off the first epochs' high values, which would flatten all that follows."""
    late = values.iloc[len(values) // 20 :].to_numpy(float)
    late = late[np.isfinite(late)]
    if late.size > 4 and late.max() > late.min():
        margin = 0.05 * (late.max() - late.min())
        axes.set_ylim(late.min() - margin, late.max() + margin)


def histograms(columns: Mapping[str, NDArray[np.float64]], titles: Mapping[str, str]) -> Figure:
    """One histogram per column with its median marked.

    To protect people, bins of fewer than `FEWEST_IN_BIN` are left empty, and so is a histogram of
    fewer than `MIN_GROUP_SIZE`.

    Args:
        columns: one value per person; NaN where missing.
        titles: of the columns.
    """
    across = 4
    with mpl.rc_context(STYLE):
        figure = new_figure(1.9 * -(-len(columns) // across))
        grid = figure.subplots(-(-len(columns) // across), across, squeeze=False).ravel()
        for axes, (name, values) in zip(grid, columns.items(), strict=False):
            present = values[np.isfinite(values)]
            present = present if present.size >= MIN_GROUP_SIZE else present[:0]
            low, high = np.quantile(present, [0.002, 0.998]) if present.size else (0.0, 1.0)
            counts, edges = np.histogram(present, _bins(present, low, high))
            shown = np.where(counts < FEWEST_IN_BIN, 0, counts)
            axes.hist(edges[:-1], edges, weights=shown, color=BLUE, alpha=0.75)
            if present.size:
                axes.axvline(float(np.median(present)), color=INK, lw=1)
            styled(axes, titles.get(name, name))
            axes.set_yticks([])
            axes.spines["left"].set_visible(False)
        for axes in grid[len(columns) :]:
            axes.set_visible(False)
    return figure


def _bins(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """The edges of about 40 bins. For values on a grid (2 ms), every bin covers the same
    number of steps.
    """
    width = max(high - low, 1e-9) / 40
    gaps = np.diff(np.unique(values))
    step = float(gaps.min()) if gaps.size else 0.0
    if step < width / 20:  # no grid, or one too fine to matter
        return np.linspace(low, low + 40 * width, 41)
    width = step * np.ceil(width / step)
    return np.arange(low - step / 2, high + width, width)


def heat_map(
    values: NDArray[np.float64],
    rows: Sequence[str],
    columns: Sequence[str],
    label: str,
    limit: float,
) -> Figure:
    """A signed matrix in two colours around zero; missing values (NaN) are white.

    Args:
        values: [rows, columns].
        label: of the colour bar.
        limit: the absolute value with the strongest colour.
    """
    with mpl.rc_context(STYLE):
        figure = new_figure(0.24 * len(rows) + 1.7)
        axes = figure.subplots()
        image = axes.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
        axes.set_xticks(
            range(len(columns)), map(shortened, columns), rotation=60, ha="right", fontsize=8
        )
        axes.set_yticks(range(len(rows)), map(shortened, rows), fontsize=8)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        figure.colorbar(image, ax=axes, label=label, shrink=min(1.0, 3 / len(rows) + 0.4), pad=0.01)
    return figure


def ancestry(scores: NDArray[np.float64]) -> Figure:
    """People on pairs of genetic principal components, counted in hexagons.

    Hexagons of fewer than `FEWEST_IN_BIN` people are not drawn; with few people they are larger.

    Args:
        scores: [n, k].
    """
    across = int(np.clip(np.sqrt(len(scores)) / 2, 6, 40))
    pairs = list(pairwise(range(min(scores.shape[1], 4))))
    with mpl.rc_context(STYLE):
        figure = new_figure(3.2)
        for axes, (a, b) in zip(figure.subplots(1, 3, squeeze=False)[0], pairs, strict=False):
            drawn = axes.hexbin(
                scores[:, a], scores[:, b], gridsize=across, mincnt=FEWEST_IN_BIN, cmap="cividis_r"
            )
            most = max([2 * FEWEST_IN_BIN, *drawn.get_array()])
            drawn.set_norm(LogNorm(FEWEST_IN_BIN, most))
            styled(axes, "", f"component {a + 1}", f"component {b + 1}")
            axes.set_xticks([])
            axes.set_yticks([])
        if pairs:
            figure.colorbar(
                drawn,
                ax=figure.axes[len(pairs) - 1],
                label="people",
                ticks=LogLocator(subs=(1, 2, 5)),
                format=StrMethodFormatter("{x:g}"),
            ).minorticks_off()
        for axes in figure.axes[len(pairs) : 3]:
            axes.set_visible(False)
    return figure


def manhattan(
    panels: Sequence[tuple[str, str, pd.DataFrame, float]],
    extents: Mapping[str, int],
    floor: float,
    marks: pd.DataFrame,
) -> Figure:
    """Manhattan plots above each other, on the same genome.

    Args:
        panels: title, group, points and threshold as -log10 p. Points have the columns contig,
            position and neg_log10_p; none lies below `floor`.
        extents: the contigs in order, with their lengths in bp.
        floor: where the vertical axis begins.
        marks: planted variants (contig, position, is_large), drawn below the panels.
    """
    gap = 0.01 * sum(extents.values())
    starts, at = {}, 0.0
    for contig, length in extents.items():
        starts[contig] = at
        at += length + gap
    with mpl.rc_context(STYLE):
        figure = new_figure(1.75 * len(panels) + 0.4)
        for axes, (title, group, points, threshold) in zip(
            figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0], panels, strict=True
        ):
            x = _along(points, starts)
            y = points["neg_log10_p"].to_numpy(float)
            odd = points["contig"].isin(list(starts)[1::2]).to_numpy()
            hit = y >= threshold
            for chosen, colour, size in (
                (~hit & ~odd, MUTED, 3),
                (~hit & odd, FAINT, 3),
                (hit, GROUP_COLOURS[group], 9),
            ):
                many = colour in (MUTED, FAINT)  # in a PDF, too, they are pixels
                axes.scatter(
                    x[chosen], y[chosen], s=size, color=colour, linewidths=0, rasterized=many
                )
            axes.axhline(threshold, color=INK, lw=0.8, ls=(0, (4, 3)))
            axes.set_ylim(floor, max(threshold * 1.25, float(y.max() if len(y) else 0) * 1.08))
            axes.set_xlim(-gap, at)
            styled(axes, title, "", "−log₁₀ p")
            for large, mark in marks.groupby("is_large"):
                axes.plot(
                    _along(mark, starts), np.full(len(mark), -0.035), "^",
                    mec=INK, mfc=INK if large else "white", mew=0.6, ms=4, clip_on=False,
                    transform=axes.get_xaxis_transform(),
                )  # fmt: skip
        axes.set_xticks(
            [starts[name] + length / 2 for name, length in extents.items()],
            [name.removeprefix("chr") for name in extents],
            fontsize=8 if len(extents) < 16 else 6.5,
        )
        axes.tick_params(axis="x", length=0, pad=7)
        axes.set_xlabel("chromosome")
    return figure


def _along(variants: pd.DataFrame, starts: Mapping[str, float]) -> NDArray[np.float64]:
    """The positions of variants on an axis of all contigs one after the other."""
    starting = variants["contig"].map(starts).to_numpy(float)
    return np.asarray(starting + variants["position"].to_numpy(float))


def quantile_quantile(
    panels: Sequence[tuple[str, str, Mapping[str, NDArray[np.float64]]]],
    colours: Mapping[str, str] | None = None,
) -> Figure:
    """QQ plots: observed against expected -log10 p, one line per phenotype.

    The grey band contains 95 % of the ordered p-values of as many independent tests.

    Args:
        panels: title, group, and for each phenotype a curve [2, m] of expected and observed
            values.
        colours: if given, the lines are not phenotypes but these names, which a legend explains.
    """
    with mpl.rc_context(STYLE):
        across = len(panels) if len(panels) <= 5 else -(-len(panels) // 2)
        figure = new_figure(2.9 * -(-len(panels) // across))
        grid = figure.subplots(-(-len(panels) // across), across, squeeze=False).ravel()
        for axes in grid[len(panels) :]:
            axes.set_visible(False)
        for axes, (title, group, curves) in zip(grid, panels, strict=False):
            reach = max((float(curve[0].max()) for curve in curves.values()), default=1.0)
            expected = np.linspace(0.02, reach, 60)
            total = 10**reach
            rank = np.maximum(total * 10**-expected, 1.0)
            low, high = (
                -np.log10(stats.beta.ppf(share, rank, np.maximum(total + 1 - rank, 1e-9)))
                for share in (0.975, 0.025)
            )
            axes.fill_between(expected, low, high, color=FAINT, lw=0)
            axes.plot([0, reach], [0, reach], color=INK, lw=0.8)
            for name, curve in curves.items():
                axes.plot(
                    curve[0], curve[1], color=colours[name] if colours else GROUP_COLOURS[group],
                    alpha=1 if colours or len(curves) == 1 else 0.55, lw=1, marker=".", ms=2.5,
                    mew=0, label=name,
                )  # fmt: skip
            styled(axes, title, "expected −log₁₀ p", "observed" if axes in grid[::across] else "")
        if colours:
            grid[0].legend(fontsize=7, title="minor allele", title_fontsize=7)
    return figure


def found_shares(shares: Mapping[str, Mapping[str, tuple[int, int]]]) -> Figure:
    """How many planted variants each method found, one panel per class of variants.

    Args:
        shares: for each class and method, how many were found, and out of how many.
    """
    with mpl.rc_context(STYLE):
        methods = list(next(iter(shares.values())))
        figure = new_figure(0.34 * len(methods) + 0.9)
        grid = figure.subplots(1, len(shares), squeeze=False, sharey=True)[0]
        for axes, (title, counts) in zip(grid, shares.items(), strict=True):
            for k, method in enumerate(methods):
                found, planted = counts[method]
                axes.barh(k, planted, color=FAINT, height=0.66)
                axes.barh(k, found, color=GROUP_COLOURS.get(method, INK), height=0.66)
                axes.text(planted, k, f" {found} of {planted}", va="center", fontsize=8)
            styled(axes, title)
            axes.set_yticks(range(len(methods)), methods)
            axes.set_xlim(0, max(max(planted for _, planted in counts.values()), 1) * 1.3)
            axes.set_xticks([])
            axes.spines[:].set_visible(False)
            axes.tick_params(length=0)
        grid[0].invert_yaxis()
    return figure


def effects_there(loci: pd.DataFrame) -> Figure:
    """The effects of loci in two cohorts, with signs such that the effect here is positive.

    Args:
        loci: columns method, beta, se, beta_there, se_there and outcome.
    """
    with mpl.rc_context(STYLE):
        figure = new_figure(3.4, WIDTH / 2)
        axes = figure.subplots()
        sign = np.sign(loci["beta"])
        here, there = sign * loci["beta"], sign * loci["beta_there"]
        reach = 1.1 * float((here + 1.96 * loci["se"]).max())
        axes.plot([0, reach], [0, reach], color=FAINT, lw=1)
        axes.axhline(0, color=INK, lw=0.8)
        for method in dict.fromkeys(loci["method"]):
            colour = GROUP_COLOURS[method]
            own = (loci["method"] == method).to_numpy()
            filled = (loci["outcome"] == "replicated").to_numpy()
            errors = {"xerr": 1.96 * loci["se"][own], "yerr": 1.96 * loci["se_there"][own]}
            axes.errorbar(
                here[own], there[own], **errors, fmt="none", ecolor=colour, elinewidth=0.7,
            )  # fmt: skip
            for chosen, face in ((own & filled, colour), (own & ~filled, "white")):
                axes.scatter(
                    here[chosen], there[chosen], s=22, edgecolors=colour, facecolors=face, zorder=3,
                    label=method if face == colour else None,
                )  # fmt: skip
        axes.set_xlim(0, reach)
        styled(axes, "", "β here", "β there")
        axes.legend(frameon=False, fontsize=8, loc="upper left")
    return figure
