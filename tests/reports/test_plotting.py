"""Plots are PNG files of the promised size, whatever of the metrics is there."""

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from amago_jax.reports.curves import MOST_POINTS, Curve, finite_points, make_line
from amago_jax.reports.plotting import (
    BY_ATTEMPT,
    _draw_lines,
    adaptation_curve,
    draw_learning_curves,
    plot_adaptation,
    plot_comparison,
    plot_learning_curves,
    split_by_metric,
)
from amago_jax.reports.row_store import RowStore

ROWS: list[dict[str, Any]] = [
    {
        "epoch": float(epoch),
        "env_steps": 3072.0 * epoch,
        "updates": 100.0 * epoch,
        "time/seconds": 2.0 * epoch,
        "time/env_steps_per_second": 9000.0 + epoch,
        "time/updates_per_second": 50.0,
        "train/return": None if epoch == 4 else epoch / 10,
        **({"evaluation/return": epoch / 8} if epoch % 3 == 0 else {}),
        "loss/total": 2.0 / epoch,
        "loss/actor": 0.5 / epoch,
        "value/q": epoch / 10,
        "gradient/norm": 1.0,
    }
    for epoch in range(1, 13)
]


def assert_png(path: Path) -> None:
    """1200 x 900 pixels, not all of one colour."""
    header = path.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", header[16:24]) == (1200, 900)
    assert imread(path).std() > 0.01


def test_learning_curves(tmp_path):
    path = plot_learning_curves(ROWS, tmp_path / "new" / "curves.png", "T-Maze, seed 0")
    assert path == tmp_path / "new" / "curves.png"
    assert_png(path)


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [{}],
        ROWS[:1],
        [{"env_steps": 1.0, "evaluation/return": 1.0, "evaluation/return_min": 0.0}],
        [{"env_steps": None, "train/return": 1.0}, {"updates": 3.0, "loss/total": None}],
        [{"updates": 1.0, "loss/total": float("nan")}, {"time/seconds": 0.0}],
    ],
)
def test_missing_metrics_are_left_out(tmp_path, rows):
    assert_png(plot_learning_curves(rows, tmp_path / "curves.png", "run"))
    assert_png(plot_comparison({"run": [rows]}, tmp_path / "comparison.png"))


def test_every_panel_shows_its_metrics(tmp_path):
    def drawn(rows: list[dict]) -> bytes:
        return plot_learning_curves(rows, tmp_path / "curves.png", "run").read_bytes()

    whole = drawn(ROWS)
    for name in ("evaluation/return", "loss/actor", "time/updates_per_second", "value/q"):
        without = [{key: value for key, value in row.items() if key != name} for row in ROWS]
        assert drawn(without) != whole, name
    ranged = [row | {"evaluation/return_min": 0.0, "evaluation/return_max": 2.0} for row in ROWS]
    assert drawn(ranged) != whole


def test_comparison(tmp_path):
    def seeds(slope: float, count: int) -> list[list[dict]]:
        return [
            [row | {"evaluation/return": slope * row["epoch"] + seed} for row in ROWS]
            for seed in range(count)
        ]

    runs: dict[str, list[list[dict]]] = {
        "packed": seeds(1.0, 3),
        "padded": seeds(0.5, 1),
        "absent": [],
        "empty": [[]],
    }
    path = plot_comparison(runs, tmp_path / "comparison.png", title="Packing")
    assert_png(path)
    other = plot_comparison(runs, tmp_path / "x.png", x="time/seconds", y="train/return")
    assert other.read_bytes() != path.read_bytes()


def test_seeds_that_share_no_stretch_have_no_mean(tmp_path):
    runs = {"run": [ROWS[:3], ROWS[8:]]}
    assert_png(plot_comparison(runs, tmp_path / "comparison.png", y="loss/total"))


