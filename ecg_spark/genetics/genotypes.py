"""Genotypes from PLINK, BGEN, VCF or a Hail MatrixTable, all brought to one form.

The form: rows keyed by locus and (ref, alt) with `rsid`, columns keyed by the sample id `s`, and
one entry `n_alt`, the number of alternate (effect) alleles as a float: 0, 1, 2, a dosage in
between, or missing.
"""

from typing import Any

import hail as hl

from ecg_spark.errors import DataError
from ecg_spark.genetics.genotype_files import (
    check,
    exists,
    expand,
    format_of,
    is_bgzf,
    other_genome,
)

CALL_TOLERANCE = 0.1
"""A dosage this close to a whole number counts as a call, as in plink2."""

_CHROMOSOMES = (*map(str, range(1, 23)), "X", "Y", "MT")
_OTHER_NAMES = {"23": "X", "24": "Y", "25": "X", "26": "MT", "XY": "X", "M": "MT"}


def import_genotypes(
    path: str, reference_genome: str, scratch: str, min_partitions: int = 8
) -> hl.MatrixTable:
    """Read a genotype set as rows (locus, alleles, rsid), columns (s) and the entry `n_alt`.

    `path` is a .bed (its .bim and .fam beside it), a .bgen (its .sample beside it, where it has
    one), a .vcf, .vcf.gz or .vcf.bgz, or a Hail .mt; all but .mt may be a glob of several files,
    one a chromosome. Contigs may be named with or without chr. Multi-allelic variants are split,
    variants on contigs that the genome does not have are left out. `scratch` receives the
    index of a BGEN and a copy of a VCF, never the folder of the user's file.

    Raises `DataError` where the set is missing, is not of the format of its name, lies on another
    reference genome, names a sample twice or with white space.
    """
    path = path.rstrip("/")
    kind, files = format_of(path), expand(path)
    if kind != ".mt":
        lengths = contig_lengths(reference_genome)
        for file in files:
            check(file, kind, lengths, reference_genome)
    options: dict[str, Any] = {
        "reference_genome": reference_genome,
        "contig_recoding": contig_recoding(reference_genome),
        "skip_invalid_loci": True,
    }
    try:
        if kind == ".bed":
            genotypes = _read_plink(files, min_partitions, options)
        elif kind == ".bgen":
            genotypes = _read_bgen(files, min_partitions, options, scratch)
        elif kind == ".mt":
            genotypes = _read_matrix(files[0], reference_genome)
        else:
            genotypes = _read_vcf(files, min_partitions, options, scratch)
        samples = genotypes.s.collect()
    except (hl.utils.java.FatalError, hl.utils.HailUserError):
        # Hail's own text may name samples.
        raise DataError(
            f"The genotypes {path} cannot be read as {kind[1:]}: the set is damaged, its files do "
            f"not belong together, or its samples are not named once each."
        ) from None
    if len(set(samples)) < len(samples):
        raise DataError(
            f"The genotypes {path} name {len(samples) - len(set(samples))} samples more than once: "
            f"keep one of each."
        )
    if spaced := sum(any(sign.isspace() for sign in name) for name in samples):
        raise DataError(
            f"The genotypes {path} name {spaced} samples with white space, which the formats of "
            f"the field do not allow: rename them."
        )
    return genotypes


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


def contig_lengths(reference_genome: str) -> dict[str, int]:
    """Contig names found in files -> their length in bp on GRCh37 or GRCh38."""
    lengths = hl.get_reference(reference_genome).lengths
    named = {name: lengths[target] for name, target in contig_recoding(reference_genome).items()}
    return lengths | named


def contig_recoding(reference_genome: str) -> dict[str, str]:
    """Contig names found in files -> those of GRCh37 (22, MT) or GRCh38 (chr22, chrM)."""

    def named(chromosome: str) -> str:
        if reference_genome == "GRCh37":
            return chromosome
        return "chrM" if chromosome == "MT" else f"chr{chromosome}"

    aliases = {name: name for name in _CHROMOSOMES}
    aliases |= {f"0{digit}": str(digit) for digit in range(1, 10)} | _OTHER_NAMES
    aliases |= {f"chr{name}": target for name, target in aliases.items()}
    return {name: named(target) for name, target in aliases.items() if name != named(target)}


