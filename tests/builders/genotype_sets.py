"""One simulated genotype set, written in every format that is read."""

import struct
import zlib
from dataclasses import dataclass

import numpy as np
import pgenlib
import pyarrow as pa

from tests.builders.genetics_data import write_plink


@dataclass(frozen=True)
class GenotypeSet:
    """`haplotypes` [variants, samples, 2]: the probability of the alternate allele on each, the
    second NaN where a person has one; sites are (contig, position, rsid), alleles A (ref) and G."""

    samples: list
    is_man: np.ndarray
    sites: list
    haplotypes: np.ndarray

    @property
    def dosages(self):
        """[variants, samples], of a person with one allele 0 to 2, NaN where missing."""
        one = np.isnan(self.haplotypes[..., 1])
        second = np.where(one, self.haplotypes[..., 0], self.haplotypes[..., 1])
        return self.haplotypes[..., 0] + second

    def part(self, variants, order):
        """Some variants, with the samples in another order."""
        return GenotypeSet(
            [self.samples[i] for i in order],
            self.is_man[order],
            [self.sites[j] for j in variants],
            self.haplotypes[np.ix_(variants, order)],
        )


def simulate_set(seed, samples=24, hard=True, haploid_men=True):
    """Variants on 1, 2 and X (the first in PAR1), 3 % missing; men have one X elsewhere on it."""
    rng = np.random.default_rng(seed)
    sites = [(c, 1_000_000 + 5_000_000 * (c == "X" and i > 0) + 1_000 * i, f"rs{c}{i}")
             for c in ("1", "2", "X") for i in range(4)]  # fmt: skip
    haplotypes = rng.uniform(0, 1, (len(sites), samples, 2))
    if hard:
        haplotypes = np.rint(haplotypes)
    haplotypes[rng.random(haplotypes.shape[:2]) < 0.03] = np.nan
    is_man = rng.random(samples) < 0.5
    outside = np.array([c == "X" and p > 2_699_520 for c, p, _ in sites])
    one = outside[:, None] & is_man
    # A man's X, on formats that know no single allele, is there twice.
    haplotypes[..., 1] = np.where(
        one, np.nan if haploid_men else haplotypes[..., 0], haplotypes[..., 1]
    )
    return GenotypeSet([f"S{i:02d}" for i in range(samples)], is_man, sites, haplotypes)


def write_bed(stem, data):
    """PLINK 1, A1 = the alternate allele."""
    dosages = data.dosages
    calls = np.where(np.isnan(dosages), 3, np.nan_to_num(dosages)).astype(np.int8)
    contigs, positions, rsids = zip(*data.sites, strict=True)
    write_plink(stem, calls, data.samples, contigs, positions, ("G", "A"), rsids)


def write_pgen(stem, data):
    """PLINK 2, with dosages."""
    with pgenlib.PgenWriter(
        f"{stem}.pgen".encode(), len(data.samples), variant_ct=len(data.sites),
        nonref_flags=False, dosage_present=True,
    ) as writer:  # fmt: skip
        for row in data.dosages:
            writer.append_dosages(np.where(np.isnan(row), -9, row))
    lines = ["#CHROM\tPOS\tID\tREF\tALT", *(f"{c}\t{p}\t{r}\tA\tG" for c, p, r in data.sites), ""]
    with open(f"{stem}.pvar", "w") as file:
        file.write("\n".join(lines))
    with open(f"{stem}.psam", "w") as file:
        file.write("#FID\tIID\tSEX\n" + "".join(f"F\t{s}\tNA\n" for s in data.samples))


