"""Summary statistics in the formats of the field: GWAS-SSF v1 with metadata, and REGENIE's.

GWAS-SSF: https://github.com/EBISPOT/gwas-summary-statistics-standard. There is one tab-separated,
block-compressed file per phenotype, sorted by position, with `#NA` for missing values, p-values as
-log10, a tabix index and a sidecar `<file>-meta.yaml`. REGENIE: the columns of its step 2. Spark
sorts the variants; each task writes the lines of consecutive variants for all files, and then one
task per file joins them.
"""

import secrets
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import yaml
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from ecg_spark.genetics.genotypes.choice import looked_up
from ecg_spark.genetics.genotypes.contigs import CHROMOSOMES, NUMBERS
from ecg_spark.genetics.outputs import bgzf
from ecg_spark.genetics.outputs.associations import are_known, elements
from ecg_spark.genetics.outputs.tables import described
from ecg_spark.locations import make_folder
from ecg_spark.session import partition_number
from ecg_spark.store import remove_folder

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
QUALITY = ("info", "hwe_neg_log10_p", "call_rate", "alleles")
"""The fields of `results.TESTS` on the quality of a variant among the people of a phenotype; a
meta-analysis does not have them."""
OF_QUALITY = ("info", "hwe_neg_log_10_p_value", "call_rate", "effect_allele_count")
"""Their columns in GWAS-SSF: the standard defines the first and allows the others."""
REGENIE = (
    "CHROM", "GENPOS", "ID", "ALLELE0", "ALLELE1", "A1FREQ", "INFO", "N", "TEST", "BETA", "SE",
    "CHISQ", "LOG10P", "EXTRA",
)  # fmt: skip
MISSING = {"ssf": "#NA", "regenie": "NA"}
SUFFIXES = {"ssf": ".tsv.gz", "regenie": ".regenie.gz"}

PIECE_TESTS = 1_000_000
"""About how many tests a task writes; it holds their lines compressed, at 100 bytes each."""


MODEL = "encoder_sha256"
"""The sidecar key that identifies the model of a latent: latents of two cohorts are the same only
if it is equal. The standard has no key for this."""

META = "meta"
"""In place of an engine: the results of several cohorts combined."""

_REALS = ("beta", "se", "af", "neg_log10_p", "t")

_PIECES = "phenotype string, kind string, file string, start long, ends array<long>, n int"
"""Where a task has written its lines of a file: compressed lines up to the first of `ends`, then
their part of the index up to the second; `n` is the largest number of people tested."""

_FILES = "phenotype string, kind string, md5 string, n int"

