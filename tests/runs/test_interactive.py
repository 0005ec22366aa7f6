"""A run in a person's hands: trained in pieces, looked at, stopped, and shown in a notebook."""

import json
import os
import signal
import sys
import types

import chex
import jax
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure

import amago_jax
from amago_jax import ConfigError
from amago_jax.errors import InterruptionError
from amago_jax.reports.rows import frame_of, read_jsonl
from amago_jax.runs.interruption import Interruption
from amago_jax.runs.logging import ConsoleLogger
from amago_jax.runs.logging.notebook import SECONDS_BETWEEN_UPDATES, NotebookDisplay
from in_process import run_script
from tiny_runs import LEAST

QUIET = ["logger.plots=false"]


def make(folder, *overrides):
    return amago_jax.make_run([*LEAST, "epochs=3", *overrides], folder)


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    """A run trained in pieces, beyond its end, with how it stood after each."""
    run = make(tmp_path_factory.mktemp("pieces"), "checkpoint.keep=3")
    outcomes = []
    for epochs in (1, None, 2):
        run.train(epochs, progress=False)
        outcomes.append(json.loads((run.directory / "outcome.json").read_text())["status"])
    return run, outcomes


def without_times(rows):
    return [
        {key: row[key] for key in row if not key.startswith(("time/", "epochs"))} for row in rows
    ]


def test_a_run_in_pieces_is_the_run_at_once(pieces, tmp_path):
    run, outcomes = pieces
    assert outcomes == ["interrupted", "complete", "complete"]
    whole = make(tmp_path, "epochs=5")
    rows = list(whole.epochs())
    assert without_times(run.rows) == without_times(rows)
    assert without_times(read_jsonl(run.directory / "metrics.jsonl")) == without_times(rows)
    chex.assert_trees_all_equal(run.learner, whole.learner)


def test_pieces_leave_what_the_command_leaves(pieces):
    run, _ = pieces
    assert "epochs: 5" in (run.directory / "config.yaml").read_text()
    assert json.loads((run.directory / "changes.json").read_text()) == [
        {"epoch": 3, "settings": {"epochs": 5}}
    ]
    assert (run.directory / "curves.png").exists()
    steps = {path.name for path in (run.directory / "checkpoints").iterdir()}
    assert {"3", "9", "15"} <= steps  # after 1, 3 and 5 epochs of 3 updates
    chex.assert_trees_all_equal(amago_jax.load_run(run.directory).learner, run.learner)


def test_a_run_goes_on_past_its_stop_criterion_and_says_so(tmp_path, capsys):
    run = make(tmp_path, *QUIET, "stop.return=-10", "stop.evaluations=1")
    assert len(run.train()) == 1
    said = capsys.readouterr().out
    assert said.index("compiling") < said.index("compiled in") < said.index("epoch 1/3")
    assert len(run.train()) == 1
    assert "has ended after 1 epochs of epochs=3; train(epochs=...) goes on" in (
        capsys.readouterr().out
    )
    assert len(run.train(1)) == 2
    assert "stop.return=-10 is met: goes on without it" in capsys.readouterr().out
    assert run.config.stop["return"] is None
    assert len(run.train(progress=False)) == 3
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("epochs", [0, -1, 1.5, True])
def test_what_is_no_number_of_epochs_is_refused(pieces, epochs):
    with pytest.raises(ConfigError, match=rf"epochs={epochs} must be"):
        pieces[0].train(epochs)


def test_a_loaded_run_says_how_training_goes_on(pieces):
    loaded = amago_jax.load_run(pieces[0].directory)
    for train in (lambda: next(loaded.epochs()), loaded.train):
        with pytest.raises(ConfigError, match=r"Run\.resume goes on"):
            train()
    assert len(amago_jax.Run.resume(pieces[0].directory).rows) == 5


def test_a_run_that_is_stopped_is_saved_and_goes_on(tmp_path, monkeypatch):
    run = make(tmp_path, *QUIET)
    describe = run.describe

    def stopped(metrics):
        if run.next_epoch == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return describe(metrics)

    monkeypatch.setattr(run, "describe", stopped)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(InterruptionError, match=r"SIGINT: ended after epoch 2, .* saved; train"):
        run.train(progress=False)
    assert issubclass(InterruptionError, KeyboardInterrupt)
    assert signal.getsignal(signal.SIGINT) is handler
    assert (tmp_path / "checkpoints" / "6").is_dir()
    assert len(run.train(progress=False)) == 3


def test_stopping_again_ends_at_once_but_not_the_process(monkeypatch):
    monkeypatch.setattr("amago_jax.runs.interruption.AGAIN", 0.0)
    with Interruption(exits=False):
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt, match=r"Run\.resume"):
            os.kill(os.getpid(), signal.SIGINT)


def test_epochs_leave_what_is_plotted(pieces, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = make(tmp_path / "loop", "epochs=2")
    next(run.epochs())
    rows = list(run.epochs())
    assert [row["epoch"] for row in rows] == [2]
    assert len(read_jsonl(tmp_path / "loop" / "metrics.jsonl")) == 2
    done = run_script("plot", f"runs=[{tmp_path / 'loop'}]")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "comparison.png").exists()
    with pytest.raises(ConfigError, match="already holds a run"):
        next(make(tmp_path / "loop").epochs())


