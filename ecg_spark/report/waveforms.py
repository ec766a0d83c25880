"""Figures of heartbeats: of the population, of groups of people, of the model. Never of one
person.

Signals are in mV, [12, 600] at 500 Hz in the order of LEADS, with R at `R_INDEX`; time is in ms
from R.
"""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ecg_spark.ecg import LEADS
from ecg_spark.ecg_paper import CLINICAL_LAYOUT, TIME_MS, WINDOW_MS
from ecg_spark.report.figures import (
    BLUE,
    FAINT,
    INK,
    MUTED,
    ORANGE,
    STYLE,
    VERMILION,
    new_figure,
    styled,
)

Signal = NDArray[np.float64]
Row = NDArray[np.object_]
"""The panels of a row."""

TELLING_LEADS = ("I", "II", "V1", "V3", "V5")


def population_beat(percentiles: Signal) -> Figure:
    """The beat of a population by percentiles of every sample.

    Args:
        percentiles: 5th, 25th, 50th, 75th and 95th, [5, 12, 600] in mV.
    """
    low, lower, middle, upper, high = percentiles
    with mpl.rc_context(STYLE):
        figure = new_figure(5.4)
        grid = figure.subplots(3, 4, sharex="col", sharey=True)
        for axes, lead in zip(grid.ravel(), np.ravel(CLINICAL_LAYOUT), strict=True):
            k = LEADS.index(lead)
            axes.fill_between(TIME_MS, low[k], high[k], color=BLUE, alpha=0.15, lw=0)
            axes.fill_between(TIME_MS, lower[k], upper[k], color=BLUE, alpha=0.3, lw=0)
            axes.plot(TIME_MS, middle[k], color=BLUE, lw=1.3)
            _beat_axes(axes, lead)
        for axes in grid[-1]:
            axes.set_xlabel("ms from R")
        for axes in grid[:, 0]:
            axes.set_ylabel("mV")
    return figure


def beats_by_trait(groups: Mapping[str, Sequence[tuple[str, Signal]]]) -> Figure:
    """Mean beats of the people with low, middle and high values of each trait.

    Args:
        groups: for each trait, labels and mean beats [12, 600] in mV.
    """
    colours = (BLUE, MUTED, VERMILION)
    leads = ("II", "V1", "V5")
    with mpl.rc_context(STYLE):
        figure = new_figure(1.75 * len(groups) + 0.3)
        grid = figure.subplots(len(groups), len(leads), sharex="col", sharey="col", squeeze=False)
        for row, (trait, means) in zip(grid, groups.items(), strict=True):
            for axes, lead in zip(row, leads, strict=True):
                for colour, (label, mean) in zip(colours, means, strict=False):
                    axes.plot(TIME_MS, mean[LEADS.index(lead)], color=colour, lw=1.2, label=label)
                _beat_axes(axes, f"{trait}, {lead}")
            row[0].set_ylabel("mV")
            row[-1].legend(fontsize=8, loc="upper right")
        for axes in grid[-1]:
            axes.set_xlabel("ms from R")
    return figure


def reconstruction(
    groups: Sequence[tuple[str, Signal, Mapping[str, Signal]]],
    errors_uv: Mapping[str, Signal],
) -> Figure:
    """Held-out beats beside their reconstructions by each model.

    Args:
        groups: label, mean measured beat, and mean reconstructed beat by model, in mV.
        errors_uv: the mean absolute error of every sample over held-out beats by model, [12, 600]
            in µV.
    """
    colours = {"VAE": BLUE, "PCA": ORANGE}
    leads = ("II", "V1", "V5")
    with mpl.rc_context(STYLE):
        figure = new_figure(1.75 * (len(groups) + 1) + 0.3)
        grid = figure.subplots(len(groups) + 1, len(leads), sharex="col", squeeze=False)
        for row, (label, measured, rebuilt) in zip(grid[:-1], groups, strict=True):
            for axes, lead in zip(row, leads, strict=True):
                k = LEADS.index(lead)
                axes.plot(TIME_MS, measured[k], color=FAINT, lw=4, label="measured")
                for model, mean in rebuilt.items():
                    axes.plot(TIME_MS, mean[k], color=colours[model], lw=1.1, label=model)
                _beat_axes(axes, f"{label}, {lead}")
            row[0].set_ylabel("mV")
        grid[0, -1].legend(fontsize=8)
        for axes, lead in zip(grid[-1], leads, strict=True):
            for model, error in errors_uv.items():
                axes.plot(TIME_MS, error[LEADS.index(lead)], color=colours[model], lw=1.1)
            _beat_axes(axes, f"error, {lead}")
            axes.set_ylim(bottom=0)
            axes.set_xlabel("ms from R")
        grid[-1, 0].set_ylabel("µV")
    return figure


