"""The calls of a genotype set in parts as a packed set, for what is computed on some of them."""

import numpy as np

from ecg_spark.genetics.genotypes.contigs import CONTIGS
from ecg_spark.genetics.genotypes.packed import Calls, Packed
from ecg_spark.genetics.genotypes.parts import GenotypeSet


def packed_view(genotypes: GenotypeSet) -> Packed:
    """The calls of the chosen variants of a set in the order of the genome."""
    sites = genotypes.sites()
    at = np.flatnonzero(np.concatenate([*genotypes.masks(), np.empty(0, bool)]))
    order = np.arange(len(sites))
    if sites["set"].max() > 0:  # each is in order by itself
        contig = sites["contig"].map({name: i for i, name in enumerate(CONTIGS)})
        order = np.lexsort((sites["alt"], sites["ref"], sites["position"], contig))
    parts = tuple((part.number, part.variants) for part in genotypes.parts)
    calls = Calls(genotypes.folder, len(genotypes.samples), parts, at[order].astype(np.int32))
    return Packed(calls, genotypes.samples, sites.iloc[order].reset_index(drop=True))
