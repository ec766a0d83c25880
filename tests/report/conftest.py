"""A report of each kind, made once for the tests that read it and those that open it."""

import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from ecg_spark.report import write_report
from ecg_spark.store import Store
from ecg_spark.study import Study
from models.registry.tracking import tracked
from tests.builders.browser import Page, opened
from tests.builders.many_loci import many_loci
from tests.builders.report_biobank import (
    DISEASES,
    Biobank,
    make_biobank,
    publish,
    publish_genetics,
    publish_replication,
    published_by,
    scores_of,
    study_of,
)


@dataclass(frozen=True)
class Report:
    """A report and what it was made from."""

    text: str
    summary: dict[str, Any]
    bank: Biobank
    store: Store
    path: Path
    study: Study

    @property
    def tables(self) -> list[pd.DataFrame]:
        return pd.read_html(io.StringIO(self.text))

    def table(self, *columns: str) -> pd.DataFrame:
        return next(t for t in self.tables if set(columns) <= set(map(str, t.columns)))


def register_again(study: Study) -> None:
    """A second version of the study's model, which is its first once more."""
    name = study.mlflow.model_name
    with tracked(study.tracking_uri):
        client = MlflowClient()
        first = client.get_model_version(name, "1")
        client.create_model_version(name, first.source, first.run_id)


@pytest.fixture(scope="session")
def planted(tmp_path_factory, mlflow_store):
    """The report of a biobank with planted variants."""
    folder = tmp_path_factory.mktemp("report")
    mlflow = {"tracking_uri": mlflow_store(folder)}
    study = study_of(folder, mlflow=mlflow, phewas={"path": "diagnoses.csv"})
    bank = make_biobank(400, 300)
    diseases = [
        {"phecode": code, "name": name, "caused_by": "heart" if trait else "neither", "cases": 110,
         "parameters": {"qrs_duration": 0.5} if trait else {}}
        for code, (name, _, trait) in DISEASES.items()
    ]  # fmt: skip
    genes = [
        {"gene": gene, "parameter": "t_axis", "class": "morphology", "directions": directions,
         "variance_explained": share}
        for gene, directions, share in (("MYH6", "both", 0.02), ("KCNQ1", "one", 0.031))
    ]  # fmt: skip
    truth = {"planted": bank.planted, "planted_genes": genes, "diseases": diseases}
    (folder / "truth.json").write_text(json.dumps(truth))
    publish(study, bank)
    register_again(study)
    store = Store(study.output_path)
    publish_replication(store)
    path = folder / "report.html"
    summary = write_report(study, published_by(study), path, store.published_as("replicate-"))
    return Report(path.read_text(encoding="utf-8"), summary, bank, store, path, study)


@pytest.fixture(scope="session")
def null(planted):
    """The report of a study of the same people with the genotypes of others."""
    study, bank, folder = planted.study, planted.bank, planted.path.parent
    shuffled = np.random.default_rng(9).permutation(bank.dosages)
    null_bank = replace(bank, dosages=shuffled)
    scores = scores_of(study, bank)
    shutil.copytree(study.output_path, folder / "null")
    null = study_of(
        folder,
        output=str(folder / "null"),
        truth=None,
        genotypes={"path": "g.bed", "pairing": "random"},
        mlflow={"tracking_uri": study.tracking_uri},
    )
    store = Store(null.output_path)
    publish_genetics(store, null_bank, scores, hostile=False)
    path = folder / "null" / "report.html"
    summary = write_report(null, published_by(null), path)
    return Report(path.read_text(encoding="utf-8"), summary, null_bank, store, path, null)


@pytest.fixture(scope="session")
def own(planted):
    """The report of a study without ECGs, whose own phenotypes are the latents of the first."""
    bank, folder = planted.bank, planted.path.parent
    scores = scores_of(planted.study, bank)
    own = study_of(
        folder,
        output=str(folder / "own"),
        ecg=None,
        model={},
        phenotypes={"path": "own.csv", "columns": ["own_*"]},
    )
    store = Store(own.output_path)
    publish_genetics(store, bank, {"own": scores["vae"]}, traits=())
    path = folder / "own" / "report.html"
    summary = write_report(own, published_by(own), path)
    return Report(path.read_text("utf-8"), summary, bank, store, path, own)


@pytest.fixture
def reports(planted, null, own):
    """A report of each kind."""
    return planted, null, own


LONG = "own_phenotype_with_a_name_that_is_as_long_as_they_come_{1:02d}"


@pytest.fixture(scope="session")
def large(tmp_path_factory) -> Report:
    """The report of a study with 500 loci and 60 phenotypes of long names."""
    folder = tmp_path_factory.mktemp("large")
    study = study_of(
        folder, ecg=None, model={}, truth=None, phenotypes={"path": "own.csv", "columns": ["own_*"]}
    )
    bank, values = many_loci(1000, 520, 60)
    store = Store(study.output_path)
    publish_genetics(store, bank, {"own": values}, False, (), lambda *of: LONG.format(*of))
    path = folder / "report.html"
    summary = write_report(study, published_by(study), path)
    return Report(path.read_text(encoding="utf-8"), summary, bank, store, path, study)


@pytest.fixture
def page(planted, empty_page):
    """The report of the planted biobank, as opened."""
    empty_page.events.clear()
    empty_page.open(planted.path)
    yield empty_page
    assert empty_page.complaints == []


@pytest.fixture(scope="session")
def empty_page(browser, tmp_path_factory) -> Iterator[Page]:
    """An empty page in a browser."""
    with opened(browser, tmp_path_factory.mktemp("browser")) as page:
        yield page
