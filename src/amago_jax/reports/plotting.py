"""Learning curves as PNG files, from the rows that a run logs."""

import fnmatch
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from amago_jax.reports.rows import Rows

# Imported by whoever draws, for it takes as long as everything else but JAX.
if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# 1200 pixels wide, with letters large enough to read at that width.
DPI = 150
WIDTH, HEIGHT = 8.0, 6.0
GRID_POINTS = 200
# With fewer points than this, each gets a dot, so that a single one is visible.
STYLES = ("-", "--", ":")  # of ten colours each
FEW_POINTS = 30
# What an evaluation says of the attempts of a meta-episode, one by one.
BY_ATTEMPT = re.compile(r"evaluation/(success|return)/attempt_(\d+)")
EVALUATIONS = 3  # averaged for an adaptation curve, at most


def plot_learning_curves(rows: Rows, path: str | Path, title: str) -> Path:
    """Draw returns, losses, speed and values of one run; what was not logged is left out.

    Args:
        rows: as logged, one per epoch; None and NaN are gaps.
        path: the PNG file to write, 1200 x 900 pixels; its folder is made.
        title: above everything.

    Returns:
        The file.
    """
    figure = _figure()
    (returns, losses), (speed, values) = figure.subplots(2, 2)
    figure.suptitle(title)

    _draw(
        returns, rows, "env_steps", {"train/return": "training", "evaluation/return": "evaluation"}
    )
    _draw_range(returns, rows, "env_steps", "evaluation/return_min", "evaluation/return_max")
    _finish(returns, "return", "environment steps")

    _draw(losses, rows, "updates", {name: _words(name) for name in _names(rows, "loss/")})
    _finish(losses, "loss", "updates")

    rates = {
        "time/env_steps_per_second": "environment steps/s",
        "time/updates_per_second": "updates/s",
    }
    _draw(speed, rows, "time/seconds", rates)
    if speed.lines:
        speed.set_yscale("log")  # the two differ by orders of magnitude
    _finish(speed, "speed", "seconds")

    shown = {
        "value/q": "Q",
        "value/td_target": "TD target",
        "value/ensemble_spread": "spread of the critics",
        "gradient/norm": "gradient norm",
    }
    _draw(values, rows, "updates", shown)
    _finish(values, "values and gradients", "updates")
    return _write(figure, path)


