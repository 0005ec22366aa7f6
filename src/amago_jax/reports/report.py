"""What a folder of runs comes to: settings over their seeds, statistics and curves."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

from amago_jax.errors import ConfigError, suggest
from amago_jax.reports import analysis
from amago_jax.reports.analysis import Measured, Question
from amago_jax.reports.curves import Line
from amago_jax.reports.document import Table, shown
from amago_jax.reports.equal import BUDGETS, Budget
from amago_jax.reports.finding import FoundRun, find_runs
from amago_jax.reports.settings import group_runs
from amago_jax.reports.statistics import LAST, Bootstrap

RETURN = "evaluation/return"
STOP = "stop.return"


@dataclasses.dataclass(frozen=True)
class Report:
    """What a folder of runs comes to.

    Attributes:
        title: of the report.
        question: what was asked.
        measured: the settings, task by task, the best of a task first.
        runs: all that were found.
        passed_over: those of them that say nothing, and why.
        curves: by task and by what they are drawn over, the settings' lines.
        tables: by name: "settings", "improvement", "score", "equal" and "together" if they were
            asked for, "differences", "runs", "curves", "troubles".
    """

    title: str
    question: Question
    measured: Sequence[Measured]
    runs: Sequence[FoundRun]
    passed_over: dict[Path, str]
    curves: dict[str, dict[str, list[Line]]]
    tables: dict[str, Table]

    @property
    def tasks(self) -> list[str]:
        """The environments of the runs, as far as told apart."""
        return list(dict.fromkeys(one.setting.task for one in self.measured))

    def of_task(self, task: str) -> list[Measured]:
        """The settings of a task, the best first."""
        return [one for one in self.measured if one.setting.task == task]

    def best(self, task: str) -> list[Measured]:
        """The best setting of a task, and what seeds do not tell apart from it."""
        return analysis.best(self.of_task(task), self.question.bootstrap)


def make_report(
    folders: str | Path | Iterable[str | Path],
    *,
    metric: str = RETURN,
    score: float | None = None,
    last: int = LAST,
    bootstrap: Bootstrap | None = None,
    equal: Budget | None = None,
    together: bool = False,
) -> Report:
    """Read the runs in some folders and compute their statistics; writes nothing.

    Args:
        folders: to look in, and below; or one such folder.
        metric: logged name; more of it is better.
        score: of the metric, to come to; None: the return at which the runs stop, if they have
            one, the same one, and it is the return that is asked for.
        last: evaluations that make up a run's final value.
        bootstrap: how intervals are made; None: by default.
        equal: "env_steps", "updates" or "time/seconds": a task's runs are compared where all
            complete ones had come to as much, see `amago_jax.reports.equal`; None: at their ends.
        together: whether settings are compared over all tasks too, by their values as they are.

    Returns:
        The report. Runs that failed, have logged nothing, or no such metric are named in it and
        passed over; statistics are over those that are complete.

    Raises:
        ConfigError: if there is no run, none has logged the metric, or equal is none of those.
    """
    folders = [folders] if isinstance(folders, str | Path) else list(folders)
    question = Question(metric, score, last, bootstrap or Bootstrap(), equal)
    runs = find_runs(folders)
    if not runs:
        named = ", ".join(str(folder) for folder in folders)
        raise ConfigError(f"folders={named}: there is no run, a folder with metrics.jsonl, below")
    passed_over = {run.folder: why for run in runs if (why := question.why_not(run))}
    if len(passed_over) == len(runs):
        raise ConfigError(_nothing_told(runs, question, passed_over))
    settings = group_runs([run for run in runs if run.config])
    question = dataclasses.replace(question, score=_score(runs, question))
    measured = analysis.measure(settings, question)
    title = "Report of " + ", ".join(str(folder) for folder in folders)
    curves = _curves(measured, question)
    tables = _tables(measured, question)
    if together:
        tables["together"] = analysis.together(measured, question.bootstrap)
    left_out = passed_over | _not_compared(measured, question)
    tables |= {"curves": analysis.curves_table(curves), "troubles": _troubles(runs, left_out)}
    return Report(title, question, measured, runs, passed_over, curves, tables)


def _nothing_told(
    runs: Sequence[FoundRun], question: Question, passed_over: dict[Path, str]
) -> str:
    logged = sorted({name for run in runs for row in run.rows for name in row})
    evaluated = any(name.startswith("evaluation/") for name in logged)
    if question.metric == RETURN and not evaluated and not any(map(_is_unclear, runs)):
        epoch = max(run.rows[-1].get("epoch", 0) for run in runs)
        every = sorted({str(run.config.get("evaluation.every")) for run in runs})
        return (
            f"none of the {len(runs)} runs has been evaluated: they have come to epoch {epoch:.0f} "
            f"at most, with evaluation.every={' or '.join(every)}"
        )
    if logged and question.metric not in logged:
        return f"metric={question.metric!r} is logged by no run; {suggest(question.metric, logged)}"
    folder, why = next(iter(passed_over.items()))
    return f"none of the {len(runs)} runs can be told from; of {folder}, the first: {why}"


def _is_unclear(run: FoundRun) -> bool:
    """Whether there is more to say of a run than that it was not evaluated."""
    return run.silent or not run.config


def _score(runs: Sequence[FoundRun], question: Question) -> float | None:
    """The score to come to: as asked, or where all runs stop if they stop at the same return."""
    stops = {run.config.get(STOP) for run in runs if run.config}
    if question.score is not None or question.metric != RETURN or len(stops) > 1:
        return question.score
    return stops.pop()


def _tables(measured: Sequence[Measured], question: Question) -> dict[str, Table]:
    tables = {
        "settings": analysis.summary(measured),
        "improvement": analysis.improvement(measured, question.bootstrap),
        "differences": analysis.differences(measured),
        "runs": analysis.runs_table(measured, question),
    }
    if question.score is not None:
        tables["score"] = analysis.reached(measured, question, question.score)
    if question.equal is not None:
        tables["equal"] = analysis.points_compared(measured, question)
    return tables


def _curves(measured: Sequence[Measured], question: Question) -> dict[str, dict[str, list[Line]]]:
    tasks: dict[str, list[Measured]] = {}
    for one in measured:
        tasks.setdefault(one.setting.task, []).append(one)
    return {
        task: {name: analysis.lines(ones, x, question) for x, name in BUDGETS.items()}
        for task, ones in tasks.items()
    }


def _not_compared(measured: Sequence[Measured], question: Question) -> dict[Path, str]:
    """Complete runs that count in nothing, for where runs are compared they had no value yet."""
    left_out = {}
    for one in measured:
        counted = {run.folder for run in one.counted}
        for run in one.told:
            if question.equal is not None and run.ended and run.folder not in counted:
                over = BUDGETS[question.equal]
                where = f"with known {over}" if one.at is None else f"up to {shown(one.at)} {over}"
                without = f"without a value of {question.metric} {where}"
                left_out[run.folder] = f"{run.trouble}, {without}; in curves alone"
    return left_out


def _troubles(runs: Sequence[FoundRun], left_out: dict[Path, str]) -> Table:
    rows = [
        [str(run.folder), left_out.get(run.folder, f"{run.trouble}; in curves alone")]
        for run in runs
        if run.folder in left_out or not run.ended
    ]
    return Table(["folder", "what became of it"], rows)
