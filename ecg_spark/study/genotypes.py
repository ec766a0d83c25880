"""The study file's section on the genotypes."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from ecg_spark.study.section import Location, Section, Share, listed


class Ancestry(Section):
    """People of known ancestry, from whom that of the samples is inferred."""

    reference: Location = Field(
        description="their genotypes, such as the 1000 Genomes Project's, on the same build"
    )
    populations: Location = Field(description="a table with sample_id and population")
    analyse: str | None = Field(
        None,
        description="the population that is analysed, all other samples are left out; null: all, "
        "whoever they are",
    )


class Genotypes(Section):
    """The genotype set: PLINK (.bed, .pgen), BGEN, VCF, BCF or a MatrixTable, or a glob of them."""

    path: Location
    sample: Location | None = Field(
        None,
        description="the .sample of BGENs without ids that have none of the same name beside them",
    )
    reference_genome: Literal["GRCh37", "GRCh38"] = "GRCh38"
    pairing: Literal["id", "random"] = Field(
        "id",
        description="id: sample id = participant id; random: paired by chance, "
        "a GWAS whose truth is null",
    )
    id_map: Location | None = Field(
        None,
        description="a table with sample_id and participant_id, where the two differ; a sample "
        "that it lacks belongs to nobody",
    )
    exclude: Location | None = Field(
        None,
        description="a list of sample ids that are left out (withdrawn), as plink2 takes it or a "
        "table with a header",
    )
    keep: Location | None = Field(
        None, description="such a list of sample ids: nobody else is used (ancestry)"
    )
    ancestry: Ancestry | None = None
    model: Location | None = Field(
        None,
        description="another set (array calls, on the same build) that components, relatives and "
        "whole-genome regression stand on",
    )
    separate: tuple[Location, ...] = Field(
        (),
        description="sets of their own, such as X, that lack some of the samples: each is checked "
        "and tested in its own people",
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
        description="regions, as in 6:25000000-34000000 or X, both ends included: variants "
        "elsewhere are not tested; the structure still stands on all",
    )
    min_sample_call_rate: Share = 0.95
    max_heterozygosity_sd: Annotated[float, Field(gt=0)] = Field(
        6.0,
        description="standard deviations of the samples' heterozygosity about what their principal "
        "components predict",
    )
    min_variant_call_rate: Share = 0.95
    min_maf: Annotated[float, Field(ge=0, le=0.5)] = 0.01
    min_mac: Annotated[int, Field(ge=0)] = Field(
        0, description="minor alleles in the people who have the phenotype"
    )
    min_info: Share = Field(
        0.3, description="variance of the dosages over that of calls in Hardy-Weinberg equilibrium"
    )
    min_hwe_p: Share = 1e-8
    components: Annotated[int, Field(ge=0, le=50)] = Field(
        10, description="principal components, used as covariates"
    )
    max_kinship: Annotated[float, Field(gt=0, le=0.5)] = Field(
        0.0884, description="one of each pair related more closely (second degree) is left out"
    )

    @model_validator(mode="after")
    def _sample_is_of_a_bgen(self) -> "Genotypes":
        if self.sample is not None and not self.path.endswith(".bgen"):
            raise ValueError("has a sample, which names the people of a .bgen: take it out")
        return self
