"""Predictions of phenotypes without each chromosome, kept as REGENIE keeps them.

A file a phenotype: a header with FID_IID of every person, then a line a chromosome, 1 to 22 and 23
for X, with what the rest of the genome predicts, in units of the spread that the covariates leave
of the phenotype. A list names the phenotypes and their files: what `regenie --step 2 --pred` takes.
So the files of a run can be given to regenie, and regenie's be used in their place.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from ecg_spark.errors import DataError
from ecg_spark.genetics.genotypes.contigs import AUTOSOMES, CONTIGS
from ecg_spark.genetics.null_model.projection import basis_of
from ecg_spark.genetics.null_model.ridge import residual_phenotypes
from ecg_spark.session import broadcast

ROWS = (*AUTOSOMES, "23")
"""The chromosomes of a file; the last is X, and any that is no autosome."""

Lines = Mapping[str, tuple[int, int]]
"""The first byte of a chromosome's line in a file, and the byte behind its last."""


@dataclass(frozen=True)
class Loco:
    """Predictions of every phenotype without each chromosome: small enough for every task.

    `files` and `lines`, one a phenotype; `columns`: the column of each of the `samples` in the
    files; `scales`: the units of the predictions, in those of each phenotype; `contigs`: those in
    the model; `r2`: the share of each phenotype's variance that the whole genome predicts in people
    of whose phenotypes the model knows nothing, empty where others fitted it; `unpredicted`: the
    phenotypes of which nothing is predicted.
    """

    files: tuple[str, ...]
    lines: tuple[Lines, ...]
    columns: NDArray[np.int64]
    samples: pd.Index
    phenotypes: tuple[str, ...]
    scales: tuple[float, ...]
    contigs: tuple[str, ...]
    r2: Mapping[str, float]
    unpredicted: tuple[str, ...] = ()

    def of(self, samples: pd.Index) -> "Loco":
        """The predictions of the same people in another order."""
        places = self.samples.get_indexer(samples)
        return replace(self, columns=self.columns[places], samples=samples)

    def without(self, contig: str) -> pd.DataFrame:
        """The predictions for tests on `contig` [samples, phenotypes], in the phenotypes' units.

        A contig that is not in the model gets the prediction from all that are.
        """
        values = np.empty((len(self.samples), len(self.phenotypes)))
        for k, scale in enumerate(self.scales):
            values[:, k] = self._of(k, row_of(contig)) * scale
        return pd.DataFrame(values, self.samples, list(self.phenotypes))

    def kept(self, phenotype: int, left: NDArray[np.float32]) -> float:
        """The share of the variance of a phenotype that is left when the predictions are taken off,
        the mean over the autosomes.

        `left` [samples]: what covariates leave of it, of variance 1, 0 where missing.
        """
        known, whole = left != 0, float(left @ left)
        off = [(left - self._of(phenotype, row))[known] for row in AUTOSOMES]
        return float(np.mean([one @ one for one in off]) / whole)

    def _of(self, phenotype: int, row: str) -> NDArray[np.float64]:
        """A line of a phenotype's file, in the order of the samples."""
        files, name = fsspec.core.url_to_fs(self.files[phenotype])
        text = files.cat_file(name, *self.lines[phenotype][row]).decode()
        return np.asarray(_numbers(text)[self.columns])


def row_of(contig: str) -> str:
    """The line of a file that is for a contig."""
    chromosome = CONTIGS.get(contig, contig)
    return chromosome if chromosome in AUTOSOMES else ROWS[-1]


def write_loco(
    path: str, samples: Sequence[str], predictions: Mapping[str, NDArray[np.float32]]
) -> dict[str, tuple[int, int]]:
    """Write the predictions [samples] of one phenotype by row (see `ROWS`); their lines.

    The family of everybody is 0, as in samples.fam.
    """
    lines, at = {}, 0
    with fsspec.open(path, "wb") as file:
        at += file.write(" ".join(["FID_IID", *(f"0_{s}" for s in samples)]).encode() + b"\n")
        for row, values in predictions.items():
            texts = pc.cast(pa.array(values, pa.float32()), pa.string()).to_pylist()
            size = file.write(" ".join([row, *texts]).encode() + b"\n")
            lines[row], at = (at, at + size), at + size
    return lines


def write_list(path: str, files: Mapping[str, str]) -> None:
    """Write the list of phenotypes and their files, which are named from its folder on."""
    with fsspec.open(path, "w") as file:
        file.writelines(f"{phenotype} {name}\n" for phenotype, name in files.items())


def save_loco(loco: Loco, folder: str) -> None:
    """Write `folder`/loco.json, which says where the predictions are and of whom: see `load_loco`.

    Files below the folder are named from it on, so that it may lie elsewhere when they are read.
    """
    told = asdict(loco) | {"columns": loco.columns.tolist()}
    del told["samples"]
    told["inside"] = all(file.startswith(f"{folder}/") for file in loco.files)
    if told["inside"]:
        told["files"] = [file.removeprefix(f"{folder}/") for file in loco.files]
    with fsspec.open(f"{folder}/loco.json", "w", encoding="utf-8") as file:
        json.dump(told, file)


def load_loco(folder: str, samples: pd.Index) -> Loco:
    """The predictions that `save_loco` described, of these samples, in the order of that time.

    Raises `ValueError` where those were not as many.
    """
    with fsspec.open(f"{folder}/loco.json", encoding="utf-8") as file:
        told = json.load(file)
    if len(samples) != len(told["columns"]):
        raise ValueError(f"predictions of {len(told['columns'])} people, not of {len(samples)}")
    return Loco(
        tuple(f"{folder}/{file}" if told["inside"] else file for file in told["files"]),
        tuple({row: (own[0], own[1]) for row, own in lines.items()} for lines in told["lines"]),
        np.asarray(told["columns"], np.int64), samples, tuple(told["phenotypes"]),
        tuple(told["scales"]), tuple(told["contigs"]), told["r2"], tuple(told["unpredicted"]),
    )  # fmt: skip


