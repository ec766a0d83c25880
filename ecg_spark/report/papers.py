"""Pictures for a paper, of what the page lets a reader move: a heart, and a locus in full.

Leads are drawn as on ECG paper: 25 mm/s and 10 mm/mV, twice as large.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from ecg_spark.ecg import BEAT_RATE_HZ, LEADS, R_INDEX
from ecg_spark.genetics.testing.p_values import WITHIN
from ecg_spark.report import figures
from ecg_spark.report.waveforms import CLINICAL_LAYOUT, TIME_MS, WINDOW_MS, Signal

_WIDTH_MM, _HEIGHT_MM, _ZERO_MM = 22, 25, 15
_MM_PER_MS, _MM_PER_MV = 0.025, 10
_INCH_MM = 25.4 / 2
_PAPER = "#e79a9a"
_SHOWN = slice(
    R_INDEX + round(WINDOW_MS[0] * BEAT_RATE_HZ / 1000),
    R_INDEX + round(WINDOW_MS[1] * BEAT_RATE_HZ / 1000),
)


@dataclass(frozen=True)
class Curve:
    """A beat [12, 600] in mV, with half the width of its 95 % band where it has one."""

    label: str
    beat: Signal
    colour: str
    half_band: Signal | None = None


def size() -> tuple[float, float]:
    """Width and height in inches of twelve leads."""
    return (4 * _WIDTH_MM + 1) / _INCH_MM, 3 * _HEIGHT_MM / _INCH_MM


@mpl.rc_context(figures.STYLE)
def hearts(curves: Sequence[Curve]) -> Figure:
    """Beats over each other on ECG paper."""
    width, height = size()
    figure = figures.new_figure(height + 0.5, width)
    twelve_leads(figure.subplots(), curves)
    return figure


def twelve_leads(axes: Axes, curves: Sequence[Curve]) -> None:
    """Draw beats over each other into axes whose unit is a millimetre of paper."""
    width, height = 4 * _WIDTH_MM + 1, 3 * _HEIGHT_MM
    axes.set_xlim(0, width)
    axes.set_ylim(-height, 0)
    axes.set_aspect("equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(MultipleLocator(1))
        axis.set_major_locator(MultipleLocator(5))
    axes.grid(which="minor", color=_PAPER, lw=0.25)
    axes.grid(which="major", color=_PAPER, lw=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", length=0, labelbottom=False, labelleft=False)
    axes.spines[:].set_visible(False)
    x = (TIME_MS[_SHOWN] - WINDOW_MS[0]) * _MM_PER_MS + 0.5
    for row, names in enumerate(CLINICAL_LAYOUT):
        for column, lead in enumerate(names):
            left, zero = column * _WIDTH_MM, -row * _HEIGHT_MM - _ZERO_MM
            k = LEADS.index(lead)
            for curve in curves:
                y = zero + _MM_PER_MV * curve.beat[k, _SHOWN]
                first = lead == CLINICAL_LAYOUT[0][0]
                axes.plot(x + left, y, color=curve.colour, lw=1.1, label=curve.label * first)
                if curve.half_band is not None:
                    half = _MM_PER_MV * curve.half_band[k, _SHOWN]
                    axes.fill_between(x + left, y - half, y + half, color=curve.colour, alpha=0.25,
                                      lw=0)  # fmt: skip
            axes.text(left + 0.8, zero + _ZERO_MM - 2.6, lead, weight="bold")
    axes.text(width - 0.5, 1 - height, "25 mm/s, 10 mm/mV", ha="right", fontsize=7.5)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles, labels, loc="lower right", bbox_to_anchor=(1, 1), ncols=len(curves))


_STRONG_Z = 5.45
"""|z| of p = 5e-8."""


def forest(axes: Axes, effects: pd.DataFrame) -> None:
    """β with its 95 % interval on each phenotype; `effects` has beta and se by phenotype.

    Those with p < 5e-8 are in colour.
    """
    known = effects.dropna()
    places = -np.arange(len(known))
    strong = (known["beta"] / known["se"]).abs() >= _STRONG_Z
    colours = np.where(strong, figures.BLUE, figures.MUTED)
    axes.axvline(0, color=figures.FAINT, lw=0.8)
    half = WITHIN * known["se"]
    axes.hlines(places, known["beta"] - half, known["beta"] + half, color=colours, lw=1.2)
    axes.scatter(known["beta"], places, color=colours, s=14, zorder=3)
    axes.set_yticks(places, [figures.shortened(name) for name in known.index], fontsize=6.5)
    axes.set_ylim(places.min(initial=0) - 0.7, 0.7)
    axes.tick_params(axis="y", length=0)
    figures.styled(axes, "", "β per effect allele, SD")
