"""A small simulated study, published as the steps would: what the report's tests read."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql.pandas.types import to_arrow_schema
from scipy import stats

from ecg_spark.diseases.diagnoses import Told
from ecg_spark.diseases.panels import make_panel
from ecg_spark.diseases.phecode_map import Disease, Diseases
from ecg_spark.diseases.phewas import Settings, answer_of
from ecg_spark.diseases.results import published_tables
from ecg_spark.diseases.tables import DISEASE_BEATS, OCCURRENCES
from ecg_spark.flow import PEOPLE, RECORDINGS, SAMPLES, VARIANTS, flow_rows
from ecg_spark.genetics.cohorts.tables import REPLICATION
from ecg_spark.genetics.outputs.tables import (
    COLOCALISATION,
    COMMON_GENES,
    CREDIBLE_SETS,
    GENE_SETS,
    GENES,
    GENETIC_CORRELATION,
    HERITABILITY,
    INTERACTIONS,
    LD,
    LOCI,
    NEARBY_GENES,
    OMNIBUS,
    SCORES,
    SIGNALS,
)
from ecg_spark.simulate.heart import PARAMETERS, beat_mv, hearts_from_scores, qt_ms
from ecg_spark.steps import steps_of
from ecg_spark.store import Publication, Run, Store
from ecg_spark.study import Study
from ecg_spark.tables import (
    ASSOCIATIONS,
    BEATS,
    FLOW,
    LATENTS,
    QUARANTINE,
    TRAITS,
    VARIANT,
    Table,
    write_rows,
)
from models.registry.publishing import load_encoder
from models.training.plan import Plan
from models.training.train import train

HOSTILE = "<script>alert('rs1')</script>"
PLANTED = (
    ("qrs_duration", 0.20),
    ("t_asymmetry", 0.20),
    ("pr_interval", 0.15),
    ("qrs_notch", 0.02),
)
BESIDE = 1_000_000_000
"""More than the number of any rsid of a variant that is tested."""

REPLICATION_NAME = "replicate-0a1b2c3d"

PACED = 7
"""Recordings with a flag that is left out."""

GWAS_TRAITS = ("heart_rate_bpm", "pr_ms", "p_ms", "qrs_ms", "qt_ms")
CONTIGS = ("chr1", "chr2", "chr10")


@dataclass(frozen=True)
class Biobank:
    """A small simulated study in memory: what the steps would have made of it."""

    ids: list[str]
    signals: np.ndarray
    hashes: np.ndarray
    traits: dict[str, np.ndarray]
    dosages: np.ndarray  # [people, variants]
    contigs: np.ndarray
    positions: np.ndarray
    planted: list[dict[str, Any]]


def make_biobank(people: int, variants: int, seed: int = 5) -> Biobank:
    """People whose hearts a few variants act on, one ECG each."""
    rng = np.random.default_rng(seed)
    dosages = rng.binomial(2, rng.uniform(0.15, 0.85, variants), (people, variants))
    contigs = np.sort(rng.integers(0, len(CONTIGS), variants))
    positions = np.concatenate(
        [
            np.sort(rng.choice(200_000_000, np.sum(contigs == k), replace=False)) + 1
            for k in range(len(CONTIGS))
        ]
    )
    scores = rng.standard_normal((people, len(PARAMETERS)))
    names = [parameter.name for parameter in PARAMETERS]
    planted = []
    for (name, share), variant in zip(
        PLANTED, np.linspace(5, variants - 5, 4, dtype=int), strict=True
    ):
        k = names.index(name)
        x = (dosages[:, variant] - dosages[:, variant].mean()) / dosages[:, variant].std()
        scores[:, k] = np.sqrt(1 - share) * scores[:, k] + np.sqrt(share) * x
        planted.append(
            {
                "contig": CONTIGS[contigs[variant]],
                "position": int(positions[variant]),
                "parameter": name,
                "class": "interval" if PARAMETERS[k].seen_by_interval else "morphology",
                "variance_explained": share,
            }
        )
    hearts = hearts_from_scores(scores)
    noise = rng.normal(0, 0.008, (people, 12, 600))
    qt = qt_ms(hearts, 60_000 / hearts["heart_rate"])
    traits = {
        "heart_rate_bpm": hearts["heart_rate"],
        "pr_ms": np.where(rng.random(people) < 0.03, np.nan, hearts["pr_interval"]),
        "p_ms": hearts["p_duration"],
        "qrs_ms": hearts["qrs_duration"],
        "qt_ms": qt,
        "qtc_ms": hearts["qtc_interval"],
        "axis_deg": hearts["qrs_axis"],
    }
    return Biobank(
        [f"person-{k:06d}" for k in rng.choice(10**6, people, replace=False)],
        (beat_mv(hearts) + noise).astype(np.float32),
        rng.integers(-(2**63), 2**63 - 1, people),
        traits,
        dosages,
        np.array(CONTIGS)[contigs],
        positions,
        planted,
    )


def write(run: Run, name: str, table: Table, columns: dict[str, Any]) -> None:
    """Write a table as declared into a run."""
    schema = to_arrow_schema(table.schema)
    folder = Path(run.path(name))
    folder.mkdir(parents=True)
    filled = {field.name: columns.get(field.name) for field in schema}
    rows = len(next(value for value in filled.values() if value is not None))
    arrays = [
        pa.array([None] * rows if value is None else value, field.type, from_pandas=True)
        for field, value in zip(schema, filled.values(), strict=True)
    ]
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), folder / "part-0.parquet")
    (folder / "_SUCCESS").touch()


def regress(y: np.ndarray, dosages: np.ndarray) -> dict[str, np.ndarray]:
    """beta, se and -log10 p of every variant (rows of the result) by simple regression."""
    known = np.isfinite(y)
    y = stats.norm.ppf((stats.rankdata(y[known]) - 0.5) / known.sum())
    x = dosages[known] - dosages[known].mean(axis=0)
    n, ss = len(y), (x**2).sum(axis=0)
    beta = x.T @ y / ss
    se = np.sqrt(((y @ y) - beta**2 * ss) / (n - 2) / ss)
    log_p = (np.log(2) + stats.t.logsf(np.abs(beta / se), n - 2)) / -np.log(10)
    return {"beta": beta, "se": se, "neg_log10_p": log_p}


DISEASES = {"427.2": ("Atrial fibrillation", "circulatory system", "qrs_ms"),
            "540": (HOSTILE, "digestive", None)}  # fmt: skip
"""A disease that goes with a trait, and one, of a hostile name, that goes with nothing."""


def publish_diseases(store: Store, bank: Biobank, scores: dict[str, np.ndarray]) -> None:
    """Publish phewas: the diseases of `DISEASES`, tested without Spark."""
    rng = np.random.default_rng(12)
    groups = {model: [f"{model}_{k:02d}" for k in range(z.shape[1])] for model, z in scores.items()}
    values = pd.DataFrame(np.column_stack(list(scores.values())), bank.ids,
                          [name for names in groups.values() for name in names])  # fmt: skip
    values = values.join(pd.DataFrame(bank.traits, bank.ids)[list(GWAS_TRAITS)])
    values = (values - values.mean()) / values.std()
    groups["traits"] = list(GWAS_TRAITS)
    covariates = pd.DataFrame({"age": rng.normal(size=len(bank.ids))}, bank.ids)
    panel = make_panel("ecg", values, groups, covariates, None, ["pca"])
    lead = bank.planted[0]
    place = np.flatnonzero(bank.positions == lead["position"])[0]
    variant = f"{lead['contig']}:{lead['position']}:A:G"
    alleles = pd.DataFrame({variant: bank.dosages[:, place].astype(float)}, bank.ids)
    noise = rng.normal(size=(len(bank.ids), len(GWAS_TRAITS)))
    by_genes = values[list(GWAS_TRAITS)] + noise
    of_genes = {"variants": [variant], "scores": list(by_genes)}
    by_genes = by_genes.join(alleles)
    panels = {
        "ecg": panel,
        "genotypes": make_panel("genotypes", by_genes, of_genes, covariates, None),
    }
    known = Diseases({}, {code: Disease(code, name, category)
                          for code, (name, category, _) in DISEASES.items()})  # fmt: skip
    answers, beats, occurrences = [], [], []
    for code, (_, _, trait) in DISEASES.items():
        danger = rng.normal(size=len(bank.ids)) + (2 * values[trait] if trait else 0)
        ill = np.argsort(-danger)[:110]
        frame = pd.DataFrame({"place": ill, "first": np.nan, "times": 1, "is_own": True})
        answer = answer_of(code, frame, panel, "both", Settings(50, 1, 1))
        answers += [answer, answer_of(code, frame, panels["genotypes"], "both", Settings(50, 1, 1))]
        occurrences += [
            {"participant_id": bank.ids[k], "disease": code, "first": None, "times": 1} for k in ill
        ]
        for side in ("cases", "controls") if trait else ():
            signal = bank.signals[answer["compared"]["ever"][side]].reshape(-1, 7200)
            beats.append({
                "disease": code, "kind": "ever", "group": side, "people": len(signal),
                "mean": signal.mean(axis=0).tolist(),
                "se": (signal.std(axis=0) / np.sqrt(len(signal))).tolist(),
            })  # fmt: skip
    summary: dict[str, Any]
    with store.run("phewas", {}) as run:
        tables, summary = published_tables(panels, known, answers, Told({}, ["a note"]))
        for table, rows in (*tables, (DISEASE_BEATS, beats), (OCCURRENCES, occurrences)):
            write_rows(rows, table, run.path(table.name))
        run.publish(summary)


def publish(study: Study, bank: Biobank) -> None:
    """Publish what the steps would have published about a biobank, with one hostile rsid."""
    store = Store(study.output_path)
    publish_ecg(store, bank)
    with store.run("train", {}) as run:
        plan = Plan(
            store.require("average").path("beats"),
            study.model,
            study.seed,
            "1",
            study.tracking_uri,
            "ecg-spark",
            f"{store.root}/checkpoints",
            leave_out=study.beats.leave_out,
        )
        result = train(plan, "ecg-vae", run.folder)
        run.publish(asdict(result))
    scores = scores_of(study, bank)
    with store.run("encode", {}) as run:
        people = len(bank.ids)
        write(run, "latents", LATENTS, {
            "participant_id": bank.ids * 2,
            "model": np.repeat(["vae", "pca"], people),
            "fold": np.zeros(2 * people, np.int32),
            "z": [*scores["vae"], *scores["pca"]],
            "z_sd": [np.ones(result.n_latents)] * (2 * people),
            "n_ecgs": np.ones(2 * people, np.int32),
        })  # fmt: skip
        write_rows([
            *flow_rows("encode", RECORDINGS, people + PACED, {"paced": PACED}, people),
            *flow_rows("encode", PEOPLE, people, {}, people),
        ], FLOW, run.path("flow"))  # fmt: skip
        agreement = [0.9] * result.n_latents
        run.publish(
            {
                "participants": people,
                "n_latents": result.n_latents,
                "icc": {"vae": agreement, "pca": agreement},
            }
        )
    publish_genetics(store, bank, scores)
    if study.phewas:
        publish_diseases(store, bank, scores)


def published_by(study: Study) -> dict[str, Publication]:
    """What each step of a study has published."""
    store = Store(study.output_path)
    return {name: store.require(name) for name in steps_of(study) if name != "report"}


def scores_of(study: Study, bank: Biobank) -> dict[str, np.ndarray]:
    """Latents of the trained model, and scores of its PCA peer."""
    uri = Store(study.output_path).require("train").summary["model_uri"]
    encoder = load_encoder(uri, study.tracking_uri)
    return {"vae": encoder.encode(bank.signals).z, "pca": encoder.encode_pca(bank.signals).z}


def publish_genetics(
    store: Store,
    bank: Biobank,
    scores: dict[str, np.ndarray],
    hostile: bool = True,
    traits: tuple[str, ...] = GWAS_TRAITS,
    names: Callable[[str, int], str] = "{}_{:02d}".format,
) -> None:
    """Publish genotypes and gwas: simple regressions, and loci one variant wide.

    `scores`: phenotypes by the group whose name they bear; their own names by number of `names`.
    """
    rng = np.random.default_rng(4)
    people, variants = bank.dosages.shape
    with store.run("genotypes", {}) as run:
        components = rng.normal(size=(people, 10)) + 4 * (rng.random((people, 1)) < 0.15)
        write(run, "scores", SCORES, {
            "s": bank.ids, "call_rate": np.ones(people), "unrelated": np.ones(people, bool),
            "pc": list(components), "x_f": np.full(people, np.nan), "sets": [[0]] * people,
            "heterozygosity_sd": np.zeros(people), "ancestry": [None] * people,
        })  # fmt: skip
        write_rows([
            *flow_rows("genotypes", SAMPLES, people, {}, people),
            *flow_rows(
                "genotypes", VARIANTS, variants + 500, {"variant call rate": 500}, variants
            ),
        ], FLOW, run.path("flow"))  # fmt: skip
        run.publish(
            {
                "filters": [
                    {"filter": "imported", "samples": people, "variants": variants + 500},
                    {"filter": "variant call rate", "samples": people, "variants": variants},
                ],
                "samples": people,
                "unrelated": people,
                "related_pairs": 0,
                "components": 10,
                "structure_variants": variants,
                "ancestry": {},
                "reference_genome": "GRCh38",
                "notes": ["nobody was related to anybody"],
            }
        )
    phenotypes = {
        names(model, k): z[:, k] for model, z in scores.items() for k in range(z.shape[1])
    }
    phenotypes |= {name: bank.traits[name] for name in traits}
    first, second, last = (list(phenotypes)[place] for place in (0, 1, -1))
    where = {
        "contig": bank.contigs,
        "position": bank.positions,
        "ref": np.full(variants, "A"),
        "alt": np.full(variants, "G"),
        "rsid": np.array([HOSTILE, *[f"rs{k}" for k in range(1, variants)]]),
        "n": np.full(variants, people, np.int32),
        "af": bank.dosages.mean(axis=0) / 2,
    }
    tests = {name: regress(y, bank.dosages) for name, y in phenotypes.items()}
    if hostile:
        tests[first]["neg_log10_p"][0] = 30.0
    found = []
    with store.run("associations", {}) as run:
        parts = [{**where, "phenotype": np.full(variants, n), **t} for n, t in tests.items()]
        joined = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        write(run, "associations", ASSOCIATIONS, joined)
        rows = []
        for model, z in scores.items():
            chi2 = sum(
                (tests[names(model, k)]["beta"] / tests[names(model, k)]["se"]) ** 2
                for k in range(z.shape[1])
            )
            log_p = stats.chi2.logsf(chi2, z.shape[1]) / -np.log(10)
            df = np.full(variants, z.shape[1], np.int32)
            models = np.full(variants, model)
            rows.append({**where, "model": models, "chi2": chi2, "df": df, "neg_log10_p": log_p})
            found += loci_of(f"{model} omnibus", f"{model} omnibus", where, log_p, 7.3)
        joined = {key: np.concatenate([part[key] for part in rows]) for key in rows[0]}
        write(run, "omnibus", OMNIBUS, joined)
        for name, test in tests.items():
            method = next((group for group in scores if name.startswith(f"{group}_")), "traits")
            found += loci_of(method, name, where, test["neg_log10_p"], 8.3, test)
        flow = flow_rows("associations", VARIANTS, variants, {}, variants)
        write_rows(flow, FLOW, run.path("flow"))
        lambdas = {name: lambda_of(test["neg_log10_p"]) for name, test in tests.items()}
        joint = {row["model"][0]: row for row in rows}
        lambdas |= {
            f"{model} omnibus": lambda_of(row["neg_log10_p"], row["df"][0])
            for model, row in joint.items()
        }
        degrees = {f"{model} omnibus": int(row["df"][0]) for model, row in joint.items()}
        run.publish(
            {
                "lambda": lambdas,
                "degrees_of_freedom": degrees,
                "left_out": {"people": {"a covariate is missing": 2}},
                "variants": variants,
                "notes": [],
            }
        )
    with store.run("findings", {}) as run:
        columns = [field.name for field in LOCI.schema]
        write(run, "loci", LOCI, {key: [row[key] for row in found] for key in columns})
        write(run, "heritability", HERITABILITY, {
            "phenotype": list(tests), "n": np.full(len(tests), people, np.int32),
            "variants": np.full(len(tests), variants, np.int32),
            **{key: np.full(len(tests), value) for key, value in (
                ("mean_chi2", 1.2), ("h2", 0.31), ("h2_se", 0.1), ("intercept", 1.01),
                ("intercept_se", 0.02),
            )},
        })  # fmt: skip
        write(run, "genetic_correlation", GENETIC_CORRELATION, {
            "phenotype_1": [first, first], "phenotype_2": [second, last],
            "rg": [0.5, None], "rg_se": [0.1, None], "covariance": [0.1, 0.2],
            "covariance_se": [0.1, 0.1], "intercept": [0.0, 0.1],
        })  # fmt: skip
        leads = [(row["contig"], row["position"], row["ref"], row["alt"]) for row in found]
        leads = list(dict.fromkeys(leads))
        contigs, positions, refs, alts = ([lead[k] for lead in leads] for k in range(4))
        write(run, "ld", LD, {
            "contig": contigs, "lead": positions, "lead_ref": refs, "lead_alt": alts,
            "position": positions, "ref": refs, "alt": alts, "r2": np.ones(len(contigs)),
        })  # fmt: skip
        publish_sets(run, found)
        site = {"contig": ["chr1"], "position": [5], "ref": ["A"], "alt": ["G"], "rsid": [None]}
        write(run, "colocalisation", COLOCALISATION, {
            **site,
            "region_start": [1], "region_end": [9], "phenotype_1": [first], "signal_1": [1],
            "phenotype_2": [HOSTILE], "signal_2": [None], "n_variants": [90], "h0": [0.0],
            "h1": [0.0], "h2": [0.0], "h3": [0.05], "h4": [0.95], "shared_pip": [0.6],
        })  # fmt: skip
        write(run, "interactions", INTERACTIONS, {
            **site, "phenotype": [first],
            "n": [people], "n_women": [people - 4], "n_men": [4],
            **{key: [0.21] for key in ("beta_women", "sex_beta", "age_beta")},
            **{key: [0.1] for key in ("se_women", "sex_se", "age_se")}, "beta_men": [9.87],
            "se_men": [0.1], "sex_neg_log10_p": [1.5], "age_neg_log10_p": [0.25],
        })  # fmt: skip
        write(run, "common_genes", COMMON_GENES, {
            "gene": [HOSTILE, "MYH6"], "contig": ["chr1", "chr14"], "start": [1, 5], "end": [2, 6],
            "phenotype": [first, first], "n_variants": [3, 4], "chi2": [90.0, 2.0],
            "neg_log10_p": [17.5, 0.5],
        })  # fmt: skip
        write(run, "nearby_genes", NEARBY_GENES, {
            "contig": contigs[:1], "start": [place - 9_000 for place in positions[:1]],
            "end": [place + 500_000 for place in positions[:1]], "gene": [HOSTILE][: len(leads)],
        })  # fmt: skip
        thresholds = dict.fromkeys(scores, 8.3) | {f"{model} omnibus": 7.3 for model in scores}
        thresholds |= {"traits": 8.0} if traits else {}
        counts = {"tests_of_a_variant": len(tests) + len(scores), "effective_tests": 12.5}
        run.publish({"ld_score_variants": variants, "thresholds": thresholds, **counts})
    with store.run("rare", {}) as run:
        place = {"contig": ["chr14", "chr1"], "gene": ["MYH6", HOSTILE], "phenotype": [first, last],
                 "mask": ["lof", "all"], "max_maf": [0.01, 0.001]}  # fmt: skip
        write(run, "genes", GENES, place | {
            "start": np.array([23_381_000, 1_000], np.int32),
            "end": np.array([23_408_000, 2_000], np.int32),
            "n": np.array([people, people], np.int32), "neg_log10_p": [5.25, 0.5],
            "test": ["skat", "burden"], "leave_one_out_neg_log10_p": [2.75, None],
        })  # fmt: skip
        write(run, "gene_sets", GENE_SETS, place | {
            "n_variants": np.array([4, 2], np.int32), "alleles": [31.0, 22.0],
            "burden_beta": [0.41, None], "burden_se": [0.1, None],
            "burden_neg_log10_p": [4.5, None], "skat_q": [9.0, 1.0],
            "skat_neg_log10_p": [5.25, 0.5], "acat_v_neg_log10_p": [4.0, 0.25],
            "acat_o_neg_log10_p": [5.0, 0.25],
        })  # fmt: skip
        counted = {"gene_threshold": 4.5, "tests_of_a_gene": 9.5, "significant_genes": 1}
        run.publish({"genes": 2, "notes": [], **counted})
    with store.run("null_model", {}) as run:
        run.publish({"null_model": "none", "predicted_by_genome": {}, "notes": []})
    with store.run("cohort", {}) as run:
        told = {"participant_id": bank.ids, "age": rng.uniform(40, 70, people), "visit_2": 1.0}
        told["is_male"] = np.r_[[np.nan] * 5, rng.integers(0, 2, people - 5)]
        Path(run.folder).mkdir(parents=True, exist_ok=True)
        pd.DataFrame(told).to_parquet(run.path("told.parquet"))
        covariate = {"a covariate is missing": 2}
        write_rows([
            *flow_rows("cohort", SAMPLES, people, covariate, people - 2),
            *flow_rows("cohort", PEOPLE, people, covariate, people - 2),
        ], FLOW, run.path("flow"))  # fmt: skip
        run.publish(
            {
                "people": [
                    {"filter": "in the checked genotype set", "samples": people},
                    {"filter": "paired with a participant", "samples": people},
                    {"filter": "every covariate", "samples": people - 2},
                ],
                "probes": {"pr_ms_r2": 0.81, "age_r2": 0.12, "sex_auc": 0.77},
                "matched": people,
                "analysed": people - 2,
                "covariates": ["age", "sex", "pc_1"],
                "phenotypes": {
                    **{model: z.shape[1] for model, z in scores.items()},
                    "traits": len(traits),
                },
                "notes": ["2 of them lack a covariate"],
            }
        )


def publish_sets(run: Run, found: list[dict[str, Any]]) -> None:
    """A signal of each locus, with the lead and an untested variant beside it in its set."""
    signals = [
        {
            **{key: row[key] for key in ("phenotype", *VARIANT, "rsid", "beta", "se")},
            "region_start": row["position"], "region_end": row["position"] + 2_000, "signal": 1,
            "probability": 0.94, "n_variants": 2, "min_r2": 0.9, "log10_bf": row["neg_log10_p"] - 3,
            "neg_log10_p": row["neg_log10_p"], "has_converged": True, "genes": [],
            "consequences": [],
        }
        for row in found
    ]  # fmt: skip
    members = [
        {**one, "pip": one["probability"], "af": 0.3} for one in signals
    ] + [
        {
            **one, "position": one["position"] + 1_500, "rsid": f"rs{BESIDE + one['position']}",
            "probability": 0.02, "pip": 0.02, "af": 0.3, "genes": [HOSTILE],
            "consequences": [f"{HOSTILE} missense_variant"],
        }
        for one in signals
    ]  # fmt: skip
    for table, rows in ((SIGNALS, signals), (CREDIBLE_SETS, members)):
        columns = [field.name for field in table.schema]
        write(run, table.name, table, {key: [row[key] for row in rows] for key in columns})


def publish_replication(store: Store) -> None:
    """Seek the loci of a study elsewhere, with effects half as large, as 'replicate' publishes."""
    findings = store.require("findings")
    loci = pd.read_parquet(findings.path("loci"))
    rows = [
        {
            **{key: one[key] for key in ("method", *VARIANT, "rsid", "phenotype", "beta", "se",
               "neg_log10_p", "n")},
            "outcome": "replicated" if k % 2 else "not replicated", "beta_there": one["beta"] / 2,
            "se_there": 0.1, "z_there": 5 * one["beta"], "neg_log10_p_there": 4.5, "n_there": 900,
            "af_there": None, "same_sign": True, "power": 0.8, "power_shrunk": None,
        }
        for k, one in enumerate(loci.to_dict("records"))
    ]  # fmt: skip
    counts = {"loci": len(rows), "tested": len(rows), "same_sign": len(rows), "expected": 0.8,
              "replicated": len(rows) // 2, "expected_shrunk": 0.5}  # fmt: skip
    for name, made_from in ((REPLICATION_NAME, findings.run), ("replicate-00000000", "before")):
        with store.run(name, {"inputs": {"findings": made_from}}) as run:
            write_rows(rows, REPLICATION, run.path("replication"))
            run.publish({"in": f"cohort 2 ({HOSTILE})", "loci": {"vae": counts}})


def lambda_of(neg_log10_p: np.ndarray, df: int = 1) -> float:
    """Genomic control's lambda."""
    return float(np.median(stats.chi2.isf(10**-neg_log10_p, df)) / stats.chi2.ppf(0.5, df))


