"""Rows kept as numbers are the rows of a list of dictionaries, at a tenth of its size."""

import gc
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amago_jax.reports.row_store import RowStore, columns, names_of, numbers_of_rows

NAMES = st.sampled_from(["a", "b", "evaluation/return"])
ROWS = st.lists(st.dictionaries(NAMES, st.none() | st.floats(-9, 9)), max_size=12)


def numbers(row):
    """Return a row with NaN for None, as text, in which NaN equals itself."""
    return str({name: math.nan if x is None else x for name, x in row.items()})


@settings(max_examples=60, deadline=None)
@given(ROWS, st.integers(0, 5))
def test_it_is_a_list_of_rows(rows, count):
    store = RowStore(rows)
    assert list(map(numbers, store)) == list(map(numbers, rows))
    assert list(map(numbers, store[1:-1])) == list(map(numbers, rows[1:-1]))
    if rows:
        assert numbers(store[-1]) == numbers(rows[-1])
        assert list(store[-1]) == list(rows[-1])
    assert (len(store), bool(store), names_of(store)) == (len(rows), bool(rows), names_of(rows))
    for wanted in (["a"], ["a", "b"]):
        np.testing.assert_array_equal(columns(store, *wanted), columns(rows, *wanted))
        having = numbers_of_rows(rows, wanted)
        assert numbers_of_rows(store, wanted) == having
        newest = having[len(having) - min(count, len(having)) :]
        assert store.numbers_of_rows(wanted, newest=count) == newest
    (expected,) = columns(rows, "b")
    np.testing.assert_array_equal(store.newest("b", len(rows)), expected)


def test_it_equals_the_same_rows_and_no_others():
    rows = [{"a": 1.0}, {"b": 2.0}]
    assert RowStore(rows) == rows
    assert rows == RowStore(rows)
    assert RowStore(rows) != rows[:1]
    assert RowStore(rows) != [{"a": 1.0}, {"b": 3.0}]
    assert RowStore(rows) != 2


def test_what_is_no_row_or_number_is_refused():
    store = RowStore([{"a": 1.0}])
    for wrong in ("x", [1.0]):
        with pytest.raises((TypeError, ValueError)):
            store.append({"a": wrong})
    assert store == [{"a": 1.0}]
    for beyond in (1, -2):
        with pytest.raises(IndexError):
            store[beyond]


def test_rows_that_were_asked_for_hold_no_memory_of_it():
    store = RowStore([{"a": 1.0}])
    values, row = store.columns("a"), store[0]
    for _ in range(100):
        store.append({"a": 2.0})
    row["a"] = values[0, 0] = 5.0
    assert store[0] == {"a": 1.0}


def test_a_row_is_little_more_than_its_numbers():
    names = [f"metric/{number}" for number in range(40)]

    def row(epoch):
        return dict.fromkeys(names, epoch + 0.5) | ({"x": 1.0} if epoch % 5 == 0 else {})

    row(0)
    tracemalloc.start()
    try:
        store = RowStore(map(row, range(2500)))
        gc.collect()
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 40 * 8 < size / len(store) < 1.3 * 40 * 8
