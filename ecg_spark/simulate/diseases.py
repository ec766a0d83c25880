"""Simulated diagnoses: of the heart's shape, of genes that do not act on it, and of neither.

A person has a disease if their liability exceeds the quantile given by its prevalence (Falconer
1965, Ann Hum Genet 29:51). The liability is the sum of effects of the heart's scores, of one
variant that does not act on the heart, of age and sex, and of chance, which brings the variance to
1. When a disease begins does not depend on the heart: some time between years before the first ECG
and years after it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from ecg_spark.simulate.cohort import AGE_MEAN, AGE_SD
from ecg_spark.simulate.genome import Genome, Stream, stream
from ecg_spark.simulate.people import People, Planted, participant_id, planted_dosages

DIAGNOSES, MAP = "diagnoses.csv", "phecodes.csv"
DIAGNOSES_HEADER = b"participant_id,code,date\n"

RECORDS_END = date(2024, 12, 31)
"""What is diagnosed later is not known."""

HEART, GENES, NEITHER = "heart", "genes", "neither"
"""What causes a disease, beside age, sex and chance."""

_GENES_SHARE = 0.05  # of the liability, by the one variant
_YEARS_BEFORE, _YEARS_AFTER = 8.0, 8.0
_YEAR = 365.25
_NO_DATE, _OTHER_SEX, _UNKNOWN = 0.02, 0.004, 0.01
_UNKNOWN_CODES = ("XX99", "0815")


@dataclass(frozen=True)
class Disease:
    """A disease, and what acts on its liability.

    Attributes:
        codes: its ICD-10 codes.
        phecode: its phecode.
        name: its name.
        category: the phecode's category.
        prevalence: the fraction of people who have it.
        parameters: the effects of the heart's scores.
        by_genes: whether one variant acts on it that does not act on the heart.
        age: the effect of one standard deviation of age.
        sex: the effect of being male.
        only: `men` or `women`; empty for both.
        excluded: the exclusion range of the phecode, whose people are not controls.
    """

    codes: tuple[str, ...]
    phecode: str
    name: str
    category: str
    prevalence: float
    parameters: Mapping[str, float] = field(default_factory=dict)
    by_genes: bool = False
    age: float = 0.0
    sex: float = 0.0
    only: str = ""
    excluded: str = ""

    @property
    def cause(self) -> str:
        """What causes it: HEART, GENES or NEITHER."""
        return HEART if self.parameters else GENES if self.by_genes else NEITHER


_CIRCULATORY, _RHYTHM, _ISCHAEMIC = "circulatory system", "426-427.99", "410-414.99"

DISEASES = (
    Disease(("I48", "I48.9", "I480"), "427.2", "Atrial fibrillation and flutter", _CIRCULATORY,
            0.14, {"p_duration": 0.4, "pr_interval": 0.25}, age=0.3, sex=0.2, excluded=_RHYTHM),
    Disease(("I44.7", "I447"), "426.3", "Bundle branch block", _CIRCULATORY,
            0.12, {"qrs_duration": 0.5}, age=0.2, excluded=_RHYTHM),
    Disease(("I44.0",), "426.2", "Atrioventricular block", _CIRCULATORY,
            0.12, {"pr_interval": 0.5}, age=0.2, excluded=_RHYTHM),
    Disease(("I42.0", "I429"), "425", "Cardiomyopathy", _CIRCULATORY,
            0.12, {"qrs_voltage": 0.4, "t_amplitude": -0.35}, sex=0.2, excluded="425-425.99"),
    Disease(("I25.1", "I2510", "I259"), "411", "Ischemic heart disease", _CIRCULATORY,
            0.15, {"t_amplitude": -0.4, "st_level": -0.25}, age=0.35, sex=0.3,
            excluded=_ISCHAEMIC),
    Disease(("R55", "R55X"), "788", "Syncope and collapse", "symptoms",
            0.12, {"qtc_interval": 0.45}),
    Disease(("E10.9",), "250.1", "Type 1 diabetes", "endocrine/metabolic", 0.12, by_genes=True,
            age=-0.1, excluded="249-250.99"),
    Disease(("L40.0", "L409"), "696.4", "Psoriasis", "dermatologic", 0.12, by_genes=True),
    Disease(("M06.9",), "714.1", "Rheumatoid arthritis", "musculoskeletal", 0.12, by_genes=True,
            age=0.2, sex=-0.3),
    Disease(("J45.9",), "495", "Asthma", "respiratory", 0.14, age=-0.1, sex=-0.2),
    Disease(("K35.8",), "540", "Appendicitis", "digestive", 0.12, age=-0.2),
    Disease(("K80.2",), "574.1", "Cholelithiasis", "digestive", 0.14, age=0.2, sex=-0.3),
    Disease(("H25.9",), "366", "Cataract", "sense organs", 0.16, age=0.6),
    Disease(("M54.5",), "760", "Back pain", "musculoskeletal", 0.18),
    Disease(("F32.9",), "296.2", "Depression", "mental disorders", 0.14, age=-0.1, sex=-0.3),
    Disease(("N20.0",), "594.1", "Calculus of kidney", "genitourinary", 0.12, sex=0.3),
    Disease(("G43.9",), "340", "Migraine", "neurological", 0.12, sex=-0.4),
    Disease(("S52.5",), "803", "Fracture of lower arm", "injuries & poisonings", 0.12, age=0.1),
    Disease(("C61",), "185", "Cancer of prostate", "neoplasms", 0.2, age=0.5, only="men"),
    Disease(("N80.0", "N809"), "615", "Endometriosis", "genitourinary", 0.2, age=-0.3,
            only="women"),
)  # fmt: skip


def plant_diseases(genome: Genome, planted: Sequence[Planted]) -> list[Planted]:
    """Choose a variant for each disease that genes cause without the heart, each in its own block.

    Args:
        genome: the variants.
        planted: the variants that act on the heart, whose blocks are not used.

    Returns:
        `parameter` is the phecode, `beta` the change of the liability by one allele.
    """
    rng = stream(genome.seed, Stream.DISEASES)
    starts = genome.block_start
    taken = set(np.searchsorted(starts, [one.variant for one in planted], "right") - 1)
    minor = np.minimum(genome.frequency, 1 - genome.frequency).min(axis=0)
    fit = (minor >= 0.2) & (genome.missing < 0.01) & (genome.lost_heterozygotes == 0)
    found: list[Planted] = []
    blocks = rng.permutation(genome.n_blocks).tolist()
    for disease in (one for one in DISEASES if one.by_genes):
        while blocks:
            block = blocks.pop()
            span = genome.block(block)
            own = span.start + np.flatnonzero(fit[span])
            if block not in taken and own.size:
                variant = int(own[own.size // 2])
                beta = float(np.sqrt(_GENES_SHARE / genome.dosage_variance(variant)))
                found.append(Planted(variant, disease.phecode, beta, _GENES_SHARE))
                break
    return found


def diagnoses_of_chunk(
    genome: Genome,
    planted: list[Planted],
    people: People,
    first_days: Sequence[datetime],
) -> tuple[list[str], dict[str, int]]:
    """Return the diagnoses of a chunk's people as rows of text, and how many have each disease.

    Args:
        genome: the variants.
        planted: the variants that `plant_diseases` chose.
        people: the people of the chunk.
        first_days: the first ECG of each of them, in their order.
    """
    chunk = int(people.index[0]) // len(people.index)
    rng = stream(genome.seed, Stream.DISEASES, 1 + chunk)
    dosages = planted_dosages(genome, planted, chunk)
    rows: list[str] = []
    cases: dict[str, int] = {}
    for disease in DISEASES:
        has = _has(rng, genome, disease, planted, dosages, people)
        years = rng.uniform(-_YEARS_BEFORE, _YEARS_AFTER, len(has))
        times = 1 + rng.integers(0, 3, len(has))
        seen = rng.random(len(has))
        codes = rng.integers(0, len(disease.codes), len(has))
        cases[disease.phecode] = 0
        for k, first in enumerate(first_days):
            if not has[k]:
                continue
            began = first + timedelta(days=float(years[k]) * _YEAR)
            days = [(began + timedelta(days=40 * again)).date() for again in range(int(times[k]))]
            days = [day for day in days if day <= RECORDS_END]
            cases[disease.phecode] += bool(days)
            name = participant_id(genome.seed, int(people.index[k]))
            code = disease.codes[codes[k]]
            rows += [f"{name},{code},{'' if seen[k] < _NO_DATE else day}\n" for day in days]
            if seen[k] > 1 - _UNKNOWN:
                rows.append(f"{name},{_UNKNOWN_CODES[k % 2]},{first:%Y-%m-%d}\n")
    return rows, cases


def _has(
    rng: np.random.Generator,
    genome: Genome,
    disease: Disease,
    planted: Sequence[Planted],
    dosages: NDArray[np.int8],
    people: People,
) -> NDArray[np.bool_]:
    names = [one.name for one in people.parameters]
    liability = disease.age * (people.age - AGE_MEAN) / AGE_SD + disease.sex * (people.sex - 0.5)
    shares = disease.age**2 + disease.sex**2 / 4
    for name, effect in disease.parameters.items():
        liability = liability + effect * people.scores[:, names.index(name)]
        shares += effect**2
    for j, one in enumerate(planted):
        if one.parameter == disease.phecode:
            mean = 2 * genome.mean_frequency(one.variant)
            liability = liability + one.beta * (dosages[:, j] - mean)
            shares += one.variance_explained
    liability = liability + np.sqrt(1 - shares) * rng.standard_normal(len(people.age))
    has = liability > -ndtri(disease.prevalence)
    wrong = rng.random(len(has)) < _OTHER_SEX  # registers also hold diagnoses of the other sex
    if disease.only:
        has &= (people.sex == (disease.only == "men")) | wrong
    return np.asarray(has)


def map_rows() -> str:
    """Return the map of codes to phecodes, in the form of PheWAS's, with categories and sexes."""
    sexes = {"men": "Male", "women": "Female", "": "Both"}
    rows = ["ICD10,PHECODE,Phenotype,Excl. Phecodes,sex,category\n"]
    for one in DISEASES:
        known = sorted({code.replace(".", "").rstrip("X") for code in one.codes})
        rows += [
            f"{code},{one.phecode},{one.name},{one.excluded},{sexes[one.only]},{one.category}\n"
            for code in known
        ]
    return "".join(rows)


def describe_diseases(
    genome: Genome, planted: Sequence[Planted], cases: Mapping[str, int]
) -> list[dict[str, Any]]:
    """Return every disease as the truth file describes it.

    Args:
        genome: the variants.
        planted: the variants that `plant_diseases` chose.
        cases: how many people have each disease, by phecode.
    """
    variants = {one.parameter: one for one in planted}
    described = []
    for one in DISEASES:
        own = variants.get(one.phecode)
        variant = None if own is None else {
            "rsid": genome.rsid(own.variant),
            "contig": genome.contig_name(own.variant),
            "position": int(genome.position[own.variant]),
            "beta": own.beta,
            "variance_explained": own.variance_explained,
        }  # fmt: skip
        cause = NEITHER if one.by_genes and own is None else one.cause  # a genome of few blocks
        described.append(
            asdict(one) | {"caused_by": cause, "variant": variant, "cases": cases[one.phecode]}
        )
    return described
