"""What explains a phenotype before any variant is tested: covariates and the rest of the
genome.
"""
