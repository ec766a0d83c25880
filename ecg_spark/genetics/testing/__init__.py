"""A variant against phenotypes: linear regression, and rare variants gene by gene."""
