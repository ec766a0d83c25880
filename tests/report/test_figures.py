"""Figures of awkward input: one row or sixty, no point at all, hostile names. None may warn."""

import base64
import warnings

import numpy as np
import pandas as pd
import pytest

from ecg_spark.report import figures, waveforms

FLAT = np.zeros((12, 600))
NAME = "<script>alert('rs1')</script>"
POINTS = pd.DataFrame([("1", 5, 3.0)], columns=["contig", "position", "neg_log10_p"])
MARKS = pd.DataFrame([("1", 5, True)], columns=["contig", "position", "is_large"])
GROUPS = list(figures.GROUP_COLOURS)


def manhattan(points: pd.DataFrame, marks: pd.DataFrame) -> figures.Figure:
    panels = [("title", group, points, 8.0) for group in GROUPS]
    return figures.manhattan(panels, {"1": 10_000_000, "chr2": 8_000_000}, 2.0, marks)


CASES = {
    "heat map, one row": lambda: figures.heat_map(np.zeros((1, 9)), [NAME], ["pr_ms"] * 9, "z", 9),
    "heat map, sixty rows": lambda: figures.heat_map(
        np.full((60, 2), np.nan), [NAME] * 60, ["a", "b"], "z", 9
    ),
    "heat map, two long names": lambda: figures.heat_map(
        np.zeros((2, 2)), ["phenotype" * 9] * 2, ["phenotype" * 9] * 2, "z", 9
    ),
    "manhattan, planted": lambda: manhattan(POINTS, MARKS),
    "manhattan, small planted": lambda: manhattan(POINTS, MARKS.assign(is_large=False)),
    "manhattan, nothing": lambda: manhattan(POINTS.iloc[:0], MARKS.iloc[:0]),
    "qq, one test": lambda: figures.quantile_quantile(
        [(group, group, {"a": np.array([[0.3], [0.2]])}) for group in GROUPS]
    ),
    "training, one epoch": lambda: figures.training_curves([{"epoch": 1, "val/loss": -7000.0}]),
    "histograms, nothing measured": lambda: figures.histograms({"pr_ms": np.full(5, np.nan)}, {}),
    "histograms, a constant": lambda: figures.histograms({"pr_ms": np.full(50, 160.0)}, {}),
    "ancestry, two components": lambda: figures.ancestry(
        np.random.default_rng(0).normal(size=(50, 2))
    ),
    "shares, nothing planted": lambda: figures.found_shares({"all": dict.fromkeys(GROUPS, (0, 0))}),
    "traversals, one latent": lambda: waveforms.traversals([("vae_00", np.stack([FLAT] * 5))]),
    "loci, six": lambda: waveforms.locus_effects(
        [(NAME * 3, FLAT, FLAT, np.stack([FLAT] * 3), 5)] * 6, FLAT
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", ["png", "svg"])
def test_a_figure_is_drawn_without_a_warning(case, kind):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        uri = figures.embed(CASES[case](), kind)
    content = base64.b64decode(uri.split(",", 1)[1])
    assert content.startswith(b"\x89PNG" if kind == "png" else b"<?xml")
    assert b"<script" not in content


def test_equal_figures_are_equal_bytes():
    assert figures.embed(manhattan(POINTS, MARKS)) == figures.embed(manhattan(POINTS, MARKS))


def test_histogram_bins_of_sampled_times_hold_equally_many_samples():
    """Each bar of a trait measured in steps of 2 ms covers as many steps as the next."""
    durations = 2.0 * np.random.default_rng(1).normal(49, 5, 2_000).round()
    bars = figures.histograms({"qrs_ms": durations}, {}).axes[0].patches
    widths = np.array([bar.get_width() for bar in bars])
    assert len(bars) > 20
    np.testing.assert_allclose(widths, 2 * np.round(widths[0] / 2))
