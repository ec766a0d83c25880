"""ecg-spark: from raw electrocardiograms to the genes behind them."""
