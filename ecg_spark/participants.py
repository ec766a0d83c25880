"""The tables that a user brings: participants, their own phenotypes, and the file manifest."""

import datetime
import logging
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress

import pandas as pd

from ecg_spark.covariates import columns_of, covariate_terms
from ecg_spark.errors import DataError
from ecg_spark.ids import id_column
from ecg_spark.number_columns import NumberReader
from ecg_spark.study import Manifest, Participants, Phenotypes
from ecg_spark.tables import OWN, TRAIT_NAMES
from ecg_spark.text_tables import read_text_table, required

log = logging.getLogger(__name__)

TABLE = "participant table (participants.path)"
PHENOTYPES = "table of phenotypes (phenotypes.path)"
MANIFEST = "manifest (ecg.manifest.path)"

_MEN = {"1", "m", "male", "man", "men", "true"}
_WOMEN = {"0", "2", "f", "female", "woman", "women", "w", "false"}
_CODES_TOLD = 6
_UNFIT = re.compile(r"[^\w.+-]+")
"""Characters that a phenotype's name may not have: it names files and columns of text tables."""

_TAKEN = re.compile(
    rf"(vae|pca)(_\d+)?|traits|{OWN}|{'|'.join(TRAIT_NAMES)}|s|fid|iid", re.IGNORECASE
)
"""Names of latents, traits, groups of them, and of ids in the tables that a cohort is kept in."""

_YEAR_FIRST = re.compile(r"^\s*(\d{4})[/.](\d{1,2})[/.](\d{1,2})(?!\d)")


def read_participants(
    settings: Participants, path: str, notes: list[str] | None = None
) -> pd.DataFrame:
    """Return the covariates of every participant, indexed by participant id in normal form.

    A covariate is a column, its square (`age^2`) or a product (`age:sex`); texts and declared
    categories become indicators (see `covariate_terms`). Of several rows of one participant, the
    first is used.

    Args:
        settings: the section `participants` of the study file.
        path: the path or URI of the participant table.
        notes: a list that receives what a reader of the report should know; None drops it.

    Returns:
        One row per participant and one column of floats per term, NaN where missing.

    Raises:
        DataError: the table cannot be read, has no id column or lacks a covariate, or a covariate
            cannot be understood (see `covariate_terms`).
    """
    told: list[str] = [] if notes is None else notes
    frame = _by_participant(settings, path, told)
    columns = columns_of(settings.covariates, frame.columns)
    required(frame, TABLE, columns, "participants.covariates")
    terms, more = covariate_terms(frame[columns], settings, TABLE)
    told += more
    return terms


def read_sex(settings: Participants, path: str, notes: list[str] | None = None) -> pd.Series | None:
    """Return whether each participant is male (1.0) or female (0.0), by participant id.

    1, M, male and true are male; 2, F, female and false are female. 0 is female too, unless the
    column contains a 2: then 0 means unknown, as in PLINK's files.

    Args:
        settings: the section `participants` of the study file.
        path: the path or URI of the participant table.
        notes: a list that receives the counts of other codes; None drops them.

    Returns:
        NaN where the code is neither; None if the table has no such column.

    Raises:
        DataError: the table cannot be read, or lacks a column that the study file names.
    """
    frame = _by_participant(settings, path, [])
    if settings.sex not in frame.columns:
        if "sex" in settings.model_fields_set:
            required(frame, TABLE, [settings.sex], "participants.sex")
        return None
    codes = frame[settings.sex].str.lower().str.replace(r"^(-?\d+)\.0*$", r"\1", regex=True)
    women = _WOMEN - {"0"} if (codes == "2").any() else _WOMEN
    sex = codes.map({**dict.fromkeys(_MEN, 1.0), **dict.fromkeys(women, 0.0)}).astype(float)
    unknown = frame.loc[sex.isna(), settings.sex].dropna()
    if len(unknown) and notes is not None:
        counts = unknown.value_counts()
        # So many different values are not codes: they might be names or dates of birth.
        listed = (
            ", ".join(f"{code}: {count}" for code, count in counts.items())
            if len(counts) <= _CODES_TOLD
            else f"{len(counts)} different ones"
        )
        note = (
            f"{len(unknown)} values of the column {settings.sex} are not a known sex "
            f"({listed}): these people are not checked against the X chromosome"
        )
        log.warning("participants: %s", note)
        notes.append(note)
    return sex


