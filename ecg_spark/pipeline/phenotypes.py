"""The phenotypes of the association study by participant: latents, traits, the study's own."""

from collections.abc import Sequence

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from ecg_spark.errors import DataError
from ecg_spark.selection import used_rows, weighted_direction, weighted_mean
from ecg_spark.tables import OWN, TRAIT_NAMES


def participant_phenotypes(
    latents: DataFrame, traits: DataFrame, leave_out: Sequence[str] = ()
) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """Return the latents (`vae_00`, `pca_00`, ...) and traits of every participant.

    Traits of several ECGs are averaged as their latents are: without recordings that have a flag of
    `leave_out`, weighted by the beats' `weight`; the axis by its circular mean.

    Args:
        latents: the table `latents`.
        traits: the table `traits`, one row per ECG.
        leave_out: recordings with one of these flags are not used.

    Returns:
        One row per participant who has latents, by participant id, NaN where a trait is missing:
        latents and traits are compared, so they must be those of the same people. And the names of
        the columns by group.
    """
    frames, groups = [], {}
    encoded: pd.DataFrame = latents.select("participant_id", "model", "z").toPandas()
    for model, rows in encoded.groupby("model"):
        values = pd.DataFrame(rows["z"].tolist(), index=rows["participant_id"].to_numpy())
        values.columns = pd.Index([f"{model}_{number:02d}" for number in values.columns])
        frames.append(values)
        groups[str(model)] = list(values.columns)
    means = [
        (weighted_direction if name == "axis_deg" else weighted_mean)(F.col(name)).alias(name)
        for name in TRAIT_NAMES
    ]
    chosen = used_rows(traits, leave_out)
    conventional: pd.DataFrame = chosen.groupBy("participant_id").agg(*means).toPandas()
    encoded_names = [name for names in groups.values() for name in names]
    frames.append(conventional.set_index("participant_id").astype("float64"))
    groups["traits"] = list(TRAIT_NAMES)
    together = pd.concat(frames, axis=1).dropna(subset=encoded_names).sort_index()
    together.index.name = "participant_id"
    return together, groups


def with_own(
    of_ecgs: pd.DataFrame, groups: dict[str, list[str]], own: pd.DataFrame, notes: list[str]
) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """Return the phenotypes of ECGs with those that the study brings, and the names by group.

    Args:
        of_ecgs: the phenotypes by participant id, as `participant_phenotypes` returns them.
        groups: the names of their columns by group.
        own: the study's own phenotypes by participant id, NaN where missing. Without columns,
            nothing changes.
        notes: receives how many people have own phenotypes but no latents; they are left out.

    Raises:
        DataError: nobody has both.
    """
    if not len(own.columns):
        return of_ecgs, groups
    others = len(own.index.difference(of_ecgs.index))
    if others == len(own):
        raise DataError(
            f"None of the {others} participants in the table of phenotypes (phenotypes.path) has "
            f"latents: its ids must be those of the recordings."
        )
    if others:
        notes.append(
            f"{others} of {len(own)} participants in the table of phenotypes have no latents and "
            f"are left out"
        )
    return of_ecgs.join(own), groups | {OWN: list(own.columns)}


def fold_indicators(latents: DataFrame) -> pd.DataFrame:
    """Return a column `fold_1`, `fold_2`, ... for each fold but the first: 1 for its people.

    They are covariates, because networks differ even after their factors have been matched.

    Args:
        latents: the table `latents`.

    Returns:
        One row per participant id; no columns if one network has encoded everybody.
    """
    rows: pd.DataFrame = latents.select("participant_id", "fold").distinct().toPandas()
    folds = rows.set_index("participant_id")["fold"].sort_index()
    return pd.DataFrame(
        {f"fold_{fold}": (folds == fold).astype(float) for fold in sorted(folds.unique())[1:]},
        index=folds.index,
    )
