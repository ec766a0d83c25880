"""The methods by which a study looks for loci, and the p-value threshold that they share.

A method is either a group of phenotypes tested one at a time, or such a group tested jointly (the
omnibus test).
"""

import numpy as np

from ecg_spark.genetics.null_model.cohort import Cohort, together
from ecg_spark.genetics.null_model.phenotypes import correlation_of
from ecg_spark.genetics.testing.multiplicity import effective_tests
from ecg_spark.study import Gwas
from ecg_spark.tables import TOGETHER


def methods(cohort: Cohort, settings: Gwas) -> list[str]:
    """The names of the study's methods: each group of phenotypes, then each omnibus test."""
    joint = together(cohort.tested, cohort.groups, settings.scale)
    return [*cohort.groups, *(f"{key}{TOGETHER}" for key in joint)]


def study_wide(cohort: Cohort, settings: Gwas, p_threshold: float) -> tuple[int, float, float]:
    """The significance threshold of one test such that `p_threshold` holds over all methods
    together.

    Args:
        p_threshold: the threshold for one variant or gene over all of its tests, such as 5e-8.

    Returns:
        How many tests a variant (or gene) gets over all methods, how many independent tests they
        count as once their correlation is allowed for, and the threshold of each test as -log10 p.
    """
    names = list(cohort.tested.columns)
    joint = together(cohort.tested, cohort.groups, settings.scale)
    members = [list(map(names.index, own)) for own in joint.values()]
    correlation = correlation_of(cohort.tested, cohort.terms)
    tests, effective = effective_tests(correlation, members, p_threshold)
    return tests, effective, float(-np.log10(p_threshold / effective))
