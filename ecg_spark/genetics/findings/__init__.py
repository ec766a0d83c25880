"""What the tests say together: loci, signals, genes, heritability."""
