"""What settings come to over their seeds, as tables."""

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from amago_jax.errors import ConfigError, suggest
from amago_jax.reports.curves import Curve, Line, finite_points, make_line
from amago_jax.reports.document import Cell, Table
from amago_jax.reports.equal import BUDGETS, Budget, common_point, up_to
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
        equal: one of `BUDGETS`, of which the runs of a task are to have come to as much where they
            are compared; None: they are compared at their ends.

    Raises:
        ConfigError: if equal is none of those.
    """

    metric: str = "evaluation/return"
    score: float | None = None
    last: int = LAST
    bootstrap: Bootstrap = BY_DEFAULT
    equal: Budget | None = None

    def __post_init__(self) -> None:
        """Check what a caller may misspell."""
        if self.equal is not None and self.equal not in BUDGETS:
            raise ConfigError(f"equal={self.equal!r}: {suggest(self.equal, BUDGETS)}")

    def final(self, run: FoundRun) -> float:
        """The mean of a run's last evaluations; NaN if it logs no such metric."""
        return final_value(list(finite_points(run.rows, "epoch", self.metric)[1]), self.last)

    def common(self, runs: Iterable[FoundRun]) -> float | None:
        """The point at which the runs of a task are compared; None: at their ends."""
        return None if self.equal is None else common_point(runs, self.equal, self.metric)

    def is_comparable(self, at: float | None) -> bool:
        """Whether complete runs can be compared there, see `common`."""
        return self.equal is None or at is not None

    def compared(self, run: FoundRun, at: float | None) -> FoundRun:
        """A run as far as it counts, see `common`."""
        if self.equal is None or at is None:
            return run
        return up_to(run, self.equal, at, self.metric)

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
        counted: the complete ones of those, as far as they are compared; statistics are over them
            alone.
        finals: their final values.
        estimates: mean, median and interquartile mean of those; empty without a complete run.
        at: the steps, updates or seconds up to which runs count; None: to their ends.
    """

    setting: Setting
    told: tuple[FoundRun, ...]
    counted: tuple[FoundRun, ...]
    finals: tuple[float, ...]
    estimates: dict[str, Estimate]
    at: float | None = None

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
POOLED = ("mean", "interquartile mean")  # over all tasks


def measure(settings: Sequence[Setting], question: Question) -> list[Measured]:
    """Compute every setting's statistics; the tasks stay in order, the best setting comes first."""
    measured = []
    for task in dict.fromkeys(setting.task for setting in settings):
        found = [setting for setting in settings if setting.task == task]
        at = question.common(run for setting in found for run in setting.runs)
        ones = [_measure(setting, question, at) for setting in found]
        measured += sorted(ones, key=lambda one: one.rank, reverse=True)
    return measured


def _measure(setting: Setting, question: Question, at: float | None) -> Measured:
    told = tuple(run for run in setting.runs if question.why_not(run) is None)
    ended = [run for run in told if run.ended and question.is_comparable(at)]
    compared = [question.compared(run, at) for run in ended]
    counted = tuple(run for run in compared if run.rows)
    finals = tuple(question.final(run) for run in counted)
    estimates = {}
    if finals:
        for name, statistic in STATISTICS.items():
            estimates[name] = question.bootstrap.estimate(statistic, finals)
    return Measured(setting, told, counted, finals, estimates, at)


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


def points_compared(measured: Sequence[Measured], question: Question) -> Table:
    """Tabulate where the runs of every task are compared, if not at their ends.

    *Stopped before* are runs that came to their goal earlier and count with their last values.
    """
    rows: list[list[Cell]] = []
    for task in dict.fromkeys(one.setting.task for one in measured):
        ones = [one for one in measured if one.setting.task == task]
        if question.equal is None or ones[0].at is None:
            continue
        early = [run for one in ones for run in one.told if run.stopped_early]
        ends = [question.common([run]) for run in early]
        before = sum(end is not None and end < ones[0].at for end in ends)
        counted = sum(len(one.counted) for one in ones)
        rows.append([task, BUDGETS[question.equal], ones[0].at, counted, before])
    return Table(["task", "over", "at", "runs", "stopped before"], rows)


def together(measured: Sequence[Measured], bootstrap: Bootstrap) -> Table:
    """Tabulate what settings come to over all tasks, of those that every task has by one name.

    Values are taken as they are, and every run counts alike; resamples keep as many of each task.
    *Fewest* is the number of seeds in the task with the fewest.

    Source: Agarwal et al. 2021, section 4.1: bootstrapping stratified by task.
    """
    tasks = {one.setting.task for one in measured}
    by_name: dict[str, list[tuple[float, ...]]] = {}
    for one in measured:
        if one.finals:
            by_name.setdefault(one.setting.name, []).append(one.finals)
    rows: list[list[Cell]] = []
    for name, finals in by_name.items():
        if len(finals) == len(tasks) > 1:
            pooled = [bootstrap.estimate(_pooled(STATISTICS[what]), *finals) for what in POOLED]
            lengths = [len(values) for values in finals]
            rows.append([name, sum(lengths), min(lengths), *pooled])
    rows.sort(key=lambda row: row[-1].value, reverse=True)  # type: ignore[union-attr]
    return Table(["setting", "runs", "fewest", *POOLED], rows)


def _pooled(statistic: Callable) -> Callable:
    """A statistic of several samples taken as one."""

    def pooled(*samples: np.ndarray, axis: int = -1) -> np.ndarray:
        return statistic(np.concatenate(samples, axis), axis=axis)

    return pooled


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
            told = run in one.told
            compared = question.compared(run, one.at) if told else run
            last = compared.rows[-1] if compared.rows else {}
            took = [last.get(x) for x in BUDGETS]
            final = question.final(compared) if told and compared.rows else None
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
    return "complete, stopped early" if run.stopped_early else run.status


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
