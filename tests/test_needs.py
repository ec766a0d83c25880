"""What a step needs is told, and refused where it cannot be had."""

import logging
import shutil

import psutil
import pytest

from ecg_spark.errors import InfrastructureError
from ecg_spark.machine import memory
from ecg_spark.needs import Needs, disk_left, in_words, require


def test_needs_that_are_met_are_logged(spark, tmp_path, caplog):
    with caplog.at_level(logging.INFO, "ecg_spark"):
        require(spark, "The tests", str(tmp_path / "not" / "yet"), Needs(2e9, 3e8, 1e6))
    assert "The tests: about 2 GB of disk, 300 MB of memory in the driver" in caplog.text


@pytest.mark.parametrize(
    ("needs", "says"),
    [
        (Needs(disk=1e18), "about 1,000,000 TB of disk and the output folder has .* left: free"),
        (Needs(driver=1e15), r"about 1,000 TB of memory and this machine, with \d+ tasks"),
        (Needs(task=1e14), r"memory and this machine, with \d+ tasks at once, has .*MASTER="),
    ],
)
def test_needs_that_are_not_met_are_refused_with_their_size(spark, tmp_path, needs, says):
    with pytest.raises(InfrastructureError, match=says):
        require(spark, "The test of 3 variants", str(tmp_path), needs)


def test_the_space_of_an_object_store_is_not_known(spark):
    assert disk_left("memory://bucket/out") is None
    require(spark, "The test of 3 variants", "memory://bucket/out", Needs(disk=1e18))


def test_disk_and_memory_are_those_of_this_machine(tmp_path):
    assert disk_left(str(tmp_path / "a" / "b")) == pytest.approx(
        shutil.disk_usage(tmp_path).free, rel=0.05
    )
    assert 0 < memory() <= psutil.virtual_memory().total


@pytest.mark.parametrize(
    ("size", "words"), [(5e5, "0 MB"), (2.5e8, "250 MB"), (1.234e11, "123 GB"), (4e12, "4 TB")]
)
def test_sizes_are_written_in_readable_units(size, words):
    assert in_words(size) == words
