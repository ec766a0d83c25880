"""Cohorts as they are given: a study's output, or a folder of GWAS-SSF files."""

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from ecg_spark.genetics.outputs.tables import LOCI
from ecg_spark.store import Store
from ecg_spark.study import load_study
from ecg_spark.tables import write_rows
from jobs.step import origin, steps_named
from tests.builders.study_file import write_study

MODEL = "a" * 64
"""The digest of the model that latents are of, where nothing else is said."""

COLUMNS = {
    "chromosome": "chromosome", "position": "base_pair_location", "alt": "effect_allele",
    "ref": "other_allele", "beta": "beta", "se": "standard_error",
    "af": "effect_allele_frequency", "rsid": "rsid", "n": "n",
}  # fmt: skip


def results(seed: int, variants: int, phenotypes: int, people: int, effects=None) -> pd.DataFrame:
    """Results without an effect but for `effects` {(variant, phenotype): beta}, a row each.

    Sites are the same for every seed: one in five is A/T or C/G, frequencies are from .05 to .95
    and differ a little between seeds.
    """
    sites = np.random.default_rng(2)
    pairs = [("A", "G"), ("C", "T"), ("G", "T"), ("T", "A"), ("AT", "A")]
    own = [pairs[k] for k in sites.integers(0, len(pairs), variants)]
    frequency = sites.uniform(0.05, 0.95, variants)
    rng = np.random.default_rng(seed)
    af = np.clip(frequency + rng.normal(0, 0.01, variants), 0.02, 0.98)
    se = 1 / np.sqrt(2 * af * (1 - af) * people)
    frames = []
    for k in range(phenotypes):
        beta = rng.normal(0, se)
        for (variant, phenotype), effect in (effects or {}).items():
            beta[variant] += effect * (phenotype == k)
        frames.append(
            pd.DataFrame(
                {
                    "chromosome": 1 + np.arange(variants) % 3,
                    "position": 1_000_000 + 40_000 * np.arange(variants),
                    "ref": [one[0] for one in own],
                    "alt": [one[1] for one in own],
                    "rsid": [f"rs{i}" if i % 3 else None for i in range(variants)],
                    "phenotype": f"vae_{k:02d}",
                    "beta": beta,
                    "se": se,
                    "n": people,
                    "af": af,
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def swapped(table: pd.DataFrame, every: int = 1) -> pd.DataFrame:
    """The same results, those of every so many variants told for the other allele."""
    table = table.copy()
    some = _of_every(table, every)
    table.loc[some, ["ref", "alt"]] = table.loc[some, ["alt", "ref"]].to_numpy()
    table.loc[some, "beta"] *= -1
    table.loc[some, "af"] = 1 - table.loc[some, "af"]
    return table


def on_other_strand(table: pd.DataFrame, every: int = 1) -> pd.DataFrame:
    """The same results, those of every so many variants told by the other strand's names if they
    are of single bases."""
    table = table.copy()
    some = _of_every(table, every)
    names = {"A": "T", "C": "G", "G": "C", "T": "A"}
    single = table.loc[some].query("ref.str.len() == 1 and alt.str.len() == 1").index
    for column in ("ref", "alt"):
        table.loc[single, column] = table.loc[single, column].map(names)
    return table


def _of_every(table: pd.DataFrame, every: int) -> pd.Index:
    return table.index[table["position"] // 40_000 % every == 0]


def write_ssf(
    folder: Path, table: pd.DataFrame, build: str = "GRCh38", model: str | None = MODEL
) -> Path:
    """Write results as GWAS-SSF, a file and sidecar a phenotype."""
    folder.mkdir(parents=True)
    for phenotype, own in table.groupby("phenotype"):
        path = folder / f"{phenotype}.tsv.gz"
        text = (
            own[list(COLUMNS)].rename(columns=COLUMNS).to_csv(sep="\t", index=False, na_rep="#NA")
        )
        path.write_bytes(gzip.compress(text.encode()))
        said = {"genome_assembly": build, "samples": [{"sample_size": int(own["n"].max())}]}
        if model and phenotype.startswith(("vae", "pca")):
            said["encoder_sha256"] = model
        Path(f"{path}-meta.yaml").write_text(yaml.safe_dump(said))
    return folder


def write_output(
    folder: Path, table: pd.DataFrame, build: str = "GRCh38", model: str | None = MODEL
) -> Path:
    """Write results as the output of a study whose file nobody has."""
    run = folder / "runs/associations/run"
    write_results(run, table, build, model)
    (folder / "published").mkdir()
    content = {"step": "associations", "run": "run", "provenance": {}, "published_at": ""}
    (folder / "published/associations.json").write_text(json.dumps(content | {"summary": {}}))
    return folder


def write_results(
    run: Path, table: pd.DataFrame, build: str = "GRCh38", model: str | None = MODEL
) -> None:
    """Write results as a study's step `associations` does: by_variant, and sumstats."""
    write_ssf(run / "sumstats", table, build, model)
    names = table["chromosome"].map(str)
    if build == "GRCh38":
        names = "chr" + names
    rows = [
        dict(zip(("contig", "position", "ref", "alt", "rsid"), site, strict=True))
        | {"results": own[["phenotype", "beta", "se", "n", "af"]].to_dict("records")}
        for site, own in table.assign(contig=names).groupby(
            ["contig", "position", "ref", "alt", "rsid"], dropna=False
        )
    ]
    for row in rows:
        row["rsid"] = row["rsid"] if isinstance(row["rsid"], str) else None
    result = {"phenotype": pa.string(), "beta": pa.float64(), "se": pa.float64(),
              "n": pa.int32(), "af": pa.float64()}  # fmt: skip
    kinds = {"contig": pa.string(), "position": pa.int32(), "ref": pa.string(), "alt": pa.string(),
             "rsid": pa.string(), "results": pa.list_(pa.struct(list(result.items())))}  # fmt: skip
    (run / "by_variant").mkdir()
    pq.write_table(
        pa.Table.from_pylist(rows, pa.schema(list(kinds.items()))), run / "by_variant/part.parquet"
    )


def publish_study(
    folder: Path, name: str, table: pd.DataFrame, loci: Sequence[Mapping[str, object]] = (),
    thresholds: Mapping[str, float] | None = None, **changes: object,
) -> Path:  # fmt: skip
    """Publish results and loci as the steps of a study of phenotypes would; its study file."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "name": name,
        "output": "out",
        "participants": {"path": "people.csv"},
        "phenotypes": {"path": "phenotypes.csv", "columns": ["x"]},
        "genotypes": {"path": "g.bed"},
    }
    for suffix in ("bed", "bim", "fam"):
        (folder / f"g.{suffix}").touch()
    path = write_study(folder, content | changes)
    study = load_study(path)
    store = Store(study.output_path)
    for step in steps_named(["genotypes", "gwas"]):
        _, provenance = origin(step, study, store)
        with store.run(step.name, provenance) as run:
            if step.name == "associations":
                write_results(Path(run.folder), table)
            if step.name == "findings":
                write_rows(loci, LOCI, run.path(LOCI.name))
            run.publish({"thresholds": dict(thresholds or {})})
    return path
