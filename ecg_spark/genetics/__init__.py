"""From genotypes to loci, with Hail: import, quality control, structure, association, clumping.

The room's doors are `prepare.prepare_genotypes` and the stages in `gwas`. Behind them lie, in the
order of the way through them, `genotypes`, `people`, `null_model`, `testing` and `findings`, of
which each knows only those before it; `outputs` declares what all of them publish. `cohorts`, above
them, takes what several studies have published: its doors are `cohorts.meta` and
`cohorts.replication`.
"""

STAGES = ("cohort", "null_model", "associations", "rare", "findings")
"""The steps of the association study, in their order."""
