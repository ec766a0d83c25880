"""Counting rows, and asserting that none is lost."""

from pyspark.sql import DataFrame


def check_counts(step: str, n_in: int, n_out: int, n_quarantined: int, n_not_ecg: int = 0) -> None:
    """Assert that what came in went out, was quarantined or, among files, was not an ECG."""
    if n_in != n_out + n_quarantined + n_not_ecg:
        raise AssertionError(
            f"{step} lost count: {n_in} recordings came in, {n_out} went out, {n_quarantined} were "
            f"quarantined and {n_not_ecg} were not an ECG."
        )


def in_words(counts: dict[str, int]) -> dict[str, int]:
    """Counts by reason or flag, with names as words: flat_lead becomes flat lead."""
    return {name.replace("_", " "): count for name, count in counts.items()}


def value_counts(frame: DataFrame, column: str) -> dict[str, int]:
    """How often each value of a column occurs, in the order of the values."""
    rows = frame.groupBy(column).count().collect()
    return {row[column]: row["count"] for row in sorted(rows, key=lambda row: row[column])}
