"""Tests of variants against phenotypes: linear regression, and gene tests of rare variants."""
