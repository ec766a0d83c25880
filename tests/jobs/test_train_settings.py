"""What decides a model, and what does not."""

import pytest

from ecg_spark.study import Study
from jobs.train import settings
from models.training.job import Plan
from tests.builders.study_file import MINIMAL


def study(**sections):
    return Study.model_validate(MINIMAL | sections)


def identity(chosen):
    return Plan("beats", chosen.model, chosen.seed, "v1", "uri", "experiment", "kept").identity


@pytest.mark.parametrize(
    "sections",
    [{"model": {"device": "cpu"}}, {"mlflow": {"tracking_uri": "http://127.0.0.1:5000"}}],
)
def test_device_and_tracking_address_are_no_reason_to_train_anew(sections):
    assert settings(study(**sections)) == settings(study())
    assert identity(study(**sections)) == identity(study())


@pytest.mark.parametrize(
    "sections",
    [{"model": {"latents": 7}}, {"model": {"test_share": 0.2}}, {"seed": 9}],
)
def test_what_decides_the_model_is_a_reason(sections):
    assert settings(study(**sections)) != settings(study())
    assert identity(study(**sections)) != identity(study())
