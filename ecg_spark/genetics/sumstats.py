"""Summary statistics as the field exchanges them: GWAS-SSF v1 files with their metadata.

The format: https://github.com/EBISPOT/gwas-summary-statistics-standard. One gzipped, tab separated
file a phenotype, sorted by position, `#NA` for missing, p-values as -log10, and a sidecar
`<file>-meta.yaml`. Spark formats and sorts the rows; the driver joins the compressed parts, which
gzip allows, and takes their checksum on the way.
"""

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version

import fsspec
import yaml
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

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
MISSING = "#NA"
_CHROMOSOMES = {"X": "23", "Y": "24", "MT": "25", "M": "25"}


@dataclass(frozen=True)
class Context:
    """What the sidecar tells about all phenotypes of a study."""

    genome_assembly: str
    covariates: Sequence[str]
    min_maf: float
    notes: str | None = None


def export_sumstats(associations: DataFrame, folder: str, context: Context) -> list[str]:
    """Write `folder`/<phenotype>.tsv.gz and its -meta.yaml; return the names of the data files.

    `associations`: contig, position, ref, alt, rsid, phenotype, beta, se, neg_log10_p, n, af with
    alt as the effect allele. Tests without a result are left out, as are alleles that are not
    sequences, for which the format has no word.
    """
    sizes = {
        row["phenotype"]: row["n"]
        for row in associations.groupBy("phenotype").agg(F.max("n").alias("n")).collect()
    }
    parts = f"{folder}/.parts"
    sequence = r"^[ACGT]+$"
    rows = associations.filter(
        F.col("neg_log10_p").isNotNull()
        & F.upper("ref").rlike(sequence)
        & F.upper("alt").rlike(sequence)
    ).withColumn("chromosome", _chromosome())
    order = [F.col("phenotype"), F.col("chromosome").cast("int"), F.col("position"), F.col("alt")]
    count = max(2, associations.sparkSession.sparkContext.defaultParallelism)
    (
        rows.repartitionByRange(count, *order)
        .sortWithinPartitions(*order)
        .select("phenotype", F.concat_ws("\t", *_fields()).alias("value"))
        .write.partitionBy("phenotype")
        .option("compression", "gzip")
        .text(parts)
    )
    files, base = fsspec.core.url_to_fs(folder)
    names = []
    for phenotype, size in sorted(sizes.items()):
        name = f"{phenotype}.tsv.gz"
        checksum = _join(files, f"{base}/.parts/phenotype={phenotype}", f"{base}/{name}")
        sidecar = yaml.safe_dump(
            _metadata(name, checksum, phenotype, size, context), sort_keys=False
        )
        files.pipe_file(f"{base}/{name}-meta.yaml", sidecar.encode())
        names.append(name)
    files.rm(f"{base}/.parts", recursive=True)
    return names


def _chromosome() -> Column:
    bare = F.regexp_replace("contig", "^chr", "")
    column = bare
    for name, number in _CHROMOSOMES.items():
        column = F.when(bare == name, F.lit(number)).otherwise(column)
    return column


def _fields() -> list[Column]:
    rsid = F.when(F.col("rsid").rlike("^rs[0-9]+$"), F.col("rsid")).otherwise(F.lit(MISSING))
    alleles = [F.upper("ref"), F.upper("alt")]
    identifier = F.concat_ws("_", F.col("chromosome"), F.col("position").cast("string"), *alleles)
    numbers = [F.format_string("%.7g", name) for name in ("beta", "se", "af", "neg_log10_p")]
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


def _join(files: fsspec.AbstractFileSystem, parts: str, target: str) -> str:
    """Header and parts as one gzip file; its MD5, which the format asks for."""
    digest = hashlib.md5(usedforsecurity=False)
    compressor = zlib.compressobj(wbits=31)
    header = compressor.compress(("\t".join(COLUMNS) + "\n").encode()) + compressor.flush()
    names = sorted(files.ls(parts, detail=False)) if files.exists(parts) else []
    with files.open(target, "wb") as out:
        out.write(header)
        digest.update(header)
        for name in names:
            if not name.endswith(".gz"):
                continue
            with files.open(name, "rb") as part:
                while block := part.read(2**20):
                    out.write(block)
                    digest.update(block)
    return digest.hexdigest()


def _metadata(
    name: str, checksum: str, phenotype: str, size: int, context: Context
) -> Mapping[str, object]:
    software = f"ecg-spark {version('ecg-spark')}, Hail {version('hail')} linear_regression_rows"
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
