"""Which variants belong to which gene and mask: the user's files, matched to the genotype set.

Accepted is either one table with a header (contig, position, ref, alt, gene, and optionally
consequence and weight), or the files that REGENIE takes, unchanged: `--anno-file` (variant, gene,
annotation, with or without a domain before it), `--set-list` (gene, chromosome, position,
variants) and `--mask-def` (mask, annotations). Files are read piece by piece, because an exome has
ten million variants.
"""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import IO

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from ecg_spark.errors import DataError
from ecg_spark.genetics.genotypes.contigs import chromosome_of, contig_of
from ecg_spark.genetics.genotypes.parts import GenotypeSet
from ecg_spark.genetics.genotypes.site_rows import site_rows
from ecg_spark.store import make_folder
from ecg_spark.study import Rare
from ecg_spark.tables import VARIANT
from ecg_spark.text_tables import MISSING, read_head, read_piece, rows_of

ALL = "all"
"""The name of the only mask if the study defines none."""

_ROWS = 500_000
_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string()),  # as the set names it, where the file does
        pa.field("contig", pa.string()),
        pa.field("position", pa.int32()),
        pa.field("ref", pa.string()),
        pa.field("alt", pa.string()),
        pa.field("gene", pa.string()),
        pa.field("consequence", pa.string()),
        pa.field("weight", pa.float64()),
    ]
)
_PLACE = re.compile(r"^(?:chr)?(\w+)[:_](\d+)[:_]([ACGTN]+)[:_]([ACGTN]+)$", re.IGNORECASE)
_MISSING = MISSING | {".", "None"}
_TABLE = "gene table (gwas.rare.genes)"
_OTHER_STRAND = ("ACGTN", "TGCAN")
_COMPLEMENT = str.maketrans(*_OTHER_STRAND)


def masks_of(rare: Rare) -> Mapping[str, frozenset[str] | None]:
    """The consequences that each mask includes; None if it includes every variant of a gene.

    Raises:
        DataError: if the file of masks cannot be used.
    """
    if rare.masks is None:
        return {ALL: None}
    if not isinstance(rare.masks, str):
        return {name: frozenset(own) for name, own in rare.masks.items()}
    found: dict[str, frozenset[str]] = {}
    with _opened(rare.masks, "masks") as file:
        for line in file:
            cells = line.split()
            if not cells:
                continue
            if len(cells) != 2 or cells[0] in found:
                raise DataError(
                    "Each line of gwas.rare.masks must be the name of a mask, once, and its "
                    "consequences, separated by commas (REGENIE's --mask-def): correct it."
                )
            found[cells[0]] = frozenset(filter(None, cells[1].split(",")))
    if not found:
        raise DataError("The file of gwas.rare.masks is empty: name a mask on each line.")
    return found


def check_gene_files(rare: Rare, build: str) -> None:
    """Read the beginning of each file, to refuse bad ones early.

    Raises:
        DataError: if one of them cannot be used.
    """
    masks_of(rare)
    piece = next(_pieces(rare.genes, build, rows=1_000))
    if rare.sets is not None:
        next(_members(rare.sets, rows=10))
        if piece["id"].isna().all():
            raise DataError(
                "gwas.rare.sets lists variants by id, and the gene table (gwas.rare.genes) names "
                "them by place: take out gwas.rare.sets, or give REGENIE's --anno-file."
            )


def copy_gene_files(rare: Rare, build: str, folder: str) -> int:
    """Copy the gene table and the sets as Parquet into `folder`/annotation and `folder`/sets.

    Returns:
        The number of rows of the gene table.

    Raises:
        DataError: if a file cannot be read, or holds no variant of a gene.
    """
    n = _written(_pieces(rare.genes, build), f"{folder}/annotation")
    if rare.sets is not None:
        _written(_members(rare.sets), f"{folder}/sets")
    return n


