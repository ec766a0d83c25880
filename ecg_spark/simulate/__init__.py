"""Synthetic cohorts with planted truth: moving-dipole ECGs as real files, and genotypes."""

from ecg_spark.simulate.biobank import simulate_biobank
from ecg_spark.simulate.consortium import simulate_consortium

__all__ = ["simulate_biobank", "simulate_consortium"]
