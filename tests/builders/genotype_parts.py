"""Genotype sets in parts, written from arrays without Spark."""

import numpy as np
import pandas as pd
import pyarrow as pa

from ecg_spark.genetics.genotypes.packed import MISSING, Calls
from ecg_spark.genetics.genotypes.parts import (
    SITES,
    GenotypeSet,
)
from ecg_spark.genetics.genotypes.rows import decode, encode
from ecg_spark.genetics.genotypes.writing import (
    save,
    write_part,
    written,
)

BATCH = 7


def sites_of(contigs, positions=None, alleles=("A", "G"), rsids=None):
    """The sites that `write_plink` writes by default: contig, position, ref, alt, rsid."""
    n = len(contigs)
    return pd.DataFrame(
        {
            "contig": contigs,
            "position": positions if positions is not None else 1_000_000 + 10_000 * np.arange(n),
            "ref": alleles[1],
            "alt": alleles[0],
            "rsid": rsids if rsids is not None else [f"rs{i + 1}" for i in range(n)],
        }
    )


def write_set(folder, values, samples, sites=None, part_variants=50):
    """The set in a folder of calls (integers, 3 where missing) or of dosages (floats, NaN where
    missing) [variants, samples], as so many variants a part.

    `sites`: a row a variant with contig, position, ref, alt, rsid and what else is to be known; by
    default those of `sites_of` on contig 1. Of dosages, those variants are kept as calls whose
    dosages are all calls.
    """
    values = np.asarray(values)
    if values.dtype.kind != "f":
        values = np.where(values == 3, np.nan, values.astype(float))
    sites = sites_of(["1"] * len(values)) if sites is None else sites
    table = pa.Table.from_pandas(sites.reset_index(drop=True), preserve_index=False)
    for field in SITES:
        place = table.schema.get_field_index(field.name)
        table = table.set_column(place, field, table.column(field.name).cast(field.type))
    parts = []
    for number, first in enumerate(range(0, len(values), part_variants)):
        last = min(first + part_variants, len(values))
        batches = [
            _batch(table.slice(start, min(BATCH, last - start)), values[start : start + BATCH])
            for start in range(first, last, BATCH)
        ]
        parts.append(write_part(str(folder), batches, number))
    found = GenotypeSet(str(folder), pd.Index([str(name) for name in samples]), tuple(parts))
    save(found)
    return found


def _batch(sites, values):
    return written(sites, encode(values[: len(sites)]))


def dosages_of(genotypes):
    """The sites of a set, and their dosages [variants, samples], NaN where missing."""
    n = len(genotypes.samples)
    if not genotypes.parts:
        return pd.DataFrame(columns=SITES.names), np.empty((0, n))
    sites = genotypes.sites([*SITES.names, "dosages"])
    parts = tuple((part.number, part.variants) for part in genotypes.parts)
    at = np.flatnonzero(np.concatenate(genotypes.masks())).astype(np.int32)
    calls = Calls(genotypes.folder, n, parts, at).read(np.arange(len(sites)))
    values = np.where(calls == MISSING, np.nan, calls)
    for own, content in zip(values, sites.pop("dosages"), strict=True):
        if content is not None:
            own[:] = decode(np.frombuffer(content, "<u2"))
    return sites, values
