"""Which person each column of a genotype file belongs to, by one rule for every format.

A person is named by the IID of a .fam, .psam or .sample, by the ids inside a BGEN, or by the
header of a VCF; family ids (FID) are ignored. The files of a set are matched by these names, never
by position: the first file gives the order, and every other file is brought into it.
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
    """The samples of a set.

    Attributes:
        names: their ids, in the order of the first file.
        places: for every file, the column of each sample [samples]; None if the file has that
            order.
    """

    names: list[str]
    places: list[NDArray[np.int32] | None]


def matched(spark: SparkSession, files: Sequence[str], read: Callable[[str], list[str]]) -> Columns:
    """Match the samples of every file of a set to those of the first file.

    Spark's tasks read the files in parallel.

    Args:
        read: returns the sample ids of a file in its order.

    Raises:
        DataError: if a file names a sample twice or with white space, or does not have the same
            samples as the first file (with the counts).
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
    """The place of each of the set's samples in a file; None if the file has them in the same
    order.

    Args:
        names: the samples of the first file.
        found: the samples of this file.
        number: the place of this file among the `count` files of the set, from 1, for messages.

    Raises:
        DataError: if the two do not have the same samples, or a name is not allowed.

    Example:
        >>> places_in(["a", "b"], ["b", "a"], 2, 2).tolist()
        [1, 0]
    """
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
    """Refuse a file that names no samples, or names them twice, with white space, or not at all.

    Raises:
        DataError: with how many names are wrong, never with a name.
    """
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
    """The sample ids of a .fam: its second column (IID); the other columns are not checked.

    Raises:
        DataError: if a line has fewer than two columns, or the file is not UTF-8.
    """
    names = []
    for number, fields in _lines(path, ".fam"):
        if len(fields) < 2:
            raise DataError(
                f"Line {number} of the .fam has {len(fields)} column instead of six: correct it."
            )
        names.append(fields[1])
    return names


def read_psam(path: str) -> list[str]:
    """The IIDs of a .psam; without a header it is read as a .fam.

    Raises:
        DataError: if a line has too few columns, or the file is not UTF-8.
    """
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
    """The sample ids in the header of a VCF.

    Raises:
        DataError: if the first row has another number of columns than the header. Hail would
            assign genotypes from left to right, to the wrong people.
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
    """The sample ids of an Oxford .sample: ID_2, or the only id column of a QCTOOL file.

    Raises:
        DataError: if the file is not in this format, or a line has another number of columns than
            the header.
    """
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
    """The sample ids of a BGEN: from its .sample if there is one, else the ids inside the file.

    Args:
        sample: the .sample; None for the one beside the BGEN, if there is one.

    Raises:
        DataError: if there are no ids at all, if the .sample has another number of people, or if
            it names the same people in another order than the BGEN itself.
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
    """The ids inside a BGEN, or None if it holds none."""
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
