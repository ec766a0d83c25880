"""Figures of diseases: all tests by category, effects with their intervals, prediction, beats.

Every function takes numbers and returns a Matplotlib figure, in the style of `figures`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ecg_spark.ecg import LEADS
from ecg_spark.ecg_paper import TIME_MS
from ecg_spark.report.figures import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    PURPLE,
    SKY,
    STYLE,
    VERMILION,
    new_figure,
    shortened,
    styled,
)
from ecg_spark.report.waveforms import TELLING_LEADS, paired_rows

Signal = NDArray[np.float64]

_CATEGORIES = (BLUE, ORANGE, GREEN, PURPLE, VERMILION, SKY)
_LABELLED = 7
_MODELS = {
    "covariates": MUTED,
    "intervals": GREEN,
    "factors": BLUE,
    "components": ORANGE,
    "own phenotypes": SKY,
    "intervals and factors": PURPLE,
}


def phewas(panels: Sequence[tuple[str, pd.DataFrame]], fdr: float, bonferroni: float) -> Figure:
    """Manhattan-like plots of all diseases by category, one panel per group of predictors.

    Args:
        panels: title and points, with columns disease, name, category, neg_log10_p and beta.
        fdr: the -log10 p at which the false discovery rate is controlled; infinite if no test
            passes.
        bonferroni: the -log10 p of the Bonferroni threshold.
    """
    everything = pd.concat([points for _, points in panels])
    order = everything[["category", "disease"]].drop_duplicates()
    order = order.sort_values(["category", "disease"]).reset_index(drop=True)
    place = pd.Series(np.arange(len(order)), order["disease"])
    groups = list(order.groupby("category", sort=True).groups.items())
    with mpl.rc_context(STYLE):
        figure = new_figure(2.1 * len(panels) + 1.0)
        grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (title, points) in zip(grid, panels, strict=True):
            for k, (category, _) in enumerate(groups):
                own = points[points["category"] == category]
                colour = _CATEGORIES[k % len(_CATEGORIES)]
                for more, marker in ((True, "^"), (False, "v")):
                    some = own[(own["beta"] > 0) == more]
                    axes.scatter(
                        place[some["disease"]], some["neg_log10_p"], s=16, marker=marker,
                        color=colour, linewidths=0,
                    )  # fmt: skip
            axes.axhline(bonferroni, color=INK, lw=0.8, ls=(0, (4, 3)))
            if np.isfinite(fdr):
                axes.axhline(fdr, color=MUTED, lw=0.8, ls=(0, (1, 2)))
            top = max(bonferroni, float(points["neg_log10_p"].max() if len(points) else 0))
            axes.set_ylim(0, 1.22 * top)
            axes.set_xlim(-0.6, len(order) - 0.4)
            styled(axes, title, "", "−log₁₀ p")
            _label(axes, points, place, fdr, len(order))
        ends = np.cumsum([len(members) for _, members in groups])
        middles = ends - np.array([len(members) for _, members in groups]) / 2 - 0.5
        for axes in grid:
            for end in ends[:-1]:
                axes.axvline(end - 0.5, color=FAINT, lw=0.5, zorder=0)
        grid[-1].set_xticks(
            middles, [shortened(str(name), 26) for name, _ in groups], rotation=40, ha="right",
            fontsize=8,
        )  # fmt: skip
        grid[-1].tick_params(axis="x", length=0)
    return figure


def _label(
    axes: mpl.axes.Axes, points: pd.DataFrame, place: pd.Series, fdr: float, width: int
) -> None:
    """Name the most significant diseases of a panel, with the text towards its middle."""
    named = points[points["neg_log10_p"] >= fdr].sort_values("neg_log10_p", ascending=False)
    for row in named.drop_duplicates("disease").head(_LABELLED).itertuples():
        x = float(place[row.disease])
        left = x > width / 2
        axes.annotate(
            shortened(str(row.name), 34), (x, row.neg_log10_p), xytext=(-5 if left else 5, 0),
            textcoords="offset points", ha="right" if left else "left", va="center", fontsize=7.5,
        )  # fmt: skip


@dataclass(frozen=True)
class Effects:
    """The effects of predictors on one disease.

    Attributes:
        title: of the panel.
        ratio: "odds ratio" or "hazard ratio".
        rows: label, beta, lower and upper, on the log scale.
    """

    title: str
    ratio: str  # "odds ratio" or "hazard ratio"
    rows: pd.DataFrame


def forest(panels: Sequence[Effects]) -> Figure:
    """Odds and hazard ratios with their 95 % profile likelihood intervals, one panel per
    disease.
    """
    across = 2
    down = -(-len(panels) // across)
    most = max(len(panel.rows) for panel in panels)
    with mpl.rc_context(STYLE):
        figure = new_figure(down * (0.24 * most + 0.95))
        grid = figure.subplots(down, across, squeeze=False).ravel()
        for axes, panel in zip(grid, panels, strict=False):
            rows = panel.rows
            y = most - 1 - np.arange(len(rows))
            axes.axvline(1, color=FAINT, lw=1)
            ratio = np.exp(rows[["beta", "lower", "upper"]].to_numpy(float))
            axes.hlines(y, ratio[:, 1], ratio[:, 2], color=BLUE, lw=1.6)
            axes.plot(ratio[:, 0], y, "o", color=BLUE, ms=4.5)
            axes.set_yticks(y, rows["label"], fontsize=8)
            axes.set_ylim(-0.7, most - 0.3)
            axes.set_xscale("log")
            low, high = np.nanmin(ratio), np.nanmax(ratio)
            ticks = [t for t in (0.1, 0.2, 0.33, 0.5, 0.7, 1, 1.4, 2, 3, 5, 10) if
                     min(low, 0.8) * 0.93 <= t <= max(high, 1.25) * 1.07]  # fmt: skip
            axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
            axes.set_xticks([], minor=True)
            axes.set_xlim(min(low, 0.8) * 0.93, max(high, 1.25) * 1.07)
            axes.tick_params(axis="y", length=0)
            styled(axes, shortened(panel.title, 52), panel.ratio)
        for axes in grid[len(panels) :]:
            axes.set_visible(False)
    return figure


def predicted(rows: pd.DataFrame) -> Figure:
    """The AUC or C of each model by disease.

    Args:
        rows: label, model, concordance and se.
    """
    labels = list(dict.fromkeys(rows["label"]))
    models = [name for name in _MODELS if name in set(rows["model"])]
    with mpl.rc_context(STYLE):
        figure = new_figure(0.38 * len(labels) + 1.1)
        axes = figure.subplots()
        for k, model in enumerate(models):
            own = rows[rows["model"] == model].set_index("label").reindex(labels)
            y = np.arange(len(labels)) + 0.13 * (k - (len(models) - 1) / 2)
            value, error = own["concordance"].to_numpy(float), own["se"].to_numpy(float)
            axes.errorbar(
                value, y, xerr=1.96 * error, fmt="o", ms=4, lw=1, color=_MODELS[model],
                label=model if model == "covariates" else f"+ {model}",
            )  # fmt: skip
        axes.axvline(0.5, color=FAINT, lw=1)
        axes.set_yticks(range(len(labels)), [shortened(label, 46) for label in labels], fontsize=8)
        axes.tick_params(axis="y", length=0)
        axes.invert_yaxis()
        styled(axes, "", "area under the ROC curve, or Harrell's C for incident disease")
        axes.legend(fontsize=7.5, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def calibration(panels: Sequence[tuple[str, Mapping[str, tuple[Signal, Signal]]]]) -> Figure:
    """Observed against expected cases by tenths of the predicted risk, one panel per disease.

    Args:
        panels: title, and for each model the expected [10] and observed [10] cases.
    """
    across = 4
    down = -(-len(panels) // across)
    with mpl.rc_context(STYLE):
        figure = new_figure(2.3 * down)
        grid = figure.subplots(down, across, squeeze=False).ravel()
        for axes, (title, curves) in zip(grid, panels, strict=False):
            reach = max(float(max(a.max(), b.max())) for a, b in curves.values()) * 1.05
            axes.plot([0, reach], [0, reach], color=FAINT, lw=1)
            for model, (expected, observed) in curves.items():
                axes.plot(expected, observed, "o-", ms=3, lw=1, color=_MODELS[model], label=model)
            styled(axes, shortened(title, 26), "expected cases", "observed")
        grid[0].legend(fontsize=7)
        for axes in grid[len(panels) :]:
            axes.set_visible(False)
    return figure


@dataclass(frozen=True)
class DiseaseBeat:
    """The beats to draw for one disease.

    Attributes:
        title: of the row.
        cases: mean beat of the cases and its standard error, both [12, 600] in mV.
        controls: the same of the controls.
        decoded_uv: what the decoder makes of the factors' difference, with its limits, [3, 12,
            600] in µV; None without a model.
    """

    title: str
    cases: tuple[Signal, Signal]
    controls: tuple[Signal, Signal]
    decoded_uv: Signal | None


def disease_beats(beats: Sequence[DiseaseBeat]) -> Figure:
    """For each disease a row of mean beats and, beneath it, a row of differences in µV."""
    with mpl.rc_context(STYLE):
        figure, pairs = paired_rows([one.title for one in beats], "µV")
        for (upper, lower), one in zip(pairs, beats, strict=True):
            for lead, above, below in zip(TELLING_LEADS, upper, lower, strict=True):
                i = LEADS.index(lead)
                above.plot(TIME_MS, one.controls[0][i], color=MUTED, lw=1.3, label="controls")
                above.plot(TIME_MS, one.cases[0][i], color=VERMILION, lw=1.1, label="cases")
                change = 1000 * (one.cases[0][i] - one.controls[0][i])
                error = 1960 * np.hypot(one.cases[1][i], one.controls[1][i])
                below.fill_between(TIME_MS, change - error, change + error, color=VERMILION,
                                   alpha=0.22, lw=0)  # fmt: skip
                below.plot(TIME_MS, change, color=VERMILION, lw=1, label="measured")
                if one.decoded_uv is not None:
                    middle, low, high = one.decoded_uv[:, i]
                    below.fill_between(TIME_MS, low, high, color=BLUE, alpha=0.22, lw=0)
                    below.plot(TIME_MS, middle, color=BLUE, lw=1, label="by the factors")
            upper[2].legend(fontsize=7, loc="upper right", handlelength=1.2)
            lower[2].legend(fontsize=7, loc="upper right", handlelength=1.2)
    return figure
