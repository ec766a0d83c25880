#!/usr/bin/env bash
# Writes requirements.lock and infra/gwas-ssf.lock (`make lock`): the newest versions that
# pyproject.toml allows, resolved in a fresh environment, every package pinned with ==.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

# usage: lock FILE HEADER PACKAGE...
lock() {
    local file=$1 header=$2
    shift 2
    "${PYTHON:-python3.11}" -m venv --clear "$scratch/venv"
    echo "resolving $file ..."
    "$scratch/venv/bin/pip" install --quiet \
        --extra-index-url https://download.pytorch.org/whl/cpu "$@"
    "$scratch/venv/bin/pip" check
    # A local version such as torch's +cpu is one build of the version: the lock names the version.
    {
        printf '%s\n' "$header"
        "$scratch/venv/bin/pip" freeze --all --exclude pip --exclude ecg-spark |
            sed -e 's/+cpu$//'
    } >"$scratch/lock"
    mv "$scratch/lock" "$file"
}

lock requirements.lock "# Every package of ecg-spark and of its tests, exactly. 'make lock' writes this file anew.
# 'make setup' installs it, with PyTorch's CPU build on Linux unless GPU=1 is given." \
    "torch==$(sed -n 's/^ *"torch==\([0-9.]*\)".*/\1/p' pyproject.toml)+cpu" '.[test]'

# What gwas-sumstats-tools leaves open or undeclared: pandas 1.5 needs numpy 1, typer 0.7 an older
# click, and bsub imports six.
lock infra/gwas-ssf.lock "# The GWAS Catalog's validator of GWAS-SSF files, used by the tests in an environment of its own
# (.venv-ssf), because it needs pydantic 1. 'make lock' writes this file anew." \
    gwas-sumstats-tools 'pydantic<2' 'numpy<2' 'click<8.1.8' six
