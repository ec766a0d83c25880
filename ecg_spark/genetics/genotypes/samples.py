"""Whose genotypes the columns of each file of a set are, by one rule for every format.

A person is named by the IID (of a .fam, .psam or .sample), by the ids inside a BGEN, or by the
header of a VCF; families (FID) are not looked at. The files of a set are matched by these names,
never by place: the first file gives the order, every other one is brought into it.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import fsspec
import numpy as np
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from ecg_spark.errors import DataError
from ecg_spark.genetics.genotypes import bgen
from ecg_spark.genetics.genotypes.files import exists, file_of, head_lines, stem_of
from ecg_spark.session import broadcast

SAMPLE_FORM = (
    "a .sample has the header 'ID_1 ID_2 missing', a line of column types such as '0 0 0', "
    "and one line a person, named in ID_2"
)


@dataclass(frozen=True)
class Columns:
    """The samples of a set: their names in the order of the first file, and for every file the
    places [samples] of these in its columns, None where it has that order itself."""

    names: list[str]
    places: list[NDArray[np.int32] | None]


def matched(spark: SparkSession, files: Sequence[str], read: Callable[[str], list[str]]) -> Columns:
    """Hold the samples of every file of a set, as `read` names them, against the first file's.

    The files are read side by side by Spark's tasks. Raises `DataError` where a file names a sample
    twice or with white space, or has other samples than the first, with the count.
    """
    names = read(files[0])
    require_names(names, 1, len(files))
    others = range(1, len(files))
    known = broadcast(spark, names)

    def place(number: int) -> tuple[NDArray[np.int32] | str | None]:
        try:
            return (places_in(known.value, read(files[number]), number + 1, len(files)),)
        except DataError as error:
            return (str(error),)

    places: list[NDArray[np.int32] | None] = [None]
    if len(files) > 1:
        tasks = spark.sparkContext.parallelize(others, len(others))
        for (one,) in tasks.map(place).collect():
            if isinstance(one, str):
                raise DataError(one)
            places.append(one)
    return Columns(names, places)


def places_in(
    names: list[str], found: list[str], number: int, count: int
) -> NDArray[np.int32] | None:
    """The places of a set's samples in a file that names them as `found`, None where in order."""
    require_names(found, number, count)
    if names == found:
        return None
    place = {name: i for i, name in enumerate(found)}
    missing = sum(name not in place for name in names)
    extra = len(found) - (len(names) - missing)
    if missing or extra:
        raise DataError(
            f"{file_of(number, count)} has other samples than file 1: it lacks {missing} of its "
            f"{len(names)} and has {extra} that file 1 lacks; give every file the same samples, or "
            f"name a set of its own."
        )
    return np.fromiter((place[name] for name in names), np.int32, len(names))


def require_names(names: list[str], number: int, count: int) -> None:
    """Refuse a file that names samples twice, with white space or not at all."""
    if not names:
        raise DataError(f"{file_of(number, count)} names no samples: give one that does.")
    if repeated := len(names) - len(set(names)):
        raise DataError(
            f"{file_of(number, count)} names {repeated} samples more than once: keep one of each."
        )
    if spaced := sum(any(sign.isspace() for sign in name) or not name for name in names):
        raise DataError(
            f"{file_of(number, count)} names {spaced} samples with white space or not at all, "
            f"which the formats of the field do not allow: rename them."
        )


def read_fam(path: str) -> list[str]:
    """The second column (IID) of a .fam, whatever the others hold."""
    names = []
    for number, fields in _lines(path, ".fam"):
        if len(fields) < 2:
            raise DataError(
                f"Line {number} of the .fam has {len(fields)} column instead of six: correct it."
            )
        names.append(fields[1])
    return names


