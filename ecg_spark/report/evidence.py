"""The numbers of the report, read from the published tables in limited memory.

Tables are read with pyarrow, in batches or as an even sample of row groups, so that a million
beats cost no more than some thousand. Groups are counted in people, each with one ECG or with the
mean of theirs: five ECGs of one man are one person. Waveforms leave this module only as statistics
over at least `MIN_GROUP_SIZE` people.
"""

from collections.abc import Iterator, Mapping, Sequence

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from ecg_spark.genetics.genotypes.quality import FEWEST_OF_ANCESTRY
from ecg_spark.selection import is_used
from ecg_spark.tables import TOGETHER, TRAIT_NAMES, VARIANT

MIN_GROUP_SIZE = 20
"""A waveform or a statistic of a group is shown only if it is over at least this many people."""

FEWEST_IN_BIN = 5
"""A bin of a figure is shown only if it holds at least this many people."""

TRAIT_TITLES = {
    "heart_rate_bpm": "Heart rate (bpm)",
    "pr_ms": "PR (ms)",
    "p_ms": "P duration (ms)",
    "qrs_ms": "QRS (ms)",
    "qt_ms": "QT (ms)",
    "qtc_ms": "QTc (ms)",
    "axis_deg": "Frontal axis (degrees)",
}


def dataset(folder: str) -> ds.Dataset:
    """The Parquet table in a folder, on any file system that fsspec supports."""
    files, path = fsspec.core.url_to_fs(folder)
    return ds.dataset(path, filesystem=files, format="parquet")


def sample_rows(table: ds.Dataset, columns: Sequence[str], at_most: int) -> pa.Table:
    """Up to `at_most` rows, spread evenly over the table's row groups; the same in every call."""
    groups = [group for part in table.get_fragments() for group in part.split_by_row_group()]
    rows = [group.row_groups[0].num_rows for group in groups]
    if sum(rows) <= at_most:
        return table.to_table(columns=list(columns))
    chosen = np.unique(np.linspace(0, len(groups) - 1, min(len(groups), 48)).astype(int))
    share = at_most / sum(rows[k] for k in chosen)
    parts = []
    for k in chosen:
        part = groups[k].to_table(columns=list(columns), schema=table.schema)
        wanted = max(1, int(part.num_rows * min(share, 1.0)))
        parts.append(part.take(np.linspace(0, part.num_rows - 1, wanted).astype(int)))
    return pa.concat_tables(parts)


def used_rows(
    table: ds.Dataset, columns: Sequence[str], at_most: int, leave_out: Sequence[str]
) -> pa.Table:
    """A sample of the rows of beats or traits without any of the flags in `leave_out`.

    `at_most` limits the sample before flagged rows are left out.
    """
    if not leave_out:
        return sample_rows(table, columns, at_most)
    rows = sample_rows(table, [*columns, "flags"], at_most)
    return rows.filter(is_used(rows["flags"], leave_out))


def beat_sample(
    beats: ds.Dataset, at_most: int = 3000, leave_out: Sequence[str] = ()
) -> tuple[list[str], NDArray[np.float32]]:
    """An even sample of average beats, one per person.

    Args:
        leave_out: the flags that leave a recording out.

    Returns:
        ECG ids, and the beats [n, 12, 600] in mV.
    """
    table = used_rows(beats, ["ecg_id", "participant_hash", "signal"], at_most, leave_out)
    table = one_a_person(table)
    return table["ecg_id"].to_pylist(), signals_of(table)


def one_a_person(beats: pa.Table) -> pa.Table:
    """The first row of each `participant_hash`, in the order of the rows."""
    _, first = np.unique(beats["participant_hash"].to_numpy(), return_index=True)
    return beats.take(np.sort(first))


def signals_of(beats: pa.Table) -> NDArray[np.float32]:
    """The column `signal` as an array [n, 12, 600], in mV."""
    parts = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in beats["signal"].chunks]
    return np.concatenate([np.empty(0, np.float32), *parts]).reshape(-1, 12, 600)


def beat_percentiles(signals: NDArray[np.float32]) -> NDArray[np.float64] | None:
    """The 5th, 25th, 50th, 75th and 95th percentile of every sample over people, [5, 12, 600].

    Args:
        signals: one beat per person, [n, 12, 600] in mV.

    Returns:
        None for fewer than `MIN_GROUP_SIZE` people.
    """
    if len(signals) < MIN_GROUP_SIZE:
        return None
    return np.asarray(np.percentile(signals, [5, 25, 50, 75, 95], axis=0))


def beats_by_trait(
    ecg_ids: Sequence[str],
    signals: NDArray[np.float32],
    traits: pd.DataFrame,
    names: Sequence[str] = ("pr_ms", "qrs_ms", "qt_ms"),
) -> dict[str, list[tuple[str, NDArray[np.float64]]]]:
    """Mean beats of the people in the lowest, the middle and the highest tenth of each trait.

    Args:
        ecg_ids: the ECG of each person.
        signals: their beats, [n, 12, 600] in mV.
        traits: indexed by ECG id; NaN where missing.
        names: the traits to use.

    Returns:
        For each trait title, labels and mean beats. A trait that fewer than ten times
        `MIN_GROUP_SIZE` people have is left out.
    """
    values = traits.reindex(ecg_ids)
    groups: dict[str, list[tuple[str, NDArray[np.float64]]]] = {}
    for name in names:
        column = values[name].to_numpy(float)
        if np.isfinite(column).sum() < 10 * MIN_GROUP_SIZE:
            continue
        cuts = np.nanquantile(column, [0.1, 0.45, 0.55, 0.9])
        parts = {
            "lowest tenth": column <= cuts[0],
            "middle tenth": (column >= cuts[1]) & (column <= cuts[2]),
            "highest tenth": column >= cuts[3],
        }
        means = [
            (label, signals[part].mean(axis=0, dtype=np.float64))
            for label, part in parts.items()
            if part.sum() >= MIN_GROUP_SIZE
        ]
        groups[TRAIT_TITLES[name]] = means
    return groups


