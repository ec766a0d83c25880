"""From genotypes to loci: import, quality control, population structure, association tests, loci.

The entry points are `prepare.prepare_genotypes` and the stages in `gwas`. Behind them lie, in the
order in which data pass through them, `genotypes`, `people`, `null_model`, `testing` and
`findings`; each knows only those before it, and `outputs` declares what all of them publish.
`cohorts`, above them, takes what several studies have published; its entry points are
`cohorts.meta` and `cohorts.replication`.
"""

STAGES = ("cohort", "null_model", "associations", "rare", "findings")
"""The steps of the association study, in their order."""
