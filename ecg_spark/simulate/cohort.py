"""Who is recorded in a simulated cohort, and by what: how one cohort differs from another."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ecg_spark.simulate.files import FORMATS, FileFormat
from ecg_spark.simulate.genome import POPULATION_SHARES
from ecg_spark.simulate.rhythm import ECTOPY_SHARE

AGE_MEAN, AGE_SD = 57.0, 8.0
"""Years, of a biobank: effects of age on the heart count from this mean, in units of this SD."""

_SEEDS_APART = 6_000_000


@dataclass(frozen=True)
class Cohort:
    """The people and devices of a cohort, by default those of a biobank.

    Cohorts of one seed have the same variants and effects. `name` tells them apart, `number`, 0
    to 2, gives each people of its own. `population_shares` are the parts of its people that are of
    each of the two populations. Ages in years are drawn from a normal distribution and cut to
    `age_range`. `shifts` are added to the scores of the heart's parameters, by name. `ectopy` is
    the share of recordings in sinus rhythm that have premature beats, `noise` a factor on what
    electrodes and muscles add. `formats` are those of the recordings; the first writes XML.
    """

    name: str = ""
    number: int = 0
    population_shares: tuple[float, float] = POPULATION_SHARES
    age_mean: float = AGE_MEAN
    age_sd: float = AGE_SD
    age_range: tuple[int, int] = (40, 75)
    shifts: Mapping[str, float] = field(default_factory=dict)
    ectopy: float = ECTOPY_SHARE
    noise: float = 1.0
    formats: tuple[FileFormat, ...] = FORMATS
    has_genotypes: bool = True

    def people_seed(self, seed: int) -> int:
        """The seed of the cohort's people, where `seed` is that of the variants and effects.

        Such seeds are as far apart as makes no two cohorts, of up to three million people each,
        name a person by the same id (`people.participant_id`).
        """
        return seed + self.number * _SEEDS_APART


BIOBANK = Cohort()
