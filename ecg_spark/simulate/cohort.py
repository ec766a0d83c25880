"""Who is recorded in a simulated cohort, and by which devices: how one differs from another."""

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

    Cohorts with one seed have the same variants and effects.

    Attributes:
        name: tells cohorts apart.
        number: 0 to 2; gives each cohort its own people.
        population_shares: which fraction of its people is of each of the two populations.
        age_mean: in years; ages are normally distributed and cut to `age_range`.
        age_sd: in years.
        age_range: the youngest and oldest age in years.
        shifts: what is added to the scores of the heart's parameters, by name.
        ectopy: the fraction of recordings in sinus rhythm that have premature beats.
        noise: a factor on the noise of electrodes and muscles.
        formats: the file formats of the recordings; the first writes XML.
        has_genotypes: whether its people are genotyped.
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
        """Return the seed of the cohort's people.

        These seeds are far enough apart that no two cohorts, of up to three million people each,
        give a person the same id (`people.participant_id`).

        Args:
            seed: the seed of the variants and effects.
        """
        return seed + self.number * _SEEDS_APART


BIOBANK = Cohort()
