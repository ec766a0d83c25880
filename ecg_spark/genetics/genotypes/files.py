"""The files of a genotype set, and checks of their first bytes before hours are spent on
reading them.
"""

import gzip
import io
import secrets
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import fsspec
from pyspark.sql import SparkSession

from ecg_spark.errors import DataError
from ecg_spark.genetics.genotypes import bgen
from ecg_spark.locations import make_folder, spelled_like

Item = TypeVar("Item")
Found = TypeVar("Found")

FORMATS = (".bed", ".bgen", ".pgen", ".vcf", ".vcf.gz", ".vcf.bgz", ".bcf", ".mt")

_SIGNATURES = {
    ".bed": (0, (b"\x6c\x1b\x01",)),
    ".bgen": (16, (b"bgen", bytes(4))),
    ".pgen": (0, (b"\x6c\x1b\x02", b"\x6c\x1b\x03", b"\x6c\x1b\x04", b"\x6c\x1b\x10",
                  b"\x6c\x1b\x11", b"\x6c\x1b\x20", b"\x6c\x1b\x21")),
    ".vcf": (0, (b"##fileformat=VCF",)),
    ".bcf": (0, (b"BCF\x02",)),
}  # fmt: skip
_AT_ONCE = 16
_COMPANIONS = {".bed": (".bim", ".fam"), ".pgen": (".pvar", ".psam")}


def format_of(path: str) -> str:
    """The format of a genotype set, one of `FORMATS`, by the end of its name.

    Raises:
        DataError: if the name ends in none of them.

    Example:
        >>> format_of("cohort.chr1.vcf.gz")
        '.vcf.gz'
    """
    for suffix in reversed(FORMATS):
        if path.endswith(suffix):
            return suffix
    raise DataError(
        f"genotypes.path has no known format: name a file that ends in "
        f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}."
    )


def is_read_by_hail(path: str) -> bool:
    """Whether Hail reads a set of this name."""
    return path.rstrip("/").endswith((".mt", ".bcf", ".vcf", ".vcf.gz", ".vcf.bgz"))


def expand(path: str) -> list[str]:
    """The files that a path or glob stands for, sorted by name.

    Raises:
        DataError: if there is none.
    """
    files, base = fsspec.core.url_to_fs(path)
    if any(sign in path for sign in "*?["):
        found = spelled_like(path, sorted(files.glob(base)))
    else:
        found = [path] if files.exists(base) else []
    if not found:
        raise DataError("The genotypes do not exist: correct genotypes.path.")
    return found


def genotype_files(path: str) -> list[str]:
    """Every file that belongs to the genotype set `path`.

    These are the files that the path or glob stands for, with the .bim and .fam, .pvar and .psam
    or .sample beside each; of a MatrixTable only its metadata.

    Raises:
        DataError: if there is none.
    """
    found = []
    for file in expand(path.rstrip("/")):
        suffix = format_of(file)
        beside = {".bgen": (".sample",), ".pgen": (".pvar", ".pvar.zst", ".psam")}
        found += [f"{file}/metadata.json.gz"] if suffix == ".mt" else [file]
        for other in beside.get(suffix, _COMPANIONS.get(suffix, ())):
            found += [stem_of(file) + other] if exists(stem_of(file) + other) else []
    return found


def stem_of(file: str) -> str:
    """A path without the extension of the file.

    Example:
        >>> stem_of("s3://bucket/chr1.bed")
        's3://bucket/chr1'
    """
    return file.rpartition(".")[0]


def pvar_of(pgen: str) -> str:
    """The variant table of a .pgen: its .pvar, or its .pvar.zst if there is no .pvar."""
    plain = f"{stem_of(pgen)}.pvar"
    return plain if exists(plain) else f"{plain}.zst"


def file_of(number: int, count: int) -> str:
    """What error messages call a file: its place among the sorted names, never its name.

    Args:
        number: the place, from 1.
        count: how many files there are.

    Example:
        >>> file_of(2, 22)
        'File 2 of the 22 of genotypes.path (in the order of their names)'
    """
    if count == 1:
        return "The file of genotypes.path"
    return f"File {number} of the {count} of genotypes.path (in the order of their names)"


