"""A whole simulated biobank in a folder, its chunks and blocks made by Spark tasks.

    OUT/ecg/                        recordings as .xml, or .hea with .dat
    OUT/manifest.csv                uri (below ecg/), participant_id, acquired_at
    OUT/participants.csv            participant_id, age (years), sex (1 male, 0 female), bmi (kg/m²)
    OUT/genotypes.bed .bim .fam     PLINK 1, A1 = ALT, GRCh38 with contigs chr1 to chr22
    OUT/genotypes.bgen .sample      the same as 8-bit BGEN 1.2; a cohort may lack genotypes
    OUT/exome.bed .bim .fam         the rare variants of genes that somebody carries
    OUT/exome.annotations .sets     what each of them does to which gene, those of each gene, and
        .masks                      what is tested together: REGENIE's --anno-file, --set-list and
                                    --mask-def
    OUT/diagnoses.csv               participant_id, code (ICD-10), date; of drawn hearts
    OUT/phecodes.csv                a map of those codes to phecodes, as PheWAS publishes its own
    OUT/truth_parameters.parquet/   participant_id, population, each parameter and its score
    OUT/truth.json                  everything that was planted; written last

Hearts are drawn (`heart.py`), or are those of recordings in a folder (`hearts.py`), of which the
signal is changed (`recorded.py`): then truth_parameters are the changes, and no file is damaged.

The folder must lie on a file system that all executors share. Every file follows from the seed:
neither the number of tasks nor their order matters, and a task that runs twice writes the same.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import SparkSession

from ecg_spark.errors import InfrastructureError, UsageError
from ecg_spark.simulate.cohort import BIOBANK, Cohort
from ecg_spark.simulate.diseases import (
    DIAGNOSES,
    DIAGNOSES_HEADER,
    MAP,
    diagnoses_of_chunk,
    map_rows,
    plant_diseases,
)
from ecg_spark.simulate.exome import (
    GENES_PER_CONTIG,
    MASKS,
    Exome,
    annotation_rows,
    make_exome,
    plant_genes,
    set_row,
)
from ecg_spark.simulate.genome import Genome, make_genome
from ecg_spark.simulate.genotype_files import (
    BED_MAGIC,
    bed_rows,
    bgen_header,
    bgen_rows,
    bim_rows,
)
from ecg_spark.simulate.genotypes import (
    CHUNK,
    block_dosages,
    families,
    n_chunks,
    poor_samples,
)
from ecg_spark.simulate.heart import PARAMETERS
from ecg_spark.simulate.hearts import FILES_PER_TASK, assign, recordings_in, survey
from ecg_spark.simulate.people import People, participant_id, people_of_chunk, plant, planted_in
from ecg_spark.simulate.recorded import CHANGES
from ecg_spark.simulate.truth import Biobank, summary_of, sums_of, truth_of
from ecg_spark.simulate.visits import REASONS, choose_defects, recorded_visits, recordings_of
from ecg_spark.store import fingerprint

MIN_VARIANTS = 200
_BLOCKS_PER_TASK = 8
_PARTS = "_parts"
_TABLES = {
    "participants.csv": b"participant_id,age,sex,bmi\n",
    "manifest.csv": b"uri,participant_id,acquired_at\n",
}
_SAMPLES = {
    "genotypes.fam": b"",
    "exome.fam": b"",
    "genotypes.sample": b"ID_1 ID_2 missing\n0 0 0\n",
}
_EXOME = {"exome.bed": BED_MAGIC, "exome.bim": b"", "exome.annotations": b"", "exome.sets": b""}
_HEARTS = "hearts"


def simulate_biobank(
    spark: SparkSession,
    out: Path,
    *,
    participants: int,
    variants: int,
    seed: int,
    hearts: Path | None = None,
    cohort: Cohort = BIOBANK,
) -> dict[str, Any]:
    """Write a biobank of so many participants and variants into the folder `out`.

    `hearts` is a folder of recordings that are the participants' hearts; without it they are drawn.
    `cohort` says who the participants are; of one without genotypes none are written.
    Returns the counts. A folder that already holds this very biobank is left as it is; an
    unfinished one is made again. Raises `UsageError` for too few participants, variants or hearts
    and for a folder that holds anything else.
    """
    if participants < 1 or variants < MIN_VARIANTS:
        raise UsageError(
            f"A simulated biobank needs at least 1 participant and {MIN_VARIANTS} variants."
        )
    settings: dict[str, Any] = {
        "participants": participants, "variants": variants, "seed": seed,
        "genes_per_contig": GENES_PER_CONTIG,
    }  # fmt: skip
    if cohort.name:
        settings["cohort"] = cohort.name
    files, owners = ([], []) if hearts is None else recordings_in(hearts)
    if hearts is not None:
        settings["hearts"] = fingerprint(files, owners)
    if _claim(out, settings):
        return summary_of(json.loads((out / "truth.json").read_text(encoding="utf-8")))
    reference = make_genome(seed, variants)
    genome = reference.in_people(cohort.people_seed(seed), cohort.population_shares)
    parameters = PARAMETERS if hearts is None else CHANGES
    planted = planted_in(genome, reference, plant(reference, parameters))
    genes = plant_genes(make_exome(reference), parameters)
    genes = genes.in_people(genome.seed, genome.population_shares)
    of_diseases = plant_diseases(reference, planted)
    defects = choose_defects(genome.seed, participants) if hearts is None else {}
    biobank = Biobank(
        out, genome, planted, genes, of_diseases, defects, participants, hearts, cohort
    )
    if hearts is not None:
        _choose_hearts(spark, biobank, files, owners)

    def people_task(chunk: int) -> dict[str, Any]:
        return _write_chunk(biobank, chunk)

    def genotype_task(task: int) -> dict[str, Any]:
        return _write_blocks(out, genome, task, participants)

    def gene_task(task: int) -> dict[str, Any]:
        return _write_genes(out, genes.exome, task, participants)

    chunks = _run_tasks(spark, n_chunks(participants), people_task)
    tables = _TABLES | (_SAMPLES if cohort.has_genotypes else {})
    if biobank.has_diseases:
        tables |= {DIAGNOSES: DIAGNOSES_HEADER}
        _write(out / MAP, map_rows().encode())
    for name, header in tables.items():
        _join(out, name, header, n_chunks(participants))
    rare_variants = 0
    if cohort.has_genotypes:
        n_genotype_tasks = -(-genome.n_blocks // _BLOCKS_PER_TASK)
        _run_tasks(spark, n_genotype_tasks, genotype_task)
        heads = {"bed": BED_MAGIC, "bim": b"", "bgen": bgen_header(variants, participants)}
        for suffix, head in heads.items():
            _join(out, f"genotypes.{suffix}", head, n_genotype_tasks)
        n_gene_tasks = -(-genes.exome.n_blocks // _BLOCKS_PER_TASK)
        written = _run_tasks(spark, n_gene_tasks, gene_task)
        for name, head in _EXOME.items():
            _join(out, name, head, n_gene_tasks)
        _write(out / "exome.masks", MASKS.encode())
        rare_variants = sum(one["variants"] for one in written)
    shutil.rmtree(out / _PARTS)
    truth = truth_of(biobank, settings, chunks, rare_variants)
    _write(out / "truth.json", json.dumps(truth, indent=1).encode())
    return summary_of(truth)


def _choose_hearts(
    spark: SparkSession, biobank: Biobank, files: list[str], owners: list[str | None]
) -> None:
    """Read every recording once, and write down for each chunk whose hearts are whose."""
    hearts = biobank.hearts
    assert hearts is not None

    def task(number: int) -> dict[str, Any]:
        start = number * FILES_PER_TASK
        return survey(hearts, files[start : start + FILES_PER_TASK])

    surveys = _run_tasks(spark, -(-len(files) // FILES_PER_TASK), task)
    chosen = assign(hearts, files, owners, surveys, biobank.participants, biobank.genome.seed)
    for chunk in range(n_chunks(biobank.participants)):
        own = chosen[chunk * CHUNK : (chunk + 1) * CHUNK]
        _write(_part(biobank.out, _HEARTS, chunk), json.dumps(own).encode())


def _claim(out: Path, settings: dict[str, Any]) -> bool:
    """Mark the folder as this biobank's; returns whether it is there already, complete."""
    mark = out / "simulation.json"
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            known = json.loads(mark.read_text(encoding="utf-8")) if mark.is_file() else None
            if known != settings:
                raise UsageError(
                    f"The folder {out} holds something else than this biobank: "
                    f"name another folder or remove it."
                )
            if (out / "truth.json").is_file():
                return True
        _write(mark, json.dumps(settings).encode())
        for folder in ("ecg", _PARTS, "truth_parameters.parquet"):
            (out / folder).mkdir(exist_ok=True)
    except OSError as error:
        raise InfrastructureError(
            f"The folder {out} cannot be written ({error.strerror}): name another one."
        ) from None
    return False


