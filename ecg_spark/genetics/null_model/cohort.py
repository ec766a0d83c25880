"""Who is analysed, with their phenotypes as they are tested and their covariates."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import fsspec
import numpy as np
import pandas as pd

from ecg_spark.genetics.null_model.phenotypes import usable_covariates, usable_phenotypes
from ecg_spark.genetics.outputs.tables import ANALYSED
from ecg_spark.genetics.people.analysed import Flow
from ecg_spark.genetics.people.matching import (
    by_normal_id,
    check_sex_coding,
    contradicts,
    owners_of,
    people_of_samples,
    with_components,
)
from ecg_spark.study import Genotypes
from ecg_spark.tables import write_columns


@dataclass(frozen=True)
class Brought:
    """What a study brings of its participants, indexed by their ids.

    `phenotypes` and `covariates`: NaN where missing; `groups`: the columns of `phenotypes` by
    group; `is_male`: 1, 0 or NaN, None where nothing tells the sex; `age`: in years, None where no
    covariate is the age; `told`: notes on the tables that these came from.
    """

    phenotypes: pd.DataFrame
    groups: Mapping[str, Sequence[str]]
    covariates: pd.DataFrame
    is_male: pd.Series | None
    age: pd.Series | None
    told: Sequence[str]


@dataclass(frozen=True)
class Cohort:
    """The people analysed, indexed by sample id.

    `people`: the participant of each; `tested`: phenotypes rank-inverse-normal transformed, NaN
    where missing; `terms`: covariates and components, complete; `unrelated`: who is in the
    unrelated set; `is_male` (1, 0) and `age` in years: NaN where not known; `sets`: the numbers of
    the genotype sets in which each sample is; `groups`: the phenotypes tested, by group.
    """

    people: pd.Series
    tested: pd.DataFrame
    terms: pd.DataFrame
    unrelated: pd.Series
    is_male: pd.Series
    age: pd.Series
    sets: pd.Series
    groups: Mapping[str, list[str]]

    def of_set(self, number: int) -> pd.Index:
        """The samples that are in the genotype set of a number."""
        return self.terms.index[[number in own for own in self.sets]]


@dataclass(frozen=True)
class Gathered:
    """A cohort and how it came about: `flow` tells who was left out, `participants` how many have
    phenotypes, `matched` how many samples have a participant with one, `notes` what was mended."""

    cohort: Cohort
    flow: Flow
    participants: int
    matched: int
    notes: tuple[str, ...]


def gather(
    scores: pd.DataFrame, brought: Brought, settings: Genotypes, keep_relatives: bool, seed: int
) -> Gathered:
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
    cohort = Cohort(
        people[terms.index],
        tested,
        terms,
        pd.Series(terms.index.isin(unrelated), terms.index),
        _of_people(brought.is_male, people[terms.index]),
        _of_people(brought.age, people[terms.index]),
        scores["sets"].loc[terms.index],
        {key: members for key, members in groups.items() if members},
    )
    return Gathered(cohort, flow, len(phenotypes), matched, (*notes, *more_notes))


def save_cohort(cohort: Cohort, folder: str) -> None:
    """Write the table `analysed` and, as Parquet with a column for each, the phenotypes as they are
    tested and the covariates; `groups.json` names the phenotypes of each group."""
    samples = cohort.terms.index
    columns = {
        "s": list(samples),
        "participant_id": list(cohort.people),
        "unrelated": cohort.unrelated.tolist(),
        "sets": [list(map(int, own)) for own in cohort.sets],
        **{key: _as_column(getattr(cohort, key)) for key in ("is_male", "age")},
    }
    write_columns(columns, ANALYSED, f"{folder}/{ANALYSED.name}")
    for name, frame in (("phenotypes", cohort.tested), ("covariates", cohort.terms)):
        with fsspec.open(f"{folder}/{name}.parquet", "wb") as file:
            frame.rename_axis("s").reset_index().to_parquet(file, index=False)
    with fsspec.open(f"{folder}/groups.json", "w", encoding="utf-8") as file:
        json.dump(cohort.groups, file)


def save_told(brought: Brought, people: pd.Series, folder: str) -> None:
    """Write `told.parquet`: what the participant table tells of the people analysed, as it is.

    Covariates in their own units and `is_male` (1, 0, or missing), by `participant_id`.
    """
    told = by_normal_id(brought.covariates).reindex(people.unique())
    if brought.is_male is not None:
        told = told.assign(is_male=by_normal_id(brought.is_male))
    with fsspec.open(f"{folder}/told.parquet", "wb") as file:
        told.rename_axis("participant_id").reset_index().to_parquet(file, index=False)


def load_cohort(folder: str) -> Cohort:
    """The cohort that `save_cohort` wrote."""
    frames = []
    for name in (f"{ANALYSED.name}/part-0", "phenotypes", "covariates"):
        with fsspec.open(f"{folder}/{name}.parquet", "rb") as file:
            frames.append(pd.read_parquet(file).set_index("s"))
    analysed, tested, terms = frames
    with fsspec.open(f"{folder}/groups.json", encoding="utf-8") as file:
        groups = json.load(file)
    people, unrelated, sets = (analysed[key] for key in ("participant_id", "unrelated", "sets"))
    is_male, age = (analysed[key].astype(float) for key in ("is_male", "age"))
    return Cohort(people, tested, terms, unrelated, is_male, age, sets, groups)


def _of_people(values: pd.Series | None, people: pd.Series) -> pd.Series:
    """What is known of participants, by the samples of people; NaN where nothing is."""
    if values is None:
        return pd.Series(np.nan, people.index)
    return by_normal_id(values).reindex(people.to_numpy()).set_axis(people.index).astype(float)


def _as_column(values: pd.Series) -> list[float | None]:
    return [None if np.isnan(one) else float(one) for one in values]


def _of_the_reported_sex(
    scores: pd.DataFrame, people: pd.Series, is_male: pd.Series | None, flow: Flow
) -> pd.Series:
    """The people whose X chromosome does not contradict their sex."""
    if is_male is None or not scores["x_f"].notna().any():
        return people
    reported = _of_people(is_male, people)
    check_sex_coding(scores.loc[people.index, "x_f"], reported)
    people = people[~contradicts(scores.loc[people.index, "x_f"], reported)]
    flow.both(
        "reported sex contradicts the X chromosome",
        "reported sex agrees with the X chromosome",
        len(people),
    )
    return people
