"""A run: epochs of training, and everything around them that touches the world.

Progress, logs, curves, checkpoints and early stopping live here, and nowhere below.
"""

import dataclasses
import functools
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp
from omegaconf import DictConfig, OmegaConf

from amago_jax.acting.policy import Policy
from amago_jax.errors import CheckpointError, ConfigError, TrainingError
from amago_jax.learning import LearnerState, Trainer, TrainState
from amago_jax.reports.plotting import (
    adaptation_curve,
    plot_adaptation,
    plot_comparison,
    plot_learning_curves,
    split_by_metric,
    without_attempts,
)
from amago_jax.runs import checkpoints, older_checkpoints, snapshots
from amago_jax.runs.building import build
from amago_jax.runs.compilation_cache import use_compilation_cache
from amago_jax.runs.config import compose
from amago_jax.runs.directories import has_rows, make_directory
from amago_jax.runs.health import Health
from amago_jax.runs.hosts import is_writer
from amago_jax.runs.lanes import in_lanes
from amago_jax.runs.members import is_side_by_side
from amago_jax.runs.saving import Saver
from amago_jax.types import Array, Metrics

Row = dict[str, float]


class Run:
    """A run that can be stepped, evaluated, plotted and saved.

    Attributes:
        config: the resolved configuration; of lanes, what follows from them.
        trainer: what it describes.
        directory: the run's folder.
        in_lanes: whether it follows from ``lanes``.
        resumed_step: the checkpoint that it goes on from; None of a new run.
        rows: metrics of every epoch so far; of a run that goes on, of those that its folder has.
        compile_seconds: how long `compile` took; None before.
    """

    def __init__(self, config: DictConfig, trainer: Trainer | None = None) -> None:
        """Build the run and its folder, and choose where programs are kept; compiles nothing.

        Args:
            config: a training configuration.
            trainer: what `build` makes of it, where that is there already.

        Raises:
            ConfigError: if a setting is unknown, malformed or impossible.
        """
        if is_side_by_side(config):
            raise ConfigError(
                f"seeds={config.seeds} and grid={config.grid} make several runs, "
                "which amago_jax.make_runs builds"
            )
        # Runs saved before there was a cache have no such settings.
        use_compilation_cache(**config.get("compilation_cache", {}))
        self.trainer = build(config) if trainer is None else trainer
        self.config = in_lanes(config, self.trainer.replay.window)
        self.in_lanes = config.get("lanes") is not None
        self.directory = make_directory(self.config, f"seed{config.seed}")
        self.init_key, self._evaluation_key = jax.random.split(jax.random.key(config.seed))
        self._state: TrainState | None = None
        self._loaded: LearnerState | None = None
        self._loaded_from: Path | None = None
        self.resumed_step: int | None = None
        self.rows: list[Row] = []
        self.compile_seconds: float | None = None
        self._health = Health(self.trainer, config.optimizer.get("learning_rate"))

    @property
    def state(self) -> TrainState:
        """The training state, made when first asked for."""
        if self._state is None:
            self._state = self.trainer.init(self.init_key)
            if self._loaded is not None:
                self._state = dataclasses.replace(self._state, learner=self._loaded)
        return self._state

    @state.setter
    def state(self, state: TrainState) -> None:
        self._state = state

    @property
    def only_learner(self) -> bool:
        """Whether it was loaded, and has not trained since."""
        return self._state is None and self._loaded is not None

    @property
    def learner(self) -> LearnerState:
        """The agent and its optimizer: of a loaded run, they are there before the state is."""
        if self._state is None and self._loaded is not None:
            return self._loaded
        return self.state.learner

    def compile(self) -> float:
        """Compile what training needs, unless that is done; return the seconds it took."""
        if self.compile_seconds is None:
            started = time.perf_counter()
            self.trainer.compile()
            self.compile_seconds = time.perf_counter() - started
        return self.compile_seconds

    def epochs(self) -> Iterator[Row]:
        """Train epoch by epoch, yielding metrics, until the last epoch or the stop criterion.

        Yields:
            Metrics by name as floats; evaluations under ``evaluation/`` in the epochs that hold
            one, rates and times under ``time/``.

        Raises:
            TrainingError: if an environment gave NaN or infinity, or the loss, gradients or weights
                became that (``on_nan``).
        """
        if self._loaded_from == self.directory and has_rows(self.directory):
            raise ConfigError(
                f"{self.directory} was loaded to evaluate or act, without what training goes on "
                "from; Run.resume goes on with it, and load_run(..., ['run_dir=...']) begins a new "
                "run with its weights"
            )
        self.compile()
        while not self.finished:
            started = time.perf_counter()
            self.state, metrics = self.trainer.train_epoch(self.state)
            row = self.describe(floats(metrics))
            training = time.perf_counter() - started
            if self.evaluates_next:
                row |= self.evaluate(self.next_epoch)
            yield self.record(row, training, time.perf_counter() - started)

    @property
    def next_epoch(self) -> int:
        """The number of the epoch that is trained next, from 1."""
        return int(self.rows[-1]["epoch"]) + 1 if self.rows else 1

    @property
    def evaluates_next(self) -> bool:
        """Whether the next epoch ends with an evaluation."""
        epoch = self.next_epoch
        return epoch % self.config.evaluation.every == 0 or epoch == self.config.epochs

    @property
    def finished(self) -> bool:
        """Whether all epochs are trained, or the stop criterion is met."""
        name, stop = checkpoints.RETURN, self.config.stop
        last = [row[name] for row in self.rows if name in row][-stop.evaluations :]
        reached = stop["return"] is not None and len(last) == stop.evaluations
        return self.next_epoch > self.config.epochs or (reached and min(last) >= stop["return"])

    def describe(self, metrics: Row) -> Row:
        """Return what is known of the next epoch, given its metrics.

        Raises:
            TrainingError: see `epochs`; the last good agent is saved.
        """
        row = {"epoch": float(self.next_epoch), "epochs": float(self.config.epochs), **metrics}
        self._check_health(row)
        # Means over episodes are NaN in an epoch in which none ended.
        return {name: value for name, value in row.items() if not math.isnan(value)}

    def record(self, row: Row, training: float, whole: float) -> Row:
        """Add rates and times to the next epoch's row, and the row to the others; return it.

        Args:
            row: from `describe`, with an evaluation if there was one.
            training: seconds that the epoch took.
            whole: likewise, an evaluation included.
        """
        nothing = {"env_steps": 0.0, "updates": 0.0, "time/seconds": 0.0}
        before = self.rows[-1] if self.rows else nothing
        # Those that end first are no fair sample of those begun, of which every environment has one
        # that goes on.
        ended = before.get("train/episodes_ended", 0.0) + row["train/episodes"]
        total = before["time/seconds"] + whole
        to_go = self.config.epochs - self.next_epoch
        row |= {
            "train/episodes_ended": ended,
            "train/episodes_begun": ended + self.config.envs,
            "time/compile_seconds": self.compile_seconds or 0.0,
            "time/seconds": total,
            "time/eta_seconds": total / self.next_epoch * to_go,
            "time/env_steps_per_second": (row["env_steps"] - before["env_steps"]) / training,
            "time/updates_per_second": (row["updates"] - before["updates"]) / training,
        }
        self.rows.append(row)
        return row

    def evaluate(self, fold: int = 0) -> Row:
        """Evaluate the agent as it stands.

        Args:
            fold: evaluations of different folds draw different episodes.

        Returns:
            Metrics under ``evaluation/``.
        """
        return floats(self.trainer.evaluate(self.learner.agent, self.evaluation_key(fold)))

    def evaluation_key(self, fold: int) -> Array:
        """Return the key of an evaluation, see `evaluate`."""
        return jax.random.fold_in(self._evaluation_key, fold)

    @property
    def policy(self) -> Policy:
        """The policy as it stands, its arrays copied: later epochs do not change it."""
        return Policy(self.trainer.agent, jax.tree.map(jnp.copy, self.learner.agent))

    def save(self, *, wait: bool = True) -> Path:
        """Save a checkpoint: all that training goes on from, and the configuration.

        Of a run that was loaded to evaluate or act, the learner is all there is. Of several
        processes, all must call this; the first one saves.

        Args:
            wait: return when it is on disk, not when it is copied to be written there.

        Returns:
            The checkpoint's folder.

        Raises:
            CheckpointError: if it, or with ``wait=False`` the one before, could not be written.
        """
        return self._save(snapshots.parts_of(self), wait)

    def _save(self, parts: dict[str, Any], wait: bool = True) -> Path:
        step = int(parts[checkpoints.STATE].updates)
        if is_writer():
            config = OmegaConf.to_container(self.config, resolve=True)
            self.saver.save(step, parts, config, snapshots.progress_of(self))
            if wait:
                self.saver.wait()
        return self.saver.directory / str(step)

    @functools.cached_property
    def saver(self) -> Saver:
        """What writes the checkpoints, in the background; close it when the run is over."""
        keep = self.config.checkpoint.keep
        return Saver(self.directory / "checkpoints", keep=keep, after=self.resumed_step)

    def load(self, folder: str | Path, step: int | None = None) -> None:
        """Take the learner from a checkpoint.

        Args:
            folder: holds checkpoints.
            step: which one; None: the newest.

        Raises:
            CheckpointError: if there is no readable one, or it does not fit.
        """
        self._loaded = older_checkpoints.restore(folder, self.trainer.shapes().learner, step=step)
        self._state, self._loaded_from = None, Path(folder).parent

    @classmethod
    def resume(
        cls, directory: str | Path, overrides: Sequence[str] = (), *, step: int | str = "newest"
    ) -> Self:
        """Return a run as it was when a checkpoint was saved, to go on with `epochs`.

        Metrics and weights after N epochs, a checkpoint, and M epochs more are bit for bit those
        after N + M, on the same machine with the same devices.

        Args:
            directory: the run's folder, in which it goes on.
            overrides: changes to its configuration: ``["epochs=200"]``.
            step: a checkpoint's number, "newest" or "best".

        Raises:
            CheckpointError: if there is no readable checkpoint, or it does not fit, or holds the
                learner alone.
            ConfigError: if an override is wrong.
        """
        return snapshots.first_readable(
            directory,
            step,
            lambda config, step: snapshots.resumed(
                cls(snapshots.changed(config, overrides, directory)), step
            ),
            part=checkpoints.REST,
        )

    def plot(self) -> Path:
        """Draw the learning curves so far into the run's folder; return the file.

        Where the environment tells successes apart, theirs go to ``success.png`` beside it, and
        what it says by attempt of a meta-episode to ``adaptation.png``.
        """
        title = f"{self.trainer.env.name}, seed {self.config.seed}"
        successes, over_training = "evaluation/success/*", {"": [without_attempts(self.rows)]}
        if split_by_metric(over_training, successes):
            path = self.directory / "success.png"
            plot_comparison(over_training, path, y=successes, title=title)
        if adaptation_curve(self.rows, "success").size:
            plot_adaptation({"": [self.rows]}, self.directory / "adaptation.png", title=title)
        return plot_learning_curves(self.rows, self.directory / "curves.png", title)

    def _check_health(self, row: Row) -> None:
        """Go on, or save the last good agent, if it has learned, and raise `TrainingError`."""
        try:
            self._health.check(row)
        except TrainingError as error:
            kept = f"checkpoints and metrics saved before are intact in {self.directory}"
            if checkpoints.latest_step(self.saver.directory) is None:
                kept = f"no checkpoint was saved before, metrics are intact in {self.directory}"
            try:
                if int(self.learner.updates) > 0:
                    # Environments and replay have moved on, and may be what failed.
                    path = self._save(snapshots.parts_of(self, only_learner=True))
                    kept = f"the last good agent is saved in {path}, and {kept}"
            except CheckpointError as reason:
                kept = f"the last good agent was not saved: {reason}; {kept}"
            raise TrainingError(f"{error}; {kept}") from error


def make_run(overrides: Sequence[str] = (), run_dir: str | Path | None = None) -> Run:
    """Build a run from overrides, as on the command line.

    Args:
        overrides: for example ``["env=tmaze/active", "seed=1"]``.
        run_dir: the run's folder; None: as configured.

    Returns:
        The run, ready for `Run.epochs`.

    Raises:
        ConfigError: if a setting is unknown, malformed or impossible.
    """
    return Run(compose_in(run_dir, overrides))


def compose_in(run_dir: str | Path | None, overrides: Sequence[str]) -> DictConfig:
    """Compose a configuration, for a folder if one is given."""
    config = compose(overrides)
    if run_dir is not None:
        config.run_dir = str(run_dir)
    return config


def floats(metrics: Metrics) -> Row:
    """Return metrics on the device as numbers."""
    return {name: float(value) for name, value in jax.device_get(metrics).items()}
