"""From genotypes to loci, with Hail: import, quality control, structure, association, clumping.

Two functions are the room's doors: `prepare.prepare_genotypes` and `gwas.run_gwas`. Behind them
lie, in the order of the way through them, `genotypes`, `people`, `null_model`, `testing` and
`findings`, of which each knows only those before it; `outputs` declares what all of them publish.
"""
