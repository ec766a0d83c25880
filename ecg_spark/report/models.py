"""The report's part on the models in the registry: fit, independence, agreement, discovery."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from ecg_spark.report import figures
from models.registry.overview import Registered

MEASURES = {
    "error (µV)": ("test/mae_uv", "Fit\nabsolute error, µV"),
    "PCA's": ("test_pca/mae_uv", ""),
    "mean |r|": ("test/mean_abs_r", "Independence\nmean |r| of two factors"),
    "ICC": ("icc/vae_mean", "Agreement of two ECGs\nmean ICC"),
    "loci": ("gwas/loci_vae", "Discovery\nloci of single factors"),
    "loci together": ("gwas/loci_vae_omnibus", ""),
}
"""The columns of the table: the metric of each, and the title of its panel if it has one."""

_DRAWN = 25


def rows(versions: Sequence[Registered], uri: str) -> list[dict[str, Any]]:
    """The versions of a model as rows of a table.

    Args:
        uri: the study's own version, which is marked.
    """
    return [
        {
            "version": one.version,
            "aliases": ", ".join(one.aliases),
            "study": one.study or "–",
            "own": one.uri == uri,
            "page": one.page,
            "measures": [one.metrics.get(metric) for metric, _ in MEASURES.values()],
        }
        for one in versions
    ]


@mpl.rc_context(figures.STYLE)
def compared(versions: Sequence[Registered], uri: str) -> Figure | None:
    """A dot for each version in each metric that at least two of them have.

    The study's own version is coloured. In the panel of the fit, open circles are PCA's.

    Args:
        uri: the study's own version.

    Returns:
        None if no metric can be compared.
    """
    shown = versions[:_DRAWN]
    panels = [
        (metric, title)
        for metric, title in MEASURES.values()
        if title and sum(metric in one.metrics for one in shown) > 1
    ]
    if not panels:
        return None
    figure = figures.new_figure(0.24 * len(shown) + 1.1)
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    names = [f"version {one.version}" for one in shown]
    for axes, (metric, title) in zip(grid, panels, strict=True):
        for place, one in enumerate(shown):
            if metric not in one.metrics:
                continue
            colour = figures.BLUE if one.uri == uri else figures.MUTED
            axes.scatter(one.metrics[metric], place, color=colour, s=34, zorder=3)
            if metric == "test/mae_uv" and "test_pca/mae_uv" in one.metrics:
                axes.scatter(one.metrics["test_pca/mae_uv"], place, s=26, facecolors="none",
                             edgecolors=figures.ORANGE)  # fmt: skip
        figures.styled(axes, title)
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.grid(axis="y", color=figures.FAINT, lw=0.5)
        axes.tick_params(axis="y", length=0)
    grid[0].set_yticks(range(len(shown)), names, fontsize=8)
    return figure
