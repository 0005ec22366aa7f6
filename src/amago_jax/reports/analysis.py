"""What settings come to over their seeds, as tables."""

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from amago_jax.reports.curves import Curve, Line, finite_points, make_line
from amago_jax.reports.document import Cell, Table
from amago_jax.reports.finding import FoundRun
from amago_jax.reports.settings import Setting
from amago_jax.reports.statistics import (
    LAST,
    Bootstrap,
    Estimate,
    final_value,
    first_at,
    interquartile_mean,
    probability_of_improvement,
)

BUDGETS = {"env_steps": "steps", "updates": "updates", "time/seconds": "seconds"}

EVEN = 0.5  # the probability of improvement of what is not better
BY_DEFAULT = Bootstrap()


@dataclasses.dataclass(frozen=True)
class Question:
    """What is asked of the runs.

    Attributes:
        metric: logged name; more of it is better.
        score: of the metric, to come to; None: not asked.
        last: evaluations that make up a run's final value.
        bootstrap: how intervals are made.
    """

    metric: str = "evaluation/return"
    score: float | None = None
    last: int = LAST
    bootstrap: Bootstrap = BY_DEFAULT

    def final(self, run: FoundRun) -> float:
        """The mean of a run's last evaluations; NaN if it logs no such metric."""
        return final_value(list(finite_points(run.rows, "epoch", self.metric)[1]), self.last)

    def why_not(self, run: FoundRun) -> str | None:
        """Why a run has no answer; None if it has one."""
        if run.silent or not run.config:
            return run.trouble
        if math.isnan(self.final(run)):
            return f"{run.trouble}, without a value of {self.metric}"
        return None


@dataclasses.dataclass(frozen=True)
class Measured:
    """A setting and what its seeds came to.

    Attributes:
        setting: of one task.
        told: its runs that have an answer; curves show them.
        counted: the complete ones of those; statistics are over them alone.
        finals: their final values.
        estimates: mean, median and interquartile mean of those; empty without a complete run.
    """

    setting: Setting
    told: tuple[FoundRun, ...]
    counted: tuple[FoundRun, ...]
    finals: tuple[float, ...]
    estimates: dict[str, Estimate]

    @property
    def rank(self) -> tuple[float, float]:
        """Greater for the better setting: by interquartile mean, then by mean."""
        if not self.estimates:
            return -math.inf, -math.inf
        return self.estimates["interquartile mean"].value, self.estimates["mean"].value


STATISTICS: dict[str, Callable] = {
    "mean": np.mean,
    "median": np.median,
    "interquartile mean": interquartile_mean,
}


def measure(settings: Sequence[Setting], question: Question) -> list[Measured]:
    """Compute every setting's statistics; the tasks stay in order, the best setting comes first."""
    measured = []
    for setting in settings:
        told = tuple(run for run in setting.runs if question.why_not(run) is None)
        counted = tuple(run for run in told if run.ended)
        finals = tuple(question.final(run) for run in counted)
        estimates = {}
        if finals:
            for name, statistic in STATISTICS.items():
                estimates[name] = question.bootstrap.estimate(statistic, finals)
        measured.append(Measured(setting, told, counted, finals, estimates))
    tasks = list(dict.fromkeys(setting.task for setting in settings))
    measured.sort(key=lambda one: one.rank, reverse=True)
    return sorted(measured, key=lambda one: tasks.index(one.setting.task))


def summary(measured: Sequence[Measured]) -> Table:
    """Tabulate every setting's statistics, and what its runs took on average.

    Of its runs, *seeds* are counted, *failed* are not, and *others* have not come to their end or
    have no answer.
    """
    columns = ["task", "setting", "seeds", "failed", "others"]
    columns += [*STATISTICS, *BUDGETS.values()]
    rows: list[list[Cell]] = []
    for one in measured:
        estimates = [one.estimates.get(name) for name in STATISTICS]
        took = [_mean([run.rows[-1].get(x) for run in one.counted]) for x in BUDGETS]
        failed = sum(run.status == "failed" for run in one.setting.runs)
        others = len(one.setting.runs) - len(one.counted) - failed
        rows.append([*_names(one), len(one.counted), failed, others, *estimates, *took])
    return Table(columns, rows)


def improvement(measured: Sequence[Measured], bootstrap: Bootstrap) -> Table:
    """Tabulate how probably a seed of each setting does better than one of each that follows.

    Of settings with one seed each it would be 0 or 1, whatever they are worth; they are left out.
    """
    rows: list[list[Cell]] = [
        [one.setting.task, one.setting.name, other.setting.name, _improves(one, other, bootstrap)]
        for one, other in _pairs(measured)
        if max(len(one.finals), len(other.finals)) > 1
    ]
    return Table(["task", "setting", "better than", "probability"], rows)


