"""The rows of a run that may go on for long, kept as numbers side by side.

A row of forty metrics is 4 KB as a dictionary, and a tenth of that here. Rows that have the same
names share a table; a run has a handful, for an epoch with an evaluation has more names, and one in
which no episode ended has fewer.
"""

import bisect
import heapq
import math
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np

from amago_jax.reports.rows import Rows


class _Table:
    """Rows of the same names: their numbers one row after the other, and which rows they are."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.values, self.rows = array("d"), array("q")

    def matrix(self, names: Iterable[str]) -> np.ndarray:
        """Return columns, copied, as float64 ``[rows, names]``."""
        places = [self.names.index(name) for name in names]
        # What shares the array's memory may not outlive this call, for the array could not grow.
        return np.frombuffer(self.values).reshape(len(self.rows), -1)[:, places]


class RowStore(Sequence[dict[str, float]]):
    """Rows of metrics, in order, as a list of dictionaries would be, which are made when asked for.

    Rows can be added at the end, and what is returned is a copy. What was None, as files write what
    is no number, is NaN.
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]] = ()) -> None:
        """Keep some rows.

        Args:
            rows: numbers, or None, by name.

        Raises:
            TypeError, ValueError: if something in them is no number.
        """
        self._tables: dict[tuple[str, ...], _Table] = {}
        self._where: list[_Table] = []  # by row
        for row in rows:
            self.append(row)

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row at the end, see `__init__`."""
        numbers = [math.nan if value is None else float(value) for value in row.values()]
        names = tuple(row)
        table = self._tables.get(names)
        if table is None:
            table = self._tables.setdefault(names, _Table(names))
        table.values.extend(numbers)
        table.rows.append(len(self._where))
        self._where.append(table)

    def __len__(self) -> int:
        """Return how many rows there are."""
        return len(self._where)

    @overload
    def __getitem__(self, index: int) -> dict[str, float]: ...

    @overload
    def __getitem__(self, index: slice) -> list[dict[str, float]]: ...

    def __getitem__(self, index: int | slice) -> dict[str, float] | list[dict[str, float]]:
        """Return a row, or a list of some."""
        if isinstance(index, slice):
            return [self._row(number) for number in range(*index.indices(len(self)))]
        return self._row(range(len(self))[index])

    def __iter__(self) -> Iterator[dict[str, float]]:
        """Return all rows, one after the other."""
        return map(self._row, range(len(self)))

    def __eq__(self, other: object) -> bool:
        """Return whether these are the rows of another sequence."""
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # rows are added

    @property
    def names(self) -> set[str]:
        """The names that any row has."""
        return {name for names in self._tables for name in names}

    def newest(self, name: str, count: int) -> list[float]:
        """Return the last values of a metric, oldest first; no other rows are looked at.

        Args:
            name: of the metric.
            count: how many, at most; of fewer rows, all.
        """
        rows = self.numbers_of_rows([name], newest=count)
        return [self._row(number)[name] for number in rows]

    def numbers_of_rows(self, names: Iterable[str], newest: int | None = None) -> list[int]:
        """Return which rows have any of some metrics, counted from 0, in order.

        Args:
            names: of the metrics.
            newest: only so many of them, the last ones; None: all.
        """
        wanted = set(names)
        tables = [table for table in self._tables.values() if wanted.intersection(table.names)]
        if newest is None:
            return list(heapq.merge(*(table.rows for table in tables)))
        if newest <= 0:
            return []
        last = (number for table in tables for number in table.rows[-newest:])
        return heapq.nlargest(newest, last)[::-1]

    def columns(self, *names: str) -> np.ndarray:
        """Return metrics of the rows that have them all, float64 ``[names, rows]``."""
        tables = [table for table in self._tables.values() if set(names) <= set(table.names)]
        if not tables:
            return np.zeros((len(names), 0))
        order = np.argsort(np.concatenate([np.array(table.rows) for table in tables]))
        return np.concatenate([table.matrix(names) for table in tables])[order].T

    def _row(self, number: int) -> dict[str, float]:
        table = self._where[number]
        width, place = len(table.names), bisect.bisect_left(table.rows, number)
        values = table.values[place * width : (place + 1) * width]
        return dict(zip(table.names, values, strict=True))


def names_of(rows: Rows) -> set[str]:
    """Return the names that any of some rows has."""
    return rows.names if isinstance(rows, RowStore) else {name for row in rows for name in row}


def numbers_of_rows(rows: Rows, names: Iterable[str]) -> list[int]:
    """Return which rows have any of some metrics, counted from 0, in order."""
    if isinstance(rows, RowStore):
        return rows.numbers_of_rows(names)
    wanted = set(names)
    return [number for number, row in enumerate(rows) if not wanted.isdisjoint(row)]


def columns(rows: Rows, *names: str) -> np.ndarray:
    """Return metrics of the rows that have them all.

    Args:
        rows: as logged.
        names: of the metrics, N of them.

    Returns:
        Float64 ``[N, rows]``; NaN for None.
    """
    if isinstance(rows, RowStore):
        return rows.columns(*names)
    found = [[row[name] for name in names] for row in rows if all(name in row for name in names)]
    numbers = [[math.nan if x is None else float(x) for x in values] for values in found]
    return np.array(numbers, float).reshape(-1, len(names)).T
