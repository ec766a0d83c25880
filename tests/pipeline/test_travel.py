"""What is said of a carried model's factors: what is beyond a limit, and nothing else."""

import copy

import pytest

from ecg_spark.pipeline.travel import compare_with_home

HOME = {
    "factors": {"mean": [0.0, 0.1], "sd": [1.0, 1.0], "outside": [0.003, 0.004]},
    "icc": [0.9, 0.8],
    "trait_r": {"pr_ms": [0.5, None], "qt_ms": [0.0, 0.1]},
}


def here(**changes):
    found = copy.deepcopy(HOME) | {"icc": {"vae": [0.9, 0.8]}}
    for key, (i, value) in changes.items():
        part = found["factors"] if key in found["factors"] else found["trait_r"]
        (found["icc"]["vae"] if key == "icc" else part[key])[i] = value
    return found


def test_nothing_is_said_where_people_are_alike():
    assert compare_with_home(here(mean=(0, 0.4), outside=(1, 0.015), icc=(0, 0.75)), HOME) == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"mean": (1, 0.7)}, "factor 01 has mean 0.70 here and 0.10"),
        ({"sd": (0, 1.6)}, "factor 00 has SD 1.60 here and 1.00"),
        ({"sd": (0, 0.6)}, "factor 00 has SD 0.60 here and 1.00"),
        ({"outside": (0, 0.03)}, "3.0% of the people are beyond three SD of the training on"),
        ({"icc": (1, 0.5)}, "agree less on factor 01 (ICC 0.50)"),
        ({"pr_ms": (0, 0.1)}, "factor 00 and pr_ms have correlation 0.10 here and 0.50"),
    ],
)
def test_each_figure_beyond_its_limit_is_noted(changes, says):
    (note,) = compare_with_home(here(**changes), HOME)
    assert says in note


def test_what_is_not_known_at_home_is_not_compared():
    odd = here(mean=(0, 9.0), icc=(0, 0.0), pr_ms=(0, -0.9))
    unknown = {"factors": None, "icc": None, "trait_r": None}
    assert compare_with_home(odd, unknown) == []
    assert compare_with_home(here(pr_ms=(1, 0.9)), HOME) == [], "None there"
