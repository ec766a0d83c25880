"""The simulated participants: how genes, age, sex, body mass and ancestry shape their hearts."""

from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ecg_spark.simulate.cohort import AGE_MEAN, AGE_SD, BIOBANK, Cohort
from ecg_spark.simulate.genome import Genome, Stream, stream
from ecg_spark.simulate.genotypes import CHUNK, families, true_dosages
from ecg_spark.simulate.heart import PARAMETERS, Hearts, Parameter, hearts_from_scores
from ecg_spark.simulate.recorded import CHANGES

_MAIN_SHARE = (0.055, 0.085)  # of a parameter's variance, explained by its main variant
_MINOR_SHARE = (0.01, 0.03)
_MINOR_PER_PARAMETER = 2
_MIN_PLANTED_MAF = 0.10
_BMI_MEDIAN, _BMI_LOG_SD = 26.8, 0.16
_FIRST_ID, _IDS, _ID_STEP = 1_000_000, 9_000_000, 3_628_273


@dataclass(frozen=True)
class Planted:
    """A variant that acts on a parameter of the heart, or on a disease.

    Attributes:
        variant: its index in the genome.
        parameter: the name of the parameter.
        beta: the change of the score by one ALT allele.
        variance_explained: the fraction of the score's variance, which is 1 over the whole
            population; `beta` is chosen to give it.
    """

    variant: int
    parameter: str
    beta: float
    variance_explained: float


@dataclass(frozen=True)
class People:
    """The 128 participants of a chunk: one array of shape [128] each, `scores` [128, parameters].

    `sex` is 1 in men and 0 in women; `dosages` [128, planted] are true ALT counts. `parameters` are
    what the scores are of: the hearts, or what is changed of recorded ones.
    """

    index: NDArray[np.int64]
    age: NDArray[np.int64]
    sex: NDArray[np.int64]
    bmi: NDArray[np.float64]
    population: NDArray[np.int64]
    scores: NDArray[np.float64]
    dosages: NDArray[np.int8]
    fibrillation: NDArray[np.bool_]
    parameters: tuple[Parameter, ...]
    cohort: Cohort

    @property
    def hearts(self) -> Hearts:
        """The parameters in their units, each [128]."""
        return hearts_from_scores(self.scores, self.parameters)


def plant(genome: Genome, parameters: tuple[Parameter, ...] = PARAMETERS) -> list[Planted]:
    """Choose the variants that act: for each parameter a main one and up to two minor ones.

    Each has its own block of linkage, both its alleles have a frequency of at least 10 %, and it is
    typed well. If the genome has few blocks, minor variants are left out.

    Args:
        genome: the variants.
        parameters: what they act on.
    """
    rng = stream(genome.seed, Stream.PLANTED, genome.n_variants)
    usable = [v for v in _middle_variants(genome) if v is not None]
    usable = [usable[k] for k in rng.permutation(len(usable))]
    planted = []
    for rank in range(1 + _MINOR_PER_PARAMETER):
        for parameter in parameters:
            share = float(rng.uniform(*(_MINOR_SHARE if rank else _MAIN_SHARE)))
            sign = float(rng.choice([-1, 1]))
            if usable:
                variant = usable.pop()
                beta = sign * np.sqrt(share / genome.dosage_variance(variant))
                planted.append(Planted(variant, parameter.name, float(beta), share))
    return sorted(planted, key=lambda one: one.variant)


def planted_in(people: Genome, reference: Genome, planted: list[Planted]) -> list[Planted]:
    """Return planted variants with the variance that they explain in other people.

    Args:
        people: the same variants in those people.
        reference: the genome in which they were planted.
        planted: what `plant(reference)` returned; the effects stay the same.
    """
    return [
        replace(
            one,
            variance_explained=one.variance_explained
            * (people.dosage_variance(one.variant) / reference.dosage_variance(one.variant)),
        )
        for one in planted
    ]


def _middle_variants(genome: Genome) -> list[int | None]:
    """Return for each block its most central variant that is fit to be planted, or None."""
    minor = np.minimum(genome.frequency, 1 - genome.frequency).min(axis=0)
    fit = (minor >= _MIN_PLANTED_MAF) & (genome.missing < 0.01) & (genome.lost_heterozygotes == 0)
    chosen: list[int | None] = []
    for block in range(genome.n_blocks):
        span = genome.block(block)
        candidates = span.start + np.flatnonzero(fit[span])
        middle = (span.start + span.stop - 1) / 2
        nearest = np.argmin(np.abs(candidates - middle)) if candidates.size else None
        chosen.append(None if nearest is None else int(candidates[nearest]))
    return chosen