def matched_genes(
    spark: SparkSession, genotypes: GenotypeSet, rare: Rare, folder: str, n_rows: int
) -> tuple[DataFrame, list[str]]:
    """Match the rows of the gene table to the variants of the set.

    A variant is found by the id that the set has for it, or by position and alleles: as written,
    with the alleles swapped, on the other strand, or both. Swapping is harmless, since the tests
    count the rarer allele, whichever is called the reference. A and T (or C and G) are each
    other's complements, so for these a swap and a change of strand are the same. An id that
    several variants share matches none.

    Args:
        folder: where `copy_gene_files` wrote.
        n_rows: the number of rows it returned, for messages.

    Returns:
        One row per variant and gene: part, row, `VARIANT`, gene, masks (an array of names) and
        weight (NaN where none is given); and notes.

    Raises:
        DataError: if none of the variants is in the set, or none of those is in a mask.
    """
    rows = spark.read.parquet(f"{folder}/annotation")
    if rare.sets is not None:
        rows = rows.join(spark.read.parquet(f"{folder}/sets"), ["id", "gene"], "left_semi")
    sites = site_rows(spark, genotypes, [*VARIANT, "rsid"])
    found = _by_id(rows, sites).unionByName(_by_place(rows, sites))
    first = F.min_by(F.struct("part", "row", *VARIANT), "way").alias("site")
    own = ["id", *(f"named_{key}" for key in VARIANT), "gene", "consequence", "weight"]
    matched = found.groupBy(*own).agg(first, F.min("way").alias("way")).localCheckpoint()
    ways = {row["way"]: row["count"] for row in matched.groupBy("way").count().collect()}
    if not ways:
        raise DataError(
            f"Not one of the {n_rows} variants of gwas.rare.genes is among the genotypes: compare "
            f"their build, ids and alleles, and correct gwas.rare."
        )
    counts = ", ".join(f"{ways[way]} {said}" for way, said in enumerate(_WAYS) if way in ways)
    notes = [
        f"{sum(ways.values())} of the {n_rows} rows of the gene table are variants of the "
        f"genotype set: {counts}"
    ]
    masks = masks_of(rare)
    named = [_in_mask(name, own) for name, own in masks.items()]
    matched = matched.withColumn("mask", F.explode(F.array_compact(F.array(*named))))
    chosen = matched.groupBy("site", "gene").agg(
        F.collect_set("mask").alias("masks"), F.max("weight").alias("weight")
    )
    chosen = chosen.select(
        "site.*", "gene", "masks", F.coalesce("weight", F.lit(np.nan)).alias("weight")
    )
    members = {
        row["mask"]: row["count"]
        for row in matched.select("site", "gene", "mask")
        .distinct()
        .groupBy("mask")
        .count()
        .collect()
    }
    empty = [name for name in masks if name not in members]
    if not members:
        raise DataError(
            "No variant of the gene table that is among the genotypes has a consequence of a mask: "
            "compare gwas.rare.masks with the consequences of gwas.rare.genes."
        )
    if empty:
        notes.append(f"no variant of the genotype set is in the mask {', '.join(empty)}")
    return chosen, notes


def read_consequences(
    path: str, build: str, within: Sequence[tuple[str, int, int]]
) -> pd.DataFrame | None:
    """The rows of a gene table that lie in the given stretches of the genome.

    Rows without a consequence or a position are left out.

    Args:
        within: contig, start and end of each stretch, both ends included.

    Returns:
        contig, position, ref, alt, gene and consequence; None if no row of the whole table has a
        consequence.

    Raises:
        DataError: if the table cannot be read.
    """
    kept, any_told = [], False
    for piece in _pieces(path, build):
        piece = piece.dropna(subset=["consequence", "position"])
        any_told |= len(piece) > 0
        here = np.zeros(len(piece), bool)
        for contig, start, end in within:
            here |= ((piece["contig"] == contig) & piece["position"].between(start, end)).to_numpy(
                bool
            )
        kept.append(piece.loc[here, [*VARIANT, "gene", "consequence"]])
    return pd.concat(kept).astype({"position": int}) if any_told else None


