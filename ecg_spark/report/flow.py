"""The section on what came in, what was left out and why: one table and one figure over all
steps.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from ecg_spark.flow import CAME_IN, PEOPLE, RECORDINGS, SAMPLES, UNITS, VARIANTS, WENT_ON
from ecg_spark.report import figures
from ecg_spark.report.sections import ReportInputs, Section
from ecg_spark.tables import FLOW

STEPS = ("ingest", "average", "encode", "genotypes", "cohort", "associations")
"""The steps that may publish a table `flow`, in their order."""

STARTS = {
    ("ingest", RECORDINGS): "files and recordings found",
    ("average", PEOPLE): "people with a recording",
    ("cohort", PEOPLE): "people with a phenotype",  # where there is no recording
    ("genotypes", SAMPLES): "genotyped samples",
    ("genotypes", VARIANTS): "variants in the files",
}

ENDS = {
    ("ingest", RECORDINGS): "recordings read",
    ("average", RECORDINGS): "have an average beat",
    ("encode", RECORDINGS): "used",
    ("average", PEOPLE): "have an average beat",
    ("encode", PEOPLE): "encoded",
    ("genotypes", SAMPLES): "pass quality control",
    ("genotypes", VARIANTS): "pass quality control",
    ("cohort", PEOPLE): "analysed in the GWAS",
    ("cohort", SAMPLES): "analysed in the GWAS",
    ("associations", VARIANTS): "tested in the GWAS",
}
"""The labels of what a step passes on."""


def section(material: ReportInputs) -> Section:
    """The flow of recordings, people, samples and variants from files to tests."""
    tables = {
        step: material.table(step, FLOW.name).to_table().to_pandas()
        for step in STEPS
        if step in material.published and material.has_table(step, FLOW.name)
    }
    rows = joined(tables)
    return {
        "flow_rows": [
            [_label(row), "" if row.reason in (CAME_IN, WENT_ON) else row.step, row.unit, row.n]
            for row in rows.itertuples()
        ],
        "figures": {"flow": picture(rows)},
    }


def joined(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Join the tables `flow` of all steps.

    What comes into a step is left out if it is what the step before passed on.

    Args:
        tables: by step, in the order of the steps.

    Returns:
        step, unit, reason and n, sorted by unit.

    Raises:
        AssertionError: if the two numbers differ.
    """
    rows = pd.concat([table.assign(order=k) for k, table in enumerate(tables.values())])
    rows["unit_order"] = rows["unit"].map(UNITS.index)
    rows = rows.sort_values(["unit_order", "order", "place"], ignore_index=True)
    before = rows.shift()
    goes_on = (rows["reason"] == CAME_IN) & (rows["unit"] == before["unit"])
    lost = goes_on & (rows["n"] != before["n"])
    if lost.any():
        first, last = rows[lost].iloc[0], before[lost].iloc[0]
        raise AssertionError(
            f"{first['step']} counts {first['n']} {first['unit']} coming in, but {last['n']:.0f} "
            f"went on from {last['step']}."
        )
    return rows.loc[~goes_on, ["step", "unit", "reason", "n"]].reset_index(drop=True)


def _label(row: Any) -> str:
    if row.reason == CAME_IN:
        return STARTS[row.step, row.unit]
    if row.reason == WENT_ON:
        return ENDS.get((row.step, row.unit), f"left by the step {row.step}")
    return f"– {row.reason}"


def picture(rows: pd.DataFrame) -> Figure:
    """One bar per row and one panel per unit: what is there, and what each reason takes away."""
    units = [unit for unit in UNITS if (rows["unit"] == unit).any()]
    sizes = [int((rows["unit"] == unit).sum()) for unit in units]
    with rc_context(figures.STYLE):
        figure = figures.new_figure(0.23 * sum(sizes) + 0.6 * len(units))
        grid = figure.subplots(
            len(units), 1, squeeze=False, gridspec_kw={"height_ratios": [n + 1.5 for n in sizes]}
        )[:, 0]
        for axes, unit in zip(grid, units, strict=True):
            own = rows[rows["unit"] == unit]
            whole = max(int(own["n"].iloc[0]), 1)
            bars = list(_bars(own))
            for y, (_, start, n, colour) in enumerate(bars):
                # A thinner bar would be invisible.
                axes.barh(y, max(n, 0.003 * whole), left=start, color=colour, height=0.72)
                text = f" {n:,}".replace(",", "\u202f")
                axes.text(start + n, y, text, va="center", fontsize=8)
            figures.styled(axes, unit.capitalize())
            axes.set_ylim(len(own) - 0.4, -0.6)
            axes.set_xlim(0, 1.12 * whole)
            axes.set_xticks([])
            axes.set_yticks(range(len(bars)), [label for label, *_ in bars], fontsize=8)
            axes.tick_params(length=0)
            axes.spines[:].set_visible(False)
    return figure


def _bars(rows: pd.DataFrame) -> Iterator[tuple[str, int, int, str]]:
    """Label, start, length and colour of each bar; what is left out hangs at the end of the
    rest.
    """
    there = 0
    for row in rows.itertuples():
        n = int(row.n)  # type: ignore[arg-type]
        if row.reason in (CAME_IN, WENT_ON):
            there = n
            yield _label(row), 0, n, figures.MUTED if row.reason == CAME_IN else figures.BLUE
        else:
            there -= n
            yield _label(row), there, n, figures.VERMILION
