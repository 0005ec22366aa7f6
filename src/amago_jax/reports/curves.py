"""Curves of several seeds on one grid, and their mean, which follows the same seeds throughout."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from amago_jax.reports.row_store import columns
from amago_jax.reports.rows import Rows
from amago_jax.reports.statistics import Bootstrap

GRID_POINTS = 200
MOST_POINTS = 2000  # of a line that is drawn; half a picture is 600 pixels wide


@dataclasses.dataclass(frozen=True)
class Curve:
    """What one seed logged.

    Attributes:
        xs: where, rising, ``[N]``.
        ys: what, ``[N]``.
        ended: whether the run is over, so that its last value is what it will ever have.
    """

    xs: np.ndarray
    ys: np.ndarray
    ended: bool = False


@dataclasses.dataclass(frozen=True)
class MeanCurve:
    """A mean over seeds with its band.

    Attributes:
        xs: the grid, ``[N]``.
        mean: over seeds, ``[N]``.
        low: the lower end of the mean's interval, ``[N]``; None of one seed.
        high: its upper end, likewise.
        held: where seeds ended before the grid does, x and y; from there on they count with that y.
    """

    xs: np.ndarray
    mean: np.ndarray
    low: np.ndarray | None
    high: np.ndarray | None
    held: tuple[tuple[float, float], ...]


@dataclasses.dataclass(frozen=True)
class Line:
    """A setting in a picture.

    Attributes:
        name: of the setting.
        seeds: every seed's curve.
        mean: over those seeds that ended; over all, as far as they came, if none did.
        averaged: how many those are.
    """

    name: str
    seeds: Sequence[Curve]
    mean: MeanCurve
    averaged: int

    @property
    def words(self) -> str:
        """The name and how many seeds there are."""
        if len(self.seeds) == 1:
            return self.name
        part = "" if self.averaged == len(self.seeds) else f"{self.averaged} of "
        return f"{self.name} ({part}{len(self.seeds)} seeds)"


def points(rows: Rows, x: str, y: str) -> tuple[np.ndarray, np.ndarray]:
    """The points of the rows that hold both; a y of None is NaN, which matplotlib leaves out."""
    xs, ys = columns(rows, x, y)
    known = ~np.isnan(xs)
    return xs[known], ys[known]


def finite_points(rows: Rows, x: str, y: str) -> tuple[np.ndarray, np.ndarray]:
    """The points of the rows that hold both as numbers, in the order of x."""
    xs, ys = points(rows, x, y)
    finite = np.isfinite(xs) & np.isfinite(ys)
    order = np.argsort(xs[finite], kind="stable")
    return xs[finite][order], ys[finite][order]


def thinned(ys: np.ndarray, most: int = MOST_POINTS) -> np.ndarray:
    """Choose points of a long curve whose line looks like that of all.

    Of equally many points each, the first, the last, the least and the greatest stay; a line drawn
    through them covers what the whole one does, where that many share a pixel.

    Args:
        ys: the curve ``[N]``; NaN and infinity are gaps.
        most: about how many may stay; of fewer, all do.

    Returns:
        Their indices, ascending.

    Source: M4 aggregation, Jugel et al., VLDB 2014, section 4.
    """
    if len(ys) <= most:
        return np.arange(len(ys))
    size = math.ceil(len(ys) / (most // 4))
    starts = np.arange(0, len(ys), size)
    filled = np.full(len(starts) * size, np.nan)
    filled[: len(ys)] = ys
    finite = np.isfinite(filled)
    least = np.where(finite, filled, np.inf).reshape(-1, size).argmin(1)
    greatest = np.where(finite, filled, -np.inf).reshape(-1, size).argmax(1)
    ends = np.minimum(starts + size, len(ys)) - 1
    return np.unique(np.concatenate([starts, starts + least, starts + greatest, ends]))


def mean_curve(curves: Sequence[Curve], bootstrap: Bootstrap | None = None) -> MeanCurve:
    """Average seeds wherever all of them have a value.

    A run that has ended keeps its last value, as a solved task stays solved: were it left out
    from there on, the mean would drop to the seeds that still run. One that has not ended has no
    value beyond its last, and there the mean ends.

    Args:
        curves: of every seed, none empty.
        bootstrap: how the band is made; None: by default.

    Returns:
        The mean, on an empty grid if the curves share no stretch.
    """
    grid, stacked = on_common_grid(curves)
    low = high = None
    if len(curves) > 1 and len(grid):
        low, high = (bootstrap or Bootstrap()).band(stacked)
    ends = ((float(seed.xs[-1]), float(seed.ys[-1])) for seed in curves)
    held = tuple(end for end in ends if len(grid) and end[0] < grid[-1])
    return MeanCurve(grid, stacked.mean(0), low, high, held)


def make_line(name: str, seeds: Sequence[Curve], bootstrap: Bootstrap | None = None) -> Line | None:
    """Average a setting's seeds; None if none has a point.

    Args:
        name: of the setting.
        seeds: the curve of each; those without a point are left out.
        bootstrap: how the band is made; None: by default.
    """
    curves = [seed for seed in seeds if len(seed.xs)]
    averaged = [seed for seed in curves if seed.ended] or curves
    return Line(name, curves, mean_curve(averaged, bootstrap), len(averaged)) if curves else None


def on_common_grid(curves: Sequence[Curve]) -> tuple[np.ndarray, np.ndarray]:
    """Interpolate linearly where all curves are defined, see `mean_curve`.

    Returns:
        A grid ``[N]`` and values ``[curves, N]``; N is 0 if the curves share no stretch.
    """
    start = max(seed.xs[0] for seed in curves)
    running = [seed.xs[-1] for seed in curves if not seed.ended]
    stop = min(running) if running else max(seed.xs[-1] for seed in curves)
    grid = np.unique(np.linspace(start, stop, GRID_POINTS)) if start <= stop else np.zeros(0)
    return grid, np.stack([np.interp(grid, seed.xs, seed.ys) for seed in curves])
