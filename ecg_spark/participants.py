"""The tables that a user brings: participants with their covariates, and the file manifest."""

import logging

import pandas as pd

from ecg_spark.errors import DataError
from ecg_spark.study import Manifest, Participants

log = logging.getLogger(__name__)

_SEXES = {"1": 1, "m": 1, "male": 1, "0": 0, "2": 0, "f": 0, "female": 0}


def read_participants(settings: Participants, path: str) -> pd.DataFrame:
    """The covariates of every participant, indexed by participant id (text).

    A covariate is a column, its square (`age^2`) or a product (`age:sex`).
    Values that are no numbers become missing; a participant with several rows keeps the first.
    Raises `DataError` where the table cannot be read, has no id column or lacks a covariate.
    """
    frame = read_text_table(path, "participant table")
    _require(frame, path, "participant table", [settings.id], "participants.id")
    columns = list(dict.fromkeys(part for term in settings.covariates for part in _parts(term)))
    _require(frame, path, "participant table", columns, "participants.covariates")
    frame = frame[frame[settings.id].notna()]
    repeated = int(frame[settings.id].duplicated().sum())
    if repeated:
        log.info("participant table: %d rows repeat a participant; the first is used", repeated)
        frame = frame.drop_duplicates(settings.id)
    values = frame.set_index(settings.id)[columns]
    values.index.name = "participant_id"
    numbers = values.apply(pd.to_numeric, errors="coerce").astype("float64")
    for name in columns:
        if numbers[name].isna().all():
            raise DataError(
                f"The covariate {name} in the participant table {path} holds no number: "
                f"code it as numbers or take it out of participants.covariates."
            )
    # About their means, so that a square or product is not almost the column itself.
    centred = numbers - numbers.mean()
    return pd.DataFrame(
        {
            term: numbers[term]
            if term in numbers
            else centred[_parts(term)].prod(axis=1, skipna=False)
            for term in settings.covariates
        },
        index=numbers.index,
    )


def read_sex(settings: Participants, path: str) -> pd.Series | None:
    """Whether each participant is a man (1.0) or a woman (0.0), NaN where it is told as neither.

    None where the table has no such column. Raises `DataError` where the table cannot be read.
    """
    frame = read_text_table(path, "participant table")
    if settings.sex not in frame.columns or settings.id not in frame.columns:
        return None
    frame = frame[frame[settings.id].notna()].drop_duplicates(settings.id)
    codes = frame.set_index(settings.id)[settings.sex].astype(str).str.strip().str.lower()
    return codes.str.removesuffix(".0").map(_SEXES).astype(float)


def _parts(term: str) -> list[str]:
    """The columns that a term multiplies: age, `age^2`, `age:sex`."""
    return [
        name
        for factor in term.split(":")
        for name in ([factor.removesuffix("^2")] * (2 if factor.endswith("^2") else 1))
    ]


def read_manifest(settings: Manifest, path: str) -> pd.DataFrame:
    """The manifest as text columns `uri` and `participant_id`, and times `acquired_at` if given.

    Raises `DataError` where it cannot be read, lacks a column or names a file twice.
    """
    frame = read_text_table(path, "manifest")
    _require(frame, path, "manifest", [settings.uri], "ecg.manifest.uri")
    _require(frame, path, "manifest", [settings.participant_id], "ecg.manifest.participant_id")
    columns = {settings.uri: "uri", settings.participant_id: "participant_id"}
    if "acquired_at" in settings.model_fields_set:
        _require(frame, path, "manifest", [settings.acquired_at], "ecg.manifest.acquired_at")
    if settings.acquired_at in frame.columns:
        columns[settings.acquired_at] = "acquired_at"
    frame = frame[list(columns)].rename(columns=columns)
    frame = frame.dropna(subset=["uri", "participant_id"])
    if "acquired_at" in frame.columns:
        times = pd.to_datetime(frame["acquired_at"], errors="coerce", format="ISO8601", utc=True)
        frame["acquired_at"] = times.dt.tz_localize(None)
    if repeated := int(frame["uri"].duplicated().sum()):
        raise DataError(f"The manifest {path} names {repeated} files more than once: keep one row.")
    return frame


def read_text_table(path: str, what: str) -> pd.DataFrame:
    """A CSV, TSV or Parquet table with every column as text, so that ids stay as written."""
    try:
        if path.endswith(".parquet"):
            frame = pd.read_parquet(path)
            return frame.astype("string").astype(object).where(frame.notna(), None)
        separator = "\t" if path.removesuffix(".gz").endswith((".tsv", ".txt")) else ","
        return pd.read_csv(path, sep=separator, dtype=str)
    except FileNotFoundError:
        raise DataError(
            f"The {what} {path} does not exist: correct it in the study file."
        ) from None
    except (ValueError, OSError) as error:
        raise DataError(
            f"The {what} {path} cannot be read as CSV, TSV or Parquet "
            f"({type(error).__name__}): correct the file or its name."
        ) from None


def _require(
    frame: pd.DataFrame, path: str, what: str, columns: list[str] | tuple[str, ...], key: str
) -> None:
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise DataError(
            f"The {what} {path} has no column {', '.join(missing)}; it has "
            f"{', '.join(map(str, frame.columns[:20]))}: set {key} in the study file."
        )
