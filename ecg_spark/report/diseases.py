"""The report's section on diseases: tests, effects, prediction, beats, and planted diseases."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.figure import Figure

from ecg_spark.diseases.panels import ECG, SCORES, VARIANTS
from ecg_spark.diseases.results import FDR
from ecg_spark.ecg import BEAT_SAMPLES, LEADS
from ecg_spark.report import disease_figures as pictures
from ecg_spark.report import figures
from ecg_spark.report.comparison import read_truth
from ecg_spark.report.evidence import MIN_GROUP_SIZE, TRAIT_TITLES
from ecg_spark.report.loci import Placed
from ecg_spark.report.sections import ReportInputs, Section
from ecg_spark.tables import OWN

GROUPS = {
    "vae": "VAE latents",
    "traits": "conventional traits",
    OWN: "the study's own phenotypes",
    SCORES: "polygenic scores",
    VARIANTS: "lead variants",
}
HEADS = (
    "disease", "kind", "predictor", "ratio (95 %)", "−log₁₀ p", "q", "cases", "n", "test",
)  # fmt: skip
OF_THE_HEART = ("vae", "traits", OWN)
KEY = ["disease", "kind", "people"]
ROWS_SHOWN, HEAT_SHOWN, FORESTS, PER_FOREST, BEATS_SHOWN, PREDICTED = 40, 40, 8, 6, 6, 16


def section(material: ReportInputs) -> tuple[Section, dict[str, Any]]:
    """The section on diseases, and its counts for the summary.

    Diseases with fewer than `MIN_GROUP_SIZE` cases are in the tables but not shown.
    """
    described = _described(material)
    of_ecgs = described[described.index.get_level_values("people") == ECG].droplevel("people")
    tests = _named(material.table("phewas", "disease_associations").to_table(), described)
    summary = material.summary("phewas")
    planted = _planted(material)
    compared = _compared(planted, tests) if planted else None
    found = tests[tests["q"] < FDR].sort_values("neg_log10_p", ascending=False)
    prediction = _table(material, "prediction")
    prediction = prediction.merge(of_ecgs[["name"]].reset_index(), on=["disease", "kind"])
    values: Section = {
        "phewas": summary,
        "phewas_heads": HEADS,
        "phewas_rows": [_row(one) for one in found.head(ROWS_SHOWN).itertuples()],
        "phewas_left": max(len(found) - ROWS_SHOWN, 0),
        "prediction_rows": _prediction_rows(prediction, found),
        "disease_comparison": compared,
        "figures": {
            "phewas": _phewas(tests, summary),
            "disease_heat": _heat(tests, found),
            "forest": _forests(tests, found),
            "prediction": _prediction(prediction, found),
            "calibration": _calibration(prediction, found),
            "disease_beats": _beats(material, of_ecgs),
        },
    }
    counts = {"diseases_tested": summary["diseases"], "disease_hits": summary["significant_fdr"]}
    if compared:
        counts |= {key: compared[key] for key in ("found_heart", "planted_heart", "false_heart")}
    return values, counts


def of_variants(material: ReportInputs, most: int) -> Iterator[Placed]:
    """The tests of lead variants, of each at most so many, the strongest first."""
    if not material.study.phewas:
        return
    table = material.table("phewas", "disease_associations")
    tests = _named(table.to_table(filter=pc.field("group") == VARIANTS), _described(material))
    tests = tests.sort_values("neg_log10_p", ascending=False, kind="stable")
    for one in tests.groupby("predictor", sort=False).head(most).itertuples():
        contig, position, *_ = str(one.predictor).split(":")
        yield Placed(contig, int(position), _row(one))


def _described(material: ReportInputs) -> pd.DataFrame:
    """The name and category of the diseases that are shown, by disease, kind and people."""
    known = _table(material, "diseases").set_index(KEY)
    return known[known["why_not"].isna() & (known["cases"] >= MIN_GROUP_SIZE)]


def _named(tests: pa.Table, described: pd.DataFrame) -> pd.DataFrame:
    """The tests of the diseases that are shown, with the names of these."""
    return tests.to_pandas().merge(described[["name", "category"]].reset_index(), on=KEY)


def _table(material: ReportInputs, name: str) -> pd.DataFrame:
    return material.table("phewas", name).to_table().to_pandas()


def _label(name: str) -> str:
    return TRAIT_TITLES.get(name, name).split(" (")[0]


def _predictor(one: Any) -> str:
    return f"score of {_label(one.predictor)}" if one.group == SCORES else _label(one.predictor)


def _way(one: Any) -> str:
    return str(one.kind) if one.people == ECG else f"{one.kind}, genotyped"


def _row(one: Any) -> list[Any]:
    effect = "–"
    if pd.notna(one.beta):
        effect = f"{np.exp(one.beta):.2f}"
        if pd.notna(one.lower) and pd.notna(one.upper):
            effect += f" ({np.exp(one.lower):.2f}–{np.exp(one.upper):.2f})"
    return [
        f"{one.name} ({one.disease})" if one.name != one.disease else one.disease,
        _way(one),
        _predictor(one),
        effect,
        f"{one.neg_log10_p:.1f}",
        f"{one.q:.1e}",
        int(one.cases),
        int(one.n),
        one.test,
    ]


def _phewas(tests: pd.DataFrame, summary: Mapping[str, Any]) -> Figure | None:
    if tests.empty:
        return None
    passing = tests.loc[tests["q"] < FDR, "neg_log10_p"]
    panels = []
    for group, title in GROUPS.items():
        own = tests[tests["group"] == group]
        if len(own):
            best = own.sort_values("neg_log10_p", ascending=False)
            best = best.drop_duplicates(["disease", "kind"]).fillna({"beta": 0.0})
            panels.append((f"{title[0].upper()}{title[1:]}: the best of each disease", best))
    return pictures.phewas(
        panels, float(passing.min()) if len(passing) else np.inf, summary["bonferroni_neg_log10_p"]
    )


def _heat(tests: pd.DataFrame, found: pd.DataFrame) -> Figure | None:
    """z-scores of every factor and trait for the diseases that are associated with any of
    them.
    """
    surest = found[found["group"].isin(OF_THE_HEART)].drop_duplicates("disease").head(HEAT_SHOWN)
    if surest.empty:
        return None
    keys = list(zip(surest["disease"], surest["kind"], strict=True))
    of_heart = tests[tests["group"].isin(OF_THE_HEART)]
    columns = list(dict.fromkeys(of_heart["predictor"]))
    scaled = of_heart.assign(z=of_heart["beta"] / of_heart["se"])
    table = scaled.pivot_table("z", ["disease", "kind"], "predictor", dropna=False)
    table = table.reindex(index=pd.MultiIndex.from_tuples(keys), columns=columns)
    names = [figures.shortened(f"{one.name}, {one.kind}", 44) for one in surest.itertuples()]
    limit = float(np.clip(np.nanmax(np.abs(table.to_numpy())), 4, 12))
    return figures.heat_map(table.to_numpy(), names, [_label(name) for name in columns], "z", limit)


def _forests(tests: pd.DataFrame, found: pd.DataFrame) -> Figure | None:
    """The most significant effects on each of the most significant diseases."""
    panels = []
    for key in found.drop_duplicates(KEY).head(FORESTS).itertuples():
        own = found[(found[KEY] == [key.disease, key.kind, key.people]).all(axis=1)]
        own = own.dropna(subset=["beta", "lower", "upper"]).head(PER_FOREST)
        if own.empty:
            continue
        rows = own.assign(label=[_predictor(one) for one in own.itertuples()])
        panels.append(
            pictures.Effects(
                f"{key.name}, {_way(key)} ({key.cases} cases)",
                "hazard ratio" if key.kind == "incident" else "odds ratio",
                rows,
            )
        )
    return pictures.forest(panels) if panels else None


def _surest(prediction: pd.DataFrame, found: pd.DataFrame, most: int) -> list[tuple[str, str]]:
    """The diseases that are predicted, the most significant first."""
    of_ecgs = found[found["people"] == ECG]
    strength = of_ecgs.groupby(["disease", "kind"])["neg_log10_p"].max().to_dict()
    keys = list(dict.fromkeys(zip(prediction["disease"], prediction["kind"], strict=True)))
    return sorted(keys, key=lambda key: (-strength.get(key, 0.0), key))[:most]


def _of(prediction: pd.DataFrame, key: tuple[str, str]) -> pd.DataFrame:
    return prediction[(prediction["disease"] == key[0]) & (prediction["kind"] == key[1])]


def _prediction_rows(prediction: pd.DataFrame, found: pd.DataFrame) -> list[list[Any]]:
    rows = []
    for key in _surest(prediction, found, PREDICTED):
        for one in _of(prediction, key).itertuples():
            gain = "–" if pd.isna(one.gain) else f"{one.gain:+.3f} ± {one.gain_se:.3f}"
            rows.append(
                [f"{one.name}, {one.kind}", one.model, f"{one.concordance:.3f} ± {one.se:.3f}",
                 gain, f"{one.slope:.2f} ± {one.slope_se:.2f}", int(one.cases)]
            )  # fmt: skip
    return rows


def _prediction(prediction: pd.DataFrame, found: pd.DataFrame) -> Figure | None:
    keys = _surest(prediction, found, PREDICTED)
    if not keys:
        return None
    rows = pd.concat([_of(prediction, key) for key in keys])
    rows = rows.assign(label=rows["name"] + ", " + rows["kind"])
    return pictures.predicted(rows)


def _calibration(prediction: pd.DataFrame, found: pd.DataFrame) -> Figure | None:
    panels = []
    for key in _surest(prediction, found, 8):
        own = _of(prediction, key)
        curves = {
            str(one.model): (np.array(one.expected), np.array(one.observed))
            for one in own.itertuples()
            if one.model in ("covariates", "intervals", "factors")
        }
        panels.append((f"{own['name'].iloc[0]}, {key[1]}", curves))
    return pictures.calibration(panels) if panels else None


def _beats(material: ReportInputs, shown: pd.DataFrame) -> Figure | None:
    """Mean beats of cases and controls, and what the decoder makes of the difference of their
    factors.
    """
    if not material.study.ecg:
        return None
    beats = _table(material, "disease_beats")
    beats = beats[beats["people"] >= MIN_GROUP_SIZE]
    factors = _table(material, "disease_factors")
    drawn: dict[str, pictures.DiseaseBeat] = {}
    for (disease, kind), pair in beats.groupby(["disease", "kind"], sort=False):
        sides = {row["group"]: row for row in pair.to_dict("records")}
        if len(sides) < 2 or (disease, kind) not in shown.index or disease in drawn:
            continue
        ill, well = (
            (_signal(row["mean"]), _signal(row["se"]))
            for row in (sides["cases"], sides["controls"])
        )
        name = shown.loc[(disease, kind), "name"]
        counts = f"{sides['cases']['people']} cases, {sides['controls']['people']} controls"
        drawn[disease] = pictures.DiseaseBeat(
            f"{name}, {kind}: {counts}",
            ill,
            well,
            _decoded(material, factors, str(disease), str(kind)),
        )
    if not drawn:
        return None
    return pictures.disease_beats(list(drawn.values())[:BEATS_SHOWN])


def _signal(values: Sequence[float]) -> np.ndarray:
    return np.asarray(values, float).reshape(len(LEADS), BEAT_SAMPLES)


def _decoded(
    material: ReportInputs, factors: pd.DataFrame, disease: str, kind: str
) -> np.ndarray | None:
    """The difference in µV that the decoder makes of the factors' differences, with its
    limits.
    """
    names = list(material.latents.columns)
    own = factors[(factors["disease"] == disease) & (factors["kind"] == kind)]
    own = own.set_index("factor").reindex(names)
    if own["difference"].isna().all():
        return None
    effect = material.explainer.locus_effect(
        own["difference"].to_numpy(float), own["se"].to_numpy(float)
    )
    return np.asarray(effect.change_uv)


def _planted(material: ReportInputs) -> list[dict[str, Any]]:
    """The planted diseases of a simulated biobank; none for a real one."""
    truth = material.study.truth
    return list(read_truth(material.study.locate(truth)).get("diseases", [])) if truth else []


def _compared(planted: Sequence[Mapping[str, Any]], tests: pd.DataFrame) -> dict[str, Any]:
    """Which planted diseases the ECG's predictors found, at a false discovery rate of 5 %."""
    rows, counts = [], {"found_heart": 0, "planted_heart": 0, "false_heart": 0}
    for one in planted:
        own = tests[tests["disease"] == one["phecode"]]
        hits = own[own["q"] < FDR]
        by_heart = hits[hits["group"].isin(OF_THE_HEART)]
        is_heart = one["caused_by"] == "heart"
        counts["planted_heart"] += is_heart and bool(own["group"].isin(OF_THE_HEART).any())
        counts["found_heart"] += is_heart and len(by_heart) > 0
        counts["false_heart"] += 0 if is_heart else len(by_heart)
        acting = ", ".join(name.replace("_", " ") for name in one["parameters"]) or "–"
        best = by_heart.sort_values("neg_log10_p", ascending=False)
        said = [_label(name) for name in dict.fromkeys(best["predictor"])]
        rows.append(
            [f"{one['name']} ({one['phecode']})", one["caused_by"], acting, int(one["cases"]),
             ", ".join(said[:4]) or "–",
             ", ".join(map(_label, hits.loc[hits["group"] == SCORES, "predictor"].head(4))) or "–",
             ", ".join(dict.fromkeys(hits.loc[hits["group"] == VARIANTS, "predictor"])) or "–"]
        )  # fmt: skip
    return {"rows": rows, **counts}
