"""A run: epochs of training, and everything around them that touches the world.

Progress, logs, curves, checkpoints and early stopping live here, and nowhere below.
"""

import dataclasses
import itertools
import math
import time
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from amago_jax import checkpointing
from amago_jax.config import ConfigError, build, compose
from amago_jax.logging import ConsoleLogger, JsonLinesLogger
from amago_jax.parallel import SHARED, put
from amago_jax.plotting import (
    adaptation_curve,
    plot_adaptation,
    plot_comparison,
    plot_learning_curves,
    split_by_metric,
    without_attempts,
)
from amago_jax.policy import Policy
from amago_jax.rendering import render_episode

Row = dict[str, float]


class TrainingError(RuntimeError):
    """Training cannot go on; what was saved before is intact."""


class Run:
    """A run that can be stepped, evaluated, plotted and saved.

    Attributes:
        config: the resolved configuration.
        trainer: what it describes.
        directory: the run's folder.
        state: the training state.
        rows: metrics of every epoch so far.
    """

    def __init__(self, config: DictConfig) -> None:
        """Build the run and its folder; compiles nothing but the initial state.

        Raises:
            ConfigError: if a setting is unknown, malformed or impossible.
        """
        self.config = config
        self.trainer = build(config)
        self.directory = _run_directory(config)
        key_init, self._evaluation_key = jax.random.split(jax.random.key(config.seed))
        self.state = self.trainer.init(key_init)
        self.rows: list[Row] = []

    def epochs(self) -> Iterator[Row]:
        """Train epoch by epoch, yielding metrics, until the last epoch or the stop criterion.

        Yields:
            Metrics by name as floats; evaluations under ``evaluation/`` in the epochs that hold
            one, rates and times under ``time/``.

        Raises:
            TrainingError: if an environment or the loss gave NaN or infinity.
        """
        config = self.config
        recent: deque[float] = deque(maxlen=config.stop.evaluations)
        nothing = {"env_steps": 0.0, "updates": 0.0, "time/seconds": 0.0}
        for epoch in range(len(self.rows) + 1, config.epochs + 1):
            epoch_started = time.perf_counter()
            before = self.rows[-1] if self.rows else nothing
            self.state, metrics = self.trainer.train_epoch(self.state)
            row = {"epoch": float(epoch), "epochs": float(config.epochs), **_floats(metrics)}
            self._check_finite(row)
            # Means over episodes are NaN in an epoch in which none ended.
            row = {name: value for name, value in row.items() if not math.isnan(value)}
            seconds = time.perf_counter() - epoch_started
            if epoch % config.evaluation.every == 0 or epoch == config.epochs:
                row |= self.evaluate(epoch)
                recent.append(row["evaluation/return"])
            whole_epoch = time.perf_counter() - epoch_started
            row |= {
                "time/seconds": before["time/seconds"] + whole_epoch,
                "time/eta_seconds": whole_epoch * (config.epochs - epoch),
                "time/env_steps_per_second": (row["env_steps"] - before["env_steps"]) / seconds,
                "time/updates_per_second": (row["updates"] - before["updates"]) / seconds,
            }
            self.rows.append(row)
            yield row
            if self._reached(recent):
                return

    def evaluate(self, fold: int = 0) -> Row:
        """Evaluate the agent as it stands.

        Args:
            fold: evaluations of different folds draw different episodes.

        Returns:
            Metrics under ``evaluation/``.
        """
        key = jax.random.fold_in(self._evaluation_key, fold)
        return _floats(self.trainer.evaluate(self.state, key))

    @property
    def policy(self) -> Policy:
        """The policy as it stands, its arrays copied: later epochs do not change it."""
        return Policy(self.trainer.agent, jax.tree.map(jnp.copy, self.state.learner.agent))

    def save(self) -> Path:
        """Save a checkpoint of the learner and the configuration; return its folder."""
        step = int(self.state.learner.updates)
        config = OmegaConf.to_container(self.config, resolve=True)
        return checkpointing.save(
            self.directory / "checkpoints",
            step,
            self.state.learner,
            config,
            max_to_keep=self.config.checkpoint.keep,
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

    def _check_finite(self, row: Row) -> None:
        epoch, name = int(row["epoch"]), self.trainer.env.name
        if row.pop("train/not_finite"):
            raise TrainingError(
                f"env {name!r} gave a NaN or infinite reward or observation in epoch {epoch}; "
                f"checkpoints and metrics saved before are intact in {self.directory}"
            )
        if not math.isfinite(row["loss/total"]):
            raise TrainingError(
                f"the loss became {row['loss/total']} in epoch {epoch}; try a smaller "
                f"optimizer.learning_rate than {self.config.optimizer.learning_rate}; "
                f"checkpoints and metrics saved before are intact in {self.directory}"
            )

    def _reached(self, recent: deque[float]) -> bool:
        goal = self.config.stop["return"]
        return goal is not None and len(recent) == recent.maxlen and min(recent) >= goal


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
    config = compose(overrides)
    if run_dir is not None:
        config.run_dir = str(run_dir)
    return Run(config)


def train(config: DictConfig) -> Run:
    """Train as configured, with progress, logs, checkpoints and curves in the run's folder.

    Raises:
        ConfigError: if a setting is unknown, malformed or impossible.
        TrainingError: if training cannot go on.
    """
    run = Run(config)
    directory = run.directory
    if (directory / "metrics.jsonl").exists():
        raise ConfigError(f"run_dir={directory} already holds a run; choose another folder")
    OmegaConf.save(config, directory / "config.yaml", resolve=True)
    with JsonLinesLogger(directory) as jsonl, ConsoleLogger(config.logger.console) as console:
        console.message(f"{run.trainer.env.name}: compiling; everything goes to {directory}")
        for row in run.epochs():
            jsonl.log(row)
            console.log(row)
            if row["epoch"] % config.checkpoint.every == 0:
                _save(run)
        _save(run)
    print(_summary(run))
    return run


def load_policy(directory: str | Path) -> Policy:
    """Load the newest policy of a run.

    Args:
        directory: the run's folder.

    Raises:
        CheckpointError: if there is no readable checkpoint.
    """
    run = load_run(directory)
    return run.policy


def load_run(directory: str | Path, overrides: Sequence[str] = ()) -> Run:
    """Load a run's newest learner, to evaluate or act with it.

    Args:
        directory: the run's folder.
        overrides: changes to its configuration.

    Raises:
        CheckpointError: if there is no readable checkpoint.
        ConfigError: if an override is wrong.
    """
    checkpoints = Path(directory) / "checkpoints"
    config = OmegaConf.create(checkpointing.read_config(checkpoints))
    OmegaConf.set_struct(config, True)
    try:
        config.merge_with_dotlist(list(overrides))
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"overrides={list(overrides)}: {reason}") from error
    config.run_dir = str(directory)
    run = Run(config)
    learner = checkpointing.restore(checkpoints, run.state.learner)
    run.state = dataclasses.replace(run.state, learner=put(learner, run.trainer.mesh, SHARED))
    return run