def consequences_of(sites: pd.DataFrame, table: pd.DataFrame) -> list[list[tuple[str, str]]]:
    """The pairs of gene and consequence that a table gives for each variant, whichever way it
    writes the alleles.
    """
    found: list[list[tuple[str, str]]] = [[] for _ in range(len(sites))]
    place = {tuple(one): k for k, one in enumerate(sites[VARIANT].to_numpy().tolist())}
    for contig, position, ref, alt, gene, consequence in table[
        [*VARIANT, "gene", "consequence"]
    ].itertuples(index=False, name=None):
        for one, other in _alleles(ref, alt):
            own = place.get((contig, position, one, other))
            if own is not None and (gene, consequence) not in found[own]:
                found[own].append((gene, consequence))
    return found


def _alleles(ref: str, alt: str) -> list[tuple[str, str]]:
    """The ways in which the alleles of a variant may be written, in the order of `_WAYS`."""
    other_ref, other_alt = (one.translate(_COMPLEMENT)[::-1] for one in (ref, alt))
    return [(ref, alt), (alt, ref), (other_ref, other_alt), (other_alt, other_ref)]


_WAYS = (
    "by id", "as written", "with the alleles the other way round", "on the other strand",
    "on the other strand and the other way round",
)  # fmt: skip


def _by_id(rows: DataFrame, sites: DataFrame) -> DataFrame:
    once = sites.groupBy("rsid").agg(
        F.count("*").alias("sites"), F.first(F.struct("part", "row", *VARIANT)).alias("site")
    )
    once = once.where("sites = 1 AND rsid IS NOT NULL").select(F.col("rsid").alias("id"), "site.*")
    return _named(rows).join(once, "id").withColumn("way", F.lit(0))


def _by_place(rows: DataFrame, sites: DataFrame) -> DataFrame:
    """Match variants by position and alleles, in each of the ways that alleles may be written."""

    def turned(allele: str) -> Column:
        return F.reverse(F.translate(F.upper(allele), *_OTHER_STRAND))

    named = _named(rows).where("named_position IS NOT NULL")
    ref, alt = F.upper("named_ref"), F.upper("named_alt")
    other_ref, other_alt = turned("named_ref"), turned("named_alt")
    pairs = [(ref, alt), (alt, ref), (other_ref, other_alt), (other_alt, other_ref)]
    ways = F.array(
        *(F.struct(F.lit(way).alias("way"), one.alias("ref"), other.alias("alt"))
          for way, (one, other) in enumerate(pairs, 1))
    )  # fmt: skip
    asked = named.withColumn("as", F.explode(ways)).select(
        "*",
        "as.*",
        F.col("named_contig").alias("contig"),
        F.col("named_position").alias("position"),
    )
    return asked.drop("as").join(sites.drop("rsid"), VARIANT)


def _named(rows: DataFrame) -> DataFrame:
    return rows.withColumnsRenamed({key: f"named_{key}" for key in VARIANT})


def _in_mask(name: str, consequences: frozenset[str] | None) -> Column:
    """The name of a mask where a row is in it, else null."""
    if consequences is None:
        return F.lit(name)
    return F.when(F.col("consequence").isin(*consequences), F.lit(name))


def _pieces(path: str, build: str, rows: int = _ROWS) -> Iterator[pd.DataFrame]:
    """The gene table in the columns of `_SCHEMA`, this many rows at a time."""
    for piece in _raw_pieces(path, rows):
        if "id" in piece:
            places = piece["id"].str.extract(_PLACE)
            piece = piece.assign(**dict(zip(VARIANT, (places[i] for i in range(4)), strict=True)))
        known = {name: _contig(build, name) for name in piece["contig"].dropna().unique()}
        numbers = pd.to_numeric(piece["position"], errors="coerce")
        piece = piece.assign(
            contig=piece["contig"].map(known),
            position=numbers.astype("Int32"),
            weight=pd.to_numeric(piece.get("weight"), errors="coerce")
            if "weight" in piece
            else np.nan,
        )
        named = piece["position"].notna() if "id" not in piece else piece["id"].notna()
        yield piece[named & piece["gene"].notna()].reindex(columns=_SCHEMA.names)


