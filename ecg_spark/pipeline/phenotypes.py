"""The phenotypes of the association study: latents and conventional traits, a row a participant."""

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from ecg_spark.tables import TRAIT_NAMES


def participant_phenotypes(
    latents: DataFrame, traits: DataFrame
) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """Every participant's latents (`vae_00`, `pca_00`, ...) and traits, and the names by group.

    Indexed by participant id, NaN where missing. The traits of several ECGs are averaged, as their
    latents are.
    """
    frames, groups = [], {}
    for model, rows in latents.select("participant_id", "model", "z").toPandas().groupby("model"):
        values = pd.DataFrame(rows["z"].tolist(), index=rows["participant_id"].to_numpy())
        values.columns = pd.Index([f"{model}_{number:02d}" for number in values.columns])
        frames.append(values)
        groups[str(model)] = list(values.columns)
    means = [F.avg(name).alias(name) for name in TRAIT_NAMES]
    conventional = traits.groupBy("participant_id").agg(*means).toPandas()
    frames.append(conventional.set_index("participant_id").astype("float64"))
    groups["traits"] = list(TRAIT_NAMES)
    together = pd.concat(frames, axis=1).sort_index()
    together.index.name = "participant_id"
    return together, groups
