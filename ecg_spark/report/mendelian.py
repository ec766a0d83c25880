"""The report's section on Mendelian randomisation, with scatter and forest plots."""

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ecg_spark.genetics.mendelian.estimators import EGGER, IVW_FIXED, IVW_RANDOM, MEDIAN
from ecg_spark.genetics.mendelian.study import USED
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
from ecg_spark.report.sections import ReportInputs, Section

SCATTERS = 4
"""How many pairs are drawn variant by variant: those with the smallest p."""

FORESTS = 24
"""How many pairs' estimates are drawn."""

SHOWN = 100
"""How many pairs the table shows."""

COLOURS = {IVW_RANDOM: BLUE, EGGER: VERMILION, MEDIAN: ORANGE}
PAIR = ["exposure", "outcome"]


def mendelian(material: ReportInputs) -> Section:
    """The estimated effect of each factor and trait on each disease, and how far the variants
    agree.
    """
    told = material.summary("mr")
    nothing: Section = {"mr": None, "figures": {"mr_forest": None, "mr_variants": None}}
    if not told["pairs"]:
        return nothing | {"mr_notes": told["notes"]}
    table = material.table("mr", "mr_estimates").to_table().to_pandas()
    variants = material.table("mr", "mr_variants").to_table().to_pandas()
    main = table[table["method"] == IVW_RANDOM].sort_values("neg_log10_p", ascending=False)
    pairs = list(main[PAIR].itertuples(index=False, name=None))
    by_pair = dict(list(table.groupby(PAIR)))
    drawn = [
        (*pair, by_pair[pair], variants[(variants[PAIR] == pair).all(axis=1)])
        for pair in pairs[:SCATTERS]
    ]
    return {
        "mr": told,
        "mr_notes": told["notes"],
        "mr_threshold": float(-np.log10(0.05 / len(pairs))),
        "mr_rows": [row for pair in pairs[:SHOWN] for row in _rows(by_pair[pair])],
        "mr_left_out": max(0, len(pairs) - SHOWN),
        "figures": {
            "mr_forest": forest([(*p, by_pair[p]) for p in pairs[:FORESTS]]),
            "mr_variants": by_variant(drawn),
        },
    }


def _rows(own: pd.DataFrame) -> list[list[Any]]:
    """The rows of the table for one pair, one per method."""
    rows = []
    for row in own.itertuples():
        if row.method == IVW_FIXED:
            continue
        heterogeneity = "–" if pd.isna(row.q) else f"{row.q:.1f} / {row.q_df:.0f}"
        intercept = (
            "–" if pd.isna(row.intercept) else f"{row.intercept:+.4f} ± {row.intercept_se:.4f}"
        )
        rows.append([
            f"{row.exposure} on {row.outcome}", row.method, row.variants, f"{row.mean_f:.0f}",
            f"{row.estimate:+.3f}", f"{row.low:+.3f} to {row.high:+.3f}", f"{row.neg_log10_p:.2f}",
            heterogeneity, intercept,
        ])  # fmt: skip
    return rows


def forest(pairs: list[tuple[str, str, pd.DataFrame]]) -> Figure:
    """The estimates of each pair by three methods, with 95 % intervals.

    Args:
        pairs: exposure, outcome, and the rows of mr_estimates.
    """
    with mpl.rc_context(STYLE):
        figure = new_figure(0.42 * len(pairs) + 1.0)
        axes = figure.subplots()
        for place, (_, _, own) in enumerate(pairs):
            for k, (method, colour) in enumerate(COLOURS.items()):
                one = own[own["method"] == method].iloc[0]
                y = place + 0.22 * (k - 1)
                axes.plot([one["low"], one["high"]], [y, y], color=colour, lw=1.4)
                label = method if place == 0 else None
                axes.plot(one["estimate"], y, "o", color=colour, ms=4, label=label)
        axes.axvline(0, color=MUTED, lw=0.8)
        axes.set_yticks(
            range(len(pairs)), [f"{exposure} on {outcome}" for exposure, outcome, _ in pairs]
        )
        axes.set_ylim(len(pairs) - 0.4, -0.6)
        styled(axes, "", "effect of one SD of the exposure, with 95 % interval", "")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.5 / len(pairs) - 0.08), ncols=3)
    return figure


def by_variant(pairs: list[tuple[str, str, pd.DataFrame, pd.DataFrame]]) -> Figure:
    """For each pair, the effects of its variants with the line of each method, and beside them the
    estimate without each variant.

    Args:
        pairs: exposure, outcome, the rows of mr_estimates and those of mr_variants.
    """
    with mpl.rc_context(STYLE):
        figure = new_figure(2.9 * len(pairs))
        grid = figure.subplots(len(pairs), 2, squeeze=False, width_ratios=(3, 2))
        for (left, right), (exposure, outcome, own, variants) in zip(grid, pairs, strict=True):
            used = variants[variants["use"] == USED]
            sign = np.where(used["exposure_beta"] < 0, -1, 1)
            x, y = sign * used["exposure_beta"], sign * used["outcome_beta"]
            left.errorbar(
                x, y, xerr=1.96 * used["exposure_se"], yerr=1.96 * used["outcome_se"], fmt="o",
                color=INK, ecolor=FAINT, ms=3.5, elinewidth=0.9,
            )  # fmt: skip
            reach = np.array([0, float((x + 1.96 * used["exposure_se"]).max())])
            for method, colour in COLOURS.items():
                one = own[own["method"] == method].iloc[0]
                start = 0.0 if pd.isna(one["intercept"]) else one["intercept"]
                left.plot(reach, start + one["estimate"] * reach, c=colour, lw=1.4, label=method)
            left.axhline(0, color=MUTED, lw=0.6)
            left.set_xlim(0, reach[1])
            styled(left, f"{exposure} on {outcome}", f"effect on {exposure}", f"on {outcome}")
            left.legend(fontsize=7.5)
            _without_each(right, own, used)
    return figure


def _without_each(axes: Any, own: pd.DataFrame, used: pd.DataFrame) -> None:
    """The inverse-variance estimate from all variants, and without each in turn."""
    used = used.sort_values("estimate_without")
    places = np.arange(len(used))
    whole = own[own["method"] == IVW_RANDOM].iloc[0]
    axes.axvspan(whole["low"], whole["high"], color=FAINT, alpha=0.5, lw=0)
    axes.axvline(whole["estimate"], color=BLUE, lw=1.2)
    axes.errorbar(
        used["estimate_without"], places, xerr=1.96 * used["se_without"], fmt="o", color=INK,
        ecolor=MUTED, ms=3, elinewidth=0.9,
    )  # fmt: skip
    names = [
        row.rsid if isinstance(row.rsid, str) and row.rsid else f"{row.contig}:{row.position}"
        for row in used.itertuples()
    ]
    axes.set_yticks(places, names, fontsize=max(3.0, min(7.5, 150 / max(len(names), 1))))
    axes.axvline(0, color=MUTED, lw=0.6)
    styled(axes, "without each variant", "inverse variance, random", "")
