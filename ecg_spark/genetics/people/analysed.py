"""Counts of the people and variants that are analysed, and of those left out by each reason."""

from collections.abc import Iterable, Mapping
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from ecg_spark.flow import CAME_IN, PEOPLE, SAMPLES, VARIANTS, WENT_ON, Row, flow_rows

PEOPLE_STEP, VARIANT_STEP = "cohort", "associations"
"""The steps that leave people and variants out."""

BY_COVARIATES = "varies only as the covariates do"


class Flow:
    """Counts the samples and people that remain after each filter.

    Samples start as all samples of the checked genotype set; people start as those with latents
    or, in a study without ECGs, those in the table of phenotypes. Both end as the people who are
    analysed.

    Attributes:
        filters: the number of samples after each filter, for the summary.
    """

    def __init__(self, samples: int, people: int, name: str) -> None:
        self._left = {SAMPLES: samples, PEOPLE: people}
        self._came_in = dict(self._left)
        self._out: dict[str, dict[str, int]] = {SAMPLES: {}, PEOPLE: {}}
        self.filters: list[dict[str, Any]] = [{"filter": name, "samples": samples}]

    def samples(self, reason: str, name: str, left: int) -> None:
        """Record how many samples a filter leaves.

        Args:
            reason: why the others are left out, for the table `flow`.
            name: the name of the filter, for the summary.
            left: how many samples remain.
        """
        self._leave_out(SAMPLES, reason, left)
        self.filters.append({"filter": name, "samples": left})

    def people(self, reason: str, left: int) -> None:
        """Record how many people a filter leaves."""
        self._leave_out(PEOPLE, reason, left)

    def both(self, reason: str, name: str, left: int) -> None:
        """Record a filter of people each of whom has one sample."""
        self.people(reason, left)
        self.samples(reason, name, left)

    def _leave_out(self, unit: str, reason: str, left: int) -> None:
        own = self._out[unit]
        own[reason] = own.get(reason, 0) + self._left[unit] - left
        self._left[unit] = left

    def rows(self) -> list[Row]:
        """The rows of the table `flow`."""
        units = (SAMPLES, PEOPLE)
        return [
            row
            for unit in units
            for row in flow_rows(
                PEOPLE_STEP, unit, self._came_in[unit], self._out[unit], self._left[unit]
            )
        ]


def variant_flow(tests: DataFrame, unwanted: Mapping[str, int]) -> list[Row]:
    """The rows of the table `flow` for the variants of a study.

    A variant that has a result for no phenotype is counted under the reason that holds among the
    people of the first phenotype.

    Args:
        tests: rows of `results.TESTS`.
        unwanted: how many variants the study chose not to test, by reason.
    """
    why = F.coalesce(F.expr("filter(failed, one -> one is not null)")[0], F.lit(BY_COVARIATES))
    found = F.when(has_result(), WENT_ON).otherwise(why).alias("why")
    counts = {row["why"]: row["count"] for row in tests.groupBy(found).count().collect()}
    went_on = counts.pop(WENT_ON, 0)
    left_out = dict(unwanted) | {f"{why} in the people analysed": n for why, n in counts.items()}
    return flow_rows(VARIANT_STEP, VARIANTS, went_on + sum(left_out.values()), left_out, went_on)


def has_result() -> Column:
    """A column that says whether a variant has a result for any phenotype."""
    return F.exists("results", lambda one: one["neg_log10_p"].isNotNull())


def in_words(rows: Iterable[Row]) -> str:
    """The flow as text, one sentence for each step and unit."""
    told: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        reason = (
            row["reason"] if row["reason"] in (CAME_IN, WENT_ON) else f"left out: {row['reason']}"
        )
        told.setdefault((row["step"], row["unit"]), []).append(f"{row['n']} {reason}")
    return " ".join(
        f"{unit.capitalize()} in the step {step}: {', '.join(words)}."
        for (step, unit), words in told.items()
    )


def left_out_of(rows: Iterable[Row]) -> dict[str, dict[str, int]]:
    """How many of each unit all steps together have left out, by reason.

    Example:
        >>> left_out_of([{"unit": "people", "reason": "no phenotype", "n": 3}])
        {'people': {'no phenotype': 3}}
    """
    out: dict[str, dict[str, int]] = {}
    for row in rows:
        if row["reason"] not in (CAME_IN, WENT_ON):
            own = out.setdefault(row["unit"], {})
            own[row["reason"]] = own.get(row["reason"], 0) + row["n"]
    return out
