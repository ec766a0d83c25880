"""PLINK's variant tables (.bim, .pvar), and the dosages of a .pgen through pgenlib."""

import io
import math
from collections.abc import Iterable, Iterator
from functools import lru_cache

import fsspec
import numpy as np
import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem
from numpy.typing import NDArray

from ecg_spark.errors import DataError
from ecg_spark.genetics.genotypes.bgen import Site
from ecg_spark.genetics.genotypes.files import pvar_of

_BIM = ("CHROM", "ID", "CM", "POS", "ALT", "REF")


def bim_sites(path: str) -> Iterator[Site]:
    """The variants of a .bim in its order, with A2 as the reference; empty lines are skipped.

    A position may be written as 1.2e+06.

    Raises:
        DataError: if a line is not a variant, with the number of the line.
    """
    with fsspec.open(path, "rt", encoding="utf-8-sig") as file:
        yield from _sites(file, _BIM, ".bim")


def pvar_sites(path: str) -> Iterator[Site]:
    """The variants of a .pvar or .pvar.zst; without a header it is read as a .bim.

    Raises:
        DataError: if a line is not a variant, with the number of the line.
    """
    with fsspec.open(path, "rb") as raw:
        packed = path.endswith(".zst")
        stream = pa.CompressedInputStream(raw, "zstd") if packed else raw
        with io.TextIOWrapper(stream, encoding="utf-8-sig") as file:
            yield from _sites(file, _BIM, ".pvar")


def _sites(file: Iterable[str], names: tuple[str, ...], what: str) -> Iterator[Site]:
    place = 0
    for number, line in enumerate(file, 1):
        if line.startswith("##"):
            continue
        fields = line.split()
        if not fields:
            continue
        if fields[0].startswith("#"):
            names = (fields[0][1:], *fields[1:])
            continue
        columns = names
        if names is _BIM and len(fields) == 5:  # without a position in centimorgans
            columns = tuple(name for name in _BIM if name != "CM")
        row = dict(zip(columns, fields, strict=False))
        position = _whole(row.get("POS", ""))
        if len(fields) < len(columns) or position is None:
            raise DataError(
                f"Line {number} of a {what} of genotypes.path is not a variant (it has "
                f"{len(fields)} columns, of which the position "
                f"{'is' if position is not None else 'is not'} a whole number): correct it."
            )
        rsid = "" if row["ID"] == "." else row["ID"]
        yield place, 0, row["CHROM"], position, [row["REF"], *row["ALT"].split(",")], rsid
        place += 1


def _whole(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        value = float(text)
    except ValueError:
        return None
    return int(value) if math.isfinite(value) and value == int(value) else None


def pgen_sites(pgen: str) -> Iterator[Site]:
    """The variants of a .pgen, from the .pvar beside it.

    Raises:
        DataError: if the two do not hold the same number of variants, or a line is not a variant.
    """
    pvar, count, most = pvar_of(pgen), 0, 0
    for site in pvar_sites(pvar):
        count, most = count + 1, max(most, len(site[4]))
        yield site
    held = _reader(pgen, pvar if most > 2 else None, None).get_variant_ct()
    if count != held:
        raise DataError(
            f"A .pgen of genotypes.path holds {held} variants and its .pvar {count}: copy the two "
            f"again."
        )


@lru_cache(maxsize=4)
def _reader(path: str, pvar: str | None, samples: int | None):  # type: ignore[no-untyped-def]
    import pgenlib

    table = pgenlib.PvarReader(local(pvar).encode()) if pvar else None
    return pgenlib.PgenReader(local(path).encode(), raw_sample_ct=samples, pvar=table)


def pgen_dosages(path: str, pvar: str | None, variant: int, samples: int) -> NDArray[np.float64]:
    """Read the dosages of one variant of a .pgen.

    Args:
        pvar: its variant table; needed only if some variants have several alternate alleles.
        variant: its place in the file.
        samples: how many samples the file has.

    Returns:
        The dosage of the alternate allele [samples], 0 to 2; NaN where missing. Men on X have 0 or
        2.
    """
    found = np.empty(samples, np.float64)
    _reader(path, pvar, samples).read_dosages(variant, found)
    found[found < 0] = np.nan
    return found


def local(path: str) -> str:
    """The path of a file on this machine: itself, or a copy from the store, made once per
    process.
    """
    files, base = fsspec.core.url_to_fs(path)
    if isinstance(files, LocalFileSystem):
        return str(base)
    return str(fsspec.open_local(f"filecache::{path}"))
