"""Learning curves as PNG files, from the rows that a run logs."""

import fnmatch
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from amago_jax.reports.curves import Curve, Line, finite_points, make_line, points, thinned
from amago_jax.reports.row_store import columns, names_of, numbers_of_rows
from amago_jax.reports.rows import Rows
from amago_jax.reports.statistics import Bootstrap

# Imported by whoever draws, for it takes as long as everything else but JAX.
if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# 1200 pixels wide, with letters large enough to read at that width.
DPI = 150
WIDTH, HEIGHT = 8.0, 6.0
STYLES = ("-", "--", ":")  # of ten colours each
MANY = 12  # lines, whose legend needs small letters
HELD = "a run ended: the mean goes on with its last value"
# With fewer points than this, each gets a dot, so that a single one is visible.
FEW_POINTS = 30
# What an evaluation says of the attempts of a meta-episode, one by one.
BY_ATTEMPT = re.compile(r"evaluation/(success|return)/attempt_(\d+)")
EVALUATIONS = 3  # averaged for an adaptation curve, at most


def plot_run(rows: Rows, folder: Path, title: str = "") -> "Figure":
    """Draw what a run has logged into its folder; return the figure of its learning curves.

    Args:
        rows: as logged.
        folder: the run's; see `amago_jax.Run.plot` for what else is drawn there.
        title: of the pictures.
    """
    successes, runs = "evaluation/success/*", {"": [rows]}
    # What evaluations say by attempt would be too many lines.
    if split_by_metric(runs, successes, without=BY_ATTEMPT):
        path = folder / "success.png"
        plot_comparison(runs, path, y=successes, title=title, without=BY_ATTEMPT)
    if adaptation_curve(rows, "success").size:
        plot_adaptation(runs, folder / "adaptation.png", title=title)
    figure = draw_learning_curves(rows, title)
    _write(figure, folder / "curves.png")
    return figure


def plot_learning_curves(rows: Rows, path: str | Path, title: str) -> Path:
    """Draw the learning curves of one run into a file, see `draw_learning_curves`.

    Args:
        rows: as logged, one per epoch; None and NaN are gaps.
        path: the PNG file to write, 1200 x 900 pixels; its folder is made.
        title: above everything.

    Returns:
        The file.
    """
    return _write(draw_learning_curves(rows, title), path)


def draw_learning_curves(rows: Rows, title: str) -> "Figure":
    """Draw returns, losses, speed and values of one run; what was not logged is left out."""
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
    return figure


def plot_comparison(
    runs: Mapping[str, Sequence[Rows]],
    path: str | Path,
    *,
    x: str = "env_steps",
    y: str = "evaluation/return",
    title: str = "",
    ended: Mapping[str, Sequence[bool]] | None = None,
    without: re.Pattern[str] | None = None,
) -> Path:
    """Draw the mean over seeds per label, the band of its interval, and each seed.

    Args:
        runs: by label, the rows of each seed.
        path: the PNG file to write, 1200 x 900 pixels; its folder is made.
        x: metric along the horizontal axis.
        y: metric to compare, or a pattern such as ``evaluation/success/*``, one line for each.
        title: above everything.
        ended: by label, which seeds are over, see `amago_jax.reports.curves.mean_curve`; None:
            none is, so that mean and band cover the stretch of x that all seeds of a label reached.
        without: metrics of these names are left out.

    Returns:
        The file.
    """
    figure = _figure()
    axes = figure.subplots()
    _draw_lines(axes, _lines(runs, split_by_metric(runs, y, without=without), x, ended))
    _finish(axes, title, _words(x))
    axes.set_ylabel(_words(y))
    return _write(figure, path)


def plot_budgets(
    lines: Mapping[str, Sequence[Line]],
    path: str | Path,
    *,
    y: str,
    title: str = "",
    compared: Mapping[str, float] | None = None,
) -> Path:
    """Draw settings over steps, updates and seconds: their means with bands, and their seeds.

    Args:
        lines: by what is along the horizontal axis, one of at most three panels each.
        path: the PNG file to write, 1200 x 900 pixels; its folder is made.
        y: what is along the vertical axes.
        title: above everything.
        compared: where settings are compared, by what is along the axis; None: at their ends.

    Returns:
        The file.
    """
    figure = _figure()
    figure.suptitle(title)
    *panels, last = figure.subplots(2, 2, sharey=True).flat
    handles: dict[str, Any] = {}
    for axes, (x, drawn) in zip(panels, lines.items(), strict=False):
        _draw_lines(axes, drawn)
        if compared and x in compared:
            axes.axvline(compared[x], color="gray", linestyle=":", label="compared here")
        found, names = axes.get_legend_handles_labels()
        handles |= dict(zip(names, found, strict=True))
        _finish(axes, "", x)
        axes.set_ylabel(_words(y), fontsize="small")
        if axes.get_legend() is not None:
            axes.get_legend().remove()
    last.axis("off")
    size = "small" if len(handles) < MANY else "xx-small"
    last.legend(handles.values(), handles.keys(), loc="upper left", fontsize=size)
    return _write(figure, path)


