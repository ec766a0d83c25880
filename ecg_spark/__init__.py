"""ecg-spark: from raw electrocardiograms to the genes behind them."""

from ecg_spark import locations as locations  # so that every process knows the same stores
