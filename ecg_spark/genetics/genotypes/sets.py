"""Sets of genotypes with different samples: each is checked, and tested, in its own people.

Autosomes and X are often called apart, and some samples fail on one of them. The first set says who
is in the study; a separate set holds further variants of all or some of these.
"""

from collections.abc import Sequence

import hail as hl

from ecg_spark.errors import DataError


def joined(sets: Sequence[hl.MatrixTable]) -> hl.MatrixTable:
    """One matrix of checked sets: the samples of the first, the variants of all.

    Rows get the field `set`, the number of theirs from 0; columns `sets`, the numbers of those in
    which the sample is. A sample has no dosage of the variants of a set in which it is not.

    Raises `DataError` where a variant is in two sets.
    """
    if len(sets) == 1:
        return sets[0].annotate_rows(set=0).annotate_cols(sets=[0])
    names = [one.s.collect() for one in sets]
    places = [{name: i for i, name in enumerate(own)} for own in names]
    member = [[k for k, own in enumerate(places) if name in own] for name in names[0]]
    rates = sets[0].sample_call_rate.collect()
    columns = [
        {"s": name, "sample_call_rate": rate, "sets": own}
        for name, rate, own in zip(names[0], rates, member, strict=True)
    ]
    kind = hl.tarray(hl.tstruct(s=hl.tstr, sample_call_rate=hl.tfloat64, sets=hl.tarray(hl.tint32)))
    parts: list[hl.MatrixTable] = []
    for number, (one, place) in enumerate(zip(sets, places, strict=True)):
        for other in parts:
            if count := one.semi_join_rows(other.rows()).count_rows():
                raise DataError(
                    f"{count} variants are in two of the sets of genotypes.path and "
                    f"genotypes.separate: keep each in one of them."
                )
        order = hl.literal([place.get(name, -1) for name in names[0]], hl.tarray(hl.tint32))
        rows = one.annotate_rows(set=number).localize_entries("entries", "columns")
        rows = rows.annotate(entries=_in_order(rows.entries, order))
        rows = rows.select_globals(columns=hl.literal(columns, kind))
        parts.append(rows._unlocalize_entries("entries", "columns", ["s"]))
    return hl.MatrixTable.union_rows(*parts)


def _in_order(entries: hl.ArrayExpression, order: hl.ArrayNumericExpression) -> hl.ArrayExpression:
    """The entries at some places, missing where the place is -1."""
    return order.map(lambda place: hl.or_missing(place >= 0, entries[place]))


def union(tables: Sequence[hl.Table], path: str) -> hl.Table:
    """The tests of all sets, written to `path` where there are several."""
    if len(tables) == 1:
        return tables[0]
    whole: hl.Table = tables[0].union(*tables[1:]).checkpoint(path, overwrite=True)
    return whole
