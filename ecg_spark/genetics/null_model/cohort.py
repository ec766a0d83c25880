"""Who is analysed, with their phenotypes as they are tested and their covariates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ecg_spark.genetics.null_model.phenotypes import usable_covariates, usable_phenotypes
from ecg_spark.genetics.people.analysed import Flow
from ecg_spark.genetics.people.matching import (
    by_normal_id,
    check_sex_coding,
    contradicts,
    owners_of,
    people_of_samples,
    with_components,
)
from ecg_spark.study_genetics import Genotypes


@dataclass(frozen=True)
class Brought:
    """What a study brings of its participants, indexed by their ids.

    `phenotypes` and `covariates`: NaN where missing; `groups`: the columns of `phenotypes` by
    group; `is_male`: 1, 0 or NaN, None where nothing tells the sex; `told`: notes on the tables
    that these came from.
    """

    phenotypes: pd.DataFrame
    groups: Mapping[str, Sequence[str]]
    covariates: pd.DataFrame
    is_male: pd.Series | None
    told: Sequence[str]


@dataclass(frozen=True)
class Cohort:
    """The people analysed, indexed by sample id.

    `people`: the participant of each; `tested`: phenotypes rank-inverse-normal transformed, NaN
    where missing; `terms`: covariates and components, complete; `unrelated`: the samples of the
    unrelated set; `sets`: the numbers of the genotype sets in which a sample is; `groups`: the
    phenotypes tested, by group; `flow`: who was left out; `matched`: how many samples have a
    participant with a phenotype.
    """

    people: pd.Series
    tested: pd.DataFrame
    terms: pd.DataFrame
    unrelated: pd.Index
    sets: pd.Series
    groups: Mapping[str, list[str]]
    flow: Flow
    participants: int
    matched: int
    notes: tuple[str, ...]
    notes_on_phenotypes: tuple[str, ...]


def gather(
    scores: pd.DataFrame, brought: Brought, settings: Genotypes, keep_relatives: bool, seed: int
) -> Cohort:
    """Match the samples of the table `scores` (indexed by `s`) with participants, and choose.

    Everybody is analysed who has every covariate, whose X chromosome does not contradict their sex
    and, unless relatives are kept, is in the unrelated set.

    Raises `DataError` where ids do not match, a person has two samples, the sexes are coded the
    other way round, or nothing can be tested.
    """
    phenotypes, covariates = map(by_normal_id, (brought.phenotypes, brought.covariates))
    owners = owners_of(scores.index, settings.id_map)
    unrelated = scores.index[scores["unrelated"]]
    names = [name for members in brought.groups.values() for name in members]
    measured = phenotypes[phenotypes[names].notna().any(axis=1)]
    flow = Flow(len(scores), len(phenotypes), "in the checked genotype set")
    flow.people("no phenotype", len(measured))
    if not keep_relatives:
        scores = scores[scores["unrelated"]]
        flow.samples("close relative of another", "no close relative kept", len(scores))
    people = people_of_samples(scores, owners, measured, settings, seed)
    matched = len(people)
    flow.people("no genotypes, or left out there", matched)
    flow.samples("no participant with a phenotype", "paired with a participant", matched)
    if settings.pairing == "id":
        people = people[people.isin(covariates.index)]
        flow.both("not in the participant table", "in the participant table", len(people))
        people = _of_the_reported_sex(scores, people, brought.is_male, flow)
    terms, found_notes = usable_covariates(with_components(scores, covariates, people))
    notes = [*brought.told, *found_notes]
    if brought.is_male is None:
        notes.append("no column of the participant table tells the sex: it was not checked")
    flow.both("a covariate is missing", "every covariate", len(terms))
    values = phenotypes.loc[people[terms.index]].set_axis(terms.index)
    tested, more_notes = usable_phenotypes(values[names], terms.shape[1])
    if not (has_any := tested.notna().any(axis=1)).all():
        # Those who have only phenotypes that cannot be tested.
        terms, found_notes = usable_covariates(terms[has_any])
        tested, notes = tested[has_any], notes + found_notes
    flow.both("no phenotype that can be tested", "a phenotype that is tested", len(terms))
    groups = {
        key: [name for name in members if name in tested] for key, members in brought.groups.items()
    }
    return Cohort(
        people[terms.index],
        tested,
        terms,
        unrelated,
        scores["sets"],
        {key: members for key, members in groups.items() if members},
        flow,
        len(phenotypes),
        matched,
        tuple(notes),
        tuple(more_notes),
    )


def _of_the_reported_sex(
    scores: pd.DataFrame, people: pd.Series, is_male: pd.Series | None, flow: Flow
) -> pd.Series:
    """The people whose X chromosome does not contradict their sex."""
    if is_male is None or not scores["x_f"].notna().any():
        return people
    reported: Any = by_normal_id(is_male).reindex(people.to_numpy()).set_axis(people.index)
    check_sex_coding(scores.loc[people.index, "x_f"], reported)
    people = people[~contradicts(scores.loc[people.index, "x_f"], reported)]
    flow.both(
        "reported sex contradicts the X chromosome",
        "reported sex agrees with the X chromosome",
        len(people),
    )
    return people