def trait_table(
    traits: ds.Dataset, at_most: int = 200_000, leave_out: Sequence[str] = ()
) -> pd.DataFrame:
    """The traits of a sample of ECGs, indexed by ECG id; NaN where missing."""
    columns = ["ecg_id", "participant_id", "weight", *TRAIT_NAMES]
    rows = used_rows(traits, columns, at_most, leave_out)
    return rows.select(columns).to_pandas().set_index("ecg_id")


def traits_by_person(traits: pd.DataFrame) -> pd.DataFrame:
    """The mean traits of each person, weighted by the ECGs' `weight`, indexed by participant
    id.
    """
    values, weight, who = traits[list(TRAIT_NAMES)], traits["weight"], traits["participant_id"]
    weights = values.notna().mul(weight, axis=0).groupby(who).sum()
    return values.mul(weight, axis=0).groupby(who).sum() / weights


def trait_summary(traits: pd.DataFrame) -> list[dict[str, object]]:
    """For each trait, how many people have it, the median, and the 5th and 95th percentile.

    Args:
        traits: one row per person; NaN where missing. There are no percentiles of fewer than
            `MIN_GROUP_SIZE` people.
    """
    summary = []
    for name in TRAIT_NAMES:
        values = traits[name].dropna()
        enough = len(values) >= MIN_GROUP_SIZE
        low, middle, high = values.quantile([0.05, 0.5, 0.95]) if enough else [None] * 3
        summary.append(
            {
                "title": TRAIT_TITLES[name],
                "n": len(values),
                "missing": len(traits) - len(values),
                "low": low,
                "median": middle,
                "high": high,
            }
        )
    return summary


def latent_scores(latents: ds.Dataset, model: str, at_most: int = 200_000) -> pd.DataFrame:
    """The latents of a sample of participants, one column each, indexed by participant.

    Args:
        model: vae or pca.
    """
    rows = sample_rows(latents, ["participant_id", "model", "z"], 2 * at_most)
    rows = rows.filter(pc.equal(rows["model"], model))
    table = pd.DataFrame(
        np.array(rows["z"].to_pylist(), dtype=float).reshape(rows.num_rows, -1),
        index=rows["participant_id"].to_pylist(),
    )
    return table.rename(columns=lambda k: f"{model}_{k:02d}")


def correlations(latents: pd.DataFrame, traits: pd.DataFrame) -> pd.DataFrame:
    """Spearman's correlation of every latent with every trait, over people.

    Args:
        latents: one row per person.
        traits: one row per person.

    Returns:
        [latents, traits]; NaN where fewer than `MIN_GROUP_SIZE` people have both.
    """
    both = latents.join(traits, how="inner")
    ranks = both.rank()
    with np.errstate(invalid="ignore"):
        table = ranks.corr(min_periods=MIN_GROUP_SIZE)
    return table.loc[list(latents.columns), list(TRAIT_NAMES)]


def batches(table: ds.Dataset, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The rows of a table in batches of limited size, with few read ahead."""
    yield from table.to_batches(
        columns=list(columns), batch_size=131_072, batch_readahead=2, fragment_readahead=1
    )


def counted(counts: Mapping[str, int] | None) -> list[tuple[str, int]]:
    """Counts by name as rows, the largest first; underscores become spaces.

    Example:
        >>> counted({"low_quality": 2, "paced": 5})
        [('paced', 5), ('low quality', 2)]
    """
    items = sorted((counts or {}).items(), key=lambda item: (-int(item[1]), item[0]))
    return [(name.replace("_", " "), int(count)) for name, count in items]


def people_told(counts: Mapping[str, int | None]) -> dict[str, int | str]:
    """Counts of people by name, in words where they are too few to be told."""
    few = f"fewer than {FEWEST_OF_ANCESTRY}"
    return {name: few if count is None else count for name, count in counts.items()}


def ancestry_scores(table: ds.Dataset, at_most: int = 100_000) -> NDArray[np.float64]:
    """The genetic principal components of a sample of people, [n, k], without ids."""
    rows = sample_rows(table, ["pc"], at_most)
    return np.array(rows["pc"].to_pylist(), dtype=float).reshape(rows.num_rows, -1)


def omnibus_batches(table: ds.Dataset) -> Iterator[pa.RecordBatch]:
    """The omnibus tests in the form of associations, with phenotypes `vae omnibus`, `pca
    omnibus`, …
    """
    for batch in batches(table, [*VARIANT, "model", "neg_log10_p", "af"]):
        names = pc.binary_join_element_wise(batch["model"], TOGETHER, "")
        yield batch.drop_columns(["model"]).append_column("phenotype", names)


def or_dash(value: float, form: str) -> str:
    """A number in a format; a dash if it is missing.

    Example:
        >>> or_dash(1.234, ".2f"), or_dash(float("nan"), ".2f")
        ('1.23', '–')
    """
    return "–" if pd.isna(value) else format(value, form)
