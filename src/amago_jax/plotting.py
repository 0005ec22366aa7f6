"""Learning curves as PNG files: of one run, and of several compared."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, Any]]

# Title, key of x, and the keys drawn, by label.
PANELS: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("return", "env_steps", {"training": "train/return", "evaluation": "evaluation/return"}),
    ("loss", "updates", {"actor": "loss/actor", "critic": "loss/critic"}),
    ("value", "updates", {"Q(s, a)": "value/q", "TD target": "value/td_target"}),
    ("updates per second", "updates", {"updates/s": "time/updates_per_second"}),
)


def plot_learning_curves(rows: Rows, path: Path, title: str) -> Path:
    """Draw a run's returns, losses, values and speed.

    Args:
        rows: metrics per epoch; a missing or null value leaves a gap.
        path: the PNG file, 1200 by 800 pixels.
        title: above everything.

    Returns:
        The file.
    """
    figure = Figure(figsize=(12, 8), dpi=100, layout="constrained")
    figure.suptitle(title)
    for axes, (name, x_key, lines) in zip(figure.subplots(2, 2).flat, PANELS, strict=True):
        for label, key in lines.items():
            x, y = _points(rows, x_key, key)
            if len(x):
                axes.plot(x, y, label=label)
        _dress(axes, x_key, name)
    return _write(figure, path)


def plot_comparison(
    runs: Mapping[str, Sequence[Rows]],
    path: Path,
    *,
    x: str = "env_steps",
    y: str = "evaluation/return",
    title: str = "",
) -> Path:
    """Draw groups of runs: the mean over a group's seeds, a band from least to greatest.

    Args:
        runs: per label, the rows of every seed.
        path: the PNG file, 1200 by 700 pixels.
        x: key of the horizontal axis.
        y: key of the vertical axis.
        title: above everything.

    Returns:
        The file.
    """
    figure = Figure(figsize=(12, 7), dpi=100, layout="constrained")
    axes = figure.subplots()
    for index, (label, seeds) in enumerate(runs.items()):
        curves = [points for rows in seeds if len((points := _points(rows, x, y))[0])]
        if not curves:
            continue
        grid = np.linspace(0, max(xs[-1] for xs, _ in curves), 200)
        # A seed that stopped early keeps its last value.
        values = np.stack([np.interp(grid, xs, ys) for xs, ys in curves])
        color = f"C{index}"
        for xs, ys in curves:
            axes.plot(xs, ys, color=color, alpha=0.3, linewidth=0.8)
        axes.plot(grid, values.mean(0), color=color, linewidth=2, label=label)
        axes.fill_between(grid, values.min(0), values.max(0), color=color, alpha=0.15, linewidth=0)
    _dress(axes, x, y)
    axes.set_title(title)
    return _write(figure, path)


def _points(rows: Rows, x: str, y: str) -> tuple[np.ndarray, np.ndarray]:
    pairs = [(row[x], row[y]) for row in rows if row.get(y) is not None]
    return tuple(np.asarray(pairs, float).reshape(-1, 2).T)  # type: ignore[return-value]


def _dress(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x.replace("_", " "))
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    if axes.lines and any(not line.get_label().startswith("_") for line in axes.lines):
        axes.legend()


def _write(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure).print_png(str(path))
    return path