def read_phenotypes(settings: Phenotypes, path: str, notes: list[str]) -> pd.DataFrame:
    """Return the study's own phenotypes by participant id in normal form, NaN where missing.

    A phenotype is named after its column; characters other than letters, digits and . + - become
    underscores.

    Args:
        settings: the section `phenotypes` of the study file.
        path: the path or URI of the table of phenotypes.
        notes: a list that receives what a reader of the report should know.

    Raises:
        DataError: the table cannot be read, lacks a column or names a participant twice; a column
            is text, has one value or none, or mixes decimal points and commas; or a phenotype has
            the name of another one, of a latent, of a trait or of an id.
    """
    frame = _read_by_id(path, PHENOTYPES, settings.id, "phenotypes.id", notes)
    if repeated := int(frame.index.duplicated().sum()):
        raise DataError(
            f"{repeated} rows of the {PHENOTYPES} repeat a participant: keep one row per person."
        )
    present = [str(name) for name in frame.columns if name != settings.id]
    columns = [name for wanted in settings.columns for name in _named(wanted, present)]
    required(frame, PHENOTYPES, columns, "phenotypes.columns")
    if isinstance(settings.missing_codes, Mapping):
        required(frame, PHENOTYPES, settings.missing_codes, "phenotypes.missing_codes")
    reader = NumberReader(PHENOTYPES, "phenotype", "phenotypes", notes)
    found: dict[str, pd.Series] = {}
    for column in columns:
        name = _UNFIT.sub("_", column).strip("_")
        # Some file systems do not distinguish upper and lower case.
        if name.lower() in map(str.lower, found) or not name or _TAKEN.fullmatch(name):
            raise DataError(
                f"The column {column} of the {PHENOTYPES} has the name of another phenotype, a "
                f"latent, a trait or an id: rename it."
            )
        known = reader.known(frame[column], settings.missing_codes)
        values = reader.numbers(known)
        wrong = "is text" if values is None else _not_varied(values)
        if wrong or values is None:
            raise DataError(
                f"The column {column} of the {PHENOTYPES} {wrong}: correct it or take it out of "
                f"phenotypes.columns."
            )
        found[name] = values
    reader.refuse_mixed_marks()
    return pd.DataFrame(found, index=frame.index)


def _named(wanted: str, present: Sequence[str]) -> list[str]:
    """Return the columns that a name or pattern stands for; if there are none, the name itself."""
    pattern = re.compile(".*".join(map(re.escape, wanted.split("*"))))
    found = [name for name in present if pattern.fullmatch(name)]
    return found if wanted not in present and found else [wanted]


def _not_varied(values: pd.Series) -> str:
    """Return why values cannot be a phenotype; empty if they can."""
    known = values.dropna()
    if known.empty:
        return "holds no number"
    return f"holds {known.iloc[0]:g} only" if known.min() == known.max() else ""


def _by_participant(settings: Participants, path: str, notes: list[str]) -> pd.DataFrame:
    """Return the table as text, one row per participant id; note repeated and missing ids."""
    frame = _read_by_id(path, TABLE, settings.id, "participants.id", notes)
    if repeated := int(frame.index.duplicated().sum()):
        notes.append(
            f"{repeated} rows of the participant table repeat a participant, whose first row counts"
        )
        log.warning("participants: %s", notes[-1])
    return frame[~frame.index.duplicated()]


