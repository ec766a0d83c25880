"""Counting rows, and asserting that none is lost."""

from pyspark.sql import DataFrame


def check_counts(step: str, n_in: int, n_out: int, n_quarantined: int, n_not_ecg: int = 0) -> None:
    """Check that every recording that came in went out, was quarantined or was not an ECG.

    Args:
        step: the step's name, for the message.
        n_in: how many recordings or files came in.
        n_out: how many went out.
        n_quarantined: how many were quarantined.
        n_not_ecg: how many files were not an ECG.

    Raises:
        AssertionError: the counts do not add up.
    """
    if n_in != n_out + n_quarantined + n_not_ecg:
        raise AssertionError(
            f"{step} lost count: {n_in} recordings came in, {n_out} went out, {n_quarantined} were "
            f"quarantined and {n_not_ecg} were not an ECG."
        )


def in_words(counts: dict[str, int]) -> dict[str, int]:
    """Return counts by reason or flag, with names as words.

    Example:
        >>> in_words({"flat_lead": 3})
        {'flat lead': 3}
    """
    return {name.replace("_", " "): count for name, count in counts.items()}


def value_counts(frame: DataFrame, column: str) -> dict[str, int]:
    """Return how often each value of a column occurs, in the order of the values."""
    rows = frame.groupBy(column).count().collect()
    return {row[column]: row["count"] for row in sorted(rows, key=lambda row: row[column])}
