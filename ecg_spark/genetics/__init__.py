"""From genotypes to loci, with Hail: import, quality control, structure, association, clumping.

Two functions are the room's doors: `prepare.prepare_genotypes` and `gwas.run_gwas`.
"""
