"""A disease in the people of a panel: who is a case, who a control, and who is neither.

ever       cases have the disease, controls have never had it
prevalent  cases had it on the day of their first ECG or before, controls have never had it
incident   cases got it after the day of their last ECG, among those who did not have it then, in
           the time until their records end

Ever is for people without days: of whom no ECG has a date, of diagnoses without dates, and of
genotypes, which have no day (also of those genotyped who have an ECG: a test is of one kind of
case). A diagnosis counts there whenever it was made, and without a date.

Neither case nor control is who has a disease of its exclusion range, a diagnosis on fewer days than
the study asks for, another sex than the disease's, or a date that is needed and not known.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecg_spark.diseases.logistic import Flags, Reals
from ecg_spark.diseases.panels import Panel
from ecg_spark.diseases.phecode_map import BOTH, MEN, WOMEN

EVER, PREVALENT, INCIDENT = KINDS = ("ever", "prevalent", "incident")

FEWEST_OF_ONE_SEX = 20
"""So many cases, all of one sex, of a disease of both by the map: only that sex is looked at."""


@dataclass(frozen=True)
class Outcome:
    """The people who count [m], by their places in the panel, and which of them are cases [m].

    `time`: of incident disease, the days from the last ECG until the diagnosis or the end.
    `other_sex`: people of the other sex who have a disease of one sex.
    """

    kind: str
    rows: NDArray[np.int64]
    is_case: Flags
    sex: str
    other_sex: int
    time: Reals | None = None

    @property
    def cases(self) -> int:
        """How many are cases."""
        return int(self.is_case.sum())


def outcomes(
    panel: Panel,
    own: NDArray[np.int64],
    first: Reals,
    is_enough: Flags,
    excluded: NDArray[np.int64],
    sex: str,
) -> list[Outcome]:
    """The ways in which a disease can be looked at.

    `own`: the places of those with the disease, with the day of the `first` diagnosis (NaN where
    not known) and whether their codes are enough; `excluded`: places of those who have a disease of
    the exclusion range; `sex`: whose disease it is.
    """
    n = len(panel.filled)
    has = np.zeros(n, bool)
    has[own] = True
    counts = np.zeros(n, bool)
    counts[own[is_enough]] = True
    never = ~has
    never[excluded] = False
    wanted, other_sex = np.ones(n, bool), 0
    sex = _sex_of(panel, counts, sex)
    if sex != BOTH:
        wanted = panel.is_male == (1.0 if sex == MEN else 0.0)
        other_sex = int((counts & (panel.is_male == (0.0 if sex == MEN else 1.0))).sum())
    if not panel.is_dated or not np.isfinite(first).any():
        return [_outcome(EVER, counts & wanted, never & wanted, sex, other_sex)]
    assert panel.first_day is not None
    assert panel.last_day is not None
    assert panel.until is not None
    day = np.full(n, np.nan)
    day[own] = first
    dated = np.isfinite(panel.first_day)
    had = counts & (day <= panel.first_day)
    found = [_outcome(PREVALENT, had & wanted, never & wanted & dated, sex, other_sex)]
    got = counts & (day > panel.last_day) & (day <= panel.until)
    later = counts & (day > panel.until)  # after the end of their records: free of it until then
    free = (never | later) & (panel.until > panel.last_day) & wanted
    end = np.where(got, day, panel.until) - panel.last_day
    found.append(_outcome(INCIDENT, got & wanted, free, sex, other_sex, end))
    return found


def _sex_of(panel: Panel, has: Flags, sex: str) -> str:
    """Whose disease it is: as the map says, or as all of not too few cases are of one sex."""
    known = has & np.isfinite(panel.is_male)
    if sex != BOTH or known.sum() < FEWEST_OF_ONE_SEX or known.sum() < has.sum():
        return sex
    men = panel.is_male[known] == 1.0
    return MEN if men.all() else WOMEN if not men.any() else BOTH


def _outcome(
    kind: str, cases: Flags, controls: Flags, sex: str, other_sex: int, time: Reals | None = None
) -> Outcome:
    rows = np.flatnonzero(cases | controls)
    return Outcome(kind, rows, cases[rows], sex, other_sex, None if time is None else time[rows])
