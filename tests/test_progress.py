"""How far a step has come, as its lines say."""

import time

import pytest

from ecg_spark import progress


def lines(caplog):
    """What the module has logged: Spark's own client logs, too."""
    return [record.getMessage() for record in caplog.records if record.name == progress.__name__]


def test_lines_say_how_many_parts_are_done_and_what_time_is_left(spark, caplog, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS", 0.4)

    def slow(rows):
        time.sleep(0.2)
        return rows

    with caplog.at_level("INFO"), progress.progress("average"):
        spark.sparkContext.parallelize(range(16), 16).mapPartitions(slow).count()
    said = lines(caplog)
    assert said
    assert all(line.startswith("average: ") and " of 16 parts done" in line for line in said)
    assert any(line.endswith(" s left") for line in said)


def test_nothing_is_logged_while_spark_is_idle(spark, caplog, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS", 0.05)
    with caplog.at_level("INFO"), progress.progress("average"):
        time.sleep(0.3)
    assert not lines(caplog)


@pytest.mark.parametrize(
    ("finished", "total", "seconds", "left"),
    [
        (0, 10, 60.0, ""),
        (10, 10, 60.0, ""),
        (5, 10, 60.0, ", about 60 s left"),
        (1, 11, 60.0, ", about 10 min left"),
        (1, 241, 60.0, ", about 4.0 h left"),
    ],
)
def test_time_left_assumes_the_speed_so_far(finished, total, seconds, left):
    assert progress.time_left(finished, total, seconds) == left
