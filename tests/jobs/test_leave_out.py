"""Another choice of flags redoes the steps that use it, and no other."""

import pytest

from ecg_spark.store import fingerprint
from ecg_spark.study import Study
from jobs import average, encode, genotypes, gwas, ingest, train
from tests.builders.study_file import MINIMAL


@pytest.mark.parametrize(
    ("step", "depends"),
    [
        (ingest.STEP, False),
        (average.STEP, False),
        (genotypes.STEP, False),
        (train.STEP, True),
        (encode.STEP, True),
        *((step, step.name == "cohort") for step in gwas.STEPS),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_only_what_reads_beats_or_traits_is_redone(step, depends):
    default, other = (
        Study.model_validate(MINIMAL | {"beats": beats}) for beats in ({}, {"leave_out": ["mains"]})
    )
    before, after = (fingerprint(step.settings(study)) for study in (default, other))
    assert (before != after) == depends


def test_a_plan_with_other_flags_is_another_training(tmp_path):
    """The state of a training that was stopped is not taken for it."""
    plans = [
        train.Plan("b", MODEL, 1, "v1", "uri", "e", str(tmp_path), leave_out=flags)
        for flags in ((), ("paced",), ("noisy",))
    ]
    assert len({plan.identity for plan in plans}) == 3


MODEL = Study.model_validate(MINIMAL).model
