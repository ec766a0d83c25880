"""VCF imported through Hail, and the dosage of a call from whichever fields a VCF or MatrixTable
has.

The dosage of a call is its DS if it has one, else it comes from GP, HDS or GT, decided call by
call. A person with a single allele (a man on X outside the pseudo-autosomal regions) is on the
scale 0 or 2, as in PLINK and plink2.
"""

from collections.abc import Mapping

import hail as hl
import numpy as np
from numpy.typing import NDArray

from ecg_spark.errors import DataError
from ecg_spark.genetics.genotypes.contigs import (
    BEYOND,
    NO_ALTERNATE,
    UNKNOWN_CONTIG,
    UNKNOWN_POSITION,
    Genome,
    chromosome_of,
)
from ecg_spark.genetics.genotypes.files import is_bgzf, new_file, side_by_side
from ecg_spark.genetics.genotypes.rows import NO_DOSAGE, SCALE
from ecg_spark.genetics.genotypes.samples import Columns

_COLUMNS = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT"
_FIELDS = ("DS", "GP", "HDS")
NOT_A_NUMBER = (r"(?i)(?<=[:,\t])[-+]?(nan|inf|infinity)(?=[:,\t]|$)", ".")
"""Values that Hail refuses and that mean a missing value. Replacing them takes time, so it is
only done for a set in which Hail finds one."""

_SLACK = 0.01
"""Tolerance for the rounding of a dosage or of a genotype probability."""

FAULTS = {
    "n_unequal": "do not have one value for each alternate allele, so that it is unknown which "
    "allele they count: write DS with Number=A, or one alternate allele per line (bcftools norm -m "
    "-)",
    "n_wild": "have dosages below 0 or above the number of alleles, or probabilities that do not "
    "add up to 1: correct them",
    "n_unclear": "have a DS on X outside the pseudo-autosomal regions without GT, HDS or GP, so "
    "that it is unknown whether it counts to 1 or to 2: write GT beside it",
    "n_beyond": "have a GT with an allele that the variant does not have: correct GT or ALT",
}
"""For each count of faulty calls, what is wrong with them and what to do."""


def read_vcf(
    files: list[str],
    columns: Columns,
    genome: Genome,
    scratch: str,
    min_partitions: int,
    replace: tuple[str, str] | None = None,
) -> tuple[list[hl.Table], dict[str, int]]:
    """Read VCF files as tables of `split`, with the samples in the order of the set.

    Args:
        columns: the samples, and their columns in each file.
        scratch: a folder for the header that Hail is given.
        replace: a regular expression to be replaced in each row, and its replacement.

    Returns:
        The tables, and the number of sites left out, by reason.

    Raises:
        DataError: as `survey` and `split` do.
    """
    # Files with the same order of samples are imported together.
    groups: dict[bytes, list[int]] = {}
    for number, place in enumerate(columns.places):
        groups.setdefault(b"" if place is None else place.tobytes(), []).append(number)
    tables, counts = [], dict[str, int]()
    for index, numbers in enumerate(groups.values()):
        place = columns.places[numbers[0]]
        own = list(columns.names)
        if place is not None:
            for name, at in zip(columns.names, place.tolist(), strict=True):
                own[at] = name
        header = _write_header(own, f"{scratch}/header-{index}.vcf")
        some = [files[number] for number in numbers]
        part, left_out = _import(some, header, genome, min_partitions, replace)
        for reason, count in left_out.items():
            counts[reason] = counts.get(reason, 0) + count
        tables.append(split(part, genome, place))
    return tables, counts


def _write_header(names: list[str], path: str) -> str:
    """Write a header that declares only the fields to be read, whatever the files' own declare.

    Hail takes it instead of the files' own headers, and skips every field that it does not
    declare.
    """
    lines = ["##fileformat=VCFv4.2", '##FORMAT=<ID=GT,Number=1,Type=String,Description="">']
    lines += [f'##FORMAT=<ID={one},Number=.,Type=Float,Description="">' for one in _FIELDS]
    lines.append("\t".join([_COLUMNS, *names]))
    with new_file(path) as file:
        file.write("\n".join([*lines, ""]))
    return path


def _import(
    files: list[str],
    header: str,
    genome: Genome,
    min_partitions: int,
    replace: tuple[str, str] | None,
) -> tuple[hl.MatrixTable, dict[str, int]]:
    packed = [file for file in files if file.endswith(".gz")]
    in_blocks = all(side_by_side(is_bgzf, packed))
    options = {
        "header_file": header,
        # Plain gzip cannot be split: Hail reads such a file in one piece, but only if forced to.
        "force": not in_blocks,
        "force_bgz": in_blocks and len(packed) == len(files),
        "min_partitions": min_partitions,
        "array_elements_required": False,
    }
    sites = hl.import_vcf(files, reference_genome=None, drop_samples=True, **options)
    names, left_out = survey(sites.rows(), genome)
    genotypes = hl.import_vcf(
        files,
        reference_genome=genome.name,
        contig_recoding=genome.recoding(names),
        skip_invalid_loci=True,
        find_replace=replace,
        **options,
    )
    return genotypes, left_out


