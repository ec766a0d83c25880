"""By which methods a study looks for loci, and how small a p makes one.

A method is a group of phenotypes, whose members are tested one by one, or such a group tested all
together.
"""

import numpy as np

from ecg_spark.genetics.null_model.cohort import Cohort, together
from ecg_spark.genetics.null_model.phenotypes import correlation_of
from ecg_spark.genetics.testing.multiplicity import effective_tests
from ecg_spark.study import Gwas
from ecg_spark.tables import TOGETHER


def methods(cohort: Cohort, settings: Gwas) -> list[str]:
    """The methods of a study by name."""
    joint = together(cohort.tested, cohort.groups, settings.scale)
    return [*cohort.groups, *(f"{key}{TOGETHER}" for key in joint)]


def study_wide(cohort: Cohort, settings: Gwas, p_threshold: float) -> tuple[int, float, float]:
    """How many tests a variant, or a gene, gets over all methods, as how many independent ones they
    count, and -log10 p of any of them where `p_threshold` holds for all of them together."""
    names = list(cohort.tested.columns)
    joint = together(cohort.tested, cohort.groups, settings.scale)
    members = [list(map(names.index, own)) for own in joint.values()]
    correlation = correlation_of(cohort.tested, cohort.terms)
    tests, effective = effective_tests(correlation, members, p_threshold)
    return tests, effective, float(-np.log10(p_threshold / effective))
