"""The study file's section on the association study."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ecg_spark.study.section import Location, Section, Share


class Rare(Section):
    """Tests of rare variants, gene by gene."""

    genes: Location = Field(
        description="which variants belong to which gene: a table with contig, position, ref, alt, "
        "gene, and optionally consequence and weight (of SKAT); or REGENIE's --anno-file",
        examples=["annotations.tsv"],
    )
    sets: Location | None = Field(
        None,
        description="REGENIE's --set-list: of the table of genes, only the variants listed there "
        "for their gene are used",
    )
    masks: Location | dict[str, Annotated[tuple[str, ...], Field(min_length=1)]] | None = Field(
        None,
        description="the consequences that are tested together, as {lof: [stop_gained, ...], ...} "
        "or REGENIE's --mask-def; null: all variants of a gene in one mask",
    )
    max_maf: Annotated[tuple[Annotated[float, Field(gt=0, le=0.5)], ...], Field(min_length=1)] = (
        Field(
            (0.01, 0.001),
            description="each mask is tested up to each of these minor allele frequencies",
        )
    )


class Mr(Section):
    """Mendelian randomisation of the study's factors and traits on diseases."""

    outcomes: Location = Field(
        description="a folder of GWAS-SSF files of other people, <disease>.tsv.gz with its "
        "-meta.yaml beside it, or another study's output",
        examples=["diseases"],
    )


class Gwas(Section):
    """The association study: its null model and its thresholds."""

    null_model: Literal["none", "whole_genome"] = Field(
        "none",
        description="none: plain regression in unrelated people; whole_genome: in everybody, as "
        "in REGENIE: what the other chromosomes predict (LOCO) is subtracted first, and standard "
        "errors allow for relatives",
    )
    predictions: Location | None = Field(
        None,
        description="of whole_genome: the list (_pred.list) of LOCO predictions that regenie's "
        "step 1 wrote on the phenotypes of a run, used in place of ecg-spark's own",
    )
    engine: Literal["hail", "blocks"] = Field(
        "hail",
        description="what computes the tests: Hail, or blocks of variants in NumPy, several times "
        "as fast; after whole-genome regression it is always the latter",
    )
    scale: Literal["ranks", "original"] = Field(
        "ranks",
        description="ranks: phenotypes as normal scores of their ranks; original: traits and the "
        "study's own phenotypes in their units, for effects in milliseconds or mV",
    )
    p_threshold: Annotated[float, Field(gt=0, lt=1)] = Field(
        5e-8,
        description="of a single test; it is divided by the number of independent tests of a "
        "variant over all methods",
    )
    clump_window_bp: Annotated[int, Field(gt=0)] = Field(
        500_000, description="how near a significant variant may be to belong to a locus"
    )
    clump_r2: Share = Field(
        0.1, description="how strongly it must be linked to the lead variant to belong to it"
    )
    genes: Location | None = Field(
        None,
        description="a GTF, for the nearest gene of a locus, the genes in a credible set, and "
        "tests of the common variants of each coding gene",
    )
    published: Location | None = Field(
        None,
        description="a table of published loci, with contig and position, or as from the GWAS "
        "Catalog: loci are told to be known or new",
    )
    colocalise: tuple[Location, ...] = Field(
        (),
        description="folders of published statistics (GWAS-SSF, <trait>.tsv.gz with -meta.yaml "
        "beside each), with which loci may share their cause",
    )
    rare: Rare | None = Field(None, description="tests of rare variants, gene by gene")
    scores: bool = Field(
        False,
        description="true: polygenic scores of every factor and trait for everybody genotyped, by "
        "a second whole-genome regression in which families are kept whole",
    )
    mr: Mr | None = Field(
        None, description="Mendelian randomisation of factors and traits on diseases"
    )

    @property
    def engine_used(self) -> str:
        """What computes the tests: Hail takes the offsets of all chromosomes through each pass."""
        return "blocks" if self.null_model == "whole_genome" else self.engine

    @model_validator(mode="after")
    def _predictions_are_of_the_whole_genome(self) -> "Gwas":
        if self.predictions is not None and self.null_model != "whole_genome":
            raise ValueError("has predictions: set null_model to whole_genome, or take them out")
        return self
