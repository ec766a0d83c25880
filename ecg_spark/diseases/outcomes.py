"""A disease in the people of a panel: who is a case, who a control, and who is neither.

    ever       cases have the disease; controls have never had it
    prevalent  cases had it on the day of their first ECG or before; controls have never had it
    incident   cases got it after the day of their last ECG, among those who did not have it
               then, in the time until their records end

The kind ever is for people without a date: if no ECG or no diagnosis has one, and for genotypes,
which have none. There, a diagnosis counts whenever it was made, and without a date; people with an
ECG are no exception, since a test needs one definition of a case.

Neither case nor control are people with a disease of its exclusion range, with a diagnosis on
fewer days than the study asks for, of another sex than the disease's, or without a date that is
needed.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecg_spark.diseases.logistic import Flags, Reals
from ecg_spark.diseases.panels import Panel
from ecg_spark.diseases.phecode_map import BOTH, MEN, WOMEN

EVER, PREVALENT, INCIDENT = "ever", "prevalent", "incident"

FEWEST_OF_ONE_SEX = 20
"""If at least this many cases are all of one sex, only that sex is studied, whatever the map says.
"""


@dataclass(frozen=True)
class Outcome:
    """The cases and controls of a disease.

    Attributes:
        kind: ever, prevalent or incident.
        rows: the places in the panel of the m people who count.
        is_case: which of them are cases, [m].
        sex: both, men or women.
        other_sex: how many people of the other sex have a disease of one sex.
        time: for incident disease, the days from the last ECG until the diagnosis or the end of
            the records, [m]; else None.
    """

    kind: str
    rows: NDArray[np.int64]
    is_case: Flags
    sex: str
    other_sex: int
    time: Reals | None = None

    @property
    def cases(self) -> int:
        """The number of cases."""
        return int(self.is_case.sum())


def outcomes(
    panel: Panel,
    own: NDArray[np.int64],
    first: Reals,
    is_enough: Flags,
    excluded: NDArray[np.int64],
    sex: str,
) -> list[Outcome]:
    """The outcomes by which a disease can be studied: prevalent and incident if there are dates,
    else ever.

    Args:
        own: places of the people who have the disease.
        first: the day of the first diagnosis of each of these; NaN where unknown.
        is_enough: whether each of these has enough diagnoses to be a case.
        excluded: places of the people who have a disease of the exclusion range.
        sex: whose disease it is, by the map.
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
    later = counts & (day > panel.until)  # diagnosed after their records end: free until then
    free = (never | later) & (panel.until > panel.last_day) & wanted
    end = np.where(got, day, panel.until) - panel.last_day
    found.append(_outcome(INCIDENT, got & wanted, free, sex, other_sex, end))
    return found


def _sex_of(panel: Panel, has: Flags, sex: str) -> str:
    """Whose disease it is: as the map says, or one sex if all of sufficiently many cases have
    it.
    """
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
