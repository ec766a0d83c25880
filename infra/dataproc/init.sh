#!/usr/bin/env bash
# Initialization action of Dataproc: gives the node that it runs on, master or worker, the
# environment of ecg-spark, and tells Spark of it. infra/dataproc/start names it to hailctl.
#
# The metadata key "ecg-spark" of the cluster names the folder of the bucket with requirements.lock
# and environment.sh.
set -euo pipefail

# What it prints is kept by Dataproc, in the bucket of the cluster.
folder=$(/usr/share/google/get_metadata_value attributes/ecg-spark)
scratch=$(mktemp -d)
gcloud storage cp "$folder/requirements.lock" "$folder/environment.sh" "$scratch/"
bash "$scratch/environment.sh" /opt/conda/default/bin/python "$scratch/requirements.lock" /opt/ecg-spark
rm -rf "$scratch"

# Of two values of a setting Spark takes the later one. hailctl's own action has run before this
# one, and its values name a Hail that only the master has.
cat >>/etc/spark/conf/spark-defaults.conf <<'SETTINGS'

spark.pyspark.python                /opt/ecg-spark/bin/python
spark.jars                          file:///opt/ecg-spark/lib/python3.11/site-packages/hail/backend/hail-all-spark.jar
spark.driver.extraClassPath         /opt/ecg-spark/lib/python3.11/site-packages/hail/backend/hail-all-spark.jar
spark.executor.extraClassPath       ./hail-all-spark.jar
SETTINGS
