"""What is known of a phenotype before any variant is tested: covariates and the genome."""