def plot_adaptation(
    runs: Mapping[str, Sequence[Rows]], path: str | Path, *, title: str = ""
) -> Path:
    """Draw success and return by attempt: how much is learned within a meta-episode.

    A dashed line is what the first evaluations found, a full one what the last ones found; both
    are means over seeds, the last one with the band of its interval.

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
            if len(last) > 1:
                axes.fill_between(attempts, *Bootstrap().band(last), color=color, alpha=0.15)
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
        for name in names_of(rows)
        if (match := BY_ATTEMPT.fullmatch(name)) and match[1] == what
    )
    evaluations = numbers_of_rows(rows, [name for _, name in names])
    few = max(1, min(EVALUATIONS, len(evaluations) // 2))
    values = [
        [[row[name] for row in part if _is_number(row.get(name))] for _, name in names]
        for part in (
            [rows[number] for number in numbers]
            for numbers in (evaluations[:few], evaluations[-few:])
        )
    ]
    return np.array([[np.mean(x) if x else math.nan for x in part] for part in values])


def _is_number(value: float | None) -> bool:
    return value is not None and not math.isnan(value)


def split_by_metric(
    runs: Mapping[str, Sequence[Rows]], pattern: str, *, without: re.Pattern[str] | None = None
) -> list[tuple[str, str, str]]:
    """Return a name, a metric and the label of its runs for every metric that fits a pattern.

    Args:
        runs: by label, the rows of each seed.
        pattern: with ``*`` for anything.
        without: metrics of these names are left out.

    Returns:
        The names are the labels if one metric fits; else they end in the metric's name from the
        level on that the pattern leaves open.
    """
    everywhere = set().union(*(names_of(rows) for seeds in runs.values() for rows in seeds))
    metrics = [
        name
        for name in fnmatch.filter(sorted(everywhere), pattern)
        if without is None or not without.fullmatch(name)
    ]
    start = pattern.partition("*")[0].rfind("/") + 1
    return [
        (label if len(metrics) == 1 else f"{label} {metric[start:]}".strip(), metric, label)
        for label in runs
        for metric in metrics
    ]


def _lines(
    runs: Mapping[str, Sequence[Rows]],
    metrics: Sequence[tuple[str, str, str]],
    x: str,
    ended: Mapping[str, Sequence[bool]] | None,
) -> list[Line]:
    lines = []
    for name, metric, label in metrics:
        over = ended[label] if ended else [False] * len(runs[label])
        seeds = zip(runs[label], over, strict=True)
        curves = [Curve(*finite_points(rows, x, metric), ended=done) for rows, done in seeds]
        line = make_line(name, curves)
        lines += [line] if line else []
    return lines


def _draw_lines(axes: "Axes", lines: Sequence[Line]) -> None:
    """Draw seeds thin and their means thick, and where seeds ended before the mean does."""
    ends = []
    for index, line in enumerate(lines):
        color, style = f"C{index % 10}", STYLES[index // 10 % len(STYLES)]
        for seed in line.seeds:
            shown = thinned(seed.ys)
            axes.plot(seed.xs[shown], seed.ys[shown], color=color, linewidth=0.6, alpha=0.5)
        mean = line.mean
        marker = "o" if len(mean.xs) == 1 else None
        axes.plot(
            mean.xs, mean.mean, style, color=color, linewidth=2.0, marker=marker, label=line.words
        )
        if mean.low is not None and mean.high is not None:
            axes.fill_between(mean.xs, mean.low, mean.high, color=color, alpha=0.15, linewidth=0)
        ends += [(*point, color) for point in mean.held]
    if ends:
        xs, ys, colors = zip(*ends, strict=True)
        axes.scatter(xs, ys, s=14, c=colors, zorder=3)
        axes.scatter([], [], s=14, c="gray", label=HELD)


def _figure() -> "Figure":
    from amago_jax.reports.shown import ShownFigure

    return ShownFigure(figsize=(WIDTH, HEIGHT), dpi=DPI, layout="constrained")


def _draw(axes: "Axes", rows: Rows, x: str, names: Mapping[str, str]) -> None:
    for name, label in names.items():
        xs, ys = points(rows, x, name)
        if np.isfinite(ys).any():
            # A point between two gaps shows as a dot only.
            dots = len(ys) < FEW_POINTS or not np.isfinite(ys).all()
            shown = thinned(ys)
            axes.plot(
                xs[shown], ys[shown], label=label, linewidth=1.2, marker="." if dots else None
            )


def _draw_range(axes: "Axes", rows: Rows, x: str, low: str, high: str) -> None:
    xs, lows, highs = columns(rows, x, low, high)
    if axes.lines and (np.isfinite(lows) & np.isfinite(highs)).any():
        color = axes.lines[-1].get_color()  # of the evaluation, drawn last
        shown = np.union1d(thinned(lows), thinned(highs))
        xs, lows, highs = xs[shown], lows[shown], highs[shown]
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
    # Whoever reads the picture that was there before, as loggers do, reads it whole.
    part = path.with_name(f"{path.name}.part")
    FigureCanvasAgg(figure).print_png(part)
    return part.replace(path)


def _names(rows: Rows, prefix: str) -> list[str]:
    return sorted(name for name in names_of(rows) if name.startswith(prefix))


def _words(name: str) -> str:
    return (
        name.removeprefix("loss/")
        .replace("env_", "environment ")
        .replace("_", " ")
        .replace("/", " ")
    )