Lines = tuple[bytes, NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
"""Text, and for each of its lines the end, the number of the chromosome and the position."""


@dataclass(frozen=True)
class Context:
    """What the sidecar says about all phenotypes of a study."""

    genome_assembly: str
    covariates: Sequence[str]
    min_maf: float | None
    engine: str
    whole_genome: bool = False
    notes: str | None = None
    models: Mapping[str, str] = field(default_factory=dict)
    """For each latent the digest of its model."""
    in_units: Sequence[str] = ()
    """Phenotypes whose effects are in their own units."""
    ancestry: str | None = None
    """The population that everybody belongs to, as inferred from genotypes."""


def export_sumstats(
    tests: DataFrame, variants: int, phenotypes: int, folder: str, context: Context
) -> list[str]:
    """Write `folder`/<phenotype>.tsv.gz, its .tbi and its -meta.yaml, and the same results in
    REGENIE's format as `folder`/regenie/<phenotype>.regenie.gz.

    Tests without a result are left out. So are variants with alleles that are not sequences, which
    the format cannot express.

    Args:
        tests: rows of `results.TESTS`; alt is the effect allele.
        variants: the number of variants, by which the work is divided into tasks.
        phenotypes: the number of phenotypes, likewise.

    Returns:
        The names of the GWAS-SSF files.
    """
    files, base = fsspec.core.url_to_fs(folder)
    scratch = f"{folder}/.pieces"
    for place in (scratch, f"{folder}/regenie"):
        make_folder(place)
    order = [F.col(name) for name in ("chromosome", "position", "alt", "ref")]
    pieces = (
        tests.select(
            looked_up(NUMBERS, F.col("contig")).alias("chromosome"), "position",
            F.upper("ref").alias("ref"), F.upper("alt").alias("alt"), "rsid", "results",
        )
        .repartitionByRange(2 + variants * phenotypes // PIECE_TESTS, *order)
        .sortWithinPartitions(*order)
        .mapInArrow(partial(_write_pieces, scratch), _PIECES)
    )  # fmt: skip
    # The number of tasks is given, since Spark would make one task of a few short rows.
    tasks = min(2 * phenotypes, 2 * tests.sparkSession.sparkContext.defaultParallelism)
    joined = (
        pieces.repartition(tasks, "phenotype", "kind")
        .groupBy("phenotype", "kind")
        .applyInPandas(partial(_join, folder, _headers(context.engine != META)), _FILES)
        .collect()
    )
    remove_folder(scratch)
    written = {row["phenotype"]: row for row in joined if row["kind"] == "ssf"}
    names = []
    for phenotype, row in sorted(written.items()):
        name = phenotype + SUFFIXES["ssf"]
        content = _metadata(name, row["md5"], phenotype, row["n"], context)
        sidecar = yaml.safe_dump(content, sort_keys=False)
        files.pipe_file(f"{base}/{name}-meta.yaml", sidecar.encode())
        names.append(name)
    return names


def write_regenie_inputs(phenotypes: pd.DataFrame, covariates: pd.DataFrame, folder: str) -> None:
    """Write `folder`/phenotypes.txt and covariates.txt for REGENIE, by FID (0, as in
    samples.fam) and IID.
    """
    for name, table in (("phenotypes", phenotypes), ("covariates", covariates)):
        table = table.rename_axis("IID").reset_index()
        table.insert(0, "FID", "0")
        text = table.to_csv(sep=" ", index=False, na_rep="NA", float_format="%.10g")
        files, base = fsspec.core.url_to_fs(folder)
        make_folder(folder)
        files.pipe_file(f"{base}/{name}.txt", text.encode())


def _headers(with_quality: bool) -> dict[str, str]:
    """The header line of each kind of file."""
    columns = (*COLUMNS, *OF_QUALITY) if with_quality else COLUMNS
    return {"ssf": "\t".join(columns), "regenie": " ".join(REGENIE)}


def _write_pieces(folder: str, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Write the lines of sorted variants into one file of a folder, grouped by the file of the
    export that they belong to, and report where they lie.
    """
    pieces: dict[tuple[str, str], bgzf.Piece] = defaultdict(bgzf.Piece)
    sizes: dict[str, int] = defaultdict(int)
    for batch in batches:
        for phenotype, n, lines in _lines(batch):
            sizes[phenotype] = max(sizes[phenotype], n)
            for kind, own in lines.items():
                pieces[phenotype, kind].add(*own)
    if not pieces:
        return
    # The number orders the pieces; the random part keeps apart two runs of the same task.
    name = f"{partition_number():06d}-{secrets.token_hex(4)}"
    start, rows = 0, []
    with fsspec.open(f"{folder}/{name}", "wb") as out:
        for (phenotype, kind), piece in pieces.items():
            content, index = piece.finish()
            out.write(content)
            out.write(index.tobytes())
            ends = [start + len(content), start + len(content) + index.nbytes]
            rows.append((phenotype, kind, name, start, ends, sizes[phenotype]))
            start = ends[1]
    kinds = [pa.string()] * 3 + [pa.int64(), pa.list_(pa.int64()), pa.int32()]
    columns = [
        pa.array(own, kind) for own, kind in zip(zip(*rows, strict=True), kinds, strict=True)
    ]
    yield pa.record_batch(columns, ["phenotype", "kind", "file", "start", "ends", "n"])


def _lines(batch: pa.RecordBatch) -> Iterator[tuple[str, int, dict[str, Lines]]]:
    """For each phenotype, the largest number of people tested, and its lines for each kind of
    file.

    `batch` holds variants with their tests; tests without a result have no line.
    """
    columns, variants = elements(batch, "results")
    phenotype = columns["phenotype"].dictionary_encode()
    codes = phenotype.indices.to_numpy()
    sizes = np.zeros(len(phenotype.dictionary), np.int64)
    np.maximum.at(sizes, codes, columns["n"].to_numpy())
    own = np.flatnonzero(are_known(columns["neg_log10_p"]) & _are_sequences(batch)[variants])
    own = own[np.argsort(codes[own], kind="stable")]
    bounds = np.searchsorted(codes[own], np.arange(len(sizes) + 1))
    columns = {name: values.take(pa.array(own)) for name, values in columns.items()}
    sites = {name: values.take(pa.array(variants[own])) for name, values in _sites(batch).items()}
    place = [sites[name].to_numpy().astype(np.int64) for name in ("chromosome", "position")]
    texts = {kind: _parts_of(text) for kind, text in _texts(sites, columns).items()}
    for code, name in enumerate(phenotype.dictionary.to_pylist()):
        first, last = bounds[code : code + 2]
        lines = {
            kind: (
                content[ends[first] : ends[last]],
                ends[first + 1 : last + 1] - ends[first],
                *(one[first:last] for one in place),
            )
            for kind, (content, ends) in texts.items()
        }
        yield name, int(sizes[code]), lines


def _are_sequences(batch: pa.RecordBatch) -> NDArray[np.bool_]:
    """Whether both alleles of each variant are sequences of A, C, G and T."""
    both = [pc.match_substring_regex(batch.column(name), "^[ACGT]+$") for name in ("ref", "alt")]
    return np.asarray(pc.and_(*both).to_numpy(zero_copy_only=False), bool)


def _sites(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    """The columns of a line that depend on the variant only, before and after the results."""
    number, position, ref, alt, rsid = (
        batch.column(name) for name in ("chromosome", "position", "ref", "alt", "rsid")
    )
    place = [pc.cast(one, pa.string()) for one in (number, position)]
    named = pc.match_substring_regex(rsid, "^rs[0-9]+$")
    # In REGENIE's format a blank ends a column.
    one_word = pc.replace_substring_regex(rsid, r"\s+", "_")
    one_word = pc.if_else(pc.match_substring_regex(rsid, r"\S"), one_word, None)
    identifier = pc.coalesce(one_word, _joined([*place, ref, alt], ":"))
    return {
        "chromosome": number,
        "position": position,
        "ssf": _joined([*place, alt, ref], "\t"),
        "ssf end": _joined(
            [_joined([*place, ref, alt], "_"), pc.if_else(named, rsid, None)], "\t", "ssf"
        ),
        "regenie": _joined([*place, identifier, ref, alt], " "),
    }  # fmt: skip


def _texts(sites: Mapping[str, pa.Array], tests: Mapping[str, pa.Array]) -> dict[str, pa.Array]:
    """The lines of some tests for each kind of file."""
    beta, se, af, log_p, chi_squared = (
        _digits(one) for one in (*(tests[name] for name in _REALS[:4]), pc.power(tests["t"], 2))
    )
    n = pc.cast(tests["n"], pa.string())
    quality = [_digits(_at_most_1(tests[name], name)) for name in QUALITY if name in tests]
    *more, last = _told([n, *quality], "ssf")
    end = [*more, _joined([last, ""], "\n")]
    info, extra = "NA", "NA\n"
    if quality:
        info = quality[0]
        names = ("HWE_LOG10P=", ";CALL_RATE=", ";A1_COUNT=")
        known = zip(names, _told(quality[1:], "regenie"), strict=True)
        extra = _joined([*(part for pair in known for part in pair), "\n"], "")
    return {
        "ssf": _joined([sites["ssf"], beta, se, af, log_p, sites["ssf end"], *end], "\t", "ssf"),
        "regenie": _joined(
            [sites["regenie"], af, info, n, "ADD", beta, se, chi_squared, log_p, extra], " ",
            "regenie",
        ),
    }  # fmt: skip


def _at_most_1(values: pa.Array, name: str) -> pa.Array:
    """Imputation quality cut at 1, as the standard requires: by chance, dosages may vary more
    than expected.
    """
    return pc.min_element_wise(values, 1.0, skip_nulls=False) if name == "info" else values


def _told(texts: Sequence[pa.Array], kind: str) -> list[pa.Array]:
    """Texts with missing ones replaced by the kind of file's word for missing."""
    return [pc.fill_null(one, MISSING[kind]) for one in texts]


def _joined(texts: Sequence[Any], separator: str, kind: str = "ssf") -> pa.Array:
    """Texts joined side by side, with missing ones replaced by the kind of file's word for
    missing.
    """
    return pc.binary_join_element_wise(
        *texts, separator, null_handling="replace", null_replacement=MISSING[kind]
    )


def _digits(numbers: pa.Array) -> pa.Array:
    """Numbers as text with the shortest digits that identify them in single precision, about
    seven.
    """
    return pc.cast(pc.cast(numbers, pa.float32(), safe=False), pa.string())


def _parts_of(text: pa.Array) -> tuple[memoryview, NDArray[np.int64]]:
    """The characters of an array of texts, and where each text begins and the last one ends."""
    _, ends, content = text.buffers()
    places = np.frombuffer(ends, np.int32)[text.offset : text.offset + len(text) + 1]
    return memoryview(content or b""), places.astype(np.int64)


def _join(
    folder: str, headers: Mapping[str, str], key: tuple[str, str], pieces: pd.DataFrame
) -> pd.DataFrame:
    """Write one file of the export from its pieces, with its index."""
    phenotype, kind = key
    files, base = fsspec.core.url_to_fs(folder)
    target = f"{base}/{'regenie/' if kind == 'regenie' else ''}{phenotype}{SUFFIXES[kind]}"

    def read() -> Iterator[tuple[bytes, NDArray[np.int64]]]:
        for one in pieces.sort_values("file").itertuples():
            middle, end = one.ends
            content = files.cat_file(f"{base}/.pieces/{one.file}", start=one.start, end=end)
            index = np.frombuffer(content[middle - one.start :], np.int64)
            yield content[: middle - one.start], index.reshape(3, -1)

    md5, windows = bgzf.join(files, read(), f"{headers[kind]}\n".encode(), target)
    if kind == "ssf":  # tabix knows no other separator
        files.pipe_file(
            f"{target}.tbi", bgzf.tabix(windows, list(map(str, range(1 + len(CHROMOSOMES)))), 1)
        )
    return pd.DataFrame(
        {"phenotype": [phenotype], "kind": [kind], "md5": [md5], "n": [int(pieces["n"].max())]}
    )


def _metadata(
    name: str, checksum: str, phenotype: str, size: int, context: Context
) -> Mapping[str, object]:
    software = f"ecg-spark {version('ecg-spark')}, linear regression"
    if context.engine == META:
        software = f"ecg-spark {version('ecg-spark')}, fixed-effects meta-analysis"
    elif context.engine == "hail":
        software += f" by Hail {version('hail')} linear_regression_rows"
    if context.whole_genome:
        software += " after whole-genome ridge regression without the chromosome"
    ancestry: dict[str, object] = {}
    if context.ancestry:
        ancestry = {
            "sample_ancestry": [context.ancestry],
            "ancestry_method": ["genetically determined"],
        }
    content = {
        "author_notes": context.notes,
        "date_metadata_last_modified": datetime.now(UTC).date(),
        "trait_description": [described(phenotype, phenotype in context.in_units)],
        "genome_assembly": context.genome_assembly,
        "coordinate_system": "1-based",
        "samples": [{"sample_size": size, "case_control_study": False} | ancestry],
        "data_file_name": name,
        "file_type": "GWAS-SSF v1.0",
        "data_file_md5sum": checksum,
        "analysis_software": software,
        "adjusted_covariates": list(context.covariates) or None,
        "minor_allele_freq_lower_limit": context.min_maf,
        "is_harmonised": False,
        "is_sorted": True,
        MODEL: context.models.get(phenotype),
    }
    return {key: value for key, value in content.items() if value is not None}
