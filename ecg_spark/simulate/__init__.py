"""A synthetic biobank with planted truth: moving-dipole ECGs as real files, and genotypes."""

from ecg_spark.simulate.biobank import simulate_biobank

__all__ = ["simulate_biobank"]
