"""The names that files give to contigs, and which sites of a file lie on the reference genome."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ecg_spark.errors import DataError
from ecg_spark.genetics.genotypes.files import head_lines

AUTOSOMES = tuple(map(str, range(1, 23)))
CHROMOSOMES = (*AUTOSOMES, "X", "Y", "MT")

_CODES = {
    "23": "X", "24": "Y", "25": "X", "26": "MT", "XY": "X", "PAR1": "X", "PAR2": "X", "M": "MT",
}  # fmt: skip
_LENGTHS = {
    "GRCh37": (
        249_250_621, 243_199_373, 198_022_430, 191_154_276, 180_915_260, 171_115_067,
        159_138_663, 146_364_022, 141_213_431, 135_534_747, 135_006_516, 133_851_895,
        115_169_878, 107_349_540, 102_531_392, 90_354_753, 81_195_210, 78_077_248,
        59_128_983, 63_025_520, 48_129_895, 51_304_566, 155_270_560, 59_373_566,
        16_569,
    ),
    "GRCh38": (
        248_956_422, 242_193_529, 198_295_559, 190_214_555, 181_538_259, 170_805_979,
        159_345_973, 145_138_636, 138_394_717, 133_797_422, 135_086_622, 133_275_309,
        114_364_328, 107_043_718, 101_991_189, 90_338_345, 83_257_441, 80_373_285,
        58_617_616, 64_444_167, 46_709_983, 50_818_468, 156_040_895, 57_227_415,
        16_569,
    ),
}  # fmt: skip
"""Lengths of the chromosomes on each build, in bp."""
_M_OF_HG19 = 16_571
"""The mitochondrion of UCSC's hg19, the only contig whose length differs from GRCh37."""

PSEUDOAUTOSOMAL = {
    "GRCh37": ((60_001, 2_699_520), (154_931_044, 155_260_560)),
    "GRCh38": ((10_001, 2_781_479), (155_701_383, 156_030_895)),
}
"""First and last positions on X of the pseudo-autosomal regions, of which men have two copies
(PAR#1 and PAR#2 of the Genome Reference Consortium)."""

UNKNOWN_CONTIG = "unknown contig"
UNKNOWN_POSITION = "unknown position"
NO_ALTERNATE = "no alternate allele"
SEVERAL_ALTERNATES = "several alternate alleles"
BEYOND = "beyond the end of a chromosome"
REASONS = (UNKNOWN_CONTIG, UNKNOWN_POSITION, NO_ALTERNATE, SEVERAL_ALTERNATES, BEYOND)
"""Why a site cannot be used. `BEYOND` is not left out like the others: it means the wrong build."""


def chromosome_of(name: str) -> str | None:
    """The chromosome (1 to 22, X, Y, MT) that a file calls `name`, or None if it is none of these.

    Understood are names with or without chr, in upper or lower case, with leading zeros, and
    PLINK's numbers. The pseudo-autosomal regions (XY, PAR1, PAR2) count as X.

    Example:
        >>> chromosome_of("chr01"), chromosome_of("23"), chromosome_of("GL000192.1")
        ('1', 'X', None)
    """
    bare = name.strip().upper().removeprefix("CHR").lstrip("0")
    bare = _CODES.get(bare, bare)
    return bare if bare in CHROMOSOMES else None


def contig_of(build: str, chromosome: str) -> str:
    """The name of a chromosome on GRCh37 or GRCh38.

    Example:
        >>> contig_of("GRCh37", "X"), contig_of("GRCh38", "MT")
        ('X', 'chrM')
    """
    if build == "GRCh37":
        return chromosome
    return "chrM" if chromosome == "MT" else f"chr{chromosome}"


CONTIGS = {contig_of(build, one): one for build in ("GRCh37", "GRCh38") for one in CHROMOSOMES}
"""The chromosome of every contig of a set that has been read."""

NUMBERS = {contig: 1 + CHROMOSOMES.index(one) for contig, one in CONTIGS.items()}
"""The number of the chromosome of every such contig; X, Y and MT are 23 to 25."""


@dataclass(frozen=True)
class Genome:
    """A reference genome.

    Attributes:
        name: GRCh37 or GRCh38.
        contigs: the contig's name for each chromosome.
        lengths: the length of each chromosome in bp.
        other_lengths: the lengths of the chromosomes on the other build.
    """

    name: str
    contigs: Mapping[str, str]
    lengths: Mapping[str, int]
    other_lengths: Mapping[str, int]

    def judge(self, contig: str, position: int, alleles: int) -> str | None:
        """Why a site cannot be used (one of `REASONS`), or None if it can.

        Args:
            position: in bp, from 1.
            alleles: how many alleles the site has, the reference included.
        """
        chromosome = chromosome_of(contig)
        if chromosome is None:
            return UNKNOWN_CONTIG
        if position < 1:
            return UNKNOWN_POSITION
        if position > self.lengths[chromosome]:
            return BEYOND
        if alleles < 2:
            return NO_ALTERNATE
        return SEVERAL_ALTERNATES if alleles > 2 else None

    def recoding(self, names: set[str]) -> dict[str, str]:
        """The contig names of a file that differ from this genome's, each with this genome's
        name.

        Example:
            >>> genome("GRCh38").recoding({"1", "chr2", "23"}) == {"1": "chr1", "23": "chrX"}
            True
        """
        found = {name: chromosome_of(name) for name in names}
        known = {name: self.contigs[one] for name, one in found.items() if one is not None}
        return {name: contig for name, contig in known.items() if name != contig}

    def other_length(self, name: str, length: int) -> bool:
        """Whether a declared contig length shows that the file lies on another build.

        A length one above the chromosome's is accepted: PLINK declares the last position + 1.
        """
        chromosome = chromosome_of(name)
        if chromosome is None or (chromosome == "MT" and length == _M_OF_HG19):
            return False
        own = self.lengths[chromosome]
        return length > own + 1 or (length != own and length == self.other_lengths[chromosome])

    def other_build(self, count: int, what: str) -> DataError:
        """The error to raise for sites or contigs that this genome does not have.

        Args:
            count: how many there are.
            what: what they are, as words that follow the count.
        """
        return DataError(
            f"The genotypes (genotypes.path) have {count} {what} on {self.name}: they lie on "
            f"another build; correct genotypes.reference_genome."
        )


def declared_contigs(path: str) -> Iterator[tuple[str, int]]:
    """The contigs that a VCF header declares with a length: name and length in bp."""
    for line in head_lines(path):
        if line.startswith("##contig=<"):
            name = re.search(r"[<,]ID=([^,>]+)", line)
            length = re.search(r"[<,]length=(\d+)", line)
            if name and length:
                yield name[1], int(length[1])


def genome(name: str) -> Genome:
    """The reference genome GRCh37 or GRCh38."""
    lengths = {one: dict(zip(CHROMOSOMES, own, strict=True)) for one, own in _LENGTHS.items()}
    other = "GRCh38" if name == "GRCh37" else "GRCh37"
    contigs = {one: contig_of(name, one) for one in CHROMOSOMES}
    return Genome(name, contigs, lengths[name], lengths[other])