def _read_plink(files: list[str], min_partitions: int, options: dict[str, Any]) -> hl.MatrixTable:
    parts = []
    for bed in files:
        stem = bed.removesuffix(".bed")
        parts.append(
            hl.import_plink(
                bed, f"{stem}.bim", f"{stem}.fam", min_partitions=min_partitions, **options
            )
        )
    genotypes = parts[0] if len(parts) == 1 else hl.MatrixTable.union_rows(*parts)
    genotypes = genotypes.select_entries(n_alt=hl.float64(genotypes.GT.n_alt_alleles()))
    return genotypes.select_rows("rsid").select_cols()


def _read_bgen(
    files: list[str], min_partitions: int, options: dict[str, Any], scratch: str
) -> hl.MatrixTable:
    indexes = {file: f"{scratch}/bgen-{i:03d}.idx2" for i, file in enumerate(files)}
    try:
        hl.index_bgen(files, index_file_map=indexes, **options | {"skip_invalid_loci": False})
    except (hl.utils.java.FatalError, hl.utils.HailUserError) as error:
        if "osition" in str(error):
            raise other_genome(files[0], options["reference_genome"]) from None
        hl.index_bgen(files, index_file_map=indexes, **options)  # without contigs that are no such
    sample = files[0].removesuffix(".bgen") + ".sample"
    genotypes = hl.import_bgen(
        files,
        entry_fields=["dosage"],
        sample_file=sample if exists(sample) else None,
        n_partitions=min_partitions,
        index_file_map=indexes,
    )
    genotypes = genotypes.filter_rows(hl.len(genotypes.alleles) == 2)
    genotypes = genotypes.select_entries(n_alt=genotypes.dosage)
    return genotypes.select_rows("rsid").select_cols()


def _read_vcf(
    files: list[str], min_partitions: int, options: dict[str, Any], scratch: str
) -> hl.MatrixTable:
    genotypes = hl.import_vcf(
        files,
        # Plain gzip cannot be split: Hail reads such a file in one piece, and must be told to.
        force=any(file.endswith(".gz") and not is_bgzf(file) for file in files),
        force_bgz=all(file.endswith(".gz") and is_bgzf(file) for file in files),
        min_partitions=min_partitions,
        array_elements_required=False,
        **options,
    )
    # Text is slow to read; everything that follows reads this copy.
    return _split(genotypes, files[0]).checkpoint(f"{scratch}/vcf.mt", overwrite=True)


def _read_matrix(path: str, reference_genome: str) -> hl.MatrixTable:
    genotypes = hl.read_matrix_table(path)
    if "locus" not in genotypes.row or "s" not in genotypes.col:
        raise DataError(f"The MatrixTable {path} has no row field locus or no column field s.")
    found = getattr(genotypes.locus.dtype, "reference_genome", None)
    if found is None or found.name != reference_genome:
        raise DataError(
            f"The MatrixTable {path} lies on {found.name if found else 'no reference genome'}, not "
            f"on {reference_genome}: correct genotypes.reference_genome."
        )
    return _split(genotypes.key_cols_by("s"), path)


def _split(genotypes: hl.MatrixTable, path: str) -> hl.MatrixTable:
    """One row an alternate allele, with its dosage: DS where the set has one, else the call."""
    rsid = genotypes.rsid if "rsid" in genotypes.row else hl.missing(hl.tstr)
    genotypes = hl.split_multi(genotypes.select_rows(rsid=rsid).select_cols(), permit_shuffle=True)
    entry = genotypes.entry
    if "n_alt" in entry:
        n_alt = hl.float64(genotypes.n_alt)
    elif "DS" in entry and genotypes.DS.dtype in (hl.tfloat64, hl.tfloat32):
        n_alt = hl.float64(genotypes.DS)
    elif "DS" in entry and isinstance(genotypes.DS.dtype, hl.tarray):
        n_alt = hl.float64(genotypes.DS[genotypes.a_index - 1])
    elif "dosage" in entry:
        n_alt = hl.float64(genotypes.dosage)
    elif "GT" in entry:
        call = hl.downcode(genotypes.GT, genotypes.a_index)
        # A man has his X once; as in PLINK's files it counts as two alleles alike.
        n_alt = hl.float64(call.n_alt_alleles() * hl.if_else(call.ploidy == 1, 2, 1))
    else:
        raise DataError(f"The genotypes {path} hold neither calls (GT) nor dosages (DS).")
    return genotypes.select_entries(n_alt=n_alt).select_rows("rsid")