def plot_comparison(
    runs: Mapping[str, Sequence[Rows]],
    path: str | Path,
    *,
    x: str = "env_steps",
    y: str = "evaluation/return",
    title: str = "",
) -> Path:
    """Draw the mean over seeds per label, a band from the least to the greatest, and each seed.

    Mean and band cover the stretch of x that all seeds of a label reached.

    Args:
        runs: by label, the rows of each seed.
        path: the PNG file to write, 1200 x 900 pixels; its folder is made.
        x: metric along the horizontal axis.
        y: metric to compare, or a pattern such as ``evaluation/success/*``, one line for each.
        title: above everything.

    Returns:
        The file.
    """
    figure = _figure()
    axes = figure.subplots()
    for index, (label, metric, seeds) in enumerate(split_by_metric(runs, y)):
        color, style = f"C{index % 10}", STYLES[index // 10 % len(STYLES)]
        curves = [_finite_curve(rows, x, metric) for rows in seeds]
        curves = [curve for curve in curves if len(curve[0])]
        if not curves:
            continue
        for curve in curves:
            axes.plot(*curve, color=color, linewidth=0.6, alpha=0.5)
        grid, stacked = _on_common_grid(curves)
        name = f"{label} ({len(curves)} seeds)" if len(curves) > 1 else label
        marker = "o" if len(grid) == 1 else None
        axes.plot(
            grid, stacked.mean(0), style, color=color, linewidth=2.0, marker=marker, label=name
        )
        if len(curves) > 1:
            low, high = stacked.min(0), stacked.max(0)
            axes.fill_between(grid, low, high, color=color, alpha=0.15, linewidth=0)
    _finish(axes, title, _words(x))
    axes.set_ylabel(_words(y))
    return _write(figure, path)


def plot_adaptation(
    runs: Mapping[str, Sequence[Rows]], path: str | Path, *, title: str = ""
) -> Path:
    """Draw success and return by attempt: how much is learned within a meta-episode.

    A dashed line is what the first evaluations found, a full one what the last ones found; both
    are means over seeds, the last one with a band from the least seed to the greatest.

    Args:
        runs: by label, the rows of each seed; what holds no metrics by attempt is left out.
        path: the PNG file to write, 1200 x 900 pixels; its folder is made.
        title: above everything.

    Returns:
        The file.
    """
    from matplotlib.ticker import MaxNLocator

    figure = _figure()
    figure.suptitle(title)
    for axes, what in zip(figure.subplots(2, 1), ("success", "return"), strict=True):
        for index, (label, seeds) in enumerate(runs.items()):
            curves = [curve for rows in seeds if (curve := adaptation_curve(rows, what)).size]
            if not curves:
                continue
            length = min(curve.shape[1] for curve in curves)
            first, last = np.stack([curve[:, :length] for curve in curves], axis=1)
            attempts, color = np.arange(1, length + 1), f"C{index % 10}"
            name = f"{label} ({len(curves)} seeds)" if len(curves) > 1 else label
            for values, style, when in ((first, "--", "at first"), (last, "-", "at last")):
                line = f"{name}, {when}" if name else when
                axes.plot(attempts, values.mean(0), style, color=color, marker=".", label=line)
            axes.fill_between(attempts, last.min(0), last.max(0), color=color, alpha=0.15)
        if what == "success":
            axes.set_ylim(-0.02, 1.02)
        _finish(axes, f"{what} by attempt", "attempt")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return _write(figure, path)


def adaptation_curve(rows: Rows, what: str) -> np.ndarray:
    """Average what the first and the last evaluations of a run found, attempt by attempt.

    Args:
        rows: as logged; None and NaN are gaps.
        what: "success" or "return".

    Returns:
        Float ``[2, attempts]``, at first and at last: means over at most `EVALUATIONS` evaluations
        and at most half of them, NaN where no such attempt was finished. Zero attempts if nothing
        is logged by attempt.
    """
    names = sorted(
        (int(match[2]), name)
        for name in {name for row in rows for name in row}
        if (match := BY_ATTEMPT.fullmatch(name)) and match[1] == what
    )
    evaluations = [row for row in rows if any(name in row for _, name in names)]
    few = max(1, min(EVALUATIONS, len(evaluations) // 2))
    values = [
        [[row[name] for row in part if _is_number(row.get(name))] for _, name in names]
        for part in (evaluations[:few], evaluations[-few:])
    ]
    return np.array([[np.mean(x) if x else math.nan for x in part] for part in values])


def _is_number(value: float | None) -> bool:
    return value is not None and not math.isnan(value)


def without_attempts(rows: Rows) -> list[dict[str, Any]]:
    """Leave out what evaluations say by attempt: lines too many for a plot over training."""
    return [{key: row[key] for key in row if not BY_ATTEMPT.fullmatch(key)} for row in rows]


def split_by_metric(
    runs: Mapping[str, Sequence[Rows]], pattern: str
) -> list[tuple[str, str, Sequence[Rows]]]:
    """Return a label, a metric and the rows of each seed for every metric that fits a pattern.

    Args:
        runs: by label, the rows of each seed.
        pattern: with ``*`` for anything.

    Returns:
        The labels as they are if one metric fits; else with the metric's name from the level on
        that the pattern leaves open.
    """
    everywhere = {name for seeds in runs.values() for rows in seeds for row in rows for name in row}
    metrics = fnmatch.filter(sorted(everywhere), pattern)
    start = pattern.partition("*")[0].rfind("/") + 1
    return [
        (label if len(metrics) == 1 else f"{label} {metric[start:]}".strip(), metric, seeds)
        for label, seeds in runs.items()
        for metric in metrics
    ]


def _figure() -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, layout="constrained")


def _draw(axes: "Axes", rows: Rows, x: str, names: Mapping[str, str]) -> None:
    for name, label in names.items():
        xs, ys = _curve(rows, x, name)
        if np.isfinite(ys).any():
            # A point between two gaps shows as a dot only.
            dots = len(ys) < FEW_POINTS or not np.isfinite(ys).all()
            axes.plot(xs, ys, label=label, linewidth=1.2, marker="." if dots else None)


def _draw_range(axes: "Axes", rows: Rows, x: str, low: str, high: str) -> None:
    both = [row for row in rows if low in row and high in row]
    xs, lows = _curve(both, x, low)
    highs = _curve(both, x, high)[1]
    if axes.lines and (np.isfinite(lows) & np.isfinite(highs)).any():
        color = axes.lines[-1].get_color()  # of the evaluation, drawn last
        axes.fill_between(xs, lows, highs, color=color, alpha=0.15, linewidth=0, label="its range")


def _finish(axes: "Axes", title: str, xlabel: str) -> None:
    from matplotlib.ticker import EngFormatter

    axes.set_title(title, fontsize="medium")
    axes.set_xlabel(xlabel, fontsize="small")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.tick_params(labelsize="small")
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="x-small")
    else:
        axes.text(0.5, 0.5, "nothing logged", ha="center", transform=axes.transAxes)


def _write(figure: "Figure", path: str | Path) -> Path:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure).print_png(path)
    return path


def _names(rows: Rows, prefix: str) -> list[str]:
    return sorted({name for row in rows for name in row if name.startswith(prefix)})


def _words(name: str) -> str:
    return (
        name.removeprefix("loss/")
        .replace("env_", "environment ")
        .replace("_", " ")
        .replace("/", " ")
    )


def _curve(rows: Rows, x: str, y: str) -> tuple[np.ndarray, np.ndarray]:
    """The points of the rows that hold both; a y of None is NaN, which matplotlib leaves out."""
    points = [(row[x], row[y]) for row in rows if row.get(x) is not None and y in row]
    xs = np.array([float(at) for at, _ in points])
    ys = np.array([math.nan if value is None else float(value) for _, value in points])
    return xs, ys


def _finite_curve(rows: Rows, x: str, y: str) -> tuple[np.ndarray, np.ndarray]:
    xs, ys = _curve(rows, x, y)
    finite = np.isfinite(xs) & np.isfinite(ys)
    order = np.argsort(xs[finite], kind="stable")
    return xs[finite][order], ys[finite][order]


def _on_common_grid(
    curves: Sequence[tuple[np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
    """Interpolate linearly where all curves are defined: a grid ``[N]``, values ``[curves, N]``.

    Curves that share no stretch give an empty grid.
    """
    start = max(xs[0] for xs, _ in curves)
    stop = min(xs[-1] for xs, _ in curves)
    points = np.unique(np.linspace(start, stop, GRID_POINTS)) if start <= stop else np.zeros(0)
    return points, np.stack([np.interp(points, xs, ys) for xs, ys in curves])