def take_loco(path: str, phenotypes: pd.DataFrame, covariates: pd.DataFrame) -> Loco:
    """REGENIE's predictions by their list at `path`, for phenotypes [samples, p] as tested.

    A file that the list names without a folder lies beside it. `covariates`: those of the samples,
    complete, without the intercept.

    Raises `DataError` where a phenotype, a chromosome or a person with a phenotype has no
    prediction, where the people of two files differ, or a file is compressed.
    """
    listed = prediction_files(path)
    names = list(map(str, phenotypes.columns))
    if lacking := [name for name in names if name not in listed]:
        raise DataError(
            f"The list of predictions has no file of {len(lacking)} of {len(names)} phenotypes, "
            f"{', '.join(lacking[:5])} among them: run regenie's step 1 on those of this study."
        )
    files = tuple(listed[name] for name in names)
    found = [_lines_of(file) for file in files]
    header = found[0][0]
    if any(other != header for other, _ in found):
        raise DataError(
            "The files of predictions have not the same people: take those of one run of regenie."
        )
    columns = _columns_of(header, phenotypes.index)
    basis = basis_of(covariates.to_numpy(float)).astype(np.float32)
    _, _, scales = residual_phenotypes(phenotypes.to_numpy(float), basis)
    loco = Loco(
        files, tuple(lines for _, lines in found), columns, phenotypes.index, tuple(names),
        tuple(scales.tolist()), ROWS, {},
    )  # fmt: skip
    lacks = loco.without(ROWS[0]).isna() & phenotypes.notna().set_axis(names, axis=1)
    if n := int(lacks.any(axis=1).sum()):
        raise DataError(f"{n} people have a phenotype and no prediction of it in regenie's files.")
    return loco


def kept_variance(
    spark: SparkSession, loco: Loco, phenotypes: pd.DataFrame, covariates: pd.DataFrame
) -> dict[str, float]:
    """The share of each phenotype's variance, by name, that is left of what the covariates leave
    when the predictions are taken off (see `Loco.kept`).

    `phenotypes` and `covariates`: those of the samples, as `take_loco` takes them.
    """
    basis = basis_of(covariates.to_numpy(float)).astype(np.float32)
    left, _, _ = residual_phenotypes(phenotypes[list(loco.phenotypes)].to_numpy(float), basis)
    shared = broadcast(spark, (loco, left))

    def kept(number: int) -> float:
        loco, left = shared.value
        return float(loco.kept(number, left[:, number]))

    count = len(loco.phenotypes)
    found = spark.sparkContext.parallelize(range(count), count).map(kept).collect()
    shared.unpersist()
    return dict(zip(loco.phenotypes, found, strict=True))


def prediction_files(path: str) -> dict[str, str]:
    """The files of predictions by phenotype, as the list at `path` names them.

    Raises `DataError` where there is no such list, or it is none.
    """
    try:
        with fsspec.open(path, "r") as file:
            rows = [line.split(maxsplit=1) for line in file if line.strip()]
    except FileNotFoundError:
        raise DataError(
            "The list of predictions does not exist: correct gwas.predictions."
        ) from None
    if not rows or any(len(row) != 2 for row in rows):
        raise DataError("The list of predictions has not a phenotype and a file in every line.")
    folder = path.rpartition("/")[0]
    listed = {}
    for name, own in rows:
        own = own.strip()
        if own.endswith(".gz"):
            raise DataError("The files of predictions are compressed: unpack them and their list.")
        bare = "/" not in own and folder
        listed[name] = f"{folder}/{own}" if bare else own
    return listed


def _lines_of(path: str) -> tuple[list[str], Lines]:
    """The people in a file of predictions, and its lines."""
    lines: dict[str, tuple[int, int]] = {}
    try:
        with fsspec.open(path, "rb") as file:
            first = file.readline()
            at, header = len(first), first.decode().split()
            for line in file:
                lines[line.split(maxsplit=1)[0].decode()] = (at, at + len(line))
                at += len(line)
    except FileNotFoundError:
        raise DataError("A file that the list of predictions names does not exist.") from None
    if header[:1] != ["FID_IID"] or any(row not in lines for row in ROWS):
        raise DataError(
            "A file of predictions is not as regenie writes it: FID_IID and a line for each of the "
            "chromosomes 1 to 23."
        )
    return header[1:], lines


def _columns_of(header: Sequence[str], samples: pd.Index) -> NDArray[np.int64]:
    """The columns of the samples, which stand in a header behind their family and a _."""
    known = set(samples)
    place: dict[str, int] = {}
    twice = False
    for number, name in enumerate(header):
        parts = name.split("_")
        for i in range(1, len(parts)):
            if (own := "_".join(parts[i:])) in known:
                twice |= own in place
                place[own] = number
    if twice:
        raise DataError("The files of predictions name a person of this study more than once.")
    if n := len(known) - len(place):
        raise DataError(f"{n} of the {len(known)} people analysed are in no file of predictions.")
    return np.array([place[sample] for sample in samples], np.int64)


def _numbers(line: str) -> NDArray[np.float64]:
    """The numbers of a line behind its first word, NaN where there is none."""
    return np.fromstring(line.partition(" ")[2].replace("NA", "nan"), sep=" ")
