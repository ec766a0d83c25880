"""Which sample belongs to which participant, and the tables of both joined for those analysed."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecg_spark.errors import DataError
from ecg_spark.ids import id_column, normal_id
from ecg_spark.study import Genotypes
from ecg_spark.text_tables import read_text_table

Frame = TypeVar("Frame", pd.DataFrame, pd.Series)


@dataclass(frozen=True)
class Matching:
    """Which sample belongs to which participant, as two aligned arrays of ids."""

    samples: NDArray[np.object_]
    participants: NDArray[np.object_]


def match(
    samples: Sequence[str],
    participants: Sequence[str],
    pairing: str = "id",
    seed: int = 1,
) -> Matching:
    """Pair genotyped samples with participants.

    Args:
        pairing: `id` pairs equal ids, in the order of the samples. `random` pairs by chance, as
            many as the smaller side has; the same seed gives the same pairs, whatever the order of
            the participants.
        seed: for random pairing.

    Raises:
        DataError: if an id occurs twice or no id matches.

    Example:
        >>> match(["s2", "s1", "s9"], ["s1", "s2", "s3"]).participants.tolist()
        ['s2', 's1']
    """
    for ids, what in ((samples, "genotype sample"), (participants, "participant")):
        repeated = len(ids) - len(set(ids))
        if repeated:
            raise DataError(f"{repeated} {what} ids occur more than once: keep one row of each.")
    if pairing == "random":
        rng = np.random.default_rng(seed)
        size = min(len(samples), len(participants))
        places = np.sort(rng.choice(len(samples), size, replace=False))
        left = np.array(samples, object)[places]
        right = np.array(sorted(participants), object)[rng.permutation(len(participants))[:size]]
    else:
        known = set(participants)
        left = right = np.array([sample for sample in samples if sample in known], object)
    if not len(left):
        raise DataError(
            f"None of the {len(participants)} participants is among the {len(samples)} genotyped "
            f"samples: the ids differ; make them equal, or set genotypes.pairing."
        )
    return Matching(left, right)


def by_normal_id(table: Frame) -> Frame:
    """A table of participants with its ids in normal form."""
    return table.set_axis(table.index.map(lambda one: normal_id(str(one))), axis=0)


def owners_of(samples: Iterable[str], id_map: str | None) -> dict[str, str]:
    """The participant of each sample that has one.

    Args:
        samples: ids as the genotype set has them.
        id_map: the path of a table of sample and participant ids; None if they are the same.

    Returns:
        Participant ids in normal form, by sample.

    Raises:
        DataError: if two samples belong to one person, since nothing says which of them to take;
            or if the id map cannot be used.
    """
    known = read_id_map(id_map) if id_map else None
    owners = {}
    for sample in samples:
        name = normal_id(sample)
        if known is None or name in known:
            owners[sample] = name if known is None else known[name]
    counts = Counter(owners.values())
    if several := [count for count in counts.values() if count > 1]:
        who = "1 person has" if len(several) == 1 else f"{len(several)} people have"
        where = (
            "by the id map (genotypes.id_map)" if id_map else "by their ids without .0 and blanks"
        )
        raise DataError(
            f"{who} {max(several)} genotyped samples {where}: keep one of each, for instance by a "
            f"list of the others in genotypes.exclude."
        )
    return owners


def people_of_samples(
    scores: pd.DataFrame,
    owners: Mapping[str, str],
    phenotypes: pd.DataFrame,
    settings: Genotypes,
    seed: int,
) -> pd.Series:
    """The participant of each matched sample, indexed by sample.

    Args:
        scores: a table indexed by sample.
        owners: the participant of each sample.
        phenotypes: a table indexed by participant.
        seed: for random pairing.

    Raises:
        DataError: if no participant matches a sample.
    """
    samples = {owners[s]: s for s in scores.index if s in owners}
    matching = match(list(samples), list(phenotypes.index), settings.pairing, seed)
    return pd.Series(matching.participants, index=[samples[name] for name in matching.samples])


def with_components(
    scores: pd.DataFrame, covariates: pd.DataFrame, people: pd.Series
) -> pd.DataFrame:
    """The covariates and principal components of each matched sample.

    If the study has a covariate that is named like one of the components (pc_1, ...), the
    components get the prefix genotype_.
    """
    terms = covariates.reindex(people.to_numpy()).set_axis(people.index)
    components = np.array(scores.loc[people.index, "pc"].tolist(), float)
    names = [f"pc_{i + 1}" for i in range(components.shape[1])]
    while not terms.columns.intersection(names).empty:
        names = [f"genotype_{name}" for name in names]
    return terms.join(pd.DataFrame(components, terms.index, names))


def read_id_map(path: str) -> dict[str, str]:
    """The participant of each sample, from a table with columns sample_id and participant_id; all
    ids in normal form.

    Raises:
        DataError: if the table cannot be read, lacks a column or names a sample twice.
    """
    what = "id map (genotypes.id_map)"
    table = read_text_table(path, what)
    columns = ["sample_id", "participant_id"]
    if missing := [name for name in columns if name not in table.columns]:
        raise DataError(f"The {what} has no column {', '.join(missing)}: add it.")
    table = table[columns].apply(id_column, what=what).dropna()
    if repeated := int(table["sample_id"].duplicated().sum()):
        raise DataError(f"The {what} names {repeated} samples more than once: keep one row.")
    return dict(table.itertuples(index=False, name=None))


MALE_F, FEMALE_F = 0.8, 0.2
"""Above this F on X a sample is male, and below the other female (PLINK's thresholds)."""


def contradicts(x_f: pd.Series, is_male: pd.Series) -> pd.Series:
    """Whether the X chromosome contradicts the reported sex, by its inbreeding coefficient F.

    Never true where either is missing.

    Example:
        >>> contradicts(pd.Series([0.99, 0.02, 0.99]), pd.Series([1.0, 1.0, np.nan])).tolist()
        [False, True, False]
    """
    as_man = (is_male == 1) & (x_f < FEMALE_F)
    return as_man | ((is_male == 0) & (x_f > MALE_F))


def are_female(x_f: pd.Series, is_male: pd.Series) -> pd.Series:
    """Who is female: by the reported sex or, where that is missing, by the X chromosome."""
    return (is_male == 0) | (is_male.isna() & (x_f < FEMALE_F))


FEWEST_JUDGED = 10
"""The least number of people with which the coding of sex is judged."""


def check_sex_coding(x_f: pd.Series, is_male: pd.Series) -> None:
    """Refuse a column of sex that most people's X chromosomes contradict.

    Raises:
        DataError: if more than half of the people who can be judged are contradicted; the message
            says whether both sexes are affected.
    """
    as_known = is_male.notna() & ((x_f < FEMALE_F) | (x_f > MALE_F))
    wrong = contradicts(x_f, is_male)[as_known]
    if as_known.sum() < FEWEST_JUDGED or 2 * wrong.sum() <= as_known.sum():
        return
    found = f"The X chromosome contradicts the sex of {wrong.sum()} of {as_known.sum()} people"
    by_sex = wrong.groupby(is_male[as_known]).mean()
    if (by_sex > 0.5).all():
        raise DataError(
            f"{found}: it is coded the other way round in the participant table, where 1, M and "
            f"male must be men and 0, 2, F and female women; correct the column that "
            f"participants.sex names, or name another."
        )
    raise DataError(
        f"{found}, of one sex alone: correct the column that participants.sex names, or look "
        f"whether the genotypes of X are those of these people."
    )
