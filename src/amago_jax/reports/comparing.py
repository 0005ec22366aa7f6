"""Several runs side by side: one picture, one table."""

import glob
import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from omegaconf import DictConfig, OmegaConf

from amago_jax.errors import ConfigError
from amago_jax.reports.plotting import (
    adaptation_curve,
    plot_adaptation,
    plot_comparison,
    split_by_metric,
)
from amago_jax.reports.rows import METRICS_FILE, Rows, read_jsonl

LAST = 3  # evaluations that make up a run's final return


def compare(config: DictConfig) -> Path:
    """Draw several runs in one picture and print their table, as `conf/plot.yaml` describes.

    Returns:
        The picture.

    Raises:
        ConfigError: if a folder holds no run, labels and runs differ in number, or no run logs y,
            or anything by attempt if that is asked for.
    """
    folders = [Path(folder) for pattern in config.runs for folder in _expand(pattern)]
    labels = config.labels or [None] * len(folders)
    if len(labels) != len(folders):
        raise ConfigError(f"labels={list(labels)} must be as many as the {len(folders)} runs")
    groups: dict[str, list[Rows]] = {}
    for folder, label in zip(folders, labels, strict=True):
        if not (folder / METRICS_FILE).is_file():
            raise ConfigError(f"runs: {folder} holds no run, for it has no metrics.jsonl")
        groups.setdefault(label or _label(folder), []).append(read_jsonl(folder / METRICS_FILE))
    if config.adaptation:
        path = _compare_adaptation(groups, config)
    else:
        path = _compare_metrics(groups, config)
    print(f"drew {len(folders)} runs in {path}")
    return path


def _compare_metrics(groups: dict[str, list[Rows]], config: DictConfig) -> Path:
    if not split_by_metric(groups, config.y):
        logged = sorted({name for runs in groups.values() for rows in runs for name in rows[-1]})
        raise ConfigError(f"y={config.y!r} fits nothing the runs log; they log {', '.join(logged)}")
    path = plot_comparison(groups, Path(config.output), x=config.x, y=config.y, title=config.title)
    print(table(groups, config.y))
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
    for label, name, runs in split_by_metric(groups, metric):
        finals = [_final(rows, name) for rows in runs]
        by_seed = ", ".join(f"{final:.2f}" for final in finals)
        updates = _range([rows[-1]["updates"] for rows in runs])
        seconds = _range([rows[-1]["time/seconds"] for rows in runs])
        mean = statistics.mean(finals)
        lines.append(f"| {label} | {by_seed} | {mean:.2f} | {updates} | {seconds} |")
    return "\n".join(lines)


def _expand(pattern: str) -> Sequence[str]:
    """Return the folders of a pattern such as ``runs/ablation/*/*``; a plain path is itself."""
    return sorted(glob.glob(pattern)) or [pattern]


def _label(folder: Path) -> str:
    config = OmegaConf.load(folder / "config.yaml")
    return str(OmegaConf.select(config, "label") or config.env.env_id)


def _final(rows: Rows, metric: str) -> float:
    values = [row[metric] for row in rows if row.get(metric) is not None]
    return statistics.mean(values[-LAST:]) if values else float("nan")


def _range(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:,.0f}" if low == high else f"{low:,.0f} to {high:,.0f}"
