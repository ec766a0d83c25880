"""A reader of BGEN 1.2 and 1.3 (layout 2): the list of variants, and the dosages of one variant.

All kinds are read: phased or unphased, one or two alleles per person, 1 to 32 bits, uncompressed,
zlib or zstd. Existing libraries read a local file from its start; here any task can read the
blocks that it is given, from any storage. The format:
https://www.chg.ox.ac.uk/~gav/bgen_format/spec/v1.2.html
"""

import struct
import zlib
from collections.abc import Iterator
from typing import IO

import fsspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ecg_spark.errors import DataError

NONE, ZLIB, ZSTD = range(3)

Site = tuple[int, int, str, int, list[str], str]
"""A variant: offset and size of its genotype block in bytes, contig, position, alleles (the first
is the reference), rsid (empty if it has none)."""


def header(path: str) -> tuple[int, int, int, int, int]:
    """Read the header of a BGEN file.

    Returns:
        The offset of the first variant in bytes, the number of variants, the number of samples,
        the compression (`NONE`, `ZLIB` or `ZSTD`) and the layout.

    Raises:
        DataError: if the file ends within its header.
    """
    with fsspec.open(path, "rb") as file:
        offset, size, variants, samples = struct.unpack("<4I", _take(file, 16))
        file.seek(size)
        (flags,) = struct.unpack("<I", _take(file, 4))
    return offset + 4, variants, samples, flags & 3, flags >> 2 & 15


def sites(path: str) -> Iterator[Site]:
    """The variants of a BGEN file in its order, without their genotypes.

    Raises:
        DataError: if the file is truncated.
    """
    start, variants, _, _, _ = header(path)
    with fsspec.open(path, "rb") as file:
        end = file.seek(0, 2)
        file.seek(start)
        for _ in range(variants):
            _text(file, "<H")  # the variant's id
            rsid, contig = _text(file, "<H"), _text(file, "<H")
            position, count = struct.unpack("<IH", _take(file, 6))
            alleles = [_text(file, "<I") for _ in range(count)]
            (size,) = struct.unpack("<I", _take(file, 4))
            place = file.tell()
            if place + size > end:
                raise _short()
            yield place, size, contig, position, alleles, rsid
            file.seek(place + size)


def dosages(block: bytes, compression: int, samples: int) -> NDArray[np.float64]:
    """Decode the dosages of one variant with two alleles.

    Args:
        block: the genotype block of the variant, as many bytes as its `Site` says.
        compression: as `header` returns it.
        samples: how many samples the file has.

    Returns:
        The dosage of the second allele [samples], from 0 to 2; NaN where missing. A person with a
        single allele (a man on X) has 0 or 2, or a value in between.

    Raises:
        DataError: if the block has another number of samples, more than two alleles, or people
            with more than two copies.
    """
    if compression == NONE:
        body = block
    else:
        (length,) = struct.unpack("<I", block[:4])
        if compression == ZLIB:
            body = zlib.decompress(block[4:], bufsize=length)
        else:
            body = pa.decompress(block[4:], decompressed_size=length, codec="zstd", asbytes=True)
    people, alleles, _, most = struct.unpack("<IHBB", body[:8])
    if people != samples or alleles != 2 or most > 2:
        raise DataError(
            "A BGEN has a variant with another number of samples than its header says, or with "
            "people who have more than two alleles: write it again with plink2 --export bgen-1.2."
        )
    flags = np.frombuffer(body, np.uint8, people, 8)
    ploidy, missing = flags & 0x3F, flags >= 0x80
    is_phased, bits = body[8 + people], body[9 + people]
    # With two alleles a person has as many probabilities as alleles, phased or not.
    values = _unpack(body[10 + people :], bits, int(ploidy.sum()))
    top = float(2**bits - 1)
    if (ploidy == 2).all():
        first, second = values[0::2], values[1::2]
        weight = 1.0 if is_phased else 2.0
        found = (2 * top - weight * first - second) / top
    else:
        start = np.cumsum(ploidy, dtype=np.int64) - ploidy
        one, two = ploidy == 1, ploidy == 2
        found = np.full(people, np.nan)
        found[one] = 2 * (top - values[start[one]]) / top
        weight = 1.0 if is_phased else 2.0
        found[two] = (2 * top - weight * values[start[two]] - values[start[two] + 1]) / top
    found[missing] = np.nan
    return found


def _unpack(data: bytes, bits: int, count: int) -> NDArray[np.float64]:
    """Unpack `count` unsigned integers of `bits` bits each, least significant bit first."""
    if bits in (8, 16, 32):
        return np.asarray(np.frombuffer(data, f"<u{bits // 8}", count), np.float64)
    raw = np.frombuffer(data, np.uint8, -(-count * bits // 8))
    each = np.unpackbits(raw, count=count * bits, bitorder="little").reshape(count, bits)
    return np.asarray(each @ np.exp2(np.arange(bits)), np.float64)


def _take(file: IO[bytes], size: int) -> bytes:
    found = file.read(size)
    if len(found) < size:
        raise _short()
    return found


def _text(file: IO[bytes], length: str) -> str:
    (size,) = struct.unpack(length, _take(file, struct.calcsize(length)))
    return _take(file, size).decode("utf-8", "replace")


def _short() -> DataError:
    return DataError("A BGEN of genotypes.path is cut short: copy it again.")
