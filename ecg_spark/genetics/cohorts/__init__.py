"""Several cohorts: their results combined, and the loci of one looked up in another.

The entry points are `meta.meta_analyse` and `replication.replicate`. A cohort is what a study has
published, or a folder of GWAS-SSF files (`outputs.reading`); only summary statistics are read.
Alleles are aligned in one place (`alignment`), in one pass over all cohorts (`joint`), which also
shows whether two cohorts share people (`overlap`). Effects are combined one phenotype at a time
(`fixed_effects`) and jointly over a model's latents (`together`).
"""
