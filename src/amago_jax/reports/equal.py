"""How far runs are compared: at their ends, or where all of a task have come to as much of it."""

import dataclasses
from collections.abc import Iterable
from typing import Literal

import numpy as np

from amago_jax.reports.curves import finite_points
from amago_jax.reports.finding import FoundRun
from amago_jax.reports.row_store import columns, numbers_of_rows

Budget = Literal["env_steps", "updates", "time/seconds"]
BUDGETS: dict[Budget, str] = {
    "env_steps": "steps",
    "updates": "updates",
    "time/seconds": "seconds",
}


def common_point(runs: Iterable[FoundRun], x: Budget, metric: str) -> float | None:
    """Find the greatest point by which all complete runs have been evaluated.

    One that stopped early, at its goal, does not bound it, for it counts on with its last value.

    Args:
        runs: of one task.
        x: what they are to have come to as much of.
        metric: logged name of what is compared.

    Returns:
        The least of the x of their last evaluations; the greatest if all stopped early; None if no
        run is complete.
    """
    ended = [(run, finite_points(run.rows, x, metric)[0]) for run in runs if run.ended]
    ends = [(float(xs[-1]), run.stopped_early) for run, xs in ended if len(xs)]
    bounding = [end for end, early in ends if not early]
    return min(bounding) if bounding else max((end for end, _ in ends), default=None)


def up_to(run: FoundRun, x: Budget, at: float, metric: str) -> FoundRun:
    """Return a run as it was at its last evaluation at or before a point.

    Args:
        run: as found.
        x: what the point is of.
        at: the point.
        metric: logged name of what is evaluated.

    Returns:
        The run with the rows up to that evaluation; without rows if there was none yet.
    """
    xs, ys = columns(run.rows, x, metric)
    evaluated = np.flatnonzero((xs <= at) & np.isfinite(ys))
    with_both = set(numbers_of_rows(run.rows, [x])).intersection(
        numbers_of_rows(run.rows, [metric])
    )
    count = sorted(with_both)[evaluated[-1]] + 1 if len(evaluated) else 0
    return dataclasses.replace(run, rows=run.rows[:count])
