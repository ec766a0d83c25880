"""What the tests show together: loci, signals, genes, heritability."""
