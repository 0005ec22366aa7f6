"""Several runs side by side: one picture, one table."""

import glob
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from amago_jax.errors import ConfigError
from amago_jax.reports.finding import FoundRun, find_runs
from amago_jax.reports.plotting import (
    adaptation_curve,
    plot_adaptation,
    plot_comparison,
    split_by_metric,
)
from amago_jax.reports.rows import Rows
from amago_jax.reports.settings import group_runs
from amago_jax.reports.statistics import final_value
from amago_jax.settings import Label, Name, Names, as_names, check_table

Groups = dict[str, list[FoundRun]]
SETTINGS: dict[str, Any] = {  # what `compare` takes
    "runs": Name | Names,
    "labels": tuple[Label, ...] | None,
    "x": Name,
    "y": Name,
    "adaptation": bool,
    "title": str | float,
    "output": Name,
}


def compare(config: DictConfig) -> Path:
    """Draw several runs in one picture and print their table, as `conf/plot.yaml` describes.

    Runs that differ in their seed alone are one line. Those that failed or have logged nothing yet
    are named and passed over.

    Returns:
        The picture.

    Raises:
        ConfigError: if a folder holds no run, labels and runs differ in number, no run has logged
            anything, none logs y, or none anything by attempt if that is asked for.
    """
    plain: Any = OmegaConf.to_container(config, resolve=True)
    check_table(plain, SETTINGS)
    patterns = as_names(config.runs)
    runs = [run for pattern in patterns for folder in _expand(pattern) for run in _runs(folder)]
    labels = config.labels or [None] * len(runs)
    if len(labels) != len(runs):
        raise ConfigError(f"labels={list(labels)} must be as many as the {len(runs)} runs")
    drawn = [each for each in zip(runs, labels, strict=True) if _is_drawn(*each)]
    if not drawn:
        raise ConfigError(f"runs={patterns}: none of the {len(runs)} has logged anything")
    groups: Groups = {}
    for run, label in drawn:
        if label is not None:
            groups.setdefault(label, []).append(run)
    groups |= _named([run for run, label in drawn if label is None])
    rows = {name: [run.rows for run in found] for name, found in groups.items()}
    path = _compare_adaptation(rows, config) if config.adaptation else _compare(groups, config)
    print(f"drew {len(drawn)} runs in {path}")
    return path


def _runs(folder: str) -> list[FoundRun]:
    runs = find_runs([folder])
    if not runs:
        raise ConfigError(f"runs: {folder} holds no run, for it has no metrics.jsonl")
    return runs


def _is_drawn(run: FoundRun, label: str | None) -> bool:
    """Say whether a run can be drawn, and print why if it cannot."""
    if not run.silent and (run.config or label is not None):
        return True
    print(f"passed over: {run.folder}: {run.trouble}")
    return False


def _named(runs: Sequence[FoundRun]) -> Groups:
    """Runs by the name of their setting, with the task's where there are several."""
    settings = group_runs(runs)
    tasks = {setting.task for setting in settings}
    names = [setting.name for setting in settings]
    return {
        setting.name
        if len(tasks) == 1 or names.count(setting.name) == 1
        else f"{setting.task}: {setting.name}": list(setting.runs)
        for setting in settings
    }


def _compare(groups: Groups, config: DictConfig) -> Path:
    rows = {name: [run.rows for run in runs] for name, runs in groups.items()}
    if not split_by_metric(rows, config.y):
        every = [row for seeds in rows.values() for seed in seeds for row in seed]
        logged = ", ".join(sorted({name for row in every for name in row}))
        raise ConfigError(f"y={config.y!r} fits nothing the runs log; they log {logged}")
    path = plot_comparison(
        rows,
        Path(config.output),
        x=config.x,
        y=config.y,
        title=config.title,
        ended={name: [run.ended for run in runs] for name, runs in groups.items()},
    )
    print(table(rows, config.y))
    return path


def _compare_adaptation(groups: dict[str, list[Rows]], config: DictConfig) -> Path:
    curves = {
        label: [curve for rows in runs if (curve := adaptation_curve(rows, "success")).size]
        for label, runs in groups.items()
    }
    for label in [label for label, found in curves.items() if not found]:
        raise ConfigError(
            f"adaptation=true: {label} logs nothing by attempt, as meta-episodes do; "
            f"compare y={config.y!r} instead"
        )
    path = plot_adaptation(groups, Path(config.output), title=config.title)
    print(adaptation_table(curves))
    return path


def adaptation_table(curves: dict[str, list[np.ndarray]]) -> str:
    """Tabulate success by attempt in Markdown, two lines per label: at first and at last.

    Args:
        curves: of every seed, by label, see `amago_jax.reports.plotting.adaptation_curve`.

    Returns:
        The table: means over seeds.
    """
    most = max(curve.shape[1] for seeds in curves.values() for curve in seeds)
    lines = [
        "| success in attempt | " + " | ".join(str(number + 1) for number in range(most)) + " |",
        "| --- |" + " --- |" * most,
    ]
    for label, seeds in curves.items():
        length = min(curve.shape[1] for curve in seeds)
        means = np.mean([curve[:, :length] for curve in seeds], axis=0)
        for when, values in zip(("at first", "at last"), means, strict=True):
            cells = [f"{value:.2f}" for value in values] + [""] * (most - length)
            lines.append(f"| {label}, {when} | {' | '.join(cells)} |")
    return "\n".join(lines)


def table(groups: dict[str, list[Rows]], metric: str) -> str:
    """Tabulate runs in Markdown, a line per group.

    Args:
        groups: the rows of every seed, by label.
        metric: what to tabulate, for example "evaluation/return", or a pattern.

    Returns:
        The table: means over the last three values of each run, their mean over seeds, and how
        many updates and seconds the runs took.
    """
    lines = [
        "| run | final, by seed | mean | updates | seconds |",
        "| --- | --- | --- | --- | --- |",
    ]
    for line, name, label in split_by_metric(groups, metric):
        runs = groups[label]
        finals = [_final(rows, name) for rows in runs]
        by_seed = ", ".join(f"{final:.2f}" for final in finals)
        updates = _range([rows[-1]["updates"] for rows in runs])
        seconds = _range([rows[-1]["time/seconds"] for rows in runs])
        mean = statistics.mean(finals)
        lines.append(f"| {line} | {by_seed} | {mean:.2f} | {updates} | {seconds} |")
    return "\n".join(lines)


def _expand(pattern: str) -> Sequence[str]:
    """Return the folders of a pattern such as ``runs/ablation/*/*``; a plain path is itself."""
    return sorted(glob.glob(pattern)) or [pattern]


def _final(rows: Rows, metric: str) -> float:
    return final_value([row[metric] for row in rows if row.get(metric) is not None])


def _range(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:,.0f}" if low == high else f"{low:,.0f} to {high:,.0f}"
