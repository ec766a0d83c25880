"""The files of a genotype set, and what their first bytes tell before Hail reads them for hours."""

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
    """The format of a genotype set by its name, as in `FORMATS`; `DataError` where it is none."""
    for suffix in reversed(FORMATS):
        if path.endswith(suffix):
            return suffix
    raise DataError(
        f"genotypes.path has no known format: name a file that ends in "
        f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}."
    )


def is_read_by_hail(path: str) -> bool:
    """Whether it is Hail that reads a set of this name."""
    return path.rstrip("/").endswith((".mt", ".bcf", ".vcf", ".vcf.gz", ".vcf.bgz"))


def expand(path: str) -> list[str]:
    """The files that a path or glob stands for, in the order of their names.

    Raises `DataError` where there is none.
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
    """Every file of the genotype set that `path` names: those that it or its glob stands for, with
    the .bim and .fam, .pvar and .psam or the .sample beside them; for a MatrixTable, its metadata.

    Raises `DataError` where there is none.
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
    """A file without the end of its name."""
    return file.rpartition(".")[0]


def pvar_of(pgen: str) -> str:
    """The table of variants of a .pgen, which may be packed."""
    plain = f"{stem_of(pgen)}.pvar"
    return plain if exists(plain) else f"{plain}.zst"


def file_of(number: int, count: int) -> str:
    """How an error calls a file of a set: by its place among the sorted names, never by its name.

    `number` counts from 1.
    """
    if count == 1:
        return "The file of genotypes.path"
    return f"File {number} of the {count} of genotypes.path (in the order of their names)"


def exists(file: str) -> bool:
    """Whether there is a file."""
    files, base = fsspec.core.url_to_fs(file)
    return bool(files.exists(base))


def new_file(file: str) -> fsspec.core.OpenFile:
    """A text file to be written, in a folder that is made where there is none."""
    make_folder(file.rpartition("/")[0])
    return fsspec.open(file, "wt", encoding="utf-8")


def is_bgzf(file: str) -> bool:
    """True where a gzip file is made of blocks, by the extra field of its header."""
    with fsspec.open(file, "rb") as stream:
        head = stream.read(14)
    return len(head) == 14 and bool(head[3] & 4) and head[12:14] == b"BC"


def check(files: Sequence[str], kind: str) -> None:
    """Refuse files of a set that cannot be what their names say.

    Looked at are the signature, the companions, and the layout of a BGEN. Raises `DataError`.
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
    """What `look` finds in each of the items, in their order: of hundreds of files in a store each
    takes its time to answer."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(look, items))


def _head(file: str, kind: str) -> bytes:
    """The first bytes of a file, decompressed."""
    with fsspec.open(file, "rb") as raw:
        if not kind.endswith(("gz", "bcf")):
            return bytes(raw.read(64))
        with gzip.open(raw) as stream:
            return stream.read(64)


def head_lines(path: str) -> Iterator[str]:
    """The header of a VCF, its last line the one with the samples, and the first row below it."""
    with fsspec.open(path, "rb") as raw:
        stream = gzip.GzipFile(fileobj=raw) if path.endswith("gz") else raw
        for line in io.TextIOWrapper(stream, "utf-8", "replace", newline="\n"):
            yield line.rstrip("\r\n")
            if not line.startswith("#"):
                return


def bcf_as_vcf(spark: SparkSession, files: Sequence[str], folder: str) -> list[str]:
    """Copies of BCFs as block-compressed VCF in a folder, each written by a task of its own."""

    def convert(number: int) -> str:
        import pysam.bcftools

        from ecg_spark.genetics.genotypes.plink import local

        copy = f"{folder}/bcf-{number:05d}.vcf.gz"
        with tempfile.TemporaryDirectory() as own:
            whole = f"{own}/whole.vcf.gz"
            pysam.bcftools.view(local(files[number]), "-Oz", "-o", whole, catch_stdout=False)
            target, place = fsspec.core.url_to_fs(copy)
            make_folder(folder)
            # Under a name of its own until it is whole: a task may run twice.
            unfinished = f"{place}.{secrets.token_hex(4)}"
            target.put_file(whole, unfinished)
            target.mv(unfinished, place)
        return copy

    tasks = spark.sparkContext.parallelize(range(len(files)), len(files))
    return sorted(tasks.map(convert).collect())
