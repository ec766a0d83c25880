"""The panels of a study, assembled from what its steps have published."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from ecg_spark.diseases.diagnoses import Dates
from ecg_spark.diseases.panels import ECG, GENOTYPES, Panel, make_panel
from ecg_spark.genetics.genotypes.packed import MISSING
from ecg_spark.genetics.genotypes.parts import open_set
from ecg_spark.genetics.genotypes.view import packed_view
from ecg_spark.genetics.null_model.cohort import Cohort
from ecg_spark.genetics.null_model.phenotypes import usable_covariates, usable_phenotypes
from ecg_spark.genetics.outputs.tables import LOCI
from ecg_spark.genetics.outputs.tables import SCORES as CHECKED
from ecg_spark.genetics.people.ancestry import of_population
from ecg_spark.genetics.people.matching import by_normal_id, contradicts, owners_of, with_components
from ecg_spark.genetics.scoring.tables import POLYGENIC_SCORES, SCORE_ACCURACY
from ecg_spark.selection import used_rows
from ecg_spark.study import Genotypes
from ecg_spark.tables import PEER, VARIANT, read_table

OUTSIDE = -1
"""In place of a fold, for people who are not analysed: the mean of all models scores them."""

LEADS_APART_BP = 500_000
"""Of lead variants closer to each other than this, only the most significant counts."""

PREDICTING = (PEER,)
"""Groups that are not tested, but whose prediction is compared with that of the factors."""


@dataclass(frozen=True)
class Members:
    """The people of a panel.

    Attributes:
        predictors: indexed by participant; NaN where missing.
        groups: the columns of `predictors` by group.
        covariates: of the same people in the same order, without missing values.
    """

    predictors: pd.DataFrame
    groups: Mapping[str, Sequence[str]]
    covariates: pd.DataFrame


def of_cohort(cohort: Cohort) -> Members:
    """The people analysed in the association study, without close relatives of each other."""
    alone = cohort.unrelated.to_numpy(bool)
    owners = cohort.people[alone].to_numpy()
    return Members(
        cohort.tested[alone].set_axis(owners),
        cohort.groups,
        cohort.terms[alone].set_axis(owners),
    )


def of_phenotypes(
    phenotypes: pd.DataFrame,
    groups: Mapping[str, Sequence[str]],
    covariates: pd.DataFrame,
    notes: list[str],
) -> Members:
    """Everybody with a phenotype and every covariate, in a study without genotypes.

    Phenotypes are rank-inverse-normal transformed, as for the association study.

    Args:
        notes: notes on what was left out are appended to it.

    Raises:
        DataError: if nobody has every covariate, or no phenotype can be tested.
    """
    measured = phenotypes[phenotypes.notna().any(axis=1)]
    terms, of_terms = usable_covariates(covariates.reindex(measured.index))
    tested, of_tested = usable_phenotypes(measured.loc[terms.index], terms.shape[1])
    notes += [*of_terms, *of_tested]
    kept = {key: [name for name in names if name in tested] for key, names in groups.items()}
    return Members(tested, {key: names for key, names in kept.items() if names}, terms)


@dataclass(frozen=True)
class Genotyped:
    """The people of the checked genotype set who are tested.

    Attributes:
        people: the participant of each sample.
        terms: their covariates and components by sample, without missing values.
    """

    people: pd.Series
    terms: pd.DataFrame


def genotyped_people(
    spark: SparkSession,
    folder: str,
    settings: Genotypes,
    covariates: pd.DataFrame,
    is_male: pd.Series | None,
    cohort: Cohort,
    notes: list[str],
) -> Genotyped:
    """Everybody genotyped of the population analysed who has every covariate, with an ECG or
    without one.

    As in the association study, close relatives are left out, and people whose heterozygosity is
    far from what the components predict or whose X chromosome contradicts their sex. Covariates are
    those of the participant table for everybody, age too: people without an ECG have no day on
    which it could be told.

    Args:
        folder: the checked genotypes.
        covariates: by participant.
        is_male: by participant; None if unknown.
        cohort: gives the people if samples and participants are paired at random.
        notes: the number of people who lack a covariate is appended to it.

    Raises:
        DataError: if nobody has every covariate.
    """
    checked = pd.DataFrame(read_table(spark, CHECKED, f"{folder}/{CHECKED.name}").toPandas())
    checked = of_population(checked.set_index("s"), settings.population)
    far = checked["heterozygosity_sd"].abs() > settings.max_heterozygosity_sd
    checked = checked[checked["unrelated"] & ~far]
    if settings.pairing == "id":
        owners = pd.Series(owners_of(checked.index, settings.id_map), dtype=object)
        owners = owners[owners.isin(covariates.index)]
        if is_male is not None and checked["x_f"].notna().any():
            sex = by_normal_id(is_male).reindex(owners.to_numpy()).set_axis(owners.index)
            owners = owners[~contradicts(checked.loc[owners.index, "x_f"], sex)]
    else:
        owners = cohort.people[cohort.people.index.isin(checked.index)]
    terms, _ = usable_covariates(with_components(checked, by_normal_id(covariates), owners))
    if lacking := len(owners) - len(terms):
        notes.append(
            f"{lacking} of {len(owners)} genotyped people lack a covariate: they are in no test of "
            f"variants and scores"
        )
    return Genotyped(owners[terms.index], terms)


def of_genotypes(genotyped: Genotyped, groups: Mapping[str, pd.DataFrame]) -> Members | None:
    """The people genotyped with their predictors.

    Args:
        groups: the predictors of each group by sample; NaN where missing.

    Returns:
        Predictors that do not vary are left out. None if none is left.
    """
    people = genotyped.people.to_numpy()
    varied = {key: values.loc[:, values.std() > 0] for key, values in groups.items()}
    kept = {key: values for key, values in varied.items() if len(values.columns)}
    if not kept:
        return None
    predictors = pd.concat(kept.values(), axis=1).set_axis(people)
    names = {key: list(values.columns) for key, values in kept.items()}
    return Members(predictors, names, genotyped.terms.set_axis(people))


def calls_of(folder: str, variants: pd.DataFrame, samples: pd.Index) -> pd.DataFrame:
    """The alternate alleles (0, 1 or 2) of variants by sample; NaN where a call is missing.

    Args:
        folder: the checked genotypes.
        variants: contig, position, ref and alt.
    """
    packed = packed_view(open_set(f"{folder}/variants").where("is_candidate"))
    rows = packed.rows(variants)
    calls = packed.calls.read(rows, packed.places(list(samples))).T.astype(float)
    calls[calls == MISSING] = np.nan
    names = packed.named(rows)[VARIANT].astype(str).agg(":".join, axis=1)
    return pd.DataFrame(calls, samples, list(names))


def scores_of(spark: SparkSession, folder: str, samples: pd.Index) -> pd.DataFrame:
    """The polygenic scores of each phenotype by sample, in standard deviations.

    Nobody is scored by a model that was fitted to their phenotype. People who are not analysed but
    have a close relative who is have no score here (NaN): the model was fitted to the relative's
    phenotype, and families share more than genes.

    Mean and standard deviation are those of the people whom one model scores: models differ in
    both, and people with an ECG, whom the models of the folds score, may be healthier than others.

    Args:
        folder: the output of the step scores.
    """
    accuracy = read_table(spark, SCORE_ACCURACY, f"{folder}/{SCORE_ACCURACY.name}")
    names = [row["phenotype"] for row in accuracy.select("phenotype").collect()]
    table = read_table(spark, POLYGENIC_SCORES, f"{folder}/{POLYGENIC_SCORES.name}")
    own = [F.col("scores")[name].alias(f"score_{k}") for k, name in enumerate(names)]
    found: pd.DataFrame = table.select("s", "fold", "relative_analysed", *own).toPandas()
    found = found.set_index("s").reindex(samples)
    alone = found["relative_analysed"].eq(False)
    values = found.drop(columns=["fold", "relative_analysed"]).set_axis(names, axis=1)
    by_model = values[alone].groupby(found.loc[alone, "fold"].fillna(OUTSIDE))
    scaled = (values[alone] - by_model.transform("mean")) / by_model.transform("std")
    return scaled.replace([np.inf, -np.inf], np.nan).reindex(samples)


def lead_variants(spark: SparkSession, findings: str) -> pd.DataFrame:
    """The lead variants (contig, position, ref, alt) of the loci of all methods, the smallest
    p first, without those within 500 kb of a more significant one.
    """
    loci: pd.DataFrame = (
        read_table(spark, LOCI, f"{findings}/{LOCI.name}")
        .select(*VARIANT, "neg_log10_p")
        .orderBy(F.desc("neg_log10_p"), *VARIANT)
        .toPandas()
    )
    chosen: list[int] = []
    for k, one in enumerate(loci.itertuples()):
        near = [
            loci["contig"][j] == one.contig
            and abs(int(loci["position"][j]) - int(one.position)) < LEADS_APART_BP
            for j in chosen
        ]
        if not any(near):
            chosen.append(k)
    return loci.loc[chosen, VARIANT].reset_index(drop=True)


def ecg_days(beats: DataFrame, leave_out: Sequence[str]) -> pd.DataFrame:
    """The days of the first and the last ECG of each participant, since 1970-01-01.

    Only recordings that are used count; NaN if one of them has no date.
    """
    day = F.datediff(F.col("acquired_at").cast("date"), F.lit("1970-01-01"))
    whole = F.count("acquired_at") == F.count(F.lit(1))
    found: pd.DataFrame = (
        used_rows(beats, leave_out)
        .groupBy("participant_id")
        .agg(F.when(whole, F.min(day)).alias("first"), F.when(whole, F.max(day)).alias("last"))
        .toPandas()
    )
    return by_normal_id(found.set_index("participant_id").astype(float))


def panel_of_ecgs(
    members: Members,
    is_male: pd.Series | None,
    days: pd.DataFrame | None,
    until: pd.Series | datetime.date | None,
    dates: Dates,
    notes: list[str],
) -> Panel:
    """The panel of the people who have an ECG.

    Args:
        days: from `ecg_days`; None if the study has no ECGs.
        until: the last day of the records, one for all or by participant (in days since
            1970-01-01); None for the day of the latest diagnosis.
        notes: notes on missing dates are appended to it.
    """
    by_day = None
    if days is not None and dates.known and days["first"].notna().any():
        by_day = days.reindex(members.predictors.index)
        by_day["until"] = last_days(members.predictors.index, until, dates, notes)
        if undated := int(by_day["first"].isna().sum()):
            notes.append(
                f"{undated} people have an ECG without a date: they are in no comparison of "
                f"before and after"
            )
        between = int((by_day["last"] >= by_day["until"]).sum())
        if between:
            notes.append(
                f"the records of {between} people end before their last ECG: they count for no "
                f"incident disease"
            )
    elif days is not None and dates.known:
        notes.append("no ECG has a date: diseases are not told apart by when they began")
    return make_panel(
        ECG, members.predictors, members.groups, members.covariates, is_male, PREDICTING, by_day
    )


def last_days(
    people: pd.Index, until: pd.Series | datetime.date | None, dates: Dates, notes: list[str]
) -> pd.Series:
    """The last day of each person's records, in days since 1970-01-01.

    Args:
        until: as in `panel_of_ecgs`.
        notes: a note is appended if the latest diagnosis decides.
    """
    assert dates.latest is not None
    latest = float((dates.latest - datetime.date(1970, 1, 1)).days)
    if isinstance(until, pd.Series):
        return until.reindex(people).fillna(latest).clip(upper=latest)
    if isinstance(until, datetime.date):
        return pd.Series(float((until - datetime.date(1970, 1, 1)).days), people)
    notes.append(f"records are taken to end on {dates.latest}, the day of the latest diagnosis")
    return pd.Series(latest, people)


def panel_of_genotypes(members: Members, is_male: pd.Series | None) -> Panel:
    """The panel of everybody genotyped."""
    return make_panel(GENOTYPES, members.predictors, members.groups, members.covariates, is_male)