def loci_of(method, phenotype, where, neg_log10_p, threshold, test=None) -> list[dict[str, Any]]:
    """A locus of one base pair for each variant past the threshold."""
    return [
        {
            "method": method,
            "phenotype": phenotype,
            **{key: value[k].item() for key, value in where.items()},
            "start": int(where["position"][k]),
            "end": int(where["position"][k]),
            "beta": float(test["beta"][k]) if test else None,
            "se": float(test["se"][k]) if test else None,
            "neg_log10_p": float(neg_log10_p[k]),
            "phenotypes": [phenotype],
            "n_variants": 1,
            "n_clumps": 1,
            "n_signals": 1,
            "set_variants": 1,
            "set_pip": 0.97,
            "set_genes": [HOSTILE],
            "set_consequences": [f"{HOSTILE} missense_variant"],
            "nearest_gene": HOSTILE,
            "gene_distance_bp": 1_200,
            "published": False,
        }
        for k in np.flatnonzero(neg_log10_p > threshold)
    ]


def publish_ecg(store: Store, bank: Biobank) -> None:
    """Publish ingest and average."""
    people = len(bank.ids)
    rows = people + PACED
    ecg_ids = [f"{k:064x}" for k in range(rows)]
    whole = np.ones(rows, np.int32)
    # Second recordings of some people, paced and like nobody's: nothing of them may be shown.
    signals = np.concatenate([bank.signals, np.full((PACED, 12, 600), 50, np.float32)])
    owners = {
        "ecg_id": ecg_ids,
        "participant_id": bank.ids + bank.ids[:PACED],
        "flags": [[]] * people + [["paced"]] * PACED,
        "weight": np.full(rows, 0.9),
    }
    traits = {name: np.r_[value, np.full(PACED, 999.0)] for name, value in bank.traits.items()}
    with store.run("ingest", {}) as run:
        write(run, "quarantine", QUARANTINE, {"ecg_id": ["x"], "path": ["p"], "step": ["ingest"],
              "reason": ["flat_lead"], "detail": ["lead V1 is flat"]})  # fmt: skip
        reasons = {"flat lead": 4, "malformed": 3}
        write_rows(
            flow_rows("ingest", RECORDINGS, rows + 10, reasons, rows + 3), FLOW, run.path("flow")
        )
        run.publish(
            {
                "n_in": rows + 10,
                "n_out": rows + 3,
                "n_quarantined": 7,
                "reasons": {"flat_lead": 4, "malformed": 3},
                "formats": {"cardiosoft": people - 100, "muse": 103},
                "participants": people,
                "seconds": 12.5,
            }
        )
    with store.run("average", {}) as run:
        write(run, "beats", BEATS, {
            **owners, "participant_hash": np.r_[bank.hashes, bank.hashes[:PACED]],
            "signal": list(signals.reshape(rows, -1)), "n_beats": whole,
            "n_detected": whole, "noise_uv": np.ones(rows),
            "source": ["computed"] * rows, "quality": np.full(rows, 0.9),
        })  # fmt: skip
        write(run, "traits", TRAITS, {**owners, **traits})
        write_rows([
            *flow_rows("average", RECORDINGS, rows + 3, {"too few beats": 3}, rows),
            *flow_rows("average", PEOPLE, people, {}, people),
        ], FLOW, run.path("flow"))  # fmt: skip
        run.publish(
            {
                "n_in": rows + 3,
                "n_out": rows,
                "n_quarantined": 3,
                "reasons": {"too_few_beats": 3},
                "flags": {"rhythm_irregular": 21, "paced": PACED},
            }
        )


def study_of(folder: Path, **changes: Any) -> Study:
    settings = {
        "name": "Made-up hearts",
        "output": str(folder / "out"),
        "ecg": {"path": "ecg"},
        "participants": {"path": "participants.csv"},
        "genotypes": {"path": "genotypes.bed"},
        "model": {"latents": 6, "channels": 4, "epochs": 2},
        "truth": str(folder / "truth.json"),
    }
    return Study.model_validate(settings | changes)
