"""What became of recordings, people and variants: counts per step that add up.

Every step that leaves something out also writes the table `flow` (`tables.FLOW`): how many items
came in, how many were left out for which reason, and how many went on. In each step and unit

    came in = sum of what was left out + went on

and what comes into a step is what the last step before it that counts the same unit passed on. Each
item is left out for one reason, the first that applies; otherwise the counts would not add up.

These are counts of what steps did, not of people who share a value: "3 recordings were too short"
identifies nobody. They are therefore shown even if they are small.
"""

from collections.abc import Iterable, Mapping
from typing import Any

CAME_IN, WENT_ON = "came in", "went on"
"""Values of `reason` that are not reasons: what a step was given, and what it passed on."""

RECORDINGS, PEOPLE, SAMPLES, VARIANTS = UNITS = ("recordings", "people", "samples", "variants")
"""What is counted. Samples are genotyped people before they are matched to participants."""

Row = dict[str, Any]


def flow_rows(
    step: str, unit: str, came_in: int, left_out: Mapping[str, int], went_on: int
) -> list[Row]:
    """Return the rows of the table `flow` for one step and unit.

    Args:
        step: the name of the step.
        unit: one of `UNITS`.
        came_in: how many items the step was given.
        left_out: how many it left out, by reason in plain words ("flat lead", "no covariate"), in
            the order of the rows. Reasons with a count of zero are dropped.
        went_on: how many it passed on.

    Raises:
        AssertionError: the counts do not add up, or the unit is unknown.

    Example:
        >>> rows = flow_rows("average", RECORDINGS, 5, {"noisy": 2}, 3)
        >>> [(row["reason"], row["n"]) for row in rows]
        [('came in', 5), ('noisy', 2), ('went on', 3)]
    """
    if unit not in UNITS:
        raise AssertionError(f"{unit} is not a unit of the flow: take one of {', '.join(UNITS)}.")
    if came_in != sum(left_out.values()) + went_on or min([went_on, *left_out.values()]) < 0:
        raise AssertionError(
            f"{step} lost count of {unit}: {came_in} came in, {sum(left_out.values())} were left "
            f"out and {went_on} went on."
        )
    reasons = {CAME_IN: came_in} | {why: n for why, n in left_out.items() if n} | {WENT_ON: went_on}
    return [
        {"place": place, "step": step, "unit": unit, "reason": reason, "n": n}
        for place, (reason, n) in enumerate(reasons.items())
    ]


def merged(rows: Iterable[Row], others: Iterable[Row]) -> list[Row]:
    """Return the rows of steps, with the counts of further rows of the same steps and units added.

    Args:
        rows: rows as `flow_rows` returns them, of any steps and units.
        others: rows whose counts are added; those of another step or unit are appended.

    Raises:
        AssertionError: the sums do not add up.
    """
    units: dict[tuple[str, str], dict[str, int]] = {}
    for row in (*rows, *others):
        own = units.setdefault((row["step"], row["unit"]), {})
        own[row["reason"]] = own.get(row["reason"], 0) + row["n"]
    return [
        row
        for (step, unit), own in units.items()
        for row in flow_rows(step, unit, own.pop(CAME_IN), own, own.pop(WENT_ON))
    ]
