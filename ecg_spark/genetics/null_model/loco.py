"""Predictions of phenotypes without each chromosome (LOCO), stored in REGENIE's format.

There is one file per phenotype: a header with the FID_IID of every person, then one line per
chromosome (1 to 22, and 23 for X) with the prediction from the rest of the genome. The unit is the
standard deviation of the phenotype after covariates. A list names the phenotypes and their files;
it is what `regenie --step 2 --pred` takes. So the files of a run can be given to REGENIE, and
REGENIE's own files can be used instead of them.
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
"""The lines of a file. The last is for X, and used for any contig that is not an autosome."""

Lines = Mapping[str, tuple[int, int]]
"""For each line of a file, its first byte and the byte after its last."""


@dataclass(frozen=True)
class Loco:
    """Predictions of every phenotype without each chromosome; small enough to be sent to every
    task.

    Attributes:
        files: the file of each phenotype.
        lines: where the lines of each file are.
        columns: the column of each sample in the files.
        samples: the sample ids.
        phenotypes: the names of the phenotypes.
        scales: for each phenotype, the unit of its predictions in units of the phenotype.
        contigs: the contigs in the model.
        r2: the share of each phenotype's variance that the whole genome predicts in people whose
            phenotype was not used; empty if the predictions were made elsewhere.
        unpredicted: the phenotypes for which nothing is predicted.
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
        """The same predictions with the same people in another order."""
        places = self.samples.get_indexer(samples)
        return replace(self, columns=self.columns[places], samples=samples)

    def without(self, contig: str) -> pd.DataFrame:
        """The predictions to be used in tests on `contig`, [samples, phenotypes], in units of the
        phenotypes.

        A contig that is not in the model gets the prediction from all contigs that are.
        """
        values = np.empty((len(self.samples), len(self.phenotypes)))
        for k, scale in enumerate(self.scales):
            values[:, k] = self._of(k, row_of(contig)) * scale
        return pd.DataFrame(values, self.samples, list(self.phenotypes))

    def kept(self, phenotype: int, left: NDArray[np.float32]) -> float:
        """The share of a phenotype's variance that remains once its predictions are subtracted,
        averaged over the autosomes.

        Args:
            phenotype: its number.
            left: its residuals after covariates [samples], with variance 1; 0 where missing.
        """
        known, whole = left != 0, float(left @ left)
        off = [(left - self._of(phenotype, row))[known] for row in AUTOSOMES]
        return float(np.mean([one @ one for one in off]) / whole)

    def _of(self, phenotype: int, row: str) -> NDArray[np.float64]:
        """One line of a phenotype's file, in the order of the samples."""
        files, name = fsspec.core.url_to_fs(self.files[phenotype])
        text = files.cat_file(name, *self.lines[phenotype][row]).decode()
        return np.asarray(_numbers(text)[self.columns])


def row_of(contig: str) -> str:
    """The line of a prediction file that applies to a contig.

    Example:
        >>> row_of("chr7"), row_of("chrX")
        ('7', '23')
    """
    chromosome = CONTIGS.get(contig, contig)
    return chromosome if chromosome in AUTOSOMES else ROWS[-1]


def write_loco(
    path: str, samples: Sequence[str], predictions: Mapping[str, NDArray[np.float32]]
) -> dict[str, tuple[int, int]]:
    """Write the predictions of one phenotype. The family id of everybody is 0, as in samples.fam.

    Args:
        predictions: for each line of `ROWS` the predictions [samples].

    Returns:
        Where each line begins and ends in the file, in bytes.
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
    """Write the list of phenotypes and their files, whose paths are relative to the list's
    folder.
    """
    with fsspec.open(path, "w") as file:
        file.writelines(f"{phenotype} {name}\n" for phenotype, name in files.items())


def save_loco(loco: Loco, folder: str) -> None:
    """Write `folder`/loco.json, which says where the predictions are and whose they are (see
    `load_loco`).

    Files within the folder are named relative to it, so that the folder can be moved.
    """
    told = asdict(loco) | {"columns": loco.columns.tolist()}
    del told["samples"]
    told["inside"] = all(file.startswith(f"{folder}/") for file in loco.files)
    if told["inside"]:
        told["files"] = [file.removeprefix(f"{folder}/") for file in loco.files]
    with fsspec.open(f"{folder}/loco.json", "w", encoding="utf-8") as file:
        json.dump(told, file)


def load_loco(folder: str, samples: pd.Index) -> Loco:
    """Read the description that `save_loco` wrote.

    Args:
        samples: the same samples as then, in the same order.

    Raises:
        ValueError: if their number differs.
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
    """Use the predictions of a REGENIE run.

    Args:
        path: the list that regenie's step 1 wrote. A file that it names without a folder lies
            beside it.
        phenotypes: [samples, p] as they are tested; NaN where missing.
        covariates: of the samples, without missing values and without the intercept.

    Raises:
        DataError: if a phenotype, a chromosome or a person with a phenotype has no prediction, if
            two files have different people, or if a file is compressed.
    """
    listed = prediction_files(path)
    names = list(map(str, phenotypes.columns))
    if lacking := [name for name in names if name not in listed]:
        raise DataError(
            f"The list of predictions has no file for {len(lacking)} of {len(names)} phenotypes, "
            f"{', '.join(lacking[:5])} among them: run regenie's step 1 on those of this study."
        )
    files = tuple(listed[name] for name in names)
    found = [_lines_of(file) for file in files]
    header = found[0][0]
    if any(other != header for other, _ in found):
        raise DataError(
            "The files of predictions have different people: take those of one run of regenie."
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
    """For each phenotype, the share of the variance after covariates that remains once the
    predictions are subtracted (see `Loco.kept`).

    Args:
        phenotypes: [samples, p] as in `take_loco`.
        covariates: as in `take_loco`.
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
    """The prediction file of each phenotype, as the list at `path` names them.

    Raises:
        DataError: if the list does not exist, has a line that is not a phenotype and a file, or
            names compressed files.
    """
    try:
        with fsspec.open(path, "r") as file:
            rows = [line.split(maxsplit=1) for line in file if line.strip()]
    except FileNotFoundError:
        raise DataError(
            "The list of predictions does not exist: correct gwas.predictions."
        ) from None
    if not rows or any(len(row) != 2 for row in rows):
        raise DataError("The list of predictions must have a phenotype and a file on every line.")
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
    """The people in a prediction file, and where its lines are."""
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
    """The columns of the samples in a header of names such as FID_IID, where both may contain
    a `_`.
    """
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
    """The numbers of a line after its first word; NaN for NA."""
    return np.fromstring(line.partition(" ")[2].replace("NA", "nan"), sep=" ")
