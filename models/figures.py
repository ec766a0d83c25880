"""Pictures for MLflow: traversals, and mean beats of groups rebuilt; never one person's beat."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ecg_spark.ecg.recording import LEADS

Signals = NDArray[np.float32]

TIME_MS = (np.arange(600) - 248) * 2.0
GRID = (
    ("I", "aVR", "V1", "V4"),
    ("II", "aVL", "V2", "V5"),
    ("III", "aVF", "V3", "V6"),
)
_SHOWN = slice(68, 528)  # from 360 ms before R to 560 ms after it


def traversal_figure(title: str, steps: Sequence[float], beats: Signals) -> Figure:
    """Decoded beats [steps, 12, 600] in mV, from blue (lowest) to red (highest)."""
    colours = mpl.colormaps["coolwarm"](np.linspace(0, 1, len(steps)))
    return _twelve(
        f"{title}: {steps[0]:+g} SD (blue) to {steps[-1]:+g} SD (red)",
        [(beat, {"color": colour, "lw": 1.0}) for colour, beat in zip(colours, beats, strict=True)],
    )


def reconstruction_figure(title: str, measured: Signals, vae: Signals, pca: Signals) -> Figure:
    """Mean beats [12, 600] in mV of a group of people: measured, and rebuilt by both models."""
    return _twelve(
        f"{title}: measured (grey), VAE (blue), PCA (orange)",
        [
            (measured, {"color": "0.75", "lw": 3.5}),
            (pca, {"color": "#e69f00", "lw": 1.0}),
            (vae, {"color": "#0072b2", "lw": 1.0}),
        ],
    )


def _twelve(title: str, curves: Sequence[tuple[Signals, dict[str, object]]]) -> Figure:
    figure = Figure(figsize=(10, 5.6), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=11)
    grid = figure.subplots(3, 4, sharex=True, sharey=True)
    for row, names in zip(grid, GRID, strict=True):
        for axes, lead in zip(row, names, strict=True):
            for beat, style in curves:
                axes.plot(TIME_MS[_SHOWN], beat[LEADS.index(lead)][_SHOWN], **style)
            axes.set_title(lead, fontsize=9, pad=2)
            axes.tick_params(labelsize=7)
            axes.spines[["top", "right"]].set_visible(False)
        row[0].set_ylabel("mV", fontsize=8)
    for axes in grid[-1]:
        axes.set_xlabel("ms from R", fontsize=8)
    return figure