def _run_tasks(
    spark: SparkSession, count: int, task: Callable[[int], dict[str, Any]]
) -> list[dict[str, Any]]:
    """Run task(0) to task(count - 1), a Spark task each; returns their answers in order."""

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            ids = batch.column(0).to_pylist()
            answers = [json.dumps(task(index)) for index in ids]
            yield pa.RecordBatch.from_pydict({"id": ids, "answer": answers})

    done = spark.range(0, count, 1, count).mapInArrow(run, "id long, answer string").collect()
    return [json.loads(row["answer"]) for row in sorted(done, key=lambda row: row["id"])]


def _write(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_bytes(content)
    aside.replace(path)


def _part(out: Path, name: str, index: int) -> Path:
    return out / _PARTS / f"{name}-{index:06d}"


def _join(out: Path, name: str, header: bytes, parts: int) -> None:
    aside = out / _PARTS / name
    with aside.open("wb") as whole:
        whole.write(header)
        for index in range(parts):
            with _part(out, name, index).open("rb") as part:
                shutil.copyfileobj(part, whole)
    aside.replace(out / name)


def _write_blocks(out: Path, genome: Genome, task: int, participants: int) -> dict[str, Any]:
    first = task * _BLOCKS_PER_TASK
    parts: dict[str, list[bytes]] = {"bed": [], "bim": [], "bgen": []}
    for block in range(first, min(first + _BLOCKS_PER_TASK, genome.n_blocks)):
        dosages, span = block_dosages(genome, block, participants), genome.block(block)
        parts["bed"].append(bed_rows(dosages))
        variants = range(span.start, span.stop)
        parts["bim"].append(bim_rows(genome, variants).encode())
        parts["bgen"].append(bgen_rows(genome, variants, dosages))
    for suffix, rows in parts.items():
        _write(_part(out, f"genotypes.{suffix}", task), b"".join(rows))
    return {}


def _write_genes(out: Path, exome: Exome, task: int, participants: int) -> dict[str, Any]:
    """Write the rare variants of some genes that are seen in the participants; how many."""
    first, count = task * _BLOCKS_PER_TASK, 0
    parts: dict[str, list[bytes]] = {name: [] for name in _EXOME}
    for gene in range(first, min(first + _BLOCKS_PER_TASK, exome.n_blocks)):
        dosages = block_dosages(exome, gene, participants)
        seen = np.flatnonzero((dosages > 0).any(axis=1))
        variants = exome.block(gene).start + seen
        parts["exome.bed"].append(bed_rows(dosages[seen]))
        parts["exome.bim"].append(bim_rows(exome, variants).encode())
        parts["exome.annotations"].append(annotation_rows(exome, variants, gene).encode())
        parts["exome.sets"].append(set_row(exome, variants, gene).encode())
        count += len(seen)
    for name, rows in parts.items():
        _write(_part(out, name, task), b"".join(rows))
    return {"variants": count}


def _write_chunk(biobank: Biobank, chunk: int) -> dict[str, Any]:
    """Write everything of a chunk's participants; returns what the truth file counts."""
    out, genome, participants = biobank.out, biobank.genome, biobank.participants
    people = people_of_chunk(
        genome, biobank.planted, chunk, biobank.parameters, biobank.cohort, biobank.genes
    )
    n = min(CHUNK, participants - chunk * CHUNK)
    ids = [participant_id(genome.seed, int(index)) for index in people.index[:n]]
    hearts: list[list[str]] = []
    if biobank.hearts is not None:
        hearts = json.loads(_part(out, _HEARTS, chunk).read_bytes())
    rows: dict[str, list[str]] = {name: [] for name in (*_TABLES, *_SAMPLES)}
    first_days: list[datetime] = []
    formats: dict[str, int] = {}
    faulty: list[dict[str, str]] = []
    fibrillating = ventricular = 0
    for k, name in enumerate(ids):
        sex = int(people.sex[k])
        rows["participants.csv"].append(f"{name},{people.age[k]},{sex},{people.bmi[k]:.1f}\n")
        for fam in ("genotypes.fam", "exome.fam"):
            rows[fam].append(f"{name}\t{name}\t0\t0\t{2 - sex}\t-9\n")
        rows["genotypes.sample"].append(f"{name} {name} 0\n")
        if biobank.hearts is None:
            defect = biobank.defects.get(int(people.index[k]))
            visits = recordings_of(genome.seed, people, k, defect)
        else:
            paths = [biobank.hearts / path for path in hearts[k]]
            visits = recorded_visits(genome.seed, people, k, paths)
        for number, one in enumerate(visits):
            if not number:
                first_days.append(one.acquired_at)
            for file, content in one.files.items():
                _write(out / "ecg" / file, content)
            rows["manifest.csv"].append(f"{one.uri},{name},{one.acquired_at.isoformat()}\n")
            formats[one.format.name] = formats.get(one.format.name, 0) + 1
            if one.rhythm is not None:
                fibrillating += one.rhythm.fibrillation
                ventricular += bool(one.rhythm.ventricular.any())
            if one.defect is not None:
                reason = REASONS[one.defect].value
                faulty.append({"uri": one.uri, "kind": one.defect.value, "reason": reason})
    cases: dict[str, int] = {}
    if biobank.has_diseases:
        told = diagnoses_of_chunk(genome, biobank.of_diseases, people, first_days)
        rows[DIAGNOSES], cases = told
    for name, lines in rows.items():
        _write(_part(out, name, chunk), "".join(lines).encode())
    _write_parameters(out, people, ids, chunk)
    family = families(genome.seed, chunk, genome.population_shares)
    return {
        "formats": formats,
        "corrupt": faulty,
        "fibrillation": fibrillating,
        "ventricular_ectopy": ventricular,
        "siblings": _inside(family.siblings, n),
        "parent_offspring": _inside(family.parent_offspring, n),
        "population": np.bincount(people.population[:n], minlength=2).tolist(),
        "poor_samples": int(poor_samples(genome.seed, chunk)[:n].sum()),
        "cases": cases,
        "sums": sums_of(people, biobank.planted, biobank.genes, n).tolist(),
    }


def _inside(pairs: np.ndarray, n: int) -> int:
    return int((pairs < n).all(axis=1).sum())


def _write_parameters(out: Path, people: People, ids: list[str], chunk: int) -> None:
    n = len(ids)
    columns: dict[str, Any] = {"participant_id": ids, "population": people.population[:n]}
    columns |= {name: value[:n] for name, value in people.hearts.items()}
    columns |= {f"{p.name}_score": people.scores[:n, k] for k, p in enumerate(people.parameters)}
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    path = out / "truth_parameters.parquet" / f"part-{chunk:06d}.parquet"
    _write(path, sink.getvalue().to_pybytes())
