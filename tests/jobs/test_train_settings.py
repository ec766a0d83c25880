"""What decides a model, and what does not."""

import pytest

from ecg_spark.errors import UsageError
from ecg_spark.study import Study
from jobs.train import check, settings
from models.training.plan import Plan
from tests.builders.study_file import MINIMAL


def study(**sections):
    return Study.model_validate(MINIMAL | sections)


def identity(chosen):
    return Plan("beats", chosen.model, chosen.seed, "v1", "uri", "experiment", "kept").identity


@pytest.mark.parametrize(
    "sections",
    [
        {"model": {"device": "cpu"}},
        {"mlflow": {"tracking_uri": "http://127.0.0.1:5000"}},
        {"mlflow": {"registry_uri": "http://127.0.0.1:5001"}},
    ],
)
def test_device_and_addresses_of_mlflow_are_no_reason_to_train_anew(sections):
    assert settings(study(**sections)) == settings(study())
    assert identity(study(**sections)) == identity(study())


def test_a_name_that_unity_catalog_cannot_take_is_refused_before_work():
    with pytest.raises(UsageError, match=r"ecg-vae has not the three parts .* mlflow\.model_name"):
        check(study(mlflow={"tracking_uri": "databricks", "registry_uri": "databricks-uc"}))


@pytest.mark.parametrize(
    "sections",
    [{"model": {"latents": 7}}, {"model": {"test_share": 0.2}}, {"seed": 9}],
)
def test_what_decides_the_model_is_a_reason(sections):
    assert settings(study(**sections)) != settings(study())
    assert identity(study(**sections)) != identity(study())
