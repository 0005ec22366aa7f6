"""A report as files: Markdown, CSV, pictures, and one HTML page."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from omegaconf import DictConfig, OmegaConf

from amago_jax.errors import ConfigError, suggest
from amago_jax.kinds import Real
from amago_jax.reports.analysis import overrides, repeated
from amago_jax.reports.document import (
    Block,
    Heading,
    Picture,
    Text,
    comma_separated,
    markdown,
    page,
    shown,
)
from amago_jax.reports.equal import BUDGETS, Budget
from amago_jax.reports.plotting import plot_budgets
from amago_jax.reports.report import Report, make_report
from amago_jax.reports.statistics import Bootstrap
from amago_jax.settings import Name, Names, Size, as_names, check_table

MOST_LINES = 20  # settings in a picture, the best ones
MOST_PAIRS = 66  # of settings on a page: of twelve all, of more the best with each other one
MOST_NAMES = 8  # settings in a sentence
FORMATS = ("markdown", "csv", "png", "html")
SETTINGS: dict[str, Any] = {  # what `report` takes
    "folders": Name | Names,
    "metric": Name,
    "last": Size,
    "score": float | None,
    "equal": Budget | None,
    "together": bool,
    "confidence": Annotated[float, Real(above=0, below=1)],
    "resamples": Size,
    "output": Name | None,
    "formats": Name | Names,
}
NOTES = (
    "Statistics are over complete runs: those that used up their epochs, or stopped early because "
    "they had come to their goal. Failed runs count in none, nor do others, which have not come to "
    "their end or logged no such value; so look at the number of seeds. "
    "Curves average complete runs too; one that has ended goes on with its last value, so that the "
    "mean never changes its seeds. Thin lines are single seeds.",
    "The interquartile mean leaves out the least and the greatest quarter of the seeds, rounded "
    "down: with fewer than four it is the mean. The probability of improvement is how often a seed "
    "of one setting does better than one of the other, ties counting half. Intervals resample "
    "seeds. With three seeds one of the mean spans from the least to the greatest, and with fewer "
    "than about ten all of them are too narrow for what they promise.",
)


def report(config: DictConfig) -> list[Path]:
    """Make and write a report, as `conf/report.yaml` describes; print where it is and the best.

    Returns:
        The files.

    Raises:
        ConfigError: if there is no run, none has logged the metric, or a setting is impossible.
    """
    plain: Any = OmegaConf.to_container(config, resolve=True)
    check_table(plain, SETTINGS)
    folders, formats = as_names(config.folders), as_names(config.formats)
    bootstrap = Bootstrap(config.confidence, config.resamples)
    made = make_report(
        folders,
        metric=config.metric,
        score=config.score,
        last=config.last,
        bootstrap=bootstrap,
        equal=config.equal,
        together=config.together,
    )
    output = Path(folders[0]) / "report" if config.output is None else Path(config.output)
    files = write_report(made, output, formats)
    for block in _opening(made):
        print(block.text)
    for task in made.tasks:
        if "equal" in made.tables:
            print(f"{task}: {_compared(made, task)}")
        if len(made.of_task(task)) > 1:
            print(_best(made, task))
    print(f"wrote {', '.join(str(file) for file in files)}")
    return files


def write_report(
    report: Report, output: str | Path, formats: Sequence[str] = FORMATS
) -> list[Path]:
    """Write a report into a folder.

    Args:
        report: to write.
        output: the folder; it is made.
        formats: any of "markdown" (report.md), "csv" (a file per table), "png" (a picture per
            task, without which Markdown and HTML have none) and "html" (report.html, which holds
            its pictures and needs no other file).

    Returns:
        The files.

    Raises:
        ConfigError: if a format is unknown.
    """
    for name in formats:
        if name not in FORMATS:
            raise ConfigError(f"formats={list(formats)}: {name!r}: {suggest(name, FORMATS)}")
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    pictures = _pictures(report, folder) if "png" in formats else {}
    blocks = _blocks(report, pictures)
    written = list(pictures.values())
    texts = {}
    if "markdown" in formats:
        texts["report.md"] = markdown(blocks, folder)
    if "csv" in formats:
        texts |= {f"{name}.csv": comma_separated(table) for name, table in report.tables.items()}
    if "html" in formats:
        texts["report.html"] = page(blocks, report.title)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
        written.append(folder / name)
    return written


def _pictures(report: Report, folder: Path) -> dict[str, Path]:
    pictures = {}
    curves = {task: panels for task, panels in report.curves.items() if any(panels.values())}
    for number, (task, panels) in enumerate(curves.items(), start=1):
        name = "curves.png" if len(curves) == 1 else f"curves_{number}.png"
        drawn = {x: lines[:MOST_LINES] for x, lines in panels.items()}
        many = any(len(lines) > MOST_LINES for lines in panels.values())
        some = f", the best {MOST_LINES} settings" if many else ""
        path, y = folder / name, report.question.metric
        title, compared = f"{task}{some}", _points(report, task)
        pictures[task] = plot_budgets(drawn, path, y=y, title=title, compared=compared)
    return pictures


def _blocks(report: Report, pictures: dict[str, Path]) -> list[Block]:
    blocks: list[Block] = [Heading(report.title, 1), *_opening(report)]
    for task in report.tasks:
        blocks += _of_task(report, task, pictures.get(task))
    if "together" in report.tables:
        blocks += _together(report)
    if report.tables["troubles"].rows:
        blocks += [Heading("Failed, unfinished or passed over"), report.tables["troubles"]]
    blocks += [Text(f"Counted twice: {words}.") for words in repeated(report.measured)]
    blocks += [Heading("All runs"), report.tables["runs"], Heading("How to read this")]
    return [*blocks, *map(Text, NOTES)]


def _of_task(report: Report, task: str, picture: Path | None) -> list[Block]:
    several = len(report.of_task(task)) > 1
    blocks: list[Block] = [Heading(task)]
    if "equal" in report.tables:
        blocks.append(Text(_compared(report, task)))
    blocks.append(report.tables["settings"].only("task", task))
    if several:
        blocks.append(Text(_best(report, task)))
    if picture is not None:
        words = f"{task}: {report.question.metric} over steps, updates and seconds"
        blocks.append(Picture(picture, words))
    if "score" in report.tables:
        blocks.append(Heading(f"What it takes to come to {report.question.score:g}", 3))
        blocks.append(report.tables["score"].only("task", task))
    improvement = report.tables["improvement"].only("task", task)
    if len(improvement.rows) > MOST_PAIRS:
        first = improvement.rows[0][0]
        rows = [row for row in improvement.rows if row[0] == first]
        improvement = dataclasses.replace(improvement, rows=rows)
    if improvement.rows:
        blocks += [Heading("Probability of improvement", 3), improvement]
    if several:
        blocks.append(Heading("What differs", 3))
        blocks.append(report.tables["differences"].only("task", task))
    return blocks


def _points(report: Report, task: str) -> dict[str, float]:
    """Where the settings of a task are compared, by what that is of."""
    equal, at = report.question.equal, report.of_task(task)[0].at
    return {} if equal is None or at is None else {BUDGETS[equal]: at}


def _compared(report: Report, task: str) -> str:
    """Say where the settings of a task are compared."""
    found = report.tables["equal"].only("task", task).rows
    if not found:
        told = BUDGETS[report.question.equal] if report.question.equal else ""
        return f"No complete run tells its {told}, so that there is no point at which to compare."
    over, at, runs, before = found[0]
    if all(run.stopped_early for one in report.of_task(task) for run in one.told if run.ended):
        return (
            f"Compared at {shown(at)} {over}, where the last of them ended: all complete runs "
            f"({runs}) stopped at their goal, and count with their last values."
        )
    sentence = (
        f"Compared at {shown(at)} {over}, the most to which all complete runs have come "
        f"({runs} count)."
    )
    if before:
        sentence += (
            f" Of these, {before} stopped before, at their goal, and count with their last values."
        )
    return sentence


def _together(report: Report) -> list[Block]:
    table = report.tables["together"]
    if not table.rows:
        words = (
            "No setting has complete runs by one name in each of several tasks: label runs, "
            "for example label=PPO, and a setting is the same in all."
        )
        return [Heading("Over all tasks"), Text(words)]
    words = (
        f"Values of {report.question.metric} as they are, of all runs of the "
        f"{len(report.tasks)} tasks, each counting alike: this tells something where tasks share a "
        "scale. Intervals resample the seeds of each task by themselves."
    )
    return [Heading("Over all tasks"), Text(words), table]


def _best(report: Report, task: str) -> str:
    """Name the best setting of a task in a sentence or two."""
    found = report.best(task)
    if not found:
        return f"{task}: no run is complete, so that none is best."
    first, *others = found
    value = shown(first.estimates["interquartile mean"].value)
    own = overrides(first)
    # More than a sentence can hold stands in the table of what differs.
    telling = own not in ("", first.setting.name) and len(first.setting.values) <= MOST_NAMES
    what = f" ({own})" if telling else ""
    sentence = f"Best in {task}: {first.setting.name}{what}, with an interquartile mean of {value}."
    if others:
        names = "; ".join(other.setting.name for other in others[:MOST_NAMES])
        more = len(others) - MOST_NAMES
        names += f"; and {more} more" if more > 0 else ""
        sentence += f" These seeds do not tell apart from it: {names}."
    return sentence


def _opening(report: Report) -> list[Text]:
    question, bootstrap = report.question, report.question.bootstrap
    status = Counter(run.status for run in report.runs).most_common()
    counts = ", ".join(f"{count} {name}" for name, count in status)
    found = f"{_several(len(report.runs), 'run')} ({counts})"
    settings, tasks = _several(len(report.measured), "setting"), _several(len(report.tasks), "task")
    values = f"last {question.last} values of {question.metric}"
    if question.equal is not None:
        values += f" up to the {BUDGETS[question.equal]} at which the runs of its task are compared"
    silent = f" {len(report.passed_over)} of them say nothing here." if report.passed_over else ""
    return [
        Text(f"{found} of {settings} in {tasks}.{silent}"),
        Text(
            f"A run's value is the mean of its {values}. "
            f"Brackets are {bootstrap.confidence:.0%} intervals over seeds "
            f"({bootstrap.resamples:,} bootstrap resamples, percentiles)."
        ),
    ]


def _several(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