def read_psam(path: str) -> list[str]:
    """The IIDs of a .psam, which without a header is a .fam."""
    column, names = 1, []
    for number, fields in _lines(path, ".psam"):
        if fields[0].startswith("#"):
            if "IID" in (header := [fields[0][1:], *fields[1:]]):
                column = header.index("IID")
            continue
        if len(fields) <= column:
            raise DataError(f"Line {number} of the .psam has too few columns: correct it.")
        names.append(fields[column])
    return names


def read_psam_beside(pgen: str) -> list[str]:
    """The IIDs of the .psam beside a .pgen."""
    return read_psam(f"{stem_of(pgen)}.psam")


def read_vcf_ids(path: str) -> list[str]:
    """The samples that the header of a VCF names.

    Raises `DataError` where the first row has not as many columns: Hail would take what it finds
    from left to right, and give people each other's genotypes.
    """
    names: list[str] = []
    for line in head_lines(path):
        columns = line.split("\t")
        if line.startswith("#CHROM"):
            names = columns[9:]
        elif not line.startswith("#") and line and names and len(columns) != 9 + len(names):
            raise DataError(
                f"The first row of a VCF of genotypes.path holds {len(columns) - 9} samples and "
                f"its header names {len(names)}: give it the header that belongs to it."
            )
    return names


def read_sample(path: str) -> list[str]:
    """The persons of a .sample of Oxford's kind: ID_2, or the one id column of QCTOOL's."""
    lines = _lines(path, ".sample")
    header, types = next(lines, (0, []))[1], next(lines, (0, []))[1]
    known = set("0123DCPBSTF")
    if not header or len(types) != len(header) or not {one.upper() for one in types} <= known:
        raise DataError(f"The .sample is not one of Oxford's format: {SAMPLE_FORM}.")
    single = len(header) == 1 or header[1].lower() == "missing" or types[1] != "0"
    column = 0 if single else 1
    names = []
    for number, fields in lines:
        if len(fields) != len(header):
            raise DataError(
                f"Line {number} of the .sample has {len(fields)} columns, its header "
                f"{len(header)}: correct it."
            )
        names.append(fields[column])
    return names


def read_bgen_ids(path: str, sample: str | None) -> list[str]:
    """The persons of a BGEN: those of the .sample, by default the one beside it, else its own ids.

    Raises `DataError` where there is neither, or where the two contradict each other.
    """
    own = _ids_inside(path)
    if sample is None and exists(f"{stem_of(path)}.sample"):
        sample = f"{stem_of(path)}.sample"
    if sample is None:
        if own is None:
            raise DataError(
                f"A BGEN of genotypes.path holds no ids and has no .sample beside it: name one "
                f"under genotypes.sample; {SAMPLE_FORM}."
            )
        return own
    names = read_sample(sample)
    if len(names) != (count := bgen.header(path)[2]):
        raise DataError(
            f"The .sample names {len(names)} people and the BGEN holds {count}: name the .sample "
            f"that belongs to it under genotypes.sample."
        )
    if own is not None and own != names and set(own) == set(names):
        wrong = sum(a != b for a, b in zip(own, names, strict=True))
        raise DataError(
            f"The .sample and the ids inside the BGEN name the same people in another order "
            f"({wrong} of {count} differ): name the .sample that belongs to it under "
            f"genotypes.sample, or take the wrong one away."
        )
    return names


def _ids_inside(path: str) -> list[str] | None:
    """The ids inside a BGEN, None where it holds none."""
    with fsspec.open(path, "rb") as file:
        size = struct.unpack("<II", file.read(8))[1]
        file.seek(size)
        flags = struct.unpack("<I", file.read(4))[0]
        if not flags >> 31:
            return None
        _, count = struct.unpack("<II", file.read(8))
        return [file.read(*struct.unpack("<H", file.read(2))).decode() for _ in range(count)]


def _lines(path: str, what: str) -> Iterator[tuple[int, list[str]]]:
    try:
        with fsspec.open(path, "rt", encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if fields := line.split():
                    yield number, fields
    except UnicodeDecodeError:
        raise DataError(f"The {what} is not UTF-8 text: correct it.") from None