def survey(sites: hl.Table, genome: Genome) -> tuple[set[str], dict[str, int]]:
    """The contigs that the sites name, and how many sites `split` leaves out, by reason.

    Raises:
        DataError: if positions lie beyond the end of a chromosome.
    """
    contig, position = sites.locus.contig, sites.locus.position
    found = sites.aggregate(
        hl.agg.group_by(
            contig,
            hl.struct(
                n=hl.agg.count(),
                unplaced=hl.agg.count_where(position < 1),
                last=hl.agg.max(position),
                single=hl.agg.count_where((position >= 1) & (hl.len(sites.alleles) < 2)),
            ),
        )
    )
    known = {name: one for name in found if (one := chromosome_of(name)) is not None}
    ends = {name: genome.lengths[one] for name, one in known.items()}
    if any(found[name].last > end for name, end in ends.items()):
        far = sites.aggregate(hl.agg.count_where(position > hl.literal(ends).get(contig)))
        raise genome.other_build(far, f"positions {BEYOND}")
    left_out = {
        UNKNOWN_CONTIG: sum(one.n for name, one in found.items() if name not in known),
        UNKNOWN_POSITION: sum(found[name].unplaced for name in known),
        NO_ALTERNATE: sum(found[name].single for name in known),
    }
    return set(found), {reason: count for reason, count in left_out.items() if count}


def split(
    genotypes: hl.MatrixTable, genome: Genome, places: NDArray[np.int32] | None = None
) -> hl.Table:
    """One row per alternate allele of a site on a chromosome.

    Alleles are as the set has them; alleles of a split site lose the bases that they share at
    their ends.

    Args:
        places: the columns of the wanted samples; None for all in their order.

    Returns:
        A table keyed by locus and alleles, with `rsid`, `dosages` (integers, see `rows`) and four
        counts of faulty calls (see `FAULTS`): `n_unequal`, whose DS, GP or HDS has another number
        of values than the alleles require; `n_wild`, with impossible values; `n_unclear`, a DS on
        X of a person whose ploidy no field tells; `n_beyond`, with an allele that the site does
        not have.

    Raises:
        DataError: if there is no field of calls or dosages.
    """
    if not {"n_alt", "GT", "DS", "dosage", "GP", "HDS"} & set(genotypes.entry):
        raise DataError(
            "The genotypes (genotypes.path) hold neither calls (GT) nor dosages (DS, GP, HDS)."
        )
    rsid = genotypes.rsid if "rsid" in genotypes.row else hl.missing(hl.tstr)
    genotypes = genotypes.select_rows(rsid=hl.or_missing(rsid != "", rsid)).select_cols()
    known = hl.literal(set(genome.contigs.values()))  # Hail's genomes also have other contigs
    genotypes = genotypes.filter_rows(known.contains(genotypes.locus.contig))
    table = genotypes.localize_entries("entries", "columns").key_by("locus").select_globals()
    if places is not None:
        order = hl.literal(places.tolist(), hl.tarray(hl.tint32))
        table = table.annotate(entries=order.map(lambda place: table.entries[place]))

    def of_alternate(a: hl.Int32Expression) -> hl.StructExpression:
        """The row of an alternate allele; faults of the whole site are counted in the first row."""
        own = [table.alleles[0], table.alleles[a]]
        shorter = hl.min_rep(table.locus, own)
        is_split = (hl.len(table.alleles) > 2) & (own[0] != own[1])
        is_shorter = is_split & (shorter.locus == table.locus)
        doses = table.entries.map(lambda one: _dose(one, table.locus, hl.len(table.alleles), a))

        def count(calls: hl.ArrayExpression, key: str) -> hl.Int64Expression:
            return hl.int64(hl.len(calls.filter(lambda one: one[key])))

        return hl.rbind(
            doses,
            lambda calls: hl.struct(
                alleles=hl.if_else(is_shorter, shorter.alleles, own),
                rsid=table.rsid,
                n_unequal=hl.if_else(a == 1, count(calls, "unequal"), 0),
                n_wild=count(calls, "wild"),
                n_unclear=hl.if_else(a == 1, count(calls, "unclear"), 0),
                n_beyond=hl.if_else(a == 1, count(calls, "beyond"), 0),
                dosages=calls.map(
                    lambda one: hl.or_else(hl.int32(hl.floor(one.n_alt * SCALE + 0.5)), NO_DOSAGE)
                ),
            ),
        )

    # Sites at one position are sorted together, since their alternate alleles may interleave.
    table = table.select(rows=hl.range(1, hl.len(table.alleles)).map(of_alternate))
    table = table.collect_by_key("sites")
    rows = hl.sorted(table.sites.flatmap(lambda one: one.rows), key=lambda one: one.alleles)
    table = table.select(one=rows).explode("one")
    return table.transmute(**table.one)._key_by_assert_sorted("locus", "alleles")


