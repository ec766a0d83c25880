"""The table of diagnoses, read by Spark: who has which disease, since when and how often.

Text is split into cells line by line in the tasks, by the rules of `text_tables`, and no person's
data come to the driver. An incomplete row is left out and counted; a row with more fields than the
header is refused, since its code may belong to another column.
"""

import datetime
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import pandas as pd
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from ecg_spark.diseases.codes import normal_code, vocabulary_of
from ecg_spark.diseases.phecode_map import Diseases
from ecg_spark.diseases.tables import OCCURRENCES
from ecg_spark.errors import DataError
from ecg_spark.ids import normal_id
from ecg_spark.study import Phewas
from ecg_spark.study.phewas import VOCABULARIES
from ecg_spark.tables import write_table
from ecg_spark.text_tables import MISSING, Head, read_head, read_piece, required, rows_of

TABLE = "table of diagnoses (phewas.path)"

EARLIEST = datetime.date(1910, 1, 1)
"""Earlier dates stand for unknown ones, such as UK Biobank's 1900-01-01, 1902-02-02 and 1903-03-03.
"""

_READ = "participant_id string, code string, date string, vocabulary string, broken int"


@dataclass
class Told:
    """What a reader of the report should know about the table: counts of rows, and notes."""

    counts: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_diagnoses(spark: SparkSession, settings: Phewas, path: str) -> DataFrame:
    """Read the rows of the table of diagnoses.

    Returns:
        participant_id in normal form, code, date as written (null where there is none),
        vocabulary, and `broken`, which is 1 for a row with too many fields.

    Raises:
        DataError: if the table cannot be read or lacks a column.
    """
    head = require_columns(settings, path)
    wanted = [settings.id, settings.code]
    wanted += [settings.date] if settings.date in head.names else []
    by_column = settings.vocabulary.lower() not in VOCABULARIES
    wanted += [settings.vocabulary] if by_column else []
    places = [head.names.index(name) for name in wanted]
    has_date, default = settings.date in head.names, settings.vocabulary.lower()

    def form(cells: list[pd.Series], broken: list[int]) -> pd.DataFrame:
        found = [_known(one) for one in cells]
        return pd.DataFrame(
            {
                "participant_id": _mapped(found[0], normal_id),
                "code": found[1],
                "date": found[2] if has_date else None,
                "vocabulary": found[-1] if by_column else default,
                "broken": broken,
            }
        )

    def of_text(batches: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            yield form(*_cut(batch["value"], head, places))

    def of_parquet(batches: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        columns = [head.columns[k] for k in places]
        for batch in batches:
            for piece in batch.itertuples():
                table = read_piece(str(piece.place), int(piece.group), columns)
                yield form([table[name] for name in columns], [0] * len(table))

    if head.pieces:
        pieces = spark.createDataFrame(list(head.pieces), "place string, group int")
        return pieces.repartition(len(head.pieces)).mapInPandas(of_parquet, _READ)
    lines = spark.read.text(path)
    lines = lines.where((F.col("value") != head.line) & (F.trim("value") != ""))
    return lines.mapInPandas(of_text, _READ)


def require_columns(settings: Phewas, path: str) -> Head:
    """Read the head of the table and check its columns.

    Raises:
        DataError: if the table cannot be read or lacks a column.
    """
    head = read_head(path, TABLE)
    frame = pd.DataFrame(columns=head.names)
    required(frame, TABLE, [settings.id], "phewas.id")
    required(frame, TABLE, [settings.code], "phewas.code")
    if "date" in settings.model_fields_set:
        required(frame, TABLE, [settings.date], "phewas.date")
    if settings.vocabulary.lower() not in VOCABULARIES:
        required(frame, TABLE, [settings.vocabulary], "phewas.vocabulary")
    return head


def _cut(lines: pd.Series, head: Head, places: list[int]) -> tuple[list[pd.Series], list[int]]:
    """The cells of lines in the given columns, and 1 for each row that has too many."""
    width = len(head.names)
    table = rows_of(lines, head.delimiter)
    broken = [
        int((len(row) > width and any(row[width:])) or any("\n" in cell for cell in row))
        for row in table
    ]
    columns = [
        pd.Series([row[k] if k < len(row) else None for row in table], dtype=object) for k in places
    ]
    return columns, broken


def _known(values: pd.Series) -> pd.Series:
    return values.where(values.notna() & ~values.isin(MISSING), None)


def _mapped(values: pd.Series, rule: Callable[[str], str]) -> pd.Series:
    """Apply a rule to texts, once for each distinct text."""
    known = {one: rule(one) for one in values.dropna().unique()}
    return values.map(known).astype(object).where(values.notna(), None)


@dataclass(frozen=True)
class Dates:
    """Whether the diagnoses of the study's people have dates, and the latest date of the
    table.
    """

    known: bool
    latest: datetime.date | None


def write_occurrences(
    rows: DataFrame, people: DataFrame, diseases: Diseases, told: Told, folder: str
) -> Dates:
    """Write the table `occurrences`: who in the study has which disease, since when and how often.

    Args:
        rows: from `read_diagnoses`.
        people: the participant_id of everybody in the study, each once.
        told: counts and notes are added to it.

    Raises:
        DataError: if a row has too many fields, nobody in the table is in the study, no code is
            known, or the order of day and month is ambiguous.
    """
    spark = rows.sparkSession
    rows = rows.persist()
    try:
        day_first = _counted(rows, told)
        named = rows.where("participant_id is not null and code is not null")
        codes: pd.DataFrame = (
            named.groupBy("vocabulary", "code").agg(F.count(F.lit(1)).alias("n")).toPandas()
        )
        table = _translated(codes, diseases, told)
        dated = named.select("participant_id", "vocabulary", "code", _day(day_first).alias("day"))
        own = dated.join(F.broadcast(people), "participant_id", "left_semi")
        seen = dated.agg(F.count_distinct("participant_id"), F.max("day")).first()
        ours = own.agg(F.count_distinct("participant_id"), F.count("day")).first()
        assert seen is not None
        assert ours is not None
        if not ours[0]:
            raise DataError(
                f"None of the {seen[0]} participants in the {TABLE} is in the study: its ids must "
                f"be those of the participant table."
            )
        told.counts |= {"participants_in_table": seen[0], "participants_in_study": ours[0]}
        dates = Dates(ours[1] > 0, seen[1])
        names = spark.createDataFrame(table, "vocabulary string, code string, disease string")
        found = own.join(F.broadcast(names), ["vocabulary", "code"])
        times = F.count_distinct("day") if dates.known else F.count(F.lit(1))
        summed = found.groupBy("participant_id", "disease").agg(
            F.datediff(F.min("day"), F.lit("1970-01-01")).alias("first"),
            F.greatest(times, F.lit(1)).cast("int").alias("times"),
        )
        write_table(summed, OCCURRENCES, f"{folder}/{OCCURRENCES.name}")
        return dates
    finally:
        rows.unpersist()


def _counted(rows: DataFrame, told: Told) -> bool:
    """Count the rows and the incomplete ones, and return whether the day comes before the
    month.
    """
    date = F.trim("date")
    first, second = (F.regexp_extract(date, _YEAR_LAST, k).cast("int") for k in (1, 2))

    def total(condition: Column) -> Column:
        return F.coalesce(F.sum(condition.cast("int")), F.lit(0))

    counts = rows.agg(
        F.count(F.lit(1)).alias("rows"),
        total(F.col("broken") > 0).alias("broken"),
        total(F.col("participant_id").isNull()).alias("nobody"),
        total(F.col("participant_id").isNotNull() & F.col("code").isNull()).alias("no_code"),
        total(F.col("date").isNotNull()).alias("dated"),
        total(_day(True).isNotNull() | _day(False).isNotNull()).alias("readable"),
        total(first > 12).alias("day_first"),
        total(second > 12).alias("month_first"),
        total((first <= 12) & (second <= 12) & (first != second)).alias("either"),
    ).first()
    assert counts is not None
    if counts["broken"]:
        raise DataError(
            f"{counts['broken']} rows of the {TABLE} have more fields than its header: a text with "
            f"the delimiter in it needs quotes around it."
        )
    if counts["day_first"] and counts["month_first"]:
        raise DataError(
            f"The {TABLE} has {counts['day_first']} dates with the day first and "
            f"{counts['month_first']} with the month first: write all as 2009-12-31."
        )
    if counts["either"] and not counts["day_first"] and not counts["month_first"]:
        raise DataError(
            f"The dates in the {TABLE} do not show whether the day or the month comes first: "
            f"write them as 2009-12-31."
        )
    told.counts["diagnoses"] = counts["rows"]
    for key, words in (("nobody", "name nobody"), ("no_code", "have no code")):
        if counts[key]:
            told.notes.append(f"{counts[key]} rows of the table of diagnoses {words}")
    without = counts["rows"] - counts["readable"]
    if counts["readable"] and without:
        told.notes.append(
            f"{without} rows of the table of diagnoses have no date that can be read, or one "
            f"before {EARLIEST.year} or after today: they show that somebody has a disease, but "
            f"not since when"
        )
    if counts["dated"] and not counts["readable"]:
        raise DataError(
            f"None of the {counts['dated']} dates in the {TABLE} can be read: write them as "
            f"2009-12-31, or name another column in phewas.date."
        )
    return not counts["month_first"]


_YEAR_FIRST = r"^(\d{4})[-/.]?(\d{1,2})[-/.]?(\d{1,2})(?!\d)"
_YEAR_LAST = r"^(\d{1,2})[-/.](\d{1,2})[-/.](\d{4})(?!\d)"


def _day(day_first: bool) -> Column:
    """The date of a row; null if it has none, or one that stands for an unknown date."""
    text = F.trim("date")

    def part(pattern: str, group: int) -> Column:
        return F.regexp_extract(text, pattern, group).cast("int")

    day, month = (1, 2) if day_first else (2, 1)
    found = F.coalesce(
        F.make_date(*(part(_YEAR_FIRST, k) for k in (1, 2, 3))),
        F.make_date(part(_YEAR_LAST, 3), part(_YEAR_LAST, month), part(_YEAR_LAST, day)),
    )
    return F.when((found >= F.lit(EARLIEST)) & (found <= F.current_date()), found)


def _translated(codes: pd.DataFrame, diseases: Diseases, told: Told) -> pd.DataFrame:
    """The diseases of each code as it is written; unknown codes are counted."""
    table: list[tuple[str, str, str]] = []
    unknown, unknown_rows, known_rows = 0, 0, 0
    for one in codes.itertuples():
        vocabulary = vocabulary_of(str(one.vocabulary))
        found: tuple[str, ...] = ()
        if vocabulary is not None:
            found = diseases.of(normal_code(str(one.code), vocabulary), vocabulary)
        unknown += not found
        unknown_rows += 0 if found else int(one.n)
        known_rows += int(one.n) if found else 0
        table += [(str(one.vocabulary), str(one.code), disease) for disease in found]
    told.counts |= {
        "codes": len(codes),
        "codes_unknown": unknown,
        "diagnoses_unknown": unknown_rows,
    }
    what = "are no ICD-10" if diseases.without_map else "are not in the map (phewas.map)"
    if not known_rows:
        raise DataError(
            f"All {unknown} codes in the {TABLE} {what}: correct phewas.code and phewas.vocabulary"
            f"{'' if diseases.without_map else ', or take another map'}."
        )
    if unknown:
        told.notes.append(
            f"{unknown} of {len(codes)} codes, in {unknown_rows} diagnoses, {what} and count for "
            f"no disease"
        )
    return pd.DataFrame(table, columns=["vocabulary", "code", "disease"])