def test_metrics_are_a_frame_where_pandas_is(pieces, monkeypatch):
    run, _ = pieces
    pandas = pytest.importorskip("pandas")
    assert isinstance(run.metrics, pandas.DataFrame)
    assert run.metrics["epoch"].tolist() == [1, 2, 3, 4, 5]
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert run.metrics == run.rows
    assert frame_of(run.rows)[0] is not run.rows[0]


def test_a_plot_is_a_figure_that_is_shown_once(pieces):
    run, _ = pieces
    before = (run.directory / "curves.png").stat().st_mtime_ns
    figure = run.plot()
    assert isinstance(figure, Figure)
    assert pyplot.get_fignums() == []
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert (run.directory / "curves.png").stat().st_mtime_ns > before


def test_an_evaluation_of_other_episodes_is_that_of_a_run_that_asks_for_them(pieces, tmp_path):
    run, _ = pieces
    other = amago_jax.load_run(run.directory, ["evaluation.episodes=7"])
    assert run.evaluate(3, episodes=7) == other.evaluate(3)
    assert run.evaluate(3, episodes=4) == run.evaluate(3)
    with pytest.raises(ConfigError, match="episodes=0 must be"):
        run.evaluate(episodes=0)


def test_sampled_batches_are_of_the_replay(pieces):
    run, _ = pieces
    batch = run.sample_batch()
    window = run.trainer.replay.window
    assert batch.segment_ids.shape == (run.trainer.batch_size, window)
    chex.assert_trees_all_equal(batch, run.sample_batch())
    one, other = (run.sample_batch(32, jax.random.key(seed)) for seed in (0, 1))
    assert one.segment_ids.shape == (32, window)
    assert not np.array_equal(one.timesteps.previous_action, other.timesteps.previous_action)
    stored = run.state.experience.replay.timesteps.observation["observation"]
    seen = {row.tobytes() for row in np.asarray(stored).reshape(-1, stored.shape[-1])}
    for row in np.asarray(one.timesteps.observation["observation"]).reshape(-1, stored.shape[-1]):
        assert row.tobytes() in seen


def test_what_cannot_be_sampled_is_refused(pieces, tmp_path):
    run, _ = pieces
    with pytest.raises(ConfigError, match="batch_size=0 must be"):
        run.sample_batch(0)
    with pytest.raises(ConfigError, match="is empty: train an epoch first"):
        make(tmp_path).sample_batch()
    with pytest.raises(ConfigError, match=r"is empty: .* Run\.resume"):
        amago_jax.load_run(run.directory).sample_batch()


def test_runs_side_by_side_are_trained_and_plotted_likewise(tmp_path, capsys):
    pandas = pytest.importorskip("pandas")
    overrides = [*LEAST, *QUIET, "epochs=2", "seeds=2"]
    runs = amago_jax.make_runs(overrides, tmp_path / "a")
    metrics = runs.train(progress=False)
    assert capsys.readouterr().out == ""
    assert isinstance(metrics, pandas.DataFrame)
    assert metrics[["seed", "epoch"]].to_numpy().tolist() == [[0, 1], [0, 2], [1, 1], [1, 2]]
    loop = amago_jax.make_runs(overrides, tmp_path / "b")
    for _ in loop.epochs():
        pass
    for a, b in zip(runs.runs, loop.runs, strict=True):
        rows = read_jsonl(b.directory / "metrics.jsonl")
        assert without_times(rows) == without_times(a.rows)
        assert (b.directory / "config.yaml").exists()
    with pytest.raises(ConfigError, match="already holds a run"):
        next(amago_jax.make_runs(overrides, tmp_path / "b").epochs())


class Displayed:
    """What ``IPython.display`` does, and what one would see."""

    def __init__(self):
        self.shown, self.texts = 0, []

    def display(self, content, *, raw, display_id):
        assert raw
        assert display_id is True
        self.shown += 1
        self.texts.append(content["text/plain"])
        return types.SimpleNamespace(display_id="first")

    def update_display(self, content, *, raw, display_id):
        assert raw
        assert display_id == "first"
        self.texts.append(content["text/plain"])


def test_a_notebook_shows_one_display_that_is_written_anew():
    now, seen = [0.0], Displayed()
    display = NotebookDisplay(seen, lambda row: " ".join(sorted(row)), lambda: now[0])
    display.message("compiling")
    assert seen.texts == ["compiling"]
    display.log({"epoch": 1.0, "evaluation/return": 0.0})  # too soon
    assert len(seen.texts) == 1
    now[0] += SECONDS_BETWEEN_UPDATES
    display.log({"epoch": 2.0})
    assert seen.texts[-1] == "compiling\nepoch evaluation/return"
    display.log({"epoch": 3.0, "loss": 0.0})
    display.close()
    assert seen.texts[-1] == "compiling\nepoch evaluation/return loss"
    assert seen.shown == 1


@pytest.mark.parametrize("kernel", [True, False])
def test_only_a_kernel_has_the_notebooks_display(kernel, monkeypatch, capsys):
    seen = Displayed()
    shell = types.SimpleNamespace(kernel=object() if kernel else None)
    ipython = types.ModuleType("IPython")
    ipython.get_ipython, ipython.display = lambda: shell, seen
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    with ConsoleLogger() as console:
        console.message("compiling")
        console.log({"epoch": 1.0, "epochs": 2.0})
    assert (seen.texts[-1:] == ["compiling\nepoch 1/2"]) == kernel
    assert (capsys.readouterr().out == "") == kernel
