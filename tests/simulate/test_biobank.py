"""A simulated biobank on disk: real files that the readers read, and a truth that holds."""

import csv
import json
from datetime import datetime

import numpy as np
import pyarrow.parquet as pq
import pytest

from ecg_spark.ecg import INDEPENDENT_LEADS, LEADS, RecordingError, read_recording
from ecg_spark.errors import UsageError
from ecg_spark.simulate import simulate_biobank
from ecg_spark.simulate.exome import make_exome, plant_genes
from ecg_spark.simulate.files import FORMATS
from ecg_spark.simulate.genome import make_genome
from ecg_spark.simulate.genotypes import CHUNK, block_dosages
from ecg_spark.simulate.heart import PARAMETERS
from ecg_spark.simulate.people import people_of_chunk, plant
from ecg_spark.simulate.visits import REASONS, Defect, choose_defects, recordings_of

SEED, PARTICIPANTS, VARIANTS = 5, 150, 400

# Only found by comparing files, or by the shape of the beat.
SEEN_LATER = {Defect.DUPLICATE, Defect.SWAPPED_ARMS}


@pytest.fixture(scope="module")
def biobank(spark, tmp_path_factory):
    out = tmp_path_factory.mktemp("biobank") / "new" / "folder"
    summary = simulate_biobank(spark, out, participants=PARTICIPANTS, variants=VARIANTS, seed=SEED)
    return out, summary


@pytest.fixture(scope="module")
def recorded():
    """Every recording of the biobank, made again in this process."""
    genome = make_genome(SEED, VARIANTS)
    planted, defects = plant(genome), choose_defects(SEED, PARTICIPANTS)
    genes = plant_genes(make_exome(genome))
    found = {}
    for chunk in (0, 1):
        people = people_of_chunk(genome, planted, chunk, genes=genes)
        for row in range(min(CHUNK, PARTICIPANTS - chunk * CHUNK)):
            defect = defects.get(chunk * CHUNK + row)
            found |= {one.uri: one for one in recordings_of(SEED, people, row, defect)}
    return found


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def truth(out):
    return json.loads((out / "truth.json").read_text(encoding="utf-8"))


