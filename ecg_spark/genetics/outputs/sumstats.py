"""Summary statistics as the field exchanges them: GWAS-SSF v1 with metadata, and REGENIE's.

GWAS-SSF: https://github.com/EBISPOT/gwas-summary-statistics-standard. One tab separated file a
phenotype in blocked gzip, sorted by position, `#NA` for missing, p-values as -log10, with a tabix
index and a sidecar `<file>-meta.yaml`. REGENIE: the columns of its step 2. Spark formats, sorts and
compresses the rows; a task a phenotype joins the parts.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version

import fsspec
import pandas as pd
import yaml
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from ecg_spark.genetics.genotypes.contigs import CONTIGS
from ecg_spark.genetics.outputs import bgzf

COLUMNS = (
    "chromosome",
    "base_pair_location",
    "effect_allele",
    "other_allele",
    "beta",
    "standard_error",
    "effect_allele_frequency",
    "neg_log_10_p_value",
    "variant_id",
    "rsid",
    "n",
)
REGENIE = (
    "CHROM", "GENPOS", "ID", "ALLELE0", "ALLELE1", "A1FREQ", "N", "TEST", "BETA", "SE", "CHISQ",
    "LOG10P", "EXTRA",
)  # fmt: skip
MISSING = "#NA"
_CHROMOSOMES = {"X": "23", "Y": "24", "MT": "25"}


@dataclass(frozen=True)
class Context:
    """What the sidecar tells about all phenotypes of a study."""

    genome_assembly: str
    covariates: Sequence[str]
    min_maf: float
    engine: str
    whole_genome: bool = False
    notes: str | None = None


def export_sumstats(associations: DataFrame, folder: str, context: Context) -> list[str]:
    """Write `folder`/<phenotype>.tsv.gz, its .tbi and -meta.yaml; return the data files' names.

    `associations`: contig, position, ref, alt, rsid, phenotype, beta, se, neg_log10_p, n, af with
    alt as the effect allele. Tests without a result are left out, as are alleles that are not
    sequences, for which the format has no word. `folder`/regenie receives the same in REGENIE's
    format, as <phenotype>.regenie.gz.
    """
    sizes = {
        row["phenotype"]: row["n"]
        for row in associations.groupBy("phenotype").agg(F.max("n").alias("n")).collect()
    }
    sequence = r"^[ACGT]+$"
    rows = associations.filter(
        F.col("neg_log10_p").isNotNull()
        & F.upper("ref").rlike(sequence)
        & F.upper("alt").rlike(sequence)
    ).withColumn("chromosome", _chromosome())
    order = [F.col("phenotype"), F.col("chromosome").cast("int"), F.col("position"), F.col("alt")]
    count = max(2, associations.sparkSession.sparkContext.defaultParallelism)
    rows = rows.repartitionByRange(count, *order).sortWithinPartitions(*order)
    sums = _write(rows, _fields(), COLUMNS, "\t", sizes, folder, ".tsv.gz")
    _write(rows, _regenie_fields(), REGENIE, " ", sizes, f"{folder}/regenie", ".regenie.gz")
    files, base = fsspec.core.url_to_fs(folder)
    names = []
    for phenotype, size in sorted(sizes.items()):
        name = f"{phenotype}.tsv.gz"
        sidecar = yaml.safe_dump(
            _metadata(name, sums[phenotype], phenotype, size, context), sort_keys=False
        )
        files.pipe_file(f"{base}/{name}-meta.yaml", sidecar.encode())
        names.append(name)
    return names


def write_regenie_inputs(phenotypes: pd.DataFrame, covariates: pd.DataFrame, folder: str) -> None:
    """Write `folder`/phenotypes.txt and covariates.txt, by FID (0, as in samples.fam) and IID."""
    for name, table in (("phenotypes", phenotypes), ("covariates", covariates)):
        table = table.rename_axis("IID").reset_index()
        table.insert(0, "FID", "0")
        text = table.to_csv(sep=" ", index=False, na_rep="NA", float_format="%.10g")
        files, base = fsspec.core.url_to_fs(folder)
        files.makedirs(base, exist_ok=True)
        files.pipe_file(f"{base}/{name}.txt", text.encode())


def _write(
    rows: DataFrame,
    fields: Sequence[Column],
    header: Sequence[str],
    separator: str,
    phenotypes: Iterable[str],
    folder: str,
    suffix: str,
) -> dict[str, str]:
    """Write sorted rows as `folder`/<phenotype><suffix>, with an index; the MD5 of each file."""
    (
        rows.select("phenotype", F.concat_ws(separator, *fields).alias("value"))
        .write.partitionBy("phenotype")
        .option("compression", bgzf.CODEC)
        .text(f"{folder}/.parts")
    )

    def join(phenotype: str) -> tuple[str, str]:
        files, base = fsspec.core.url_to_fs(folder)
        parts = f"{base}/.parts/phenotype={phenotype}"
        found = sorted(files.ls(parts, detail=False)) if files.exists(parts) else []
        found = [name for name in found if not name.rpartition("/")[2].startswith((".", "_"))]
        target = f"{base}/{phenotype}{suffix}"
        first = (separator.join(header) + "\n").encode()
        index = bgzf.Index() if separator == "\t" else None  # tabix knows no other
        digest = bgzf.join(files, found, first, target, index)
        if index is not None:
            files.pipe_file(f"{target}.tbi", index.encode(1))
        return phenotype, digest

    names = sorted(phenotypes)
    sums = rows.sparkSession.sparkContext.parallelize(names, len(names)).map(join).collect()
    files, base = fsspec.core.url_to_fs(folder)
    files.rm(f"{base}/.parts", recursive=True)
    return dict(sums)


def _chromosome() -> Column:
    numbers = {contig: _CHROMOSOMES.get(one, one) for contig, one in CONTIGS.items()}
    named = F.create_map(*[F.lit(one) for pair in numbers.items() for one in pair])
    return F.coalesce(named[F.col("contig")], F.col("contig"))


def _digits(number: Column) -> Column:
    """A number by as many digits as tell it from its neighbours in single precision, seven or so.

    `format_string` took most of the time of the export.
    """
    return number.cast("float").cast("string")


def _fields() -> list[Column]:
    rsid = F.when(F.col("rsid").rlike("^rs[0-9]+$"), F.col("rsid")).otherwise(F.lit(MISSING))
    alleles = [F.upper("ref"), F.upper("alt")]
    identifier = F.concat_ws("_", F.col("chromosome"), F.col("position").cast("string"), *alleles)
    numbers = [_digits(F.col(name)) for name in ("beta", "se", "af", "neg_log10_p")]
    return [
        F.col("chromosome"),
        F.col("position").cast("string"),
        alleles[1],
        alleles[0],
        *numbers,
        identifier,
        rsid,
        F.col("n").cast("string"),
    ]


def _regenie_fields() -> list[Column]:
    z = F.col("beta") / F.col("se")
    numbers = {
        name: _digits(column)
        for name, column in {
            "af": F.col("af"), "beta": F.col("beta"), "se": F.col("se"), "chi2": z * z,
            "p": F.col("neg_log10_p"),
        }.items()
    }  # fmt: skip
    place = [F.col("chromosome"), F.col("position").cast("string")]
    alleles = [F.upper("ref"), F.upper("alt")]
    name = F.coalesce("rsid", F.concat_ws(":", *place, *alleles))
    return [
        *place, name, *alleles, numbers["af"], F.col("n").cast("string"), F.lit("ADD"),
        numbers["beta"], numbers["se"], numbers["chi2"], numbers["p"], F.lit("NA"),
    ]  # fmt: skip


def _metadata(
    name: str, checksum: str, phenotype: str, size: int, context: Context
) -> Mapping[str, object]:
    software = f"ecg-spark {version('ecg-spark')}, linear regression"
    if context.engine == "hail":
        software += f" by Hail {version('hail')} linear_regression_rows"
    if context.whole_genome:
        software += " of what whole-genome ridge regression without the chromosome leaves"
    content = {
        "author_notes": context.notes,
        "date_metadata_last_modified": datetime.now(UTC).date(),
        "trait_description": [f"{phenotype}, rank-inverse-normal transformed"],
        "genome_assembly": context.genome_assembly,
        "coordinate_system": "1-based",
        "samples": [{"sample_size": size, "case_control_study": False}],
        "data_file_name": name,
        "file_type": "GWAS-SSF v1.0",
        "data_file_md5sum": checksum,
        "analysis_software": software,
        "adjusted_covariates": list(context.covariates),
        "minor_allele_freq_lower_limit": context.min_maf,
        "is_harmonised": False,
        "is_sorted": True,
    }
    return {key: value for key, value in content.items() if value is not None}
