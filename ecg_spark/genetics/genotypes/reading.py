"""Genotypes from PLINK, BGEN, VCF or a Hail MatrixTable, all brought to one form.

The form: rows keyed by locus and (ref, alt) with `rsid`, columns keyed by the sample id `s`, and
one entry `n_alt`, the number of alternate (effect) alleles as a float: 0, 1, 2, a dosage in
between, or missing. A person with one allele is on the same scale, 0 or 2.
"""

import gzip
import re
import struct
import zlib
from collections import Counter
from functools import partial

import fsspec
import hail as hl
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession

from ecg_spark.errors import DataError
from ecg_spark.genetics.genotypes.contigs import (
    BEYOND,
    REASONS,
    Genome,
    chromosome_of,
    declared_contigs,
    genome,
)
from ecg_spark.genetics.genotypes.decoding import decoded
from ecg_spark.genetics.genotypes.files import (
    bcf_as_vcf,
    check,
    expand,
    file_of,
    format_of,
    new_file,
    side_by_side,
    stem_of,
)
from ecg_spark.genetics.genotypes.plink import bim_sites
from ecg_spark.genetics.genotypes.samples import (
    Columns,
    matched,
    places_in,
    read_bgen_ids,
    read_fam,
    read_psam_beside,
    read_vcf_ids,
    require_names,
)
from ecg_spark.genetics.genotypes.vcf import checked, read_vcf, split, survey
from ecg_spark.store import remove_folder

CALL_TOLERANCE = 0.1
"""A dosage this close to a whole number counts as a call, as in plink2."""

_UNREADABLE = (
    hl.utils.java.FatalError, hl.utils.HailUserError, PySparkException, Py4JJavaError,
    ValueError, LookupError, RuntimeError, EOFError, struct.error, zlib.error, gzip.BadGzipFile,
)  # fmt: skip
"""What Hail, Spark and the readers raise at a file that is not what it should be."""

_LEFT_OUT = "left_out"  # no contig, so that Hail skips the row


def import_genotypes(
    path: str,
    reference_genome: str,
    scratch: str,
    min_partitions: int = 8,
    sample: str | None = None,
) -> hl.MatrixTable:
    """Read a genotype set as rows (locus, alleles, rsid), columns (s) and the entry `n_alt`.

    `path` is a .bed (its .bim and .fam beside it), a .bgen (its .sample beside it, or `sample`, or
    ids in it), a .pgen (with .pvar and .psam), a .vcf, .vcf.gz, .vcf.bgz or .bcf, or a Hail .mt, or
    a glob of several, one a chromosome. Their samples are matched by id; the first file gives the
    order. Variants with several alternate alleles are split in VCF and MatrixTable, and left out of
    the others. The global `left_out` counts by reason the variants that are not read. `scratch`
    receives copies, never the folder of the user's file.

    Raises `DataError` where the set is missing, is not of the format of its name, lies on another
    reference genome, names a sample twice or with white space, or where its files have different
    samples.
    """
    path = path.rstrip("/")
    kind, files = format_of(path), expand(path)
    spark = SparkSession.builder.getOrCreate()
    known = genome(reference_genome)
    if kind != ".mt":
        check(files, kind)
    try:
        if kind == ".bcf":
            kind, files = ".vcf.gz", bcf_as_vcf(spark, files, scratch)
        if kind == ".mt":
            genotypes, left_out = _read_matrices(files, known, scratch)
        elif kind == ".bed":
            columns = matched(spark, files, lambda file: read_fam(f"{stem_of(file)}.fam"))
            genotypes, left_out = _read_plink(files, columns, known, scratch, min_partitions)
        elif kind in (".bgen", ".pgen"):
            read = partial(read_bgen_ids, sample=sample) if kind == ".bgen" else read_psam_beside
            columns = matched(spark, files, read)
            frame, left_out = decoded(spark, kind, files, columns, known, scratch, min_partitions)
            genotypes = _from_blocks(frame, columns, known, scratch)
        else:
            columns = matched(spark, files, read_vcf_ids)
            _require_build(files, known)
            genotypes, left_out = read_vcf(files, columns, known, scratch, min_partitions)
    except _UNREADABLE as error:
        if "No space left on device" in str(error):
            raise
        # What a task refused is in the text; the rest of it may name samples.
        told = re.search(r"DataError: (.+)", str(error))
        raise DataError(
            told[1]
            if told
            else f"The genotypes (genotypes.path) cannot be read as {kind[1:]}: the set is "
            f"damaged, or its files do not belong together."
        ) from None
    counts = hl.literal(left_out, hl.tdict(hl.tstr, hl.tint64))
    return genotypes.select_globals(left_out=counts)


def write_packed(genotypes: hl.MatrixTable, stem: str) -> None:
    """Write the calls as `stem`.bed, .bim and .fam, in the order of rows and columns."""
    code = called(genotypes.n_alt)
    calls = genotypes.select_entries(GT=hl.unphased_diploid_gt_index_call(code))
    hl.export_plink(
        calls,
        stem,
        fam_id="0",
        ind_id=calls.s,
        varid=hl.or_else(calls.rsid, ".").replace(r"\s+", "_"),
    )


def called(n_alt: hl.Float64Expression) -> hl.Int32Expression:
    """The hard call behind a dosage: 0, 1 or 2; missing where the dosage is far from all three."""
    nearest = hl.int32(hl.floor(n_alt + 0.5))
    return hl.or_missing(hl.abs(n_alt - nearest) <= CALL_TOLERANCE, nearest)


