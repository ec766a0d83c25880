"""What is known about a locus: the nearest gene, and whether it has been published."""

import re

import numpy as np
import pandas as pd

from ecg_spark.errors import DataError
from ecg_spark.genetics.genotypes.contigs import chromosome_of
from ecg_spark.text_tables import read_text_table

_CATALOG = {"Chr_id": "contig", "CHR_ID": "contig", "Chr_pos": "position", "CHR_POS": "position"}


def read_gene_positions(path: str) -> pd.DataFrame:
    """Read the genes of a GTF file (.gtf, .gtf.gz).

    Contigs may be named 1, chr1 or by RefSeq accession (NC_000001).

    Returns:
        contig (bare: 1 … 22, X, Y, MT), start and end in bp, gene, and `is_coding`: whether its
        gene_biotype or gene_type is protein_coding, or it has neither.

    Raises:
        DataError: if the file cannot be read or holds no gene.
    """
    try:
        table = pd.read_csv(
            path, sep="\t", comment="#", header=None, usecols=[0, 2, 3, 4, 8], dtype=str,
            names=list("abcdefghi"),
        )  # fmt: skip
    except (OSError, ValueError) as error:
        raise DataError(
            f"The genes {path} cannot be read as GTF ({type(error).__name__}): correct gwas.genes."
        ) from None
    table = table[table["c"] == "gene"]
    names = table["i"].str.extract(r'(?:gene_name|gene|gene_id) "([^"]+)"')[0]
    kinds = table["i"].str.extract(r'gene_(?:bio)?type "([^"]+)"')[0]
    starts, ends = (pd.to_numeric(table[key], errors="coerce") for key in "de")
    genes = pd.DataFrame(
        {
            "contig": table["a"].map(_bare),
            "start": starts,
            "end": ends,
            "gene": names,
            "is_coding": kinds.fillna("protein_coding") == "protein_coding",
        }
    ).dropna()
    if genes.empty:
        raise DataError(f"The genes {path} hold no line of a gene: correct gwas.genes.")
    return genes.astype({"start": int, "end": int}).reset_index(drop=True)


def read_published(path: str) -> pd.DataFrame:
    """Read published loci, from a table of the GWAS Catalog or any other.

    The columns are contig and position, or the Catalog's Chr_id and Chr_pos. Rows without a
    position are left out.

    Returns:
        contig (bare: 1 … 22, X, Y, MT) and position.

    Raises:
        DataError: if the table cannot be read or lacks a column.
    """
    table = read_text_table(path, "table of published loci").rename(columns=_CATALOG)
    if missing := [name for name in ("contig", "position") if name not in table.columns]:
        raise DataError(
            f"The table of published loci {path} has no column {', '.join(missing)} "
            f"(or the GWAS Catalog's Chr_id, Chr_pos): correct gwas.published."
        )
    position = pd.to_numeric(table["position"], errors="coerce")
    known = table.assign(position=position)[["contig", "position"]].dropna()
    known["contig"] = known["contig"].map(_bare)
    return known.dropna().astype({"position": int}).reset_index(drop=True)


def nearest_gene(genes: pd.DataFrame, contig: str, position: int) -> tuple[str, int] | None:
    """The gene nearest to a position, and its distance in bp (0 within the gene); None if the
    contig has none.

    Example:
        >>> genes = pd.DataFrame({"contig": ["3"], "start": [100], "end": [200], "gene": ["SCN5A"]})
        >>> nearest_gene(genes, "chr3", 250)
        ('SCN5A', 50)
    """
    own = genes[genes["contig"] == chromosome_of(contig)]
    if own.empty:
        return None
    before, after = own["start"].to_numpy() - position, position - own["end"].to_numpy()
    distance = np.maximum(np.maximum(before, after), 0)
    # Of several genes that contain the position, the shortest is the most specific.
    best = np.lexsort([(own["end"] - own["start"]).to_numpy(), distance])[0]
    return str(own["gene"].iloc[best]), int(distance[best])


def genes_within(genes: pd.DataFrame, contig: str, start: int, end: int) -> pd.DataFrame:
    """The genes that overlap a stretch, with `contig` named as given."""
    own = genes[genes["contig"] == chromosome_of(contig)]
    return own[(own["end"] >= start) & (own["start"] <= end)].assign(contig=contig)


def is_published(known: pd.DataFrame, contig: str, start: int, end: int, window_bp: int) -> bool:
    """Whether a published position lies within `window_bp` of a locus.

    Example:
        >>> known = pd.DataFrame({"contig": ["3"], "position": [38_600_000]})
        >>> is_published(known, "chr3", 38_700_000, 38_800_000, 500_000)
        True
    """
    own = known.loc[known["contig"] == chromosome_of(contig), "position"]
    return bool(own.between(start - window_bp, end + window_bp).any())


def _bare(contig: str) -> str | None:
    """The chromosome that a contig's name stands for, or None."""
    refseq = re.match(r"NC_0+(\d+)\.", contig)
    return chromosome_of(refseq[1] if refseq else contig)
