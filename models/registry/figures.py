"""Pictures for MLflow: traversals, and mean beats of groups rebuilt; never one person's beat."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ecg_spark.ecg import BEAT_RATE_HZ, BEAT_SAMPLES, LEADS, R_INDEX

Signals = NDArray[np.float32]

TIME_MS = (np.arange(BEAT_SAMPLES) - R_INDEX) * 1000 / BEAT_RATE_HZ
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


def _twelve(title: str, curves: Sequence[tuple[Signals, dict[str, Any]]]) -> Figure:
    """Twelve leads in the clinical layout, in one set of axes: twelve take five times as long."""
    figure = Figure(figsize=(10, 5.6), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    shown = np.array([beat[:, _SHOWN] for beat, _ in curves])
    time_ms = TIME_MS[_SHOWN]
    width, height = 1.08 * np.ptp(time_ms), max(1.05 * float(np.ptp(shown)), 0.5)
    for row, names in enumerate(GRID):
        for column, lead in enumerate(names):
            x, y = column * width, -row * height
            for beats, (_, style) in zip(shown, curves, strict=True):
                axes.plot(time_ms + x, beats[LEADS.index(lead)] + y, **style)
            axes.text(time_ms[0] + x, y + 0.3 * height, lead, fontsize=10, weight="bold")
    x, y = time_ms[0], -2.45 * height
    axes.plot([x, x, x + 200], [y + 0.5, y, y], color="0.2", lw=1.2)
    axes.text(x + 15, y + 0.06, "0.5 mV, 200 ms", fontsize=8)
    axes.set_title(title, fontsize=11)
    axes.set_axis_off()
    return figure