def dosages_of_bed(out, n, name="genotypes"):
    content = (out / f"{name}.bed").read_bytes()
    assert content[:3] == b"\x6c\x1b\x01"
    packed = np.frombuffer(content, np.uint8, offset=3).reshape(-1, -(-n // 4))
    codes = (packed[:, :, None] >> np.array([0, 2, 4, 6])) & 3
    return np.array([2, -1, 1, 0])[codes.reshape(len(packed), -1)[:, :n]]


def test_same_seed_gives_identical_files(biobank, recorded):
    """What tasks wrote equals what this process makes: no task's place or order matters."""
    out, _ = biobank
    expected = {name: content for one in recorded.values() for name, content in one.files.items()}
    assert {path.name for path in (out / "ecg").iterdir()} == set(expected)
    for name, content in expected.items():
        assert (out / "ecg" / name).read_bytes() == content, name


def test_every_sound_file_reads_back_sample_for_sample(biobank, recorded):
    out, _ = biobank
    seen = set()
    for uri, one in recorded.items():
        if one.defect is not None and one.defect not in SEEN_LATER:
            continue
        recording = read_recording(out / "ecg" / uri)
        kept = LEADS if one.format.stores_derived else INDEPENDENT_LEADS
        read = recording.samples[[LEADS.index(lead) for lead in kept]].astype(np.float64)
        stored = one.samples * one.format.microvolts_per_unit
        assert np.allclose(read * recording.microvolts_per_unit, stored, rtol=1e-12, atol=1e-9)
        assert recording.samples.shape == (12, 5000)
        assert recording.sampling_rate_hz == 500
        assert recording.source_format == one.format.name
        assert recording.acquired_at == one.acquired_at
        assert recording.participant_id == (None if uri.endswith(".hea") else one.participant)
        seen.add(one.format.name)
    assert seen == {file_format.name for file_format in FORMATS}


def test_devices_measure_the_heart_that_was_drawn(biobank, recorded):
    out, _ = biobank
    parameters = pq.read_table(out / "truth_parameters.parquet").to_pandas()
    true = parameters.set_index("participant_id")
    read = [
        (one.participant, read_recording(out / "ecg" / one.uri).vendor)
        for one in recorded.values()
        if one.format.name == "cardiosoft" and one.defect is None
    ]
    for key, column, tolerance in (
        ("pr_ms", "pr_interval", 18),
        ("qrs_ms", "qrs_duration", 12),
        ("qtc_ms", "qtc_interval", 25),
    ):
        errors = [v[key] - true.loc[who, column] for who, v in read if key in v]
        assert 0 < len(errors) < len(read), "some fields are empty"
        assert np.abs(errors).max() < tolerance


def test_truth_names_every_file_that_ingest_or_average_rejects(biobank, recorded):
    out, _ = biobank
    predicted = {item["uri"]: item for item in truth(out)["corrupt"]}
    assert {item["kind"] for item in predicted.values()} == {kind.value for kind in Defect}
    for uri in recorded:
        kind = Defect(predicted[uri]["kind"]) if uri in predicted else None
        if kind is None or kind in SEEN_LATER:
            read_recording(out / "ecg" / uri)
        else:
            with pytest.raises(RecordingError) as raised:
                read_recording(out / "ecg" / uri)
            assert raised.value.reason == REASONS[kind] == predicted[uri]["reason"]


def test_a_duplicate_repeats_an_earlier_file(biobank, recorded):
    out, _ = biobank
    [copy] = [one for one in recorded.values() if one.defect is Defect.DUPLICATE]
    same = [
        one.uri
        for one in recorded.values()
        if one.uri < copy.uri
        and one.samples.shape == copy.samples.shape
        and np.array_equal(one.samples, copy.samples)
    ]
    assert len(same) == 1
    first, second = (read_recording(out / "ecg" / uri) for uri in (same[0], copy.uri))
    assert np.array_equal(first.samples, second.samples)


def test_tables_name_every_recording_and_participant(biobank, recorded):
    out, summary = biobank
    people = rows(out / "participants.csv")
    assert len(people) == PARTICIPANTS == summary["participants"]
    assert list(people[0]) == ["participant_id", "age", "sex", "bmi"]
    assert {row["sex"] for row in people} == {"0", "1"}
    assert all(40 <= int(row["age"]) <= 75 and 14 < float(row["bmi"]) < 60 for row in people)
    manifest = rows(out / "manifest.csv")
    assert {(row["uri"], row["participant_id"]) for row in manifest} == {
        (one.uri, one.participant) for one in recorded.values()
    }
    assert len(manifest) == summary["recordings"] == sum(summary["by_format"].values())
    assert all(datetime.fromisoformat(row["acquired_at"]).year >= 2014 for row in manifest)
    ids = [row["participant_id"] for row in people]
    assert set(ids) == {row["participant_id"] for row in manifest}
    fam = [line.split("\t")[1] for line in (out / "genotypes.fam").read_text().splitlines()]
    sample = [line.split()[0] for line in (out / "genotypes.sample").read_text().splitlines()[2:]]
    parameters = pq.read_table(out / "truth_parameters.parquet")
    assert (out / "exome.fam").read_bytes() == (out / "genotypes.fam").read_bytes()
    assert ids == fam == sample == parameters["participant_id"].to_pylist()


def test_plink_and_bgen_hold_the_same_genotypes(biobank, hail):
    out, _ = biobank
    genome = make_genome(SEED, VARIANTS)
    expected = np.concatenate(
        [block_dosages(genome, b, PARTICIPANTS) for b in range(genome.n_blocks)]
    )
    assert np.array_equal(dosages_of_bed(out, PARTICIPANTS), expected)

    hl, base = hail, str(out / "genotypes")
    hl.index_bgen(f"{base}.bgen", reference_genome="GRCh38")
    bgen = hl.import_bgen(f"{base}.bgen", ["GT", "dosage"], sample_file=f"{base}.sample")
    bed = hl.import_plink(f"{base}.bed", f"{base}.bim", f"{base}.fam", reference_genome="GRCh38")
    tables = {}
    for name, matrix, dosage in (("bgen", bgen, bgen.dosage), ("bed", bed, bed.GT.n_alt_alleles())):
        matrix = matrix.annotate_entries(x=dosage).unfilter_entries()
        matrix = matrix.annotate_entries(x=hl.or_else(hl.float64(matrix.x), -1.0))
        found = matrix.rows().select().collect()
        tables[name] = (
            [(row.locus.contig, row.locus.position, *row.alleles) for row in found],
            np.array(matrix.x.collect()).reshape(len(found), -1),
            matrix.s.collect(),
        )
    loci = [
        (genome.contig_name(v), int(genome.position[v]), str(genome.ref[v]), str(genome.alt[v]))
        for v in range(VARIANTS)
    ]
    for found, dosages, names in tables.values():
        assert found == loci
        assert np.array_equal(dosages, expected)
        assert names == [row["participant_id"] for row in rows(out / "participants.csv")]


def test_the_exome_holds_the_variants_seen_and_its_files_name_them(biobank):
    out, summary = biobank
    exome = make_exome(make_genome(SEED, VARIANTS))
    called = [block_dosages(exome, gene, PARTICIPANTS) for gene in range(exome.n_blocks)]
    seen = [np.flatnonzero((own > 0).any(axis=1)) for own in called]
    expected = np.concatenate([own[rows] for own, rows in zip(called, seen, strict=True)])
    dosages = dosages_of_bed(out, PARTICIPANTS, "exome")
    assert np.array_equal(dosages, expected)
    assert len(dosages) == summary["rare_variants"] > 300
    bim = [line.split("\t") for line in (out / "exome.bim").read_text().splitlines()]
    names = [row[1] for row in bim]
    assert [f"{row[0]}:{row[3]}:{row[5]}:{row[4]}" for row in bim] == names
    told = [line.split(" ") for line in (out / "exome.annotations").read_text().splitlines()]
    assert [row[0] for row in told] == names
    variants = np.concatenate([exome.block(gene).start + rows for gene, rows in enumerate(seen)])
    assert [row[2] for row in told] == exome.consequence[variants].tolist()
    sets = [line.split(" ") for line in (out / "exome.sets").read_text().splitlines()]
    of_gene = {row[0]: row[3].split(",") for row in sets}
    assert of_gene == {
        gene: [row[0] for row in told if row[1] == gene] for gene in {row[1] for row in told}
    }
    masks = dict(line.split(" ") for line in (out / "exome.masks").read_text().splitlines())
    assert masks == {"pLoF": "pLoF", "pLoF_missense": "pLoF,missense"}


def test_the_truth_says_which_genes_act_and_how(biobank):
    out, summary = biobank
    content = truth(out)
    assert summary["planted_genes"] == len(content["planted_genes"]) == len(PARAMETERS)
    dosages = dosages_of_bed(out, PARTICIPANTS, "exome").astype(float)
    told = [line.split(" ") for line in (out / "exome.annotations").read_text().splitlines()]
    scores = pq.read_table(out / "truth_parameters.parquet").to_pandas()
    for one in content["planted_genes"]:
        added = np.zeros(PARTICIPANTS)
        for (name, gene, kind), row in zip(told, dosages, strict=True):
            if gene == one["gene"]:
                sign = (name in one["raising"]) - (name in one["lowering"])
                sign = 1 if one["directions"] == "one" else sign
                added += sign * one["beta"].get(kind, 0.0) * np.clip(row, 0, None)
                assert one["start"] <= int(name.split(":")[1]) <= one["end"]
                assert name.split(":")[0] == one["contig"]
        assert (one["directions"] == "both") == bool(one["lowering"]) == bool(one["raising"])
        measured = np.corrcoef(added, scores[f"{one['parameter']}_score"])[0, 1] ** 2
        assert measured == pytest.approx(one["variance_explained_measured"], abs=0.03)


def test_the_truth_says_what_was_planted(biobank):
    out, summary = biobank
    content = truth(out)
    assert len(content["parameters"]) == len(PARAMETERS)
    assert summary["planted_large"] == len(PARAMETERS)
    assert {one["class"] for one in content["planted"]} == {"interval", "morphology"}
    bim = [line.split("\t") for line in (out / "genotypes.bim").read_text().splitlines()]
    index = {row[1]: k for k, row in enumerate(bim)}
    dosages = dosages_of_bed(out, PARTICIPANTS).astype(float)
    scores = pq.read_table(out / "truth_parameters.parquet").to_pandas()
    for one in content["planted"]:
        k = index[one["rsid"]]
        assert bim[k] == [
            one["contig"], one["rsid"], "0", str(one["position"]), one["alt"], one["ref"],
        ]  # fmt: skip
        assert one["effect_allele"] == one["alt"]
        typed = dosages[k] >= 0
        z = scores[f"{one['parameter']}_score"].to_numpy()[typed]
        measured = np.corrcoef(dosages[k][typed], z)[0, 1] ** 2
        assert measured == pytest.approx(one["variance_explained_measured"], abs=0.03)


def test_a_larger_biobank_begins_with_the_smaller_one(spark, biobank, tmp_path):
    out, _ = biobank
    small = tmp_path / "small"
    simulate_biobank(spark, small, participants=20, variants=VARIANTS, seed=SEED)
    assert np.array_equal(dosages_of_bed(small, 20), dosages_of_bed(out, PARTICIPANTS)[:, :20])
    seen = dosages_of_bed(out, PARTICIPANTS, "exome")[:, :20]
    seen = seen[(seen > 0).any(axis=1)]
    assert np.array_equal(dosages_of_bed(small, 20, "exome"), seen)
    assert rows(small / "participants.csv") == rows(out / "participants.csv")[:20]
    changed = {item["uri"] for folder in (small, out) for item in truth(folder)["corrupt"]}
    sources = {
        row["participant_id"] for row in rows(small / "manifest.csv") if row["uri"] in changed
    }
    compared = 0
    for row in rows(small / "manifest.csv"):
        if row["participant_id"] not in sources:
            name = row["uri"]
            assert (small / "ecg" / name).read_bytes() == (out / "ecg" / name).read_bytes()
            compared += 1
    assert compared >= 8


def test_second_simulation_changes_nothing_and_completes_a_cut_one(spark, biobank):
    out, summary = biobank

    def again():
        return simulate_biobank(spark, out, participants=PARTICIPANTS, variants=VARIANTS, seed=SEED)

    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    assert again() == summary
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    kept = {path: path.read_bytes() for path in before}
    (out / "truth.json").unlink()
    (out / "genotypes.bed").unlink()
    assert again() == summary
    assert kept == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_simulating_into_a_folder_with_other_content_is_refused(spark, biobank, tmp_path):
    out, _ = biobank
    with pytest.raises(UsageError, match="something else"):
        simulate_biobank(spark, out, participants=PARTICIPANTS, variants=VARIANTS, seed=SEED + 1)
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(UsageError, match="something else"):
        simulate_biobank(spark, tmp_path, participants=2, variants=VARIANTS, seed=1)
    with pytest.raises(UsageError, match="at least"):
        simulate_biobank(spark, tmp_path / "x", participants=2, variants=10, seed=1)
