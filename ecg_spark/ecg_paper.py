"""Average beats drawn as on ECG paper, 25 mm/s and 10 mm/mV: for reports, papers and MLflow.

Beats are [12, 600] in mV at 500 Hz in the order of `LEADS`, R at `R_INDEX`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ecg_spark.ecg import BEAT_RATE_HZ, BEAT_SAMPLES, LEADS, R_INDEX

TIME_MS = (np.arange(BEAT_SAMPLES) - R_INDEX) * 1000 / BEAT_RATE_HZ
"""The time of each sample of a beat from R."""

WINDOW_MS = (-320.0, 520.0)
"""The part of a beat that is drawn, from R: P begins and T ends in it in nearly everyone."""

CLINICAL_LAYOUT = (
    ("I", "aVR", "V1", "V4"),
    ("II", "aVL", "V2", "V5"),
    ("III", "aVF", "V3", "V6"),
)
"""Where the leads lie on a printed ECG, row by row."""

_WIDTH_MM, _HEIGHT_MM, _ZERO_MM = 22, 25, 15
_MM_PER_MS, _MM_PER_MV = 0.025, 10
_MM_PER_INCH = 25.4 / 2  # twice as large as on paper
_PAPER = "#e79a9a"
_SHOWN = slice(
    R_INDEX + round(WINDOW_MS[0] * BEAT_RATE_HZ / 1000),
    R_INDEX + round(WINDOW_MS[1] * BEAT_RATE_HZ / 1000),
)


@dataclass(frozen=True)
class Curve:
    """A beat to draw.

    Attributes:
        label: its name in the legend.
        beat: [12, 600] in mV.
        colour: as Matplotlib takes it.
        half_band: half the width of its 95 % band, [12, 600] in mV; None to draw no band.
        line_width: in points.
    """

    label: str
    beat: NDArray[np.floating]
    colour: str
    half_band: NDArray[np.floating] | None = None
    line_width: float = 1.1


def size() -> tuple[float, float]:
    """Return width and height in inches of twelve leads."""
    return (4 * _WIDTH_MM + 1) / _MM_PER_INCH, 3 * _HEIGHT_MM / _MM_PER_INCH


def draw_beats(curves: Sequence[Curve], title: str = "") -> Figure:
    """Return a figure with beats drawn over each other on ECG paper.

    Args:
        curves: the beats; later ones lie above earlier ones.
        title: above the beats; empty for none.
    """
    width, height = size()  # placed by hand: a layout engine draws everything twice
    margin, above = 0.04, 0.7 if title else 0.4
    whole = (width + 2 * margin, height + margin + above)
    figure = Figure(figsize=whole, dpi=120)
    place = (margin / whole[0], margin / whole[1], width / whole[0], height / whole[1])
    draw_leads(figure.add_axes(place), curves)
    figure.suptitle(title, x=0.01, ha="left", weight="bold", fontsize=10)
    return figure


def draw_leads(axes: Axes, curves: Sequence[Curve]) -> None:
    """Draw beats over each other into axes whose unit is a millimetre of paper.

    All leads share the axes, because twelve separate ones take five times as long to draw.

    Args:
        axes: empty axes.
        curves: the beats; later ones lie above earlier ones.
    """
    width, height = 4 * _WIDTH_MM + 1, 3 * _HEIGHT_MM
    axes.set_xlim(0, width)
    axes.set_ylim(-height, 0)
    axes.set_aspect("equal")
    for step, line_width in ((1, 0.25), (5, 0.6)):
        # Lines, since Matplotlib's ticks and their labels take ten times as long.
        upright, level = np.arange(0, width + 1, step), -np.arange(0, height + 1, step)
        axes.vlines(upright, -height, 0, color=_PAPER, lw=line_width, zorder=0.5)
        axes.hlines(level, 0, width, color=_PAPER, lw=line_width, zorder=0.5)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    x = (TIME_MS[_SHOWN] - WINDOW_MS[0]) * _MM_PER_MS + 0.5
    for row, names in enumerate(CLINICAL_LAYOUT):
        for column, lead in enumerate(names):
            left, zero = column * _WIDTH_MM, -row * _HEIGHT_MM - _ZERO_MM
            k = LEADS.index(lead)
            for curve in curves:
                y = zero + _MM_PER_MV * curve.beat[k, _SHOWN]
                first = lead == CLINICAL_LAYOUT[0][0]
                axes.plot(x + left, y, color=curve.colour, lw=curve.line_width,
                          label=curve.label * first)  # fmt: skip
                if curve.half_band is not None:
                    half = _MM_PER_MV * curve.half_band[k, _SHOWN]
                    axes.fill_between(x + left, y - half, y + half, color=curve.colour, alpha=0.25,
                                      lw=0)  # fmt: skip
            axes.text(left + 0.8, zero + _ZERO_MM - 2.6, lead, weight="bold")
    axes.text(width - 0.5, 1 - height, "25 mm/s, 10 mm/mV", ha="right", fontsize=7.5)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(
        handles, labels, loc="lower right", bbox_to_anchor=(1, 1), ncols=len(curves), fontsize=8,
        frameon=False, handlelength=1.4, columnspacing=1.2,
    )  # fmt: skip
