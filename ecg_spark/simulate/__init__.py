"""A synthetic biobank with planted truth: moving-dipole ECGs as real files, and genotypes."""