def people_of_chunk(
    genome: Genome,
    planted: list[Planted],
    chunk: int,
    parameters: tuple[Parameter, ...] = PARAMETERS,
    cohort: Cohort = BIOBANK,
) -> People:
    """The participants of a chunk, from their covariates to the scores of their hearts.

    A score is the sum of planted variants, age, sex, BMI, ancestry and chance, which makes up
    what is missing to a variance of 1; the cohort's shift is added. Of `CHANGES` it has no part of
    chance: there the recorded hearts differ as they do.
    """
    rng = stream(genome.seed, Stream.PEOPLE, chunk)
    population = families(genome.seed, chunk, genome.population_shares).participant_population
    drawn = rng.normal(cohort.age_mean, cohort.age_sd, CHUNK)
    age = np.clip(np.rint(drawn), *cohort.age_range).astype(int)
    sex = rng.integers(0, 2, CHUNK)
    bmi_score = rng.standard_normal(CHUNK)
    chance = rng.standard_normal((CHUNK, len(parameters)))
    if parameters is CHANGES:
        chance[:] = 0
    fibrillation = rng.random(CHUNK) < 0.012 * np.exp((age - AGE_MEAN) / 8) * (1 + 0.4 * sex)
    dosages = planted_dosages(genome, planted, chunk)
    age_score = (age - AGE_MEAN) / AGE_SD
    second = genome.population_shares[1]
    covariates = np.stack([age_score, sex - 0.5, bmi_score, population - second])
    spread = np.array([(cohort.age_sd / AGE_SD) ** 2, 0.25, 1.0, second * (1 - second)])
    scores = np.empty((CHUNK, len(parameters)))
    for k, parameter in enumerate(parameters):
        effects = np.array([parameter.age, parameter.sex, parameter.bmi, parameter.ancestry])
        acting = [j for j, one in enumerate(planted) if one.parameter == parameter.name]
        genes = sum(
            planted[j].beta * (dosages[:, j] - 2 * genome.mean_frequency(planted[j].variant))
            for j in acting
        )
        explained = sum(planted[j].variance_explained for j in acting) + effects**2 @ spread
        scores[:, k] = effects @ covariates + genes + np.sqrt(1 - explained) * chance[:, k]
        scores[:, k] += cohort.shifts.get(parameter.name, 0.0)
    return People(
        index=chunk * CHUNK + np.arange(CHUNK),
        age=age,
        sex=sex,
        bmi=np.round(_BMI_MEDIAN * np.exp(_BMI_LOG_SD * bmi_score), 1),
        population=population,
        scores=scores,
        dosages=dosages,
        fibrillation=fibrillation,
        parameters=parameters,
        cohort=cohort,
    )


def planted_dosages(genome: Genome, planted: list[Planted], chunk: int) -> NDArray[np.int8]:
    """Return true ALT counts of a chunk at the planted variants, [128, planted].

    Args:
        genome: the variants.
        planted: those whose counts are wanted.
        chunk: the number of the chunk, from 0.
    """
    out = np.empty((CHUNK, len(planted)), dtype=np.int8)
    blocks = np.searchsorted(genome.block_start, [one.variant for one in planted], "right") - 1
    for j, (one, block) in enumerate(zip(planted, blocks.tolist(), strict=True)):
        offset = one.variant - genome.block(block).start
        out[:, j] = true_dosages(genome, block, chunk)[offset]
    return out


def participant_id(seed: int, index: int) -> str:
    """Return the id of a participant: seven digits that do not show the order and never repeat.

    Args:
        seed: the seed of the cohort's people.
        index: the number of the participant, below nine million.
    """
    return str(_FIRST_ID + (index * _ID_STEP + seed * 104_729) % _IDS)


def describe_planted(genome: Genome, one: Planted) -> dict[str, object]:
    """Return a planted variant as the truth file describes it."""
    return {
        "rsid": genome.rsid(one.variant),
        "contig": genome.contig_name(one.variant),
        "position": int(genome.position[one.variant]),
        "ref": str(genome.ref[one.variant]),
        "alt": str(genome.alt[one.variant]),
        "effect_allele": str(genome.alt[one.variant]),
        "effect_allele_frequency": round(genome.mean_frequency(one.variant), 4),
        "parameter": one.parameter,
        "class": parameter_class(one.parameter),
        "beta": one.beta,
        "variance_explained": one.variance_explained,
    }


def parameter_class(name: str) -> str:
    """Return `interval` if an interval or rate measures the parameter, else `morphology`.

    Example:
        >>> parameter_class("qrs_duration"), parameter_class("t_amplitude")
        ('interval', 'morphology')
    """
    parameter = next(p for p in PARAMETERS + CHANGES if p.name == name)
    return "interval" if parameter.seen_by_interval else "morphology"


def describe_parameters(parameters: tuple[Parameter, ...]) -> list[dict[str, object]]:
    """Return every parameter as the truth file describes it."""
    return [asdict(p) | {"class": parameter_class(p.name)} for p in parameters]