def evaluate(config: DictConfig) -> Row:
    """Evaluate a saved run, as `conf/evaluate.yaml` describes; print and return its metrics."""
    overrides = [
        *config.overrides,
        f"evaluation.episodes={config.episodes}",
        f"evaluation.greedy={config.greedy}",
        f"seed={config.seed}",
    ]
    run = load_run(config.checkpoint, overrides)
    row, trainer = run.evaluate(), run.trainer
    print(
        f"{trainer.env.name}: return {row['evaluation/return']:.3f} "
        f"± {row['evaluation/return_std']:.3f} over {config.episodes} episodes, "
        f"from {row['evaluation/return_min']:.3f} to {row['evaluation/return_max']:.3f}, "
        f"mean length {row['evaluation/episode_length']:.1f}"
    )
    for name, value in row.items():
        if name.startswith("evaluation/success/"):
            print(f"{name.removeprefix('evaluation/')}: {value:.3f}")
    if config.render:
        path = run.directory / "episode.gif"
        try:
            render_episode(trainer.env, run.policy, path, seed=config.seed, greedy=config.greedy)
        except ValueError as error:
            raise ConfigError(f"render=true: {error}") from error
        print(f"drew an episode in {path}")
    return row


def _run_directory(config: DictConfig) -> Path:
    """Make the run's folder; one that is named by the time is never shared by two runs."""
    if config.run_dir is not None:
        directory = Path(config.run_dir)
        directory.mkdir(parents=True, exist_ok=True)
        return directory
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    directory = first = Path(f"runs/{config.env.env_id}/{stamp}_seed{config.seed}")
    for number in itertools.count(2):
        try:
            directory.mkdir(parents=True)
            break
        except FileExistsError:
            directory = Path(f"{first}_{number}")
    config.run_dir = str(directory)
    return directory


def _save(run: Run) -> None:
    run.save()
    if run.config.logger.plots:
        run.plot()


def _summary(run: Run) -> str:
    last = run.rows[-1]
    returns = [row["evaluation/return"] for row in run.rows if "evaluation/return" in row]
    return (
        f"Learned {run.trainer.env.name}: evaluation return {returns[0]:.2f} at first, "
        f"{returns[-1]:.2f} at last, after {last['env_steps']:,.0f} steps and "
        f"{last['updates']:,.0f} updates in {last['time/seconds']:.0f} s; "
        f"metrics, curves and checkpoint are in {run.directory}"
    )


def _floats(metrics: dict[str, Any]) -> Row:
    return {name: float(value) for name, value in jax.device_get(metrics).items()}