def _from_blocks(frame: DataFrame, columns: Columns, known: Genome, scratch: str) -> hl.MatrixTable:
    """Variants in the order of the genome with their dosages, as Hail has them."""
    # Decoded once: what follows reads the keys, to find them in order, and then the rows.
    decoded_once = f"{scratch}/blocks.ht"
    table = hl.Table.from_spark(frame).checkpoint(decoded_once, overwrite=True)
    table = table.select(
        "rsid",
        locus=hl.locus(table.contig, table.position, known.name),
        alleles=table.alleles,
        entries=table.n_alt.map(lambda x: hl.struct(n_alt=hl.or_missing(~hl.is_nan(x), x))),
    )
    table = table.key_by("locus", "alleles")
    people = hl.literal([{"s": name} for name in columns.names], "array<struct{s: str}>")
    table = table.annotate_globals(columns=people)
    genotypes = table._unlocalize_entries("entries", "columns", ["s"])
    genotypes = genotypes.checkpoint(f"{scratch}/blocks.mt", overwrite=True)
    remove_folder(decoded_once)
    return genotypes


def _require_build(files: list[str], known: Genome) -> None:
    """Refuse VCFs whose headers declare contigs of another build."""

    def count(file: str) -> int:
        return sum(known.other_length(*one) for one in declared_contigs(file))

    if wrong := max(side_by_side(count, files)):
        raise known.other_build(wrong, "contigs whose length is not the chromosome's")


def _read_plink(
    files: list[str], columns: Columns, known: Genome, scratch: str, min_partitions: int
) -> tuple[hl.MatrixTable, dict[str, int]]:
    """PLINK sets, through copies of their .bim and .fam that hold what is used, as Hail wants it:
    it refuses a set for columns that nobody uses."""
    counts = dict.fromkeys(REASONS, 0)
    parts = []
    for number, (bed, place) in enumerate(zip(files, columns.places, strict=True)):
        stem = f"{scratch}/plink-{number:05d}"
        n_variants = 0
        with new_file(f"{stem}.bim") as file:
            for _, _, contig, position, alleles, rsid in bim_sites(f"{stem_of(bed)}.bim"):
                n_variants += 1
                if reason := known.judge(contig, position, len(alleles)):
                    counts[reason] += 1
                    contig, position = _LEFT_OUT, 1
                else:
                    contig = known.contigs[chromosome_of(contig) or ""]
                row = (contig, rsid or ".", 0, position, ",".join(alleles[1:]), alleles[0])
                file.write("\t".join(map(str, row)) + "\n")
        if counts[BEYOND]:
            raise known.other_build(counts[BEYOND], f"positions {BEYOND}")
        _require_size(bed, n_variants, len(columns.names), file_of(number + 1, len(files)))
        names = read_fam(f"{stem_of(bed)}.fam")
        with new_file(f"{stem}.fam") as file:
            file.writelines(f"0\t{name}\t0\t0\t0\t-9\n" for name in names)
        part = hl.import_plink(
            bed,
            f"{stem}.bim",
            f"{stem}.fam",
            min_partitions=min_partitions,
            reference_genome=known.name,
            skip_invalid_loci=True,
        )
        parts.append(part if place is None else part.choose_cols(place.tolist()))
    genotypes = parts[0] if len(parts) == 1 else hl.MatrixTable.union_rows(*parts)
    genotypes = genotypes.select_entries(n_alt=hl.float64(genotypes.GT.n_alt_alleles()))
    return _rsids(genotypes), {reason: n for reason, n in counts.items() if n}


def _require_size(bed: str, variants: int, samples: int, name: str) -> None:
    files, place = fsspec.core.url_to_fs(bed)
    if files.size(place) != 3 + variants * -(-samples // 4):
        raise DataError(
            f"{name} cannot be read as bed: its size is not that of the {variants} variants of its "
            f".bim and the {samples} people of its .fam; copy the three files again."
        )


def _read_matrices(
    files: list[str], known: Genome, scratch: str
) -> tuple[hl.MatrixTable, dict[str, int]]:
    parts: list[hl.MatrixTable] = []
    names: list[str] = []
    counts: Counter[str] = Counter()
    for number, path in enumerate(files, 1):
        name = file_of(number, len(files))
        genotypes = hl.read_matrix_table(path)
        if "locus" not in genotypes.row or "s" not in genotypes.col:
            raise DataError(f"{name}, a MatrixTable, has no row field locus or no column field s.")
        found = getattr(genotypes.locus.dtype, "reference_genome", None)
        if found is None or found.name != known.name:
            raise DataError(
                f"{name}, a MatrixTable, lies on {found.name if found else 'no reference genome'}, "
                f"not on {known.name}: correct genotypes.reference_genome."
            )
        genotypes = genotypes.key_cols_by(s=hl.str(genotypes.s))
        own = genotypes.s.collect()
        require_names(own, number, len(files))
        counts.update(survey(genotypes.rows(), known)[1])
        copy = f"{scratch}/matrix-{number:05d}.mt"
        genotypes = checked(split(genotypes, known).checkpoint(copy, overwrite=True))
        names = names or own
        place = places_in(names, own, number, len(files))
        parts.append(genotypes if place is None else genotypes.choose_cols(place.tolist()))
    return parts[0] if len(parts) == 1 else hl.MatrixTable.union_rows(*parts), dict(counts)


def _rsids(genotypes: hl.MatrixTable) -> hl.MatrixTable:
    """Without the other fields of rows and columns."""
    return genotypes.select_rows(
        rsid=hl.or_missing(genotypes.rsid != ".", genotypes.rsid)
    ).select_cols()
