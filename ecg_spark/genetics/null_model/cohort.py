"""Who is analysed, with their covariates and with their phenotypes as they are tested."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import fsspec
import numpy as np
import pandas as pd

from ecg_spark.genetics.null_model.phenotypes import (
    by_missingness,
    jointly_normal,
    usable_covariates,
    usable_phenotypes,
)
from ecg_spark.genetics.null_model.traits import conventional, units_kept
from ecg_spark.genetics.outputs.tables import ANALYSED
from ecg_spark.genetics.people.analysed import Flow
from ecg_spark.genetics.people.ancestry import of_population, people_of
from ecg_spark.genetics.people.kinship import unrelated_set
from ecg_spark.genetics.people.matching import (
    are_female,
    by_normal_id,
    check_sex_coding,
    contradicts,
    owners_of,
    people_of_samples,
    with_components,
)
from ecg_spark.study import Genotypes, Gwas
from ecg_spark.tables import LATENT, OWN, write_columns

TOGETHER = (*LATENT, OWN)
"""Groups of phenotypes that are also tested jointly, if the same people have all of them."""


@dataclass(frozen=True)
class Brought:
    """What a study knows of its participants; all tables are indexed by participant id.

    Attributes:
        phenotypes: one column per phenotype; NaN where missing.
        groups: the columns of `phenotypes` by group.
        covariates: one column per covariate; NaN where missing.
        is_male: 1, 0 or NaN; None if no column of the participant table gives the sex.
        age: in years; None if no covariate is the age.
        told: notes on the tables that these came from.
    """

    phenotypes: pd.DataFrame
    groups: Mapping[str, Sequence[str]]
    covariates: pd.DataFrame
    is_male: pd.Series | None
    age: pd.Series | None
    told: Sequence[str]


@dataclass(frozen=True)
class Cohort:
    """The people analysed; all tables are indexed by sample id.

    Attributes:
        people: the participant id of each sample.
        tested: the phenotypes as they are tested; NaN where missing.
        terms: covariates and principal components, without missing values.
        unrelated: whether each is in a set of people without relatives.
        judges: whether the genotypes of a person count when the quality of a variant is judged, on
            autosomes (`by`) and on X (`on_x`).
        is_male: 1 or 0; NaN where unknown.
        age: in years; NaN where unknown.
        sets: the numbers of the genotype sets in which each sample is.
        groups: the phenotypes that are tested, by group.
    """

    people: pd.Series
    tested: pd.DataFrame
    terms: pd.DataFrame
    unrelated: pd.Series
    judges: pd.DataFrame
    is_male: pd.Series
    age: pd.Series
    sets: pd.Series
    groups: Mapping[str, list[str]]

    def of_set(self, number: int) -> pd.Index:
        """The samples that are in the genotype set `number`."""
        return self.terms.index[[number in own for own in self.sets]]


@dataclass(frozen=True)
class Gathered:
    """A cohort, and how it came about.

    Attributes:
        flow: who was left out, and why.
        participants: how many participants there are.
        matched: how many samples belong to a participant with a phenotype.
        ancestry: how many of those analysed are of each population (see `people_of`).
        notes: what was adjusted on the way.
    """

    cohort: Cohort
    flow: Flow
    participants: int
    matched: int
    ancestry: dict[str, int | None]
    notes: tuple[str, ...]


def gather(
    scores: pd.DataFrame,
    relatives: pd.DataFrame,
    brought: Brought,
    settings: Genotypes,
    gwas: Gwas,
    seed: int,
) -> Gathered:
    """Match samples with participants, and choose who is analysed.

    A person of the population that is chosen is analysed if every covariate is known, if
    heterozygosity is close to what the principal components predict, and if the X chromosome does
    not contradict the reported sex. Where the null model does not allow for relatives, only one of
    each related pair is kept.

    Args:
        scores: the table `scores`, indexed by sample id `s`.
        relatives: pairs of related samples, s1 and s2.
        brought: what the study knows of its participants.
        seed: for random pairing, if the study asks for it.

    Raises:
        DataError: if ids do not match, a person has two samples, the coding of sex is reversed, or
            no phenotype can be tested.
    """
    phenotypes, covariates = map(by_normal_id, (brought.phenotypes, brought.covariates))
    owners = owners_of(scores.index, settings.id_map)
    names = [name for members in brought.groups.values() for name in members]
    measured = phenotypes[phenotypes[names].notna().any(axis=1)]
    flow = Flow(len(scores), len(phenotypes), "in the checked genotype set")
    flow.people("no phenotype", len(measured))
    scores, unpaired = of_population(scores, settings.population), "no genotypes, or left out there"
    if settings.population is not None:
        name = f"of the population {settings.population}"
        flow.samples(f"not {name}", name, len(scores))
        unpaired += f", or not {name}"
    limit = settings.max_heterozygosity_sd
    scores = scores[~(scores["heterozygosity_sd"].abs() > limit)]
    flow.samples(
        f"heterozygosity beyond {limit:g} standard deviations",
        f"heterozygosity within {limit:g} standard deviations of what the components predict",
        len(scores),
    )
    people = people_of_samples(scores, owners, measured, settings, seed)
    matched = len(people)
    flow.people(unpaired, matched)
    flow.samples("no participant with a phenotype", "paired with a participant", matched)
    if settings.pairing == "id":
        people = people[people.isin(covariates.index)]
        flow.both("not in the participant table", "in the participant table", len(people))
        people = _of_the_reported_sex(scores, people, brought.is_male, flow)
    given = with_components(scores, covariates, people)
    terms, found_notes = usable_covariates(given)
    flow.both("a covariate is missing", "every covariate", len(terms))
    unrelated = _without_relatives(terms.index, relatives)
    if gwas.null_model == "none":
        terms, more_notes = usable_covariates(given.loc[unrelated])
        found_notes = list(dict.fromkeys([*found_notes, *more_notes]))
        flow.both("close relative of another", "no close relative kept", len(terms))
    notes = [*brought.told, *found_notes]
    if brought.is_male is None:
        notes.append("no column of the participant table gives the sex: it was not checked")
    values = phenotypes.loc[people[terms.index]].set_axis(terms.index)
    values, told = conventional(values[names], brought.groups)
    in_units = units_kept(brought.groups, gwas.scale)
    tested, more_notes = usable_phenotypes(values, terms.shape[1], in_units)
    notes += told
    for members in together(tested, brought.groups, gwas.scale).values():
        known = tested[members[0]].notna()
        tested.loc[known, members] = jointly_normal(tested.loc[known, members].to_numpy(float))
    if not (has_any := tested.notna().any(axis=1)).all():
        # People whose only phenotypes are among those that cannot be tested.
        terms, found_notes = usable_covariates(terms[has_any])
        tested, notes = tested[has_any], notes + found_notes
    flow.both("no phenotype that can be tested", "a phenotype that is tested", len(terms))
    groups = {
        key: [name for name in members if name in tested] for key, members in brought.groups.items()
    }
    people, scores = people[terms.index], scores.loc[terms.index]
    alone = pd.Series(terms.index.isin(unrelated), terms.index)
    cohort = Cohort(
        people,
        tested,
        terms,
        alone,
        _judges(scores, alone, _reported(brought.is_male, people)),
        _reported(brought.is_male, people),
        _reported(brought.age, people),
        scores["sets"],
        {key: members for key, members in groups.items() if members},
    )
    of_each = people_of(scores["ancestry"])
    return Gathered(cohort, flow, len(phenotypes), matched, of_each, (*notes, *more_notes))


def together(
    tested: pd.DataFrame, groups: Mapping[str, Sequence[str]], scale: str
) -> dict[str, list[str]]:
    """The groups of phenotypes that are tested jointly, with their members among `tested`.

    A group qualifies if the same people have all of its phenotypes, and if all were
    rank-transformed: the null distribution of a joint test relies on normal phenotypes.
    """
    found = {}
    for key in TOGETHER:
        members = [name for name in groups.get(key, ()) if name in tested]
        ranked = not set(members) & set(units_kept(groups, scale))
        if members and ranked and len(by_missingness(tested[members])) == 1:
            found[key] = members
    return found


def _without_relatives(samples: pd.Index, relatives: pd.DataFrame) -> pd.Index:
    """A large set of samples of which no two are related, found greedily."""
    pairs = np.column_stack([samples.get_indexer(relatives[key]) for key in ("s1", "s2")])
    return samples[unrelated_set(len(samples), pairs[(pairs >= 0).all(axis=1)])]


def _judges(scores: pd.DataFrame, unrelated: pd.Series, is_male: pd.Series) -> pd.DataFrame:
    """Whose genotypes count when the quality of a variant is judged: unrelated people of one
    ancestry and, on X, only women.

    The ancestry is the most frequent one, if ancestry is known at all.
    """
    by = unrelated.copy()
    known = scores["ancestry"].dropna()
    if len(known):
        by &= scores["ancestry"] == known.value_counts().index[0]
    return pd.DataFrame({"by": by, "on_x": by & are_female(scores["x_f"], is_male)})


def _reported(values: pd.Series | None, people: pd.Series) -> pd.Series:
    """A value that the study reports for the person of each sample, such as the sex; NaN where
    missing.
    """
    if values is None:
        return pd.Series(np.nan, people.index)
    known: Any = by_normal_id(values)
    return pd.Series(known.reindex(people.to_numpy()).to_numpy(float), people.index)


def save_cohort(cohort: Cohort, folder: str) -> None:
    """Write a cohort: the table `analysed`; phenotypes.parquet and covariates.parquet with a
    column for each; and groups.json with the phenotypes of each group.
    """
    samples = cohort.terms.index
    columns = {
        "s": list(samples),
        "participant_id": list(cohort.people),
        "unrelated": cohort.unrelated.tolist(),
        "judges": cohort.judges["by"].tolist(),
        "judges_on_x": cohort.judges["on_x"].tolist(),
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
    """Write told.parquet: covariates in their own units and `is_male` (1, 0 or missing) of the
    people analysed, as the participant table gives them, by `participant_id`.
    """
    told = by_normal_id(brought.covariates).reindex(people.unique())
    if brought.is_male is not None:
        told = told.assign(is_male=by_normal_id(brought.is_male))
    with fsspec.open(f"{folder}/told.parquet", "wb") as file:
        told.rename_axis("participant_id").reset_index().to_parquet(file, index=False)


def load_cohort(folder: str) -> Cohort:
    """Read a cohort that `save_cohort` wrote."""
    frames = []
    for name in (f"{ANALYSED.name}/part-0", "phenotypes", "covariates"):
        with fsspec.open(f"{folder}/{name}.parquet", "rb") as file:
            frames.append(pd.read_parquet(file).set_index("s"))
    analysed, tested, terms = frames
    with fsspec.open(f"{folder}/groups.json", encoding="utf-8") as file:
        groups = json.load(file)
    people, unrelated, sets = (analysed[key] for key in ("participant_id", "unrelated", "sets"))
    judges = analysed[["judges", "judges_on_x"]].set_axis(["by", "on_x"], axis=1)
    is_male, age = (analysed[key].astype(float) for key in ("is_male", "age"))
    return Cohort(people, tested, terms, unrelated, judges, is_male, age, sets, groups)


def _as_column(values: pd.Series) -> list[float | None]:
    return [None if np.isnan(one) else float(one) for one in values]


def _of_the_reported_sex(
    scores: pd.DataFrame, people: pd.Series, is_male: pd.Series | None, flow: Flow
) -> pd.Series:
    """The people whose X chromosome does not contradict their reported sex."""
    if is_male is None or not scores["x_f"].notna().any():
        return people
    reported = _reported(is_male, people)
    check_sex_coding(scores.loc[people.index, "x_f"], reported)
    people = people[~contradicts(scores.loc[people.index, "x_f"], reported)]
    flow.both(
        "reported sex contradicts the X chromosome",
        "reported sex agrees with the X chromosome",
        len(people),
    )
    return people
