"""A task's rows, some variants at a time, whatever batches Spark sends them in."""

from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pytest

from ecg_spark.genetics.cohorts import joint

NAMES = ("qt_ms", "vae_00")
RESULT = {"phenotype": pa.string(), "beta": pa.float64(), "se": pa.float64(), "n": pa.int32(),
          "af": pa.float64()}  # fmt: skip


def rows(variants):
    """Sorted rows of two cohorts: one a row a variant, the other a row a result; some are odd."""
    rng = np.random.default_rng(7)
    found = []
    for i in range(variants):
        site = {"chromosome": 1 + i // 50, "position": 1_000_000 * (1 + i % 50), "pair": "A/G",
                "complemented": False, "effect_first": bool(i % 3 == 0), "rsid": None}  # fmt: skip

        def result(name):
            beta = None if rng.random() < 0.1 else rng.normal()
            return {"phenotype": name, "beta": beta, "se": 1.0, "n": 100, "af": rng.uniform()}

        if i % 5:
            found.append(site | {"cohort": 0, "results": [result(name) for name in NAMES]})
        if i % 7:
            own = site | {"cohort": 1, "effect_first": not site["effect_first"], "rsid": f"rs{i}"}
            found += [own | {"results": [result(name)]} for name in (*NAMES, "of another kind")]
    unknown = {**site, "chromosome": 0, "cohort": 1, "results": [result("qt_ms")]}
    results = pa.list_(pa.struct(list(RESULT.items())))
    kinds = {"chromosome": pa.int32(), "position": pa.int32(), "pair": pa.string(),
             "complemented": pa.bool_(), "effect_first": pa.bool_(), "rsid": pa.string(),
             "cohort": pa.int32(), "results": results}  # fmt: skip
    return pa.Table.from_pylist([unknown, *found], pa.schema(list(kinds.items())))


def passed(table, size):
    """What a task makes of a table in batches of a size: the pieces, and what it tells."""
    pieces = []

    @contextmanager
    def worker():
        def take(joined):
            pieces.append(joined)
            return np.moveaxis(joined.beta / joined.se, 2, 0)

        yield take

    told = list(joint._task(np.arange(2), NAMES, worker, table.to_batches(max_chunksize=size)))
    rows = [row for batch in told for row in batch.to_pylist()]
    return pieces, joint._gathered(rows, 2, len(NAMES))


@pytest.mark.parametrize("size", [1, 17, 64])
def test_the_division_of_rows_into_batches_changes_nothing(size, monkeypatch):
    table = rows(150)
    whole, expected = passed(table, 10_000)
    assert len(whole) == 1
    monkeypatch.setattr(joint, "CELLS", 0)
    monkeypatch.setattr(joint, "FEWEST_RESULTS", 60)
    pieces, found = passed(table, size)
    assert len(pieces) > 4
    for name in ("position", "beta", "se", "n", "af"):
        together = np.concatenate([getattr(one, name) for one in pieces])
        np.testing.assert_array_equal(together, getattr(whole[0], name))
    assert [alt for one in pieces for alt in one.alt] == whole[0].alt
    rsids = [name for one in pieces for name in one.rsid.to_pylist()]
    assert rsids == whole[0].rsid.to_pylist()
    for name, counts in expected.counts.items():
        assert found.counts[name].tolist() == counts.tolist()
    for name in ("apart", "compared", "n", "blocks", "variants", "correlation"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-12)
    assert expected.counts["unknown_chromosome"].tolist() == [0, 1]


def test_a_task_without_rows_counts_nothing():
    pieces, found = passed(rows(3).slice(0, 0), 10)
    assert not pieces
    assert not found.counts["variants"].any()
    assert found.correlation.tolist() == [np.eye(2).tolist()]
