"""The flow of recordings, people and variants: counts that add up, or an error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecg_spark.flow import CAME_IN, PEOPLE, RECORDINGS, WENT_ON, flow_rows, merged

REASONS = st.dictionaries(
    st.text(min_size=1).filter(lambda text: text not in (CAME_IN, WENT_ON)),
    st.integers(0, 10**6),
    max_size=5,
)


@given(REASONS, st.integers(0, 10**7))
def test_what_comes_in_is_left_out_or_goes_on(left_out, went_on):
    rows = flow_rows("average", RECORDINGS, went_on + sum(left_out.values()), left_out, went_on)
    assert rows[0]["reason"] == CAME_IN
    assert rows[-1]["reason"] == WENT_ON
    assert rows[0]["n"] == sum(row["n"] for row in rows[1:])
    assert [row["place"] for row in rows] == list(range(len(rows)))
    assert {row["reason"] for row in rows[1:-1]} == {why for why, n in left_out.items() if n}


@given(REASONS, st.integers(0, 10**7), st.integers(-5, 5).filter(bool))
def test_counts_that_do_not_add_up_are_refused(left_out, went_on, lost):
    total = went_on + sum(left_out.values())
    with pytest.raises(AssertionError, match="lost count of people"):
        flow_rows("cohort", PEOPLE, total + lost, left_out, went_on)


def test_an_unknown_unit_is_refused():
    with pytest.raises(AssertionError, match="not a unit"):
        flow_rows("cohort", "files", 1, {}, 1)


@given(REASONS, REASONS, st.integers(0, 10**6), st.integers(0, 10**6))
def test_counts_of_two_sets_are_added_reason_by_reason(first, second, went_on, also):
    def rows(out, left):
        return flow_rows("genotypes", RECORDINGS, left + sum(out.values()), out, left)

    both = {row["reason"]: row["n"] for row in merged(rows(first, went_on), rows(second, also))}
    assert both.pop(WENT_ON) == went_on + also
    assert both.pop(CAME_IN) == went_on + also + sum(first.values()) + sum(second.values())
    expected = {why: first.get(why, 0) + second.get(why, 0) for why in {*first, *second}}
    assert both == {why: n for why, n in expected.items() if n}
