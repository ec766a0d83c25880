"""A driver that is killed between write and publish, and two of them in one output folder."""

import signal
from pathlib import Path

import pytest
import yaml

from ecg_spark.store import Store
from jobs.cli import main
from tests.builders.study_file import OF_BIOBANK
from tests.chaos.conftest import in_process, run_of, sentence_of, summaries, wait_for

KILLED_BEFORE_PUBLISHING = """
import os, signal, sys
from ecg_spark.store import Run
from jobs.cli import main

Run.publish = lambda run, summary: os.kill(os.getpid(), signal.SIGKILL)
main(sys.argv[1:])
"""


@pytest.mark.parametrize("step", OF_BIOBANK)
def test_driver_killed_between_write_and_publish_leaves_the_step_to_the_next_run(
    whole, step, tmp_path, other_python
):
    study = whole.until(step, tmp_path)
    answer = other_python("-c", KILLED_BEFORE_PUBLISHING, step, study)
    assert answer.returncode == -signal.SIGKILL, answer.stderr
    store = Store(str(tmp_path / "out"))
    assert store.published(step) is None
    half = run_of(study, step)
    assert half is not None, "it had written"
    assert main([step, str(study)]) == 0
    assert not half.exists()
    whole.assert_same(step, study)


def test_second_user_in_an_output_folder_is_told_who_is_at_work_and_the_first_goes_on(
    whole, tmp_path
):
    study = whole.until("ingest", tmp_path)
    first = in_process("run", study)
    wait_for(lambda: run_of(study, "ingest"))
    second = in_process("ingest", study)
    code, said, _ = sentence_of(second)
    assert code == 4
    assert f"process {first.pid} on" in said
    output, errors = first.communicate(timeout=400)
    assert first.returncode == 0, errors[-2000:]
    assert tuple(summaries(output)) == OF_BIOBANK
    for step in ("ingest", "average", "genotypes"):
        whole.assert_same(step, study)


def test_two_users_with_other_settings_get_each_their_own_or_a_sentence(whole, tmp_path):
    """The second changes what is published for the first: the first is not given a mixture."""
    study = whole.until("report", tmp_path)
    content = yaml.safe_load(study.read_text())
    other = Path(tmp_path / "other.yaml")
    other.write_text(yaml.safe_dump(content | {"beats": {"leave_out": []}}))
    assert main(["encode", str(other)]) == 2, "average, train are of the first's settings"
    assert main(["train", str(other)]) == 0
    assert main(["report", str(study)]) == 2, "its model is not there any more"
