"""The study file's sections on participants, their genotypes and the association study."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from ecg_spark.study_section import Location, Section, Share

Code = int | float | str


class Participants(Section):
    """The participant table (CSV, TSV or Parquet): one row a participant."""

    path: Location
    id: str = Field("participant_id", description="column: the participant")
    covariates: tuple[str, ...] = Field(
        ("age", "sex"),
        description="columns, their squares (age^2) and products (age:sex); a text becomes an "
        "indicator for each of its values but the most frequent",
    )
    categories: tuple[str, ...] = Field(
        (), description="covariates whose numbers are codes of a category, such as a centre's"
    )
    missing_codes: tuple[Code, ...] | dict[str, tuple[Code, ...]] = Field(
        (),
        description="values that stand for a missing one: of every covariate, or of each column "
        "its own",
    )
    sex: str = Field(
        "sex",
        description="column, if there is one, that the X chromosome is held against: "
        "1, M or male; 0, 2, F or female",
    )

    @model_validator(mode="after")
    def _declares_its_covariates(self) -> "Participants":
        terms = [part for term in self.covariates for part in (term, *term.split(":"))]
        known = {name for term in terms for name in (term, term.removesuffix("^2"))}
        codes = self.missing_codes
        named = [*self.categories, *(codes if isinstance(codes, dict) else ())]
        if strange := [name for name in named if name not in known]:
            raise ValueError(f"{', '.join(strange)} is declared and is no covariate")
        return self


def _listed(value: Any) -> Any:
    """A list of one where a single value stands, and numbers (a chromosome's) as text."""
    values = value if isinstance(value, list | tuple) else [value]
    return tuple(str(one) if isinstance(one, int) else one for one in values)


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
    regions: Annotated[tuple[str, ...], BeforeValidator(_listed)] = Field(
        (),
        description="regions, as in 6:25000000-34000000 or X, both ends included: variants "
        "elsewhere are not tested; the structure still stands on all",
    )
    min_sample_call_rate: Share = 0.95
    max_heterozygosity_sd: Annotated[float, Field(gt=0)] = Field(
        6.0, description="standard deviations of the samples' heterozygosity about its mean"
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


class Rare(Section):
    """Tests of rare variants, gene by gene."""

    genes: Location = Field(
        description="a table with contig, position, ref, alt, gene, and optionally consequence "
        "and weight (of SKAT)"
    )
    consequences: tuple[str, ...] | None = Field(
        None, description="the values of the column consequence that count; null: every row"
    )
    max_maf: Annotated[float, Field(gt=0, le=0.5)] = 0.01


class Gwas(Section):
    """The association study: its null model and its thresholds."""

    null_model: Literal["none", "whole_genome"] = Field(
        "none",
        description="none: plain regression on the unrelated; whole_genome: on everybody, after "
        "what the other chromosomes predict is taken off, with standard errors that allow for "
        "relatives",
    )
    predictions: Location | None = Field(
        None,
        description="the list of predictions of regenie's step 1 (_pred.list), which are taken off "
        "in place of ecg-spark's own",
    )
    engine: Literal["hail", "blocks"] = Field(
        "hail",
        description="what computes the tests: Hail, or blocks of variants in NumPy, several times "
        "as fast; after whole-genome regression it is always the latter",
    )
    p_threshold: Annotated[float, Field(gt=0, lt=1)] = Field(
        5e-8,
        description="genome-wide; study-wide it is divided by the effective number of latents",
    )
    clump_window_bp: Annotated[int, Field(gt=0)] = 500_000
    clump_r2: Share = 0.1
    genes: Location | None = Field(None, description="a GTF, for the nearest gene of a locus")
    published: Location | None = Field(
        None, description="a table of published loci, such as the GWAS Catalog's"
    )
    rare: Rare | None = None

    @property
    def engine_used(self) -> str:
        """What computes the tests: Hail takes the offsets of all chromosomes through each pass."""
        return "blocks" if self.null_model == "whole_genome" else self.engine

    @model_validator(mode="after")
    def _predictions_are_of_the_whole_genome(self) -> "Gwas":
        if self.predictions is not None and self.null_model != "whole_genome":
            raise ValueError("has predictions: set null_model to whole_genome, or take them out")
        return self