def write_bgen(stem, data, bits=8, phased=False, compression="zlib", ids="inside"):
    """BGEN 1.2 or 1.3; ids inside it or in a .sample beside it."""
    n, top = len(data.samples), 2**bits - 1
    kind = {"none": 0, "zlib": 1, "zstd": 2}[compression]
    names = b"".join(_short(one) for one in data.samples) if ids == "inside" else b""
    inside = struct.pack("<II", 8 + len(names), n) + names if names else b""
    flags = kind | 2 << 2 | (1 << 31 if names else 0)
    parts = [struct.pack("<IIII4sI", 20 + len(inside), 20, len(data.sites), n, b"bgen", flags),
             inside]  # fmt: skip
    for (contig, position, rsid), row in zip(data.sites, data.haplotypes, strict=True):
        values, ploidy = [], []
        for first, second in row.tolist():
            missing = first != first
            alleles = [0.0] if second != second and not missing else [0.0, 0.0]
            if not missing:
                alleles = [first] if second != second else [first, second]
            ploidy.append(len(alleles) | (0x80 if missing else 0))
            if missing:
                values += [0] * len(alleles)
            elif phased or len(alleles) == 1:
                values += [round((1 - one) * top) for one in alleles]
            else:
                hom = round((1 - first) * (1 - second) * top)
                dosage = round((first + second) * top)
                het = min(max(2 * top - 2 * hom - dosage, 0), top - hom)
                values += [hom, het]
        joined = sum(int(one) << bits * i for i, one in enumerate(values))
        counts = [one & 0x3F for one in ploidy]
        body = struct.pack("<IHBB", n, 2, min(counts), max(counts)) + bytes(ploidy)
        body += bytes([phased, bits]) + joined.to_bytes(-(-bits * len(values) // 8), "little")
        packed = body
        if kind:
            packed = zlib.compress(body) if kind == 1 else pa.compress(body, "zstd", asbytes=True)
            packed = struct.pack("<I", len(body)) + packed
        parts += [_short("id"), _short(rsid), _short(contig), struct.pack("<IH", position, 2),
                  struct.pack("<I", 1), b"A", struct.pack("<I", 1), b"G",
                  struct.pack("<I", len(packed)), packed]  # fmt: skip
    with open(f"{stem}.bgen", "wb") as file:
        file.write(b"".join(parts))
    if ids != "inside":
        with open(f"{stem}.sample", "w") as file:
            file.write("ID_1 ID_2 missing\n0 0 0\n" + "".join(f"0 {s} 0\n" for s in data.samples))


def write_vcf(stem, data, fields=("GT",)):
    """VCF with some of GT, DS, GP and HDS in each call; a person with one allele has one."""
    declared = "".join(f'##FORMAT=<ID={one},Number=.,Type=Float,Description="">\n'
                       for one in fields if one != "GT")  # fmt: skip
    declared += '##FORMAT=<ID=GT,Number=1,Type=String,Description="">\n'
    start = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT"]
    head = [*start, *data.samples]
    lines = [f"##fileformat=VCFv4.2\n{declared}" + "\t".join(head)]
    for (contig, position, rsid), row in zip(data.sites, data.haplotypes, strict=True):
        cells = [":".join(_cell(field, *one) for field in fields) for one in row.tolist()]
        start = [contig, str(position), rsid, "A", "G", ".", ".", ".", ":".join(fields)]
        lines.append("\t".join(start + cells))
    with open(f"{stem}.vcf", "w") as file:
        file.write("\n".join([*lines, ""]))


def _cell(field, first, second):
    if first != first:
        return "." if field != "GT" else "./."
    alleles = [first] if second != second else [first, second]
    if field == "GT":
        return "/".join(str(round(one)) for one in alleles)
    if field == "HDS":
        return ",".join(f"{one:.4f}" for one in alleles)
    if field == "DS":
        return f"{sum(alleles):.4f}"
    if len(alleles) == 1:
        return f"{1 - first:.4f},{first:.4f}"
    het = first * (1 - second) + second * (1 - first)
    return f"{(1 - first) * (1 - second):.4f},{het:.4f},{first * second:.4f}"


def _short(text):
    return struct.pack("<H", len(text)) + text.encode()