def exists(file: str) -> bool:
    """Whether a file exists, on any storage."""
    files, base = fsspec.core.url_to_fs(file)
    return bool(files.exists(base))


def new_file(file: str) -> fsspec.core.OpenFile:
    """A UTF-8 text file to write; its folder is created if need be."""
    make_folder(file.rpartition("/")[0])
    return fsspec.open(file, "wt", encoding="utf-8")


def is_bgzf(file: str) -> bool:
    """Whether a gzip file is block-compressed (BGZF), by the extra field of its header."""
    with fsspec.open(file, "rb") as stream:
        head = stream.read(14)
    return len(head) == 14 and bool(head[3] & 4) and head[12:14] == b"BC"


def check(files: Sequence[str], kind: str) -> None:
    """Refuse files that cannot be what their names say.

    Checked are the first bytes, the presence of the companion files, and the layout of a BGEN.

    Args:
        kind: the format of all of them, as `format_of` returns it.

    Raises:
        DataError: for the first file that fails.
    """
    each = [(file, file_of(number, len(files))) for number, file in enumerate(files, 1)]
    side_by_side(lambda one: _check(*one, kind), each)


def _check(file: str, name: str, kind: str) -> None:
    start, expected = _SIGNATURES[".vcf" if kind.startswith(".vcf") else kind]
    try:
        head = _head(file, kind)[start:]
    except (OSError, EOFError, zlib.error):
        head = b""
    if not head.startswith(expected):
        raise DataError(
            f"{name} is not in the format that its name says ({kind[1:]}): correct the file or "
            f"genotypes.path."
        )
    for suffix in _COMPANIONS.get(kind, ()):
        beside = pvar_of(file) if suffix == ".pvar" else stem_of(file) + suffix
        if not exists(beside):
            raise DataError(f"{name} lacks its {suffix}: put it there.")
    if kind == ".bgen":
        _, _, _, compression, layout = bgen.header(file)
        if layout != 2 or compression > bgen.ZSTD:
            raise DataError(
                f"{name} is BGEN of layout {layout}, not 2: write it as BGEN 1.2 (plink2 --export "
                f"bgen-1.2)."
            )


def side_by_side(look: Callable[[Item], Found], items: Iterable[Item]) -> list[Found]:
    """Apply `look` to each item in threads, and return the results in the order of the items.

    Meant for waiting, not for computing: a store takes its time to answer for each of hundreds of
    files.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(look, items))


def _head(file: str, kind: str) -> bytes:
    """The first 64 bytes of a file, decompressed."""
    with fsspec.open(file, "rb") as raw:
        if not kind.endswith(("gz", "bcf")):
            return bytes(raw.read(64))
        with gzip.open(raw) as stream:
            return stream.read(64)


def head_lines(path: str) -> Iterator[str]:
    """The header lines of a VCF, down to the line with the samples, and the first row below
    it.
    """
    with fsspec.open(path, "rb") as raw:
        stream = gzip.GzipFile(fileobj=raw) if path.endswith("gz") else raw
        for line in io.TextIOWrapper(stream, "utf-8", "replace", newline="\n"):
            yield line.rstrip("\r\n")
            if not line.startswith("#"):
                return


def bcf_as_vcf(spark: SparkSession, files: Sequence[str], folder: str) -> list[str]:
    """Convert BCF files to block-compressed VCF in `folder`, one task per file; returns the
    copies.
    """

    def convert(number: int) -> str:
        import pysam.bcftools

        from ecg_spark.genetics.genotypes.plink import local

        copy = f"{folder}/bcf-{number:05d}.vcf.gz"
        with tempfile.TemporaryDirectory() as own:
            whole = f"{own}/whole.vcf.gz"
            pysam.bcftools.view(local(files[number]), "-Oz", "-o", whole, catch_stdout=False)
            target, place = fsspec.core.url_to_fs(copy)
            make_folder(folder)
            # Under a temporary name until it is complete: a task may run twice.
            unfinished = f"{place}.{secrets.token_hex(4)}"
            target.put_file(whole, unfinished)
            target.mv(unfinished, place)
        return copy

    tasks = spark.sparkContext.parallelize(range(len(files)), len(files))
    return sorted(tasks.map(convert).collect())