def best(measured: Sequence[Measured], bootstrap: Bootstrap) -> list[Measured]:
    """Choose a task's best setting, and those that seeds do not tell apart from it.

    Args:
        measured: of one task, the best first.
        bootstrap: how intervals are made.

    Returns:
        The best, then all whose probability of being improved upon may be a half; nothing if no
        run is complete.
    """
    complete = [one for one in measured if one.finals]
    lows = [_improves(complete[0], other, bootstrap).low for other in complete[1:]]
    alike = [
        other for other, low in zip(complete[1:], lows, strict=True) if low is None or low <= EVEN
    ]
    return complete[:1] + alike


def reached(measured: Sequence[Measured], question: Question, score: float) -> Table:
    """Tabulate how many seeds came to a score, and what that took in the median.

    Seeds that did not count as slower than all that did; a median that falls on them is a gap.
    """
    rows: list[list[Cell]] = []
    for one in measured:
        firsts = {
            x: [
                first_at(*finite_points(run.rows, x, question.metric), score) for run in one.counted
            ]
            for x in BUDGETS
        }
        came = sum(math.isfinite(at) for at in firsts["env_steps"])
        medians = [float(np.median(at)) if at else math.inf for at in firsts.values()]
        cells = [at if math.isfinite(at) else None for at in medians]
        rows.append([*_names(one), came, len(one.counted), *cells])
    return Table(["task", "setting", "reached", "seeds", *BUDGETS.values()], rows)


def differences(measured: Sequence[Measured]) -> Table:
    """Tabulate what sets every setting apart from the others of its task."""
    rows: list[list[Cell]] = [[*_names(one), overrides(one)] for one in measured]
    return Table(["task", "setting", "differs in"], rows)


def overrides(measured: Measured) -> str:
    """What sets a setting apart, by name and value."""
    return " ".join(f"{name}={value}" for name, value in measured.setting.values.items())


def repeated(measured: Sequence[Measured]) -> list[str]:
    """Say which seeds of a setting are there more than once."""
    return [
        f"seed {seed} of {one.setting.name} in {one.setting.task}"
        for one in measured
        for seed, count in Counter(str(run.seed) for run in one.counted).items()
        if count > 1
    ]


def runs_table(measured: Sequence[Measured], question: Question) -> Table:
    """Tabulate every run of the settings, one that is not counted as it stands."""
    rows: list[list[Cell]] = []
    for one in measured:
        for run in one.setting.runs:
            last = run.rows[-1] if run.rows else {}
            took = [last.get(x) for x in BUDGETS]
            final = question.final(run) if run in one.told else None
            rows.append([*_names(one), str(run.seed), _status(run), final, *took, str(run.folder)])
    columns = ["task", "setting", "seed", "status", "final", *BUDGETS.values(), "folder"]
    return Table(columns, rows)


def lines(measured: Sequence[Measured], x: str, question: Question) -> list[Line]:
    """Average every setting's seeds along steps, updates or seconds.

    Args:
        measured: of one task.
        x: one of `BUDGETS`.
        question: what is asked.
    """
    found = (
        make_line(
            one.setting.name,
            [
                Curve(*finite_points(run.rows, x, question.metric), ended=run.ended)
                for run in one.told
            ],
            question.bootstrap,
        )
        for one in measured
    )
    return [line for line in found if line is not None]


def curves_table(curves: Mapping[str, Mapping[str, Sequence[Line]]]) -> Table:
    """Tabulate means over seeds with their intervals.

    Args:
        curves: by task and `BUDGETS`, the settings' lines.
    """
    rows: list[list[Cell]] = []
    for task, panels in curves.items():
        for x, drawn in panels.items():
            for line in drawn:
                mean = line.mean
                lows = [None] * len(mean.xs) if mean.low is None else mean.low.tolist()
                highs = [None] * len(mean.xs) if mean.high is None else mean.high.tolist()
                points = zip(mean.xs.tolist(), mean.mean.tolist(), lows, highs, strict=True)
                rows += [[task, line.name, x, at, Estimate(*values)] for at, *values in points]
    return Table(["task", "setting", "over", "at", "mean"], rows)


def _names(measured: Measured) -> tuple[str, str]:
    return measured.setting.task, measured.setting.name


def _status(run: FoundRun) -> str:
    last = run.rows[-1] if run.rows else {}
    early = run.ended and last.get("epoch", 0) < last.get("epochs", 0)
    return "complete, stopped early" if early else run.status


def _pairs(measured: Sequence[Measured]) -> Iterator[tuple[Measured, Measured]]:
    """Every two settings of a task with complete runs, the better one first."""
    complete = [one for one in measured if one.finals]
    for at, one in enumerate(complete):
        for other in complete[at + 1 :]:
            if other.setting.task == one.setting.task:
                yield one, other


def _improves(one: Measured, other: Measured, bootstrap: Bootstrap) -> Estimate:
    return bootstrap.estimate(probability_of_improvement, one.finals, other.finals)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
