"""The files of a genotype set, and what their first bytes tell before Hail reads them for hours."""

import gzip
import re
import struct
import zlib

import fsspec
import pandas as pd

from ecg_spark.errors import DataError

FORMATS = (".bed", ".bgen", ".vcf", ".vcf.gz", ".vcf.bgz", ".mt")

_SIGNATURES = {
    ".bed": (0, b"\x6c\x1b\x01"),
    ".bgen": (16, b"bgen"),
    ".vcf": (0, b"##fileformat=VCF"),
}
_HEADER_BYTES = 2**20


def format_of(path: str) -> str:
    """The format of a genotype set by its name, as in `FORMATS`; `DataError` where it is none."""
    for suffix in reversed(FORMATS):
        if path.endswith(suffix):
            return suffix
    raise DataError(
        f"The genotypes {path} have no known format: name a file that ends in "
        f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}."
    )


def expand(path: str) -> list[str]:
    """The files that a path or glob stands for, in the order of their names.

    Raises `DataError` where there is none.
    """
    files, base = fsspec.core.url_to_fs(path)
    if any(sign in path for sign in "*?["):
        found = [files.unstrip_protocol(name) for name in sorted(files.glob(base))]
    else:
        found = [path] if files.exists(base) else []
    if not found:
        raise DataError(f"The genotypes {path} do not exist: correct genotypes.path.")
    return found


def genotype_files(path: str) -> list[str]:
    """Every file of the genotype set that `path` names: those that it or its glob stands for, with
    the .bim and .fam or the .sample beside them; for a MatrixTable, its metadata.

    Raises `DataError` where there is none.
    """
    found = []
    for file in expand(path.rstrip("/")):
        stem, _, suffix = file.rpartition(".")
        companions = {"bed": ("bim", "fam"), "bgen": ("sample",)}.get(suffix, ())
        found += [f"{file}/metadata.json.gz"] if suffix == "mt" else [file]
        found += [f"{stem}.{other}" for other in companions if exists(f"{stem}.{other}")]
    return found


def exists(file: str) -> bool:
    """Whether there is a file."""
    files, base = fsspec.core.url_to_fs(file)
    return bool(files.exists(base))


def is_bgzf(file: str) -> bool:
    """True where a gzip file is made of blocks, by the extra field of its header."""
    with fsspec.open(file, "rb") as stream:
        head = stream.read(14)
    return len(head) == 14 and bool(head[3] & 4) and head[12:14] == b"BC"


def check(file: str, kind: str, lengths: dict[str, int], reference_genome: str) -> None:
    """Refuse a file of a set that cannot be what the study file says.

    `lengths`: those of the genome's contigs by every name that a file may give them. Looked at are
    the signature, the companions of a .bed and the positions in its .bim, the layout and bits of a
    BGEN's first variant, the contigs that a VCF declares.

    Raises `DataError` that says which.
    """
    start, expected = _SIGNATURES[".vcf" if kind.startswith(".vcf") else kind]
    try:
        head = _head(file, kind)
    except (OSError, EOFError, zlib.error):
        head = b""
    if head[start : start + len(expected)] != expected:
        raise DataError(
            f"The genotypes {file} are not in the format that their name says ({kind[1:]}): "
            f"correct the file or genotypes.path."
        )
    if kind == ".bed":
        _check_sites(file, lengths, reference_genome)
    elif kind == ".bgen":
        _check_bgen(file, head)
    else:
        declared = re.findall(rb"##contig=<(?:.*,)?ID=([^,>]+)(?:.*),length=(\d+)", head)
        for name, length in declared:
            known = lengths.get(name.decode(errors="replace"))
            if known is not None and int(length) != known:
                raise other_genome(file, reference_genome)


def other_genome(file: str, reference_genome: str) -> DataError:
    """The error for positions that a reference genome does not have."""
    return DataError(
        f"The genotypes {file} have positions that {reference_genome} does not have, or contigs of "
        f"another length: they lie on another build; correct genotypes.reference_genome."
    )


def _head(file: str, kind: str) -> bytes:
    """The first bytes of a file, decompressed; of a VCF no more than its header."""
    with fsspec.open(file, "rb") as raw:
        if not kind.endswith("gz"):
            return bytes(raw.read(_HEADER_BYTES))
        with gzip.open(raw) as stream:
            return stream.read(_HEADER_BYTES)


def _check_sites(bed: str, lengths: dict[str, int], reference_genome: str) -> None:
    stem = bed.removesuffix(".bed")
    for suffix in (".bim", ".fam"):
        if not exists(stem + suffix):
            raise DataError(f"The genotypes {bed} lack the file {stem}{suffix}: put it there.")
    try:
        sites = pd.read_csv(f"{stem}.bim", sep=r"\s+", header=None, usecols=[0, 3], dtype=str)
    except ValueError:
        return  # Hail says what is wrong with it
    longest = sites[0].map(lengths)
    position = pd.to_numeric(sites[3], errors="coerce")
    if (position > longest).any():
        raise other_genome(bed, reference_genome)


def _check_bgen(file: str, head: bytes) -> None:
    """The layout and compression of the header, and the bits of the first variant's dosages.

    https://www.chg.ox.ac.uk/~gav/bgen_format/spec/v1.2.html
    """
    offset, size, variants = struct.unpack("<III", head[:12])
    flags = struct.unpack("<I", head[size : size + 4])[0]
    compression, layout = flags & 3, flags >> 2 & 15
    advice = "write them as BGEN 1.2 with 8 bits (plink2 --export bgen-1.2 bits=8)"
    if layout != 2:
        raise DataError(f"The genotypes {file} are BGEN of layout {layout}, not 2: {advice}.")
    if not variants or compression != 1:
        return  # what zstd holds is seen by Hail
    with fsspec.open(file, "rb") as stream:
        stream.seek(offset + 4)
        for _ in range(3):  # the variant's id, its rsid, its contig
            stream.read(*struct.unpack("<H", stream.read(2)))
        _, alleles = struct.unpack("<IH", stream.read(6))
        for _ in range(alleles):
            stream.read(*struct.unpack("<I", stream.read(4)))
        packed, _ = struct.unpack("<II", stream.read(8))
        try:
            block = zlib.decompress(stream.read(packed - 4))
        except zlib.error:
            return
    people = struct.unpack("<I", block[:4])[0]
    bits = block[8 + people + 1]
    if bits != 8:
        raise DataError(f"The genotypes {file} have dosages of {bits} bits: {advice}.")
