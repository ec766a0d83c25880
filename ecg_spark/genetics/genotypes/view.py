"""A genotype set in parts as a packed set, for computations on the hard calls of some
variants.
"""

from collections.abc import Sequence
from functools import partial
from itertools import accumulate

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ecg_spark.genetics.genotypes.contigs import CONTIGS
from ecg_spark.genetics.genotypes.files import side_by_side
from ecg_spark.genetics.genotypes.packed import NAMES, Calls, Packed
from ecg_spark.genetics.genotypes.parts import GenotypeSet, Part, read_sites

IS_SNP = "is_snp"
"""A column that is computed, not stored: whether ref and alt are one base each."""

_Found = dict[str, NDArray[np.generic]]


def packed_view(genotypes: GenotypeSet, *asked: str) -> Packed:
    """The chosen variants of a set as a `Packed` set in the order of the genome.

    Where several sets are joined, variants at one position are in the order of the sets and,
    within a set, in the order of the set. The driver holds 9 bytes per variant (contig 1, position
    4, place in the parts 4) and what is asked for (1 byte per flag, 8 per number), and twice as
    much while it is gathered. Names of variants stay on disk until they are wanted.

    Args:
        asked: further columns of `sites`: flags or numbers that the parts have, or `IS_SNP`.
    """
    columns = ["contig", "position", *(name for name in asked if name != IS_SNP)]
    alleles = ["ref", "alt"] if IS_SNP in asked else []

    def look(task: tuple[int, Part, NDArray[np.bool_]]) -> _Found:
        first, part, own = task
        table = read_sites(genotypes.folder, part, own, [*columns, *alleles])
        found = {name: table.column(name).to_numpy() for name in columns[1:]}
        if alleles:
            lengths = [pc.utf8_length(table.column(name)).to_numpy() for name in alleles]
            found[IS_SNP] = np.equal(lengths, 1).all(axis=0)
        found["contig"] = _codes(table.column("contig"))
        found["at"] = (first + np.flatnonzero(own)).astype(np.int32)
        return found

    firsts = accumulate((part.variants for part in genotypes.parts), initial=0)
    by_part = side_by_side(look, zip(firsts, genotypes.parts, genotypes.masks(), strict=False))
    found = {name: np.concatenate([one[name] for one in by_part]) for name in by_part[0]}
    del by_part
    contig, position = found["contig"], found["position"]
    ahead = contig[1:] > contig[:-1]
    if not (ahead | ((contig[1:] == contig[:-1]) & (position[1:] >= position[:-1]))).all():
        order = np.lexsort((position, contig))  # stable
        found = {name: values[order] for name, values in found.items()}
    at = found.pop("at")
    found["contig"] = pd.Categorical.from_codes(found["contig"], list(CONTIGS))
    sites = pd.DataFrame({name: found[name] for name in ("contig", "position", *asked)}, copy=False)
    parts = tuple((part.number, part.variants) for part in genotypes.parts)
    calls = Calls(genotypes.folder, len(genotypes.samples), parts, at)
    names = partial(_names, genotypes.folder, genotypes.parts)
    return Packed(calls, genotypes.samples, sites, names)


def _names(
    folder: str, parts: Sequence[Part], which: int, places: NDArray[np.int64]
) -> pd.DataFrame:
    part = parts[which]
    table = read_sites(folder, part, np.ones(part.variants, bool), NAMES)
    return table.take(pa.array(places)).to_pandas()


def _codes(contigs: pa.ChunkedArray) -> NDArray[np.int8]:
    """The index of each contig in `CONTIGS`, which is in the order of the genome."""
    codes = pc.index_in(contigs, value_set=pa.array(CONTIGS))
    if codes.null_count:
        raise ValueError("a contig of the set is on neither build")
    return np.asarray(codes.to_numpy(), np.int8)
