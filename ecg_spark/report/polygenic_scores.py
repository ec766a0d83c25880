"""The report's section on polygenic scores: their accuracy, compared with what theory expects."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ecg_spark.genetics.scoring.accuracy import expected_r2
from ecg_spark.report.figures import GROUP_COLOURS, INK, MUTED, STYLE, new_figure, styled
from ecg_spark.report.sections import ReportInputs, Section
from ecg_spark.tables import group_of

DRAWN = 60
"""How many phenotypes the figure shows: those with the best scores; the table has all."""

CERTAIN = 2.0
"""The R² expected by theory is shown if h² is at least this many standard errors above zero."""


def scores(material: ReportInputs) -> Section:
    """How well each phenotype is predicted by its score, out of fold."""
    told = material.summary("scores")
    table = material.table("scores", "score_accuracy").to_table().to_pandas()
    table["expected"] = _expected(material, table, told)
    table = table.sort_values("r2", ascending=False, kind="stable")
    rows = [
        [
            row.phenotype, row.n, _share(row.r2), _interval(row.r2_low, row.r2_high),
            _share(row.expected), f"{row.slope:.2f}", _share(row.r2_covariates),
        ]
        for row in table.itertuples()
    ]  # fmt: skip
    return {
        "polygenic": told,
        "score_rows": rows,
        "figures": {"scores": explained(table.head(DRAWN))},
    }


def _expected(
    material: ReportInputs, table: pd.DataFrame, told: Mapping[str, Any]
) -> Sequence[float]:
    """The R² that theory expects of each score; NaN if h² is not clearly above zero."""
    known = material.table("findings", "heritability").to_table().to_pandas()
    known = known.set_index("phenotype").reindex(table["phenotype"])
    h2, error = known["h2"].to_numpy(float), known["h2_se"].to_numpy(float)
    return [
        expected_r2(min(own, 1.0), n, told["effective_segments"])
        if own > CERTAIN * se > 0
        else np.nan
        for own, se, n in zip(h2, error, table["n_fitted"], strict=True)
    ]


def explained(table: pd.DataFrame) -> Figure:
    """The R² of scores with their confidence intervals, and what theory expects.

    Args:
        table: phenotype, r2, r2_low, r2_high and expected, from top to bottom; NaN where unknown.
    """
    with mpl.rc_context(STYLE):
        figure = new_figure(0.19 * len(table) + 0.9)
        axes = figure.subplots()
        y = np.arange(len(table))
        r2, low, high = (100 * table[name].to_numpy(float) for name in ("r2", "r2_low", "r2_high"))
        colours = [GROUP_COLOURS.get(group_of(name), INK) for name in table["phenotype"]]
        axes.hlines(y, low, high, colors=colours, lw=1.4)
        axes.scatter(r2, y, c=colours, s=16, zorder=3)
        axes.scatter(
            100 * table["expected"].to_numpy(float), y, marker="|", s=70, color=INK, zorder=4,
            label="expected from its heritability",
        )  # fmt: skip
        axes.axvline(0, color=MUTED, lw=0.7)
        axes.set_yticks(y, table["phenotype"], fontsize=7.5)
        axes.set_ylim(len(table) - 0.4, -0.6)
        styled(axes, "", "R² after covariates (%), with 95 % interval", "")
        if table["expected"].notna().any():
            axes.legend(loc="lower right", fontsize=8)
    return figure


def _share(value: float) -> str:
    return "–" if pd.isna(value) else f"{100 * value:.2f} %"


def _interval(low: float, high: float) -> str:
    return "–" if pd.isna(low) else f"{100 * low:.2f} to {100 * high:.2f} %"
