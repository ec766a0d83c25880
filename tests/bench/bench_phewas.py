"""Diseases: errors of the first kind, planted diseases found, and how long many tests take.

    python tests/bench/bench_phewas.py type1 [repeats]      # 50 cases of 5,000 people
    python tests/bench/bench_phewas.py planted [people seeds]   # simulated people
    python tests/bench/bench_phewas.py speed [people diseases predictors]
    python tests/bench/bench_phewas.py                      # all three at small sizes

`type1`: predictors that do nothing (normal, skewed, of carriers of alleles of 1, 5 and 20 %),
covariates that act: the share of p below 0.05, 0.01, 1e-3 and 1e-4 of what should be. `planted`:
the diseases of the simulated biobank on 2,000 people's own scores of the heart, measured with an
error as large as half of their spread; at the end the share of small p of what should be, of the
diseases that the heart does not cause. `speed`: associations of one panel in Spark, on as many
cores as MASTER says, and the same tests one by one by statsmodels, reckoned from some of them.
"""

import json
import os
import sys
import tempfile
import time
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import statsmodels.api as sm
from usage import Usage, cpu_seconds

from ecg_spark.diseases.codes import normal_code
from ecg_spark.diseases.diagnoses import Told
from ecg_spark.diseases.outcomes import INCIDENT, PREVALENT, Outcome
from ecg_spark.diseases.panels import GENOTYPES, Panel, Predictor, make_panel
from ecg_spark.diseases.phecode_map import read_maps
from ecg_spark.diseases.phewas import Settings, answer_of, associate_diseases
from ecg_spark.diseases.results import FDR, false_discovery_rate
from ecg_spark.diseases.testing import assess
from ecg_spark.session import spark_session
from ecg_spark.simulate.diseases import (
    DISEASES,
    RECORDS_END,
    diagnoses_of_chunk,
    plant_diseases,
)
from ecg_spark.simulate.genome import make_genome
from ecg_spark.simulate.genotypes import n_chunks
from ecg_spark.simulate.people import participant_id, people_of_chunk, plant

FIRST_DAY = datetime(2014, 5, 1)
LEVELS = (0.05, 0.01, 1e-3, 1e-4)


def told(**values: object) -> None:
    print(json.dumps(values), flush=True)


def null_predictors(rng: np.random.Generator, n: int, each: int) -> dict[str, np.ndarray]:
    """Predictors that do nothing, `each` of every kind, [n, each]."""
    return {
        "normal": rng.normal(size=(n, each)),
        "skewed": rng.exponential(size=(n, each)) ** 2,
        **{f"alleles {af:g}": rng.binomial(2, af, (n, each)).astype(float)
           for af in (0.01, 0.05, 0.2)},
    }  # fmt: skip


def type1(repeats: int = 400, n: int = 5000, cases: int = 50, each: int = 25) -> None:
    """Observed over expected shares of small p, prevalent and incident."""
    counts: dict[tuple[str, str], np.ndarray] = {}
    tests: dict[tuple[str, str], int] = {}
    for repeat in range(repeats):
        rng = np.random.default_rng([7, repeat])
        age, sex = rng.normal(size=n), rng.integers(0, 2, n) - 0.5
        covariates = pd.DataFrame({"age": age, "sex": sex, "pc_1": rng.normal(size=n)})
        kinds = null_predictors(rng, n, each)
        names = [f"{kind}_{k}" for kind in kinds for k in range(each)]
        values = pd.DataFrame(np.column_stack(list(kinds.values())), columns=names)
        groups = {kind: names[k * each : (k + 1) * each] for k, kind in enumerate(kinds)}
        panel = make_panel("ecg", values, groups, covariates, None)
        danger = 0.7 * age + 0.5 * sex
        chosen = rng.choice(n, cases, replace=False, p=np.exp(danger) / np.exp(danger).sum())
        is_case = np.zeros(n, bool)
        is_case[chosen] = True
        until = np.where(is_case, rng.integers(1, 3000, n), 3000).astype(float)
        for outcome in (
            Outcome(PREVALENT, np.arange(n), is_case, "both", 0),
            Outcome(INCIDENT, np.arange(n), is_case, "both", 0, until),
        ):
            for row in assess(panel, outcome).rows:
                key = (outcome.kind, row["group"])
                below = np.array([row["neg_log10_p"] > -np.log10(level) for level in LEVELS])
                counts[key] = counts.get(key, np.zeros(len(LEVELS))) + below
                tests[key] = tests.get(key, 0) + 1
    for key, below in counts.items():
        shares = below / tests[key] / np.array(LEVELS)
        told(kind=key[0], predictor=key[1], tests=tests[key],
             observed_over_expected=dict(zip(map(str, LEVELS), shares.round(2).tolist(),
                                             strict=True)))  # fmt: skip


