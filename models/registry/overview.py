"""The models of a registry side by side.

How well each fits, how independent its factors are, how well two ECGs of a person agree in them,
and what was found with them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import mlflow
from mlflow.exceptions import MlflowException

from models.registry.publishing import REGISTERED
from models.registry.tracking import tracked, without_user

MOST = 100
"""How many versions are read at most, the newest first."""


@dataclass(frozen=True)
class Registered:
    """A version of a registered model.

    Attributes:
        name: the name of the registered model.
        version: the number of the version.
        aliases: its aliases in MLflow.
        study: the study for which it was trained.
        metrics: those of its run.
        page: where MLflow's web pages show the run; empty if no server is used.
    """

    name: str
    version: int
    aliases: tuple[str, ...]
    study: str
    metrics: Mapping[str, float]
    page: str

    @property
    def uri(self) -> str:
        """The address of the version, such as 'models:/ecg-vae/3'."""
        return f"{REGISTERED}{self.name}/{self.version}"


def registered(name: str, tracking_uri: str, registry_uri: str | None = None) -> list[Registered]:
    """Return the newest versions of a registered model, the newest first.

    A version whose run was deleted has no metrics.

    Args:
        name: the name of the registered model; if nothing has the name, there are no versions.
        tracking_uri: where MLflow keeps runs.
        registry_uri: where it keeps models; None: where it keeps runs.

    Raises:
        InfrastructureError: MLflow does not answer.
    """
    with tracked(tracking_uri, registry_uri):
        return list(_versions(name, tracking_uri))


def _versions(name: str, tracking_uri: str) -> Iterator[Registered]:
    client = mlflow.MlflowClient()
    newest = ["version_number DESC"]
    versions = client.search_model_versions(f"name = '{name}'", MOST, newest)
    aliases: Mapping[str, str] = client.get_registered_model(name).aliases if versions else {}
    for one in versions:
        try:
            run = client.get_run(one.run_id)
        except MlflowException:  # deleted, or of another server
            metrics, study, page = {}, "", ""
        else:
            metrics, study = run.data.metrics, run.data.tags.get("ecg_spark.study", "")
            page = _page(tracking_uri, run.info.experiment_id, run.info.run_id)
        own = tuple(
            sorted(alias for alias, number in aliases.items() if int(number) == int(one.version))
        )
        yield Registered(name, int(one.version), own, study, metrics, page)


def _page(tracking_uri: str, experiment: str, run: str) -> str:
    """Return where a server shows a run; empty for an address that no browser opens."""
    if not tracking_uri.startswith(("http://", "https://")):
        return ""
    return f"{without_user(tracking_uri).rstrip('/')}/#/experiments/{experiment}/runs/{run}"
