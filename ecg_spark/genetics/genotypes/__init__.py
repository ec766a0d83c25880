"""Genotype sets: their files, reading them, quality control, and their packed form."""