def planted(people: int = 2000, seeds: int = 3) -> None:
    """Diseases of the simulated biobank that the heart's scores find, and false ones."""

    phecodes = {normal_code(code, "icd10"): one for one in DISEASES for code in one.codes}
    all_hits, all_false, of_nothing = 0, 0, []
    for seed in range(1, seeds + 1):
        genome = make_genome(seed, 20_000)
        variants = plant(genome)
        own = plant_diseases(genome, variants)
        rows, scores, terms, names, first = [], [], [], [], []
        for chunk in range(n_chunks(people)):
            group = people_of_chunk(genome, variants, chunk)
            start = [FIRST_DAY + timedelta(days=int(index) % 1800) for index in group.index]
            rows += diagnoses_of_chunk(genome, own, group, start)[0]
            scores.append(group.scores)
            terms.append(np.column_stack([group.age, group.sex, group.bmi, group.population]))
            names += [participant_id(seed, int(index)) for index in group.index]
            first += start
        noise = np.random.default_rng(seed).normal(0, 0.5, (len(names), scores[0].shape[1]))
        columns = [f"vae_{k:02d}" for k in range(noise.shape[1])]
        values = pd.DataFrame(np.concatenate(scores) + noise, names, columns)[:people]
        covariates = pd.DataFrame(np.concatenate(terms), names)[:people]
        covariates = (covariates - covariates.mean()) / covariates.std()
        day = [(one.date() - pd.Timestamp(0).date()).days for one in first][:people]
        end = (RECORDS_END - pd.Timestamp(0).date()) / timedelta(days=1)
        days = pd.DataFrame({"first": day, "last": day, "until": end}, values.index, dtype=float)
        is_male = pd.Series(np.concatenate(terms)[:people, 1], values.index)
        panel = make_panel("ecg", values, {"vae": columns}, covariates, is_male, days=days)
        table = pd.DataFrame([row.strip().split(",") for row in rows],
                             columns=["who", "code", "date"])  # fmt: skip
        table["disease"] = [
            phecodes[key].phecode if (key := normal_code(code, "icd10")) in phecodes else None
            for code in table["code"]
        ]
        table["place"] = table["who"].map({name: k for k, name in enumerate(values.index)})
        table["first"] = (pd.to_datetime(table["date"]) - pd.Timestamp(0)).dt.days
        table = table.dropna(subset=["disease", "place"])
        found = []
        for one in DISEASES:
            group = table[table["disease"] == one.phecode].groupby("place")
            frame = group["first"].min().reset_index().assign(times=1, is_own=True)
            answer = answer_of(one.phecode, frame, panel, one.only or "both", Settings(50, 1, seed))
            found += [row | {"cause": one.cause} for row in answer["associations"]]
        q = false_discovery_rate(np.array([row["neg_log10_p"] for row in found]))
        hits = [row for row, value in zip(found, q, strict=True) if value < FDR]
        causes = {one.phecode: one.cause for one in DISEASES}
        by_heart = {row["disease"] for row in hits if causes[row["disease"]] == "heart"}
        false = [row for row in hits if causes[row["disease"]] != "heart"]
        of_nothing += [row["neg_log10_p"] for row in found if row["cause"] != "heart"]
        all_hits, all_false = all_hits + len(hits), all_false + len(false)
        told(seed=seed, tests=len(found), planted=sum(c == "heart" for c in causes.values()),
             found=len(by_heart), hits=len(hits), false=len(false),
             false_tests=[(row["disease"], row["kind"], row["predictor"],
                           round(row["neg_log10_p"], 1)) for row in false])  # fmt: skip
    shares = {level: (np.array(of_nothing) > -np.log10(level)).mean() / level for level in LEVELS}
    told(
        seeds=seeds,
        hits=all_hits,
        false=all_false,
        tests_of_nothing=len(of_nothing),
        observed_over_expected={str(level): round(share, 2) for level, share in shares.items()},
    )