def traversals(named: Sequence[tuple[str, Signal]]) -> Figure:
    """The effect of each latent on the beat.

    Args:
        named: label and decoded beats [steps, 12, 600] in mV, from low to high.
    """
    with mpl.rc_context(STYLE):
        figure = new_figure(0.95 * len(named) + 0.5)
        grid = figure.subplots(
            len(named), len(TELLING_LEADS), sharex="col", sharey="col", squeeze=False
        )
        for row, (label, beats) in zip(grid, named, strict=True):
            shades = mpl.colormaps["coolwarm"](np.linspace(0.02, 0.98, len(beats)))
            for axes, lead in zip(row, TELLING_LEADS, strict=True):
                for shade, beat in zip(shades, beats, strict=True):
                    axes.plot(TIME_MS, beat[LEADS.index(lead)], color=shade, lw=0.9)
                _beat_axes(axes, lead if label == named[0][0] else "")
                axes.set_yticks([])
                axes.spines["left"].set_visible(False)
            row[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8.5)
        for axes in grid[-1]:
            axes.set_xlabel("ms from R")
    return figure


def locus_effects(
    named: Sequence[tuple[str, Signal, Signal, Signal, float]],
    mean_beat: Signal,
) -> Figure:
    """The effect of each locus on the beat: a row of beats and, beneath it, a row of differences.

    Args:
        named: label, beat with more effect alleles, beat with fewer, difference per allele in µV
            with its lower and upper 95 % limit [3, 12, 600], and how many alleles are drawn.
        mean_beat: [12, 600] in mV.
    """
    with mpl.rc_context(STYLE):
        figure, pairs = paired_rows([label for label, *_ in named], "µV per\nallele")
        for (beats, changes), (_, more, less, change, alleles) in zip(pairs, named, strict=True):
            for lead, above, below in zip(TELLING_LEADS, beats, changes, strict=True):
                i = LEADS.index(lead)
                above.plot(TIME_MS, mean_beat[i], color=FAINT, lw=2.6, label="mean beat")
                above.plot(TIME_MS, less[i], color=BLUE, lw=1.1, label=f"−{alleles:g} alleles")
                above.plot(TIME_MS, more[i], color=VERMILION, lw=1.1, label=f"+{alleles:g} alleles")
                below.fill_between(
                    TIME_MS, change[1, i], change[2, i], color=MUTED, alpha=0.3, lw=0
                )
                below.plot(TIME_MS, change[0, i], color=INK, lw=1.1)
            beats[2].legend(fontsize=7, loc="upper right", handlelength=1.2)
    return figure


def paired_rows(titles: Sequence[str], unit: str) -> tuple[Figure, list[tuple[Row, Row]]]:
    """A figure with two rows of empty panels for each title, one panel for each telling lead.

    The upper row is for beats in mV, the lower one for their differences in `unit`.
    """
    figure = new_figure(2.55 * len(titles) + 0.4)
    grid = figure.subplots(
        2 * len(titles),
        len(TELLING_LEADS),
        sharex="col",
        sharey="row",
        squeeze=False,
        height_ratios=[1.5, 1] * len(titles),
    )
    pairs = list(zip(grid[::2], grid[1::2], strict=True))
    for title, (beats, changes) in zip(titles, pairs, strict=True):
        for lead, above, below in zip(TELLING_LEADS, beats, changes, strict=True):
            _beat_axes(above, lead)
            _beat_axes(below, "")
            below.axhline(0, color=FAINT, lw=0.8)
        beats[0].set_title(f" \n{TELLING_LEADS[0]}")
        # The title reaches over the next panels and must not widen its own.
        beats[0].text(
            0, 1.2, title, transform=beats[0].transAxes, weight="bold", va="bottom"
        ).set_in_layout(False)
        beats[0].set_ylabel("mV")
        changes[0].set_ylabel(unit)
    for axes in grid[-1]:
        axes.set_xlabel("ms from R")
    return figure, pairs


def _beat_axes(axes: Axes, title: str) -> None:
    styled(axes, title)
    axes.set_xlim(*WINDOW_MS)
    axes.set_xticks([-200, 0, 200, 400])
    axes.axvline(0, color=FAINT, lw=0.6, zorder=0)