def _contig(build: str, name: str) -> str:
    """The reference genome's name of a contig; an unknown contig keeps its name."""
    chromosome = chromosome_of(name)
    return name if chromosome is None else contig_of(build, chromosome)


def _raw_pieces(path: str, rows: int) -> Iterator[pd.DataFrame]:
    """The gene table as text, in the columns that the file has."""
    head = read_head(path, _TABLE)
    names, delimiter, width = head.names, head.delimiter, len(head.line.split())
    has_names = "gene" in names
    if has_names or head.pieces:
        _require([*VARIANT, "gene"], names)
    elif 3 <= width <= 4:
        names, delimiter = ["id", "gene", *["domain"] * (width - 3), "consequence"], " "
    else:
        raise DataError(
            "The gene table (gwas.rare.genes) begins neither with the names of its columns "
            "(contig, position, ref, alt, gene) nor with a variant, a gene and an annotation, "
            "as REGENIE's --anno-file does: correct it."
        )
    for place, group in head.pieces:
        yield _known(read_piece(place, group, list(head.columns)).set_axis(names, axis=1))
    if head.pieces:
        return
    with _opened(path, "genes") as file:
        lines = itertools.islice((line.rstrip("\r\n") for line in file), int(has_names), None)
        while piece := list(itertools.islice(lines, rows)):
            cells = rows_of(piece, delimiter)
            if any(len(row) != len(names) for row in cells):
                raise DataError(
                    f"The gene table (gwas.rare.genes) has rows of other than {len(names)} "
                    f"columns: correct it."
                )
            yield _known(pd.DataFrame(cells, columns=names, dtype=object))


def _known(piece: pd.DataFrame) -> pd.DataFrame:
    return piece.astype("string").replace(list(_MISSING), pd.NA)


def _members(path: str, rows: int = _ROWS) -> Iterator[pd.DataFrame]:
    """The variants of each gene of a list of sets, as columns id and gene."""
    with _opened(path, "sets") as file:
        pairs = ((name, cells[0]) for cells in _sets(file) for name in cells[3].split(",") if name)
        while piece := list(itertools.islice(pairs, rows)):
            yield pd.DataFrame(piece, columns=["id", "gene"], dtype="string")


def _sets(file: IO[str]) -> Iterator[list[str]]:
    for line in file:
        cells = line.split()
        if cells and len(cells) != 4:
            raise DataError(
                "Each line of gwas.rare.sets must be a gene, its chromosome, its position, and its "
                "variants separated by commas (REGENIE's --set-list): correct it."
            )
        if cells:
            yield cells


def _require(needed: list[str], names: list[str]) -> None:
    missing = [name for name in needed if name not in names]
    if missing:
        raise DataError(
            f"The gene table (gwas.rare.genes) has no column {', '.join(missing)}: add it."
        )


def _opened(path: str, key: str) -> IO[str]:
    """Open a text file, decompressed according to the end of its name."""
    try:
        opened = fsspec.open(path, "rt", compression="infer", encoding="utf-8-sig")
        return opened.open()  # type: ignore[no-any-return]
    except (OSError, ValueError) as error:
        raise DataError(
            f"The file of gwas.rare.{key} cannot be read ({type(error).__name__}): correct its "
            f"path."
        ) from None


def _written(pieces: Iterator[pd.DataFrame], folder: str) -> int:
    fs, base = fsspec.core.url_to_fs(folder)
    make_folder(folder)
    n = 0
    for number, piece in enumerate(pieces):
        schema = pa.schema([_SCHEMA.field(name) for name in piece.columns])
        table = pa.Table.from_pandas(piece, schema, preserve_index=False)
        n += len(table)
        if len(table) or not number:
            with fs.open(f"{base}/part-{number}.parquet", "wb") as file:
                pq.write_table(table, file)
    if not n:
        raise DataError("No row of gwas.rare is a variant of a gene: correct its files.")
    return n