def _read_by_id(path: str, what: str, column: str, key: str, notes: list[str]) -> pd.DataFrame:
    """Return a table's other columns as text, by participant id; note rows without an id."""
    frame = read_text_table(path, what)
    required(frame, what, [column], key)
    ids = id_column(frame[column], what).rename("participant_id")
    if nameless := int(ids.isna().sum()):
        notes.append(f"{nameless} rows of the {what.split(' (')[0]} have no id and are left out")
    return frame[ids.notna()].set_index(ids.dropna())


def read_last_days(
    settings: Participants, path: str, until: str, notes: list[str]
) -> pd.Series | datetime.date:
    """Return the day up to which records are complete, for everybody or for each participant.

    Args:
        settings: the section `participants` of the study file.
        path: the path or URI of the participant table.
        until: a day such as 2023-10-31, or the name of a column of the participant table.
        notes: a list that receives how many texts in the column are not dates.

    Returns:
        A date, or the days since 1970-01-01 by participant id, without those who have none.

    Raises:
        DataError: the table has no such column, or the column contains no date.
    """
    with suppress(ValueError):
        return datetime.date.fromisoformat(until)
    frame = _by_participant(settings, path, [])
    required(frame, TABLE, [until], "phewas.until")
    times = _times(frame[until])
    if strange := int((times.isna() & frame[until].notna()).sum()):
        notes.append(f"{strange} values of {until} are not dates and count as missing")
    if times.isna().all():
        raise DataError(
            f"The column {until} of the {TABLE} holds no date such as 2023-10-31: correct it or "
            f"phewas.until."
        )
    return (times - pd.Timestamp(0)).dt.days.dropna()


def _times(texts: pd.Series) -> pd.Series:
    """Return times in ISO 8601 or with the year first (`2020/3/4`); other texts are missing."""
    iso = texts.astype(object).str.replace(
        _YEAR_FIRST, lambda found: f"{found[1]}-{found[2]:0>2}-{found[3]:0>2}", regex=True
    )
    return pd.to_datetime(iso, errors="coerce", format="ISO8601", utc=True).dt.tz_localize(None)


def read_manifest(settings: Manifest, path: str) -> pd.DataFrame:
    """Return the manifest: which file belongs to which participant, and when it was recorded.

    Args:
        settings: the section `ecg.manifest` of the study file.
        path: the path or URI of the manifest.

    Returns:
        Text columns `uri`, `participant_id` and, if the study file names it, `member` (the file
        within an archive). If the manifest has times, also `acquired_at`: ISO 8601, or with the
        year first (`2020/3/4`); others are missing. Rows without a file or a participant are left
        out.

    Raises:
        DataError: the table cannot be read, lacks a column or names a file twice.
    """
    frame = read_text_table(path, MANIFEST)
    required(frame, MANIFEST, [settings.uri], "ecg.manifest.uri")
    required(frame, MANIFEST, [settings.participant_id], "ecg.manifest.participant_id")
    columns = {settings.uri: "uri", settings.participant_id: "participant_id"}
    if settings.member is not None:
        required(frame, MANIFEST, [settings.member], "ecg.manifest.member")
        columns[settings.member] = "member"
    if "acquired_at" in settings.model_fields_set:
        required(frame, MANIFEST, [settings.acquired_at], "ecg.manifest.acquired_at")
    if settings.acquired_at in frame.columns:
        columns[settings.acquired_at] = "acquired_at"
    frame = frame[list(columns)].rename(columns=columns)
    frame["participant_id"] = id_column(frame["participant_id"], MANIFEST)
    names = [name for name in ("uri", "member") if name in frame.columns]
    frame = frame.dropna(subset=[*names, "participant_id"])
    if "acquired_at" in frame.columns:
        frame["acquired_at"] = _times(frame["acquired_at"])
    if repeated := int(frame.duplicated(names).sum()):
        raise DataError(
            f"The {MANIFEST} names {repeated} files more than once: keep one row of each."
        )
    return frame
