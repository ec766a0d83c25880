"""The study file's section on the genotypes."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from ecg_spark.study.section import Location, Section, Share, listed


class Ancestry(Section):
    """People of known ancestry, from whom that of the samples is inferred."""

    reference: Location = Field(
        description="their genotypes, such as the 1000 Genomes Project's, on the same build",
        examples=["1000g.bed"],
    )
    populations: Location = Field(
        description="a table with sample_id and population", examples=["1000g.tsv"]
    )
    analyse: str | None = Field(
        None,
        description="the population that is analysed, such as EUR, with principal components of "
        "its own; null: all samples (ecg-spark populations runs each population)",
    )


class Genotypes(Section):
    """The genotype set: PLINK (.bed, .pgen), BGEN, VCF, BCF or a MatrixTable, or a glob of them."""

    path: Location = Field(
        description="PLINK .bed or .pgen, BGEN .bgen, VCF, BCF or Hail .mt, or a glob of one file "
        "per chromosome: samples are matched by id, never by position",
        examples=["genotypes.bed"],
    )
    sample: Location | None = Field(
        None,
        description="the .sample file of BGENs without ids; null: that of the same name beside "
        "each",
    )
    reference_genome: Literal["GRCh37", "GRCh38"] = Field("GRCh38", description="or GRCh37")
    pairing: Literal["id", "random"] = Field(
        "id",
        description="id: sample id = participant id; random: paired by chance, a GWAS in "
        "which nothing is associated",
    )
    id_map: Location | None = Field(
        None,
        description="a table with sample_id and participant_id, where the two differ; a sample "
        "that it lacks belongs to nobody",
    )
    exclude: Location | None = Field(
        None,
        description="a list of sample ids that are left out (withdrawn): one id per line, FID and "
        "IID, or a table with a header (IID, eid, ...)",
    )
    keep: Location | None = Field(None, description="such a list: nobody else is used")
    ancestry: Ancestry | None = Field(
        None, description="infers each sample's ancestry from people whose it is known"
    )
    model: Location | None = Field(
        None,
        description="another set, of array calls on the same build: components, relatives and "
        "whole-genome regression are computed from it, and path is what is tested",
    )
    separate: tuple[Location, ...] = Field(
        (),
        description="sets that lack some of the samples, such as [x.bgen]: each is checked and "
        "tested in its own people",
    )
    keep_variants: Location | None = Field(
        None,
        description="a list of variants, by id or as 1:1200000:A:G: no others are tested",
    )
    exclude_variants: Location | None = Field(
        None, description="a list of variants that are not tested"
    )
    regions: Annotated[tuple[str, ...], BeforeValidator(listed)] = Field(
        (),
        description="variants elsewhere are not tested: ['6:25000000-34000000', X], both ends "
        "included; components and relatives are still computed from all",
    )
    min_sample_call_rate: Share = Field(0.95, description="samples below it are left out")
    max_heterozygosity_sd: Annotated[float, Field(gt=0)] = Field(
        6.0,
        description="standard deviations by which a sample's heterozygosity may differ from what "
        "its principal components predict",
    )
    min_variant_call_rate: Share = Field(0.95, description="variants below it are left out")
    min_maf: Annotated[float, Field(ge=0, le=0.5)] = Field(
        0.01, description="minor allele frequency in the people who have the phenotype"
    )
    min_mac: Annotated[int, Field(ge=0)] = Field(
        0, description="minor allele count in the people who have the phenotype"
    )
    min_info: Share = Field(
        0.3,
        description="imputation quality: variance of the dosages over that of calls in "
        "Hardy-Weinberg equilibrium",
    )
    min_hwe_p: Share = Field(1e-8, description="p of the Hardy-Weinberg test")
    components: Annotated[int, Field(ge=0, le=50)] = Field(
        10,
        description="principal components used as covariates; 0 where the study brings its own",
    )
    max_kinship: Annotated[float, Field(gt=0, le=0.5)] = Field(
        0.0884,
        description="one of each pair related more closely is left out (0.0884: second degree)",
    )

    @property
    def population(self) -> str | None:
        """The population that is analysed, None for everybody."""
        return None if self.ancestry is None else self.ancestry.analyse

    @model_validator(mode="after")
    def _sample_is_of_a_bgen(self) -> "Genotypes":
        if self.sample is not None and not self.path.endswith(".bgen"):
            raise ValueError("has a sample, which names the people of a .bgen: take it out")
        return self
