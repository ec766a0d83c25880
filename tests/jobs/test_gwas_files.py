"""What the steps of the association study read, and what is a reason to do each again."""

import os

import pytest

from ecg_spark.errors import DataError
from ecg_spark.study import Study
from jobs.null_model import files
from tests.builders.study_file import MINIMAL


def test_predictions_that_changed_are_a_reason(tmp_path):
    listed, loco = tmp_path / "step1_pred.list", tmp_path / "step1_1.loco"
    gwas = {"null_model": "whole_genome", "predictions": str(listed)}
    study = Study.model_validate(MINIMAL | {"gwas": gwas})
    with pytest.raises(DataError, match="does not exist"):
        files(study)
    listed.write_text("pr_ms step1_1.loco\n")
    loco.write_text("FID_IID 0_A\n")
    before = files(study)
    assert files(study) == before
    loco.write_text("FID_IID 0_B and more\n")
    changed = files(study)
    assert changed != before
    os.utime(listed, (1, 1))
    assert files(study) != changed
