#!/usr/bin/env bash
# Writes requirements.lock and infra/gwas-ssf.lock (`make lock`): the newest versions that
# pyproject.toml allows, as pip resolves them for an empty environment, every package pinned
# with ==. Nothing is installed; 'make setup' does that afterwards.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
"${PYTHON:-python3.11}" -m venv "$scratch/venv"

# usage: lock FILE HEADER REQUIREMENT...
lock() {
    local file=$1 header=$2
    shift 2
    echo "resolving $file ..."
    "$scratch/venv/bin/pip" install --quiet --dry-run --ignore-installed \
        --report "$scratch/report.json" --find-links "$scratch" "$@"
    # A local version such as torch's +cpu is one build of the version: the lock names the version.
    "$scratch/venv/bin/python" - "$header" "$scratch/report.json" >"$scratch/lock" <<'PYTHON'
import json
import sys

header, report = sys.argv[1:]
found = [item["metadata"] for item in json.load(open(report))["install"]]
pins = {item["name"]: item["version"].split("+")[0] for item in found}
pins.pop("ecg-spark", None)
print(header)
for name in sorted(pins, key=str.lower):
    print(f"{name}=={pins[name]}")
PYTHON
    mv "$scratch/lock" "$file"
}

# The CPU build of PyTorch: the standard one would bring CUDA's packages into the lock.
torch=$(sed -n 's/^ *"torch==\([0-9.]*\)".*/\1/p' pyproject.toml)+cpu
"$scratch/venv/bin/pip" download --quiet --no-deps --dest "$scratch" --retries 1 --timeout 15 \
    --extra-index-url https://download.pytorch.org/whl/cpu "torch==$torch"

lock requirements.lock "# Every package of ecg-spark, its extras and its tests, exactly. 'make lock' writes this file anew.
# 'make setup' installs it, with PyTorch's CPU build on Linux unless GPU=1 is given." \
    "torch==$torch" '.[test,s3,gcs,azure]'

# What gwas-sumstats-tools leaves open or undeclared: pandas 1.5 needs numpy 1, typer 0.7 an older
# click, and bsub imports six.
lock infra/gwas-ssf.lock "# The GWAS Catalog's validator of GWAS-SSF files, used by the tests in an environment of its own
# (.venv-ssf), because it needs pydantic 1. 'make lock' writes this file anew." \
    gwas-sumstats-tools 'pydantic<2' 'numpy<2' 'click<8.1.8' six