# Twelve attempts, so that the tenth must not follow the first; evaluated in every second epoch.
ADAPTING: list[dict[str, Any]] = [
    {"env_steps": 10.0 * epoch, "evaluation/success/attempts": 0.5}
    | (
        {
            f"evaluation/{what}/attempt_{attempt}": scale * epoch * attempt / 100
            for what, scale in (("success", 1.0), ("return", 2.0))
            for attempt in range(1, 13)
        }
        if epoch % 2 == 0
        else {}
    )
    for epoch in range(1, 17)
]


def test_adaptation_curves_average_the_first_and_the_last_evaluations():
    attempts = np.arange(1, 13)
    success = adaptation_curve(ADAPTING, "success")
    np.testing.assert_allclose(success, [4 * attempts / 100, 14 * attempts / 100])
    np.testing.assert_allclose(adaptation_curve(ADAPTING, "return"), 2 * success)
    # Two evaluations are one at first and one at last; what was not finished is a gap.
    gap = ADAPTING[3] | {
        "evaluation/success/attempt_2": None,
        "evaluation/success/attempt_3": math.nan,
    }
    first, last = adaptation_curve([ADAPTING[1], gap], "success")
    np.testing.assert_allclose(first, 2 * attempts / 100)
    assert np.isnan(last[1:3]).all()
    np.testing.assert_allclose(last[3:], 4 * attempts[3:] / 100)
    np.testing.assert_array_equal(*adaptation_curve(ADAPTING[:3], "success"))
    for nothing in ([], [{}], ROWS):
        assert adaptation_curve(nothing, "success").size == 0


def test_adaptation_is_drawn_for_one_run_and_for_several(tmp_path):
    path = plot_adaptation({"": [ADAPTING]}, tmp_path / "new" / "adaptation.png", title="Lake")
    assert_png(path)
    better = [{name: 1.5 * value for name, value in row.items()} for row in ADAPTING]
    short = [{n: v for n, v in row.items() if not n.endswith("12")} for row in ADAPTING]
    runs = {"memory": [ADAPTING, better], "none": [short, ADAPTING], "absent": [], "other": [ROWS]}
    assert_png(plot_adaptation(runs, tmp_path / "several.png"))
    assert path.read_bytes() != (tmp_path / "several.png").read_bytes()


def test_plots_over_training_leave_attempts_out():
    runs = {"": [ADAPTING]}
    ((_, metric, _),) = split_by_metric(runs, "evaluation/success/*", without=BY_ATTEMPT)
    assert metric == "evaluation/success/attempts"
    assert len(split_by_metric(runs, "evaluation/success/*")) == 13


def test_however_long_a_run_is_so_many_points_are_drawn():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=50_000)
    rows = RowStore(
        ROWS[2]
        | {"env_steps": at, "updates": at, "time/seconds": at, "train/return": y}
        | {"evaluation/return": y, "evaluation/return_min": y - 1, "evaluation/return_max": y + 1}
        for at, y in enumerate(noise)
    )
    figure = draw_learning_curves(rows, "long")
    for axes in figure.axes:
        assert axes.lines
        for line in axes.lines:
            assert len(line.get_xdata()) <= MOST_POINTS
    (band,) = figure.axes[0].collections
    assert len(band.get_paths()[0].vertices) < 5 * MOST_POINTS
    for line in figure.axes[0].lines:
        xs, ys = line.get_data()
        assert (ys.min(), ys.max()) == (noise.min(), noise.max())
        assert (xs[0], xs[-1]) == (0, len(noise) - 1)
    (seed,) = (x for x in drawn_lines(rows, "train/return") if x.get_linewidth() < 1)
    assert len(seed.get_xdata()) <= MOST_POINTS


def drawn_lines(rows, metric):
    """Return the lines of a comparison of one run."""
    axes = Figure().subplots()
    _draw_lines(axes, [make_line("run", [Curve(*finite_points(rows, "env_steps", metric))])])
    return axes.lines