def _dose(
    entry: hl.StructExpression,
    locus: hl.LocusExpression,
    k: hl.Int32Expression,
    a: hl.Int32Expression,
) -> hl.StructExpression:
    """The dosage of alternate allele `a` in a call of a site with `k` alleles, and the faults
    of the call (see `split`).
    """
    if "n_alt" in entry:
        known = hl.float64(entry.n_alt)
        found = hl.or_missing((k == 2) & hl.is_finite(known), known)
        unequal = (k > 2) & hl.is_defined(known)
        return hl.struct(n_alt=found, unequal=unequal, wild=False, unclear=False, beyond=False)
    call = entry.GT if "GT" in entry else hl.missing(hl.tcall)
    ds = _array(entry, "DS" if "DS" in entry else "dosage")
    gp, hds = _finite(_array(entry, "GP")), _finite(_array(entry, "HDS"))
    n_gp = hl.len(gp)
    haploid_gp, diploid_gp = n_gp == k, n_gp == k * (k + 1) // 2
    ploidy = hl.coalesce(
        call.ploidy,
        hl.or_missing(k == 2, hl.len(hds)),
        hl.if_else(haploid_gp, 1, hl.or_missing(diploid_gp, 2)),
    )
    scale = hl.if_else(hl.coalesce(ploidy, 2) == 1, 2.0, 1.0)

    unequal_ds = hl.is_defined(_finite(ds)) & (hl.len(ds) != k - 1)
    own_ds = hl.or_missing(hl.len(ds) == k - 1, ds[a - 1])
    from_ds = hl.or_missing(hl.is_finite(own_ds), own_ds * scale)
    total = hl.sum(gp)
    doses = hl.range(n_gp).map(
        lambda i: (
            gp[i]
            * hl.if_else(
                haploid_gp,
                2 * hl.int32(i == a),
                hl.int32(hl.unphased_diploid_gt_index_call(i)[0] == a)
                + hl.int32(hl.unphased_diploid_gt_index_call(i)[1] == a),
            )
        )
    )
    from_gp = hl.or_missing((haploid_gp | diploid_gp) & (total > 0), hl.sum(doses) / total)
    equal_hds = (k == 2) & (hl.len(hds) <= 2)
    from_hds = hl.or_missing(equal_hds, hl.if_else(hl.len(hds) == 1, 2 * hds[0], hl.sum(hds)))
    own = hl.downcode(call, a)
    from_gt = hl.float64(own.n_alt_alleles() * hl.if_else(own.ploidy == 1, 2, 1))
    has_ds = unequal_ds | hl.is_defined(from_ds)
    by_gp = ~has_ds & hl.is_defined(gp) & (total != 0)
    # The first of DS, GP, HDS and GT that the call has decides.
    chosen = (
        hl.case()
        .when(has_ds, hl.struct(x=from_ds, sound=~unequal_ds))
        .when(by_gp, hl.struct(x=from_gp, sound=hl.is_defined(from_gp)))
        .when(hl.is_defined(hds), hl.struct(x=from_hds, sound=equal_hds))
        .default(hl.struct(x=from_gt, sound=True))
    )
    wild = (
        (chosen.x < -_SLACK)
        | (chosen.x > 2 + _SLACK)
        | (by_gp & (hl.any(lambda p: p < -_SLACK, gp) | (hl.abs(total - 1) > 0.1)))
    )
    on_x = locus.in_x_nonpar() & ("DS" in entry)  # Hail's dosage counts to 2
    return hl.struct(
        # Without filter_missing=False, Hail ignores a missing number and would return 0.
        n_alt=hl.min(2.0, hl.max(0.0, chosen.x, filter_missing=False), filter_missing=False),
        unequal=~chosen.sound,
        wild=hl.coalesce(wild, False),
        unclear=on_x & has_ds & hl.is_missing(ploidy),
        beyond=hl.any(lambda i: call[i] >= k, hl.range(hl.coalesce(call.ploidy, 0))),
    )


def refuse(counts: Mapping[str, tuple[int, int]]) -> None:
    """Refuse a set with faulty calls.

    Args:
        counts: for each of `FAULTS`, how many calls of how many variants have it.

    Raises:
        DataError: for the first fault with a count above 0.
    """
    for kind, text in FAULTS.items():
        calls, variants = counts[kind]
        if calls:
            raise DataError(
                f"{calls} calls of {variants} variants of the genotypes (genotypes.path) {text}."
            )


def _array(entry: hl.StructExpression, name: str) -> hl.ArrayNumericExpression:
    """A field of a call as an array of numbers; missing if the set does not have the field."""
    if name not in entry:
        return hl.missing(hl.tarray(hl.tfloat64))
    field = entry[name]
    if not isinstance(field.dtype, hl.tarray):
        field = hl.or_missing(hl.is_defined(field), [field])
    return hl.map(hl.float64, field)


def _finite(values: hl.ArrayNumericExpression) -> hl.ArrayNumericExpression:
    """The finite numbers of a field; missing if there are none."""
    found = values.filter(lambda x: hl.is_defined(x) & hl.is_finite(x))
    return hl.or_missing(hl.len(found) > 0, found)