def made_up_panel(n: int, predictors: int, covariates: int = 14) -> Panel:
    rng = np.random.default_rng(1)
    names = tuple(Predictor(f"vae_{k:02d}", "vae") for k in range(predictors))
    return Panel(
        GENOTYPES, names, rng.normal(size=(n, predictors)), np.ones((n, predictors), bool),
        rng.normal(size=(n, covariates)), np.full(n, np.nan),
    )  # fmt: skip


def speed(n: int = 31_000, diseases: int = 1500, predictors: int = 70) -> None:
    """All tests of one panel, and what statsmodels takes for one of them."""
    rng = np.random.default_rng(2)
    panel = made_up_panel(n, predictors)
    people = pd.Index([str(k) for k in range(n)])
    with tempfile.TemporaryDirectory() as folder:
        cases = np.exp(rng.uniform(np.log(60), np.log(0.1 * n), diseases)).astype(int)
        names = [f"{chr(65 + k // 100)}{k % 100:02d}" for k in range(diseases)]
        rows = []
        for k in range(diseases):
            danger = 0.5 * panel.covariates[:, 0]
            danger = danger + (0.3 * panel.filled[:, k % predictors] if k % 10 == 0 else 0)
            own = np.argsort(danger + rng.gumbel(size=n))[-int(cases[k]) :]
            rows.append(pd.DataFrame({"participant_id": people[own], "disease": names[k]}))
        table = pd.concat(rows).assign(first=pd.array([None] * sum(map(len, rows)), "Int32"))
        table["times"] = np.int32(1)
        os.makedirs(f"{folder}/occurrences")
        form = pa.schema([("participant_id", pa.string()), ("disease", pa.string()),
                          ("first", pa.int32()), ("times", pa.int32())])  # fmt: skip
        pq.write_table(pa.Table.from_pandas(table, form, preserve_index=False),
                       f"{folder}/occurrences/part-0.parquet")  # fmt: skip
        spark = spark_session("bench")
        used, began, spent = Usage(), time.monotonic(), cpu_seconds()
        used.start()
        summary = associate_diseases(
            spark, {GENOTYPES: (people, panel)}, read_maps([]), Settings(50, 1, 1), None,
            folder, Told(),
        )  # fmt: skip
        seconds = time.monotonic() - began
        told(what="ecg-spark", people=n, diseases=diseases, predictors=predictors,
             tests=summary["tests"], tests_by=summary["tests_by"], seconds=round(seconds, 1),
             cpu_s=round(cpu_seconds() - spent, 1), peak_mb=used.peaks)  # fmt: skip
        spark.stop()
    x = np.column_stack([np.ones(n), panel.covariates])
    each = []
    for k in range(8):
        y = (rng.random(n) < 0.03).astype(float)
        began_cpu = time.process_time()
        sm.Logit(y, np.column_stack([x, panel.filled[:, k]])).fit(disp=0)
        each.append(time.process_time() - began_cpu)
    told(what="statsmodels, one by one", cpu_s_of_one=round(float(np.median(each)), 3),
         cpu_h_of_all=round(float(np.median(each)) * summary["tests"] / 3600, 1))  # fmt: skip


if __name__ == "__main__":
    wanted, numbers = sys.argv[1:2], [int(text) for text in sys.argv[2:]]
    if wanted:
        {"type1": type1, "planted": planted, "speed": speed}[wanted[0]](*numbers)
    else:
        type1(20)
        planted(800, 1)
        speed(3000, 20, 20)
