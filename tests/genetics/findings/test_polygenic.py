"""What of a large set of variants comes to the driver."""

import numpy as np
import pandas as pd
from scipy import stats

from ecg_spark.genetics.findings import polygenic


def test_of_a_large_set_a_share_is_drawn_evenly_whatever_the_partitions(spark):
    m = 20_000
    sites = pd.DataFrame(
        {
            "contig": np.where(np.arange(m) < m // 2, "1", "2"),
            "position": np.arange(m) + 1,
            "ref": "A",
            "alt": "G",
        }
    )
    results = "array<struct<phenotype string, beta double, se double, n int, af double>>"
    frame = spark.createDataFrame(sites).selectExpr(
        "*",
        f"cast(array(struct('y', position / 1e4, 2.0, 100, 0.2), "
        f"struct('x', 1.0, 4.0, 90, 0.2)) as {results}) as results",
    )
    drawn = [
        polygenic._tests(one, ["x", "y"], 0.1).toPandas().sort_values("position", ignore_index=True)
        for one in (frame.repartition(1), frame.repartition(7, "position"))
    ]
    pd.testing.assert_frame_equal(drawn[0], drawn[1])
    taken = drawn[0]["position"].to_numpy()
    assert abs(len(taken) - 0.1 * m) < 5 * np.sqrt(0.09 * m)
    assert stats.kstest(taken / m, "uniform").pvalue > 1e-3
    z = np.array(drawn[0]["z"].tolist())
    np.testing.assert_allclose(z, np.column_stack([np.full(len(z), 0.25), taken / 2e4]), rtol=1e-6)
    assert list(drawn[0]["n"].iloc[0]) == [90, 100]
    assert polygenic._tests(frame, ["x"], 3.0).count() == m
