"""Runs side by side: several seeds, or settings, trained by one program, each a run of its own.

Every run has its folder with configuration, metrics, curves and checkpoints, so that whatever reads
a run reads one of these as well.
"""

import contextlib
import functools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from omegaconf import DictConfig, OmegaConf

from amago_jax.errors import CheckpointError, ConfigError, TrainingError
from amago_jax.learning import Trainer, TrainState
from amago_jax.learning.experience import place
from amago_jax.learning.programs import Programs
from amago_jax.learning.seeds import Seeds, side_by_side
from amago_jax.reports.outcomes import read_outcome
from amago_jax.reports.rows import Frame, frame_of
from amago_jax.runs import changing
from amago_jax.runs.building import build, choose_mesh
from amago_jax.runs.checkpoints import candidates, open_step
from amago_jax.runs.compilation_cache import use_compilation_cache
from amago_jax.runs.config import compose_in
from amago_jax.runs.directories import TOGETHER_FILE, check_unused, make_directory
from amago_jax.runs.frozen import freeze, thaw
from amago_jax.runs.health import failures_named
from amago_jax.runs.hosts import is_writer
from amago_jax.runs.lanes import in_lanes
from amago_jax.runs.member_run import MemberRun
from amago_jax.runs.members import members, read_together, seeds_of, write_together
from amago_jax.runs.memory import check_memory
from amago_jax.runs.run import Row
from amago_jax.runs.saved import trusted
from amago_jax.runs.schema import check_settings
from amago_jax.runs.snapshots import (
    common_steps,
    is_over,
    newest_first,
    restore_state,
    rows_of,
)


class Runs:
    """Several runs that one program trains.

    A run that meets its stop criterion, or fails, ends; the others go on, and it is trained along
    unseen until all have ended.

    Attributes:
        runs: each of them, in order: settings of the grid, and within one the seeds.
        trainer: trains all at once.
        directory: the folder that holds those of all runs.
        failures: by number, why runs ended that failed.
        resumed: whether they go on from what was saved.
    """

    def __init__(self, config: DictConfig) -> None:
        """Build all runs and their folders; compiles nothing.

        Raises:
            ConfigError: if a setting is unknown, malformed or impossible, or runs differ in more
                than numbers.
        """
        whole = thaw(config)
        trainers, self.trainer = build_members(config)
        use_compilation_cache(**config.get("compilation_cache", {}))
        if config.run_dir is None:
            make_directory(whole, f"seeds{len(seeds_of(config))}")
        self._config = freeze(whole)
        self.runs: list[MemberRun] = []
        for number, member in enumerate(members(whole)):
            if member.devices is not None:  # of all; each works on its share
                member.devices = self.trainer.trainer.devices
            own = functools.partial(self._part, number)
            self.runs.append(MemberRun(member, trainers[number], own))
        folders = [run.directory for run in self.runs]
        base = Path(self.config.run_dir)  # unless it names a folder for each
        inside = all(base in folder.parents for folder in folders)
        self.directory = base if inside else Path(os.path.commonpath([f.parent for f in folders]))
        self.failures: dict[int, TrainingError] = {}
        self.resumed = False
        self._state: TrainState | None = None
        self._compiled: Programs | None = None
        # A number that is an argument, so that one program takes any part.
        self._take = jax.jit(lambda tree, number: jax.tree.map(lambda x: x[number], tree))

    @property
    def config(self) -> DictConfig:
        """The configuration of all, as it was given; `change` changes what can be."""
        return self._config

    @property
    def state(self) -> TrainState:
        """The training state of all, with a leading axis; made when first asked for."""
        if self._state is None:
            self._check_memory()
            self._state = self.trainer.init(jnp.stack([run.init_key for run in self.runs]))
        return self._state

    @property
    def training(self) -> dict[int, MemberRun]:
        """The runs that have not ended, by number."""
        return {
            number: run
            for number, run in enumerate(self.runs)
            if not (run.finished or number in self.failures)
        }

    @classmethod
    def resume(
        cls,
        directory: str | Path,
        overrides: Sequence[str] = (),
        *,
        imports: Sequence[str] = (),
    ) -> Self:
        """Return runs as they were when they last were all saved, to go on with `epochs`.

        Those that had ended stay as they were.

        Args:
            directory: the folder of all.
            overrides: changes to their configuration, see `Run.resume`.
            imports: see `amago_jax.load_run`.

        Raises:
            CheckpointError: if there is no epoch that all have saved and that can be read.
            ConfigError: if an override is wrong.
        """
        path = Path(directory) / TOGETHER_FILE
        if not path.is_file():
            raise CheckpointError(f"{directory} holds no runs side by side, for it has no {path}")
        saved = trusted(read_together(path), path, imports)
        runs = cls(changing.resumable(saved, overrides, saved.run_dir))
        runs.resumed = True
        for number, run in enumerate(runs.runs):
            outcome = read_outcome(run.directory)
            if outcome is not None and outcome.status == "failed":
                runs.failures[number] = TrainingError(outcome.reason)
            elif outcome is not None and outcome.status == "complete":
                newest_first(candidates(run.directory / "checkpoints"), run.restore_end)
        # A run that was complete is not when it is to have more epochs.
        going_on = list(runs.training.values())
        if going_on:
            steps = common_steps([run.directory / "checkpoints" for run in going_on])
            newest_first(steps, functools.partial(runs._restore, going_on))
        return runs

    def _restore(self, going_on: "list[MemberRun]", step: int) -> bool:
        """Take the states of all that go on from a step that all have; return True."""
        found = {run: open_step(run.directory / "checkpoints", step) for run in going_on}
        states = {run: restore_state(run, checkpoint) for run, checkpoint in found.items()}
        for run, checkpoint in found.items():
            run.rows, run.resumed_step = rows_of(run, checkpoint), step
            changing.check_epochs(run.config, run.next_epoch - 1)
            run.changes.restore(checkpoint, run.config, run.next_epoch - 1)
            run.health.remember(run.rows)
            run.go_on()
        # Those that have ended are trained along, as copies of one that has not.
        states_of_all = [states.get(run, states[going_on[0]]) for run in self.runs]
        stacked = jax.tree.map(lambda *x: jnp.stack(x), *states_of_all)
        self._state = place(stacked, self.trainer.shapes())
        return True

    def compile(self) -> float:
        """Compile what training needs, unless that is done; return the seconds it took.

        Raises:
            ConfigError: if the runs cannot fit the memory there is.
        """
        before = self.runs[0].compile_seconds or 0.0
        if self._compiled is not self.trainer.programs:
            self._check_memory()
            started = time.perf_counter()
            self.trainer.compile()
            self._compiled = self.trainer.programs
            for run in self.runs:
                run.compile_seconds = before + time.perf_counter() - started
        return self.runs[0].compile_seconds or 0.0

    def _check_memory(self) -> None:
        first = self.runs[0]
        check_memory(first.trainer, len(self.runs), in_lanes=first.in_lanes)

    def train(self, *, progress: bool = True) -> Frame:
        """Train until all runs have ended, as `Run.train` does with one, and return `metrics`.

        Args:
            progress: show it, in a terminal or a notebook.

        Raises:
            TrainingError: at the end, if runs failed, with the reason of each.
            ConfigError, CheckpointError, InterruptionError: see `Run.train`.
        """
        from amago_jax.runs.train_side_by_side import train_side_by_side  # which trains these

        train_side_by_side(self, progress=progress, exits=False)
        return self.metrics

    @property
    def metrics(self) -> Frame:
        """Metrics by run and epoch, see `Run.metrics`: with ``seed``, and what the grid varies."""
        grid = [*(self.config.grid or {})]
        rows: list[dict[str, Any]] = []
        for run in self.runs:
            names = {name: OmegaConf.select(run.config, name) for name in grid}
            rows += [{"seed": run.config.seed, **names, **row} for row in run.rows]
        return frame_of(rows)

    def epochs(self, *, write: bool = True) -> Iterator[dict[int, Row]]:
        """Train epoch by epoch until all runs have ended.

        Args:
            write: see `Run.epochs`.

        Yields:
            Rows of the runs that were training, by number, see `Run.epochs`; of one that fails, no
            more, see `failures`.
        """
        with contextlib.ExitStack() as stack:
            if write:
                self.check_own()
                write_together(self._config, self.directory)
            logs = [stack.enter_context(run.written(write and is_writer())) for run in self.runs]
            for rows in self._epochs():
                for number, row in rows.items() if write else ():
                    logs[number].log(row)
                yield rows

    def check_own(self) -> None:
        """Check that no folder holds another run; all processes must ask.

        Raises:
            ConfigError: if one does.
        """
        if not (self.resumed or any(run.rows for run in self.runs)):
            check_unused(self.directory)
        for run in self.runs:
            if not self.resumed:
                run.check_own()

    def _epochs(self) -> Iterator[dict[int, Row]]:
        for run in self.runs:
            run.changes.write(run.directory, run.config)
        while running := self.training:
            self.compile()
            started = time.perf_counter()
            with failures_named(self.runs[0].trainer.env):
                self._state, metrics = self.trainer.train_epoch(self.state)
                found = _rows(metrics)
            rows = self._described(running, found)
            training = time.perf_counter() - started
            if any(running[number].evaluates_next for number in rows):
                evaluations = self.evaluate(next(iter(running.values())).next_epoch)
                rows = self._evaluated(running, rows, evaluations)
            whole = time.perf_counter() - started
            rows = {n: running[n].record(row, training, whole) for n, row in rows.items()}
            for number, run in running.items():
                if run.finished or number in self.failures:
                    run.end()
            yield rows

    def change(self, overrides: Sequence[str]) -> None:
        """Change settings of all runs as they train, see `Run.change`.

        Raises:
            ConfigError: if an override is wrong, or cannot change within a run.
            CheckpointError: if the change cannot be written down.
        """
        config = changing.live(self._config, overrides)
        trainers, trainer = build_members(config, self.trainer.mesh)
        found = []
        for run, other, narrow in zip(self.runs, trainers, members(config), strict=True):
            member = in_lanes(narrow, other.replay.window)
            member.run_dir, member.devices = run.config.run_dir, run.config.devices
            changing.check_numbers(changing.differences(run.config, member), run.trainer, other)
            changing.check_epochs(member, run.next_epoch - 1)
            found.append((run, member, other))
        before = self.training
        over = [is_over(member, run.rows) for run, member, _ in found]
        for number, run in enumerate(self.runs):
            if run.finished and number not in self.failures and not over[number]:
                raise ConfigError(
                    f"{' '.join(overrides)}: the run in {run.directory} has ended and would go on, "
                    "which Runs.resume does"
                )
        for number, (run, member, other) in enumerate(found):
            run.take(member, other)
            if number in before and over[number]:
                run.end()
        self._config, self.trainer = freeze(config), trainer
        if (self.directory / TOGETHER_FILE).exists() and is_writer():
            write_together(config, self.directory)

    def evaluate(self, fold: int = 0) -> list[Row]:
        """Evaluate all agents as they stand in training, see `Run.evaluate`."""
        keys = jnp.stack([run.evaluation_key(fold) for run in self.runs])
        return _rows(self.trainer.evaluate(self.state.learner.agent, keys))

    def _described(self, running: dict[int, MemberRun], metrics: list[Row]) -> dict[int, Row]:
        rows = {}
        for number, run in running.items():
            try:
                rows[number] = run.describe(metrics[number])
            except TrainingError as error:
                self.failures[number] = error
        return rows

    def _evaluated(
        self, running: dict[int, MemberRun], rows: dict[int, Row], evaluations: list[Row]
    ) -> dict[int, Row]:
        evaluated = {}
        for number, row in rows.items():
            try:
                evaluated[number] = row | running[number].checked(evaluations[number])
            except TrainingError as error:
                self.failures[number] = error
        return evaluated

    def _part(self, number: int, pick: Callable[[TrainState], Any]) -> Any:
        return self._take(pick(self.state), number)


def make_runs(overrides: Sequence[str], run_dir: str | Path | None = None) -> Runs:
    """Build runs that are trained side by side.

    Args:
        overrides: as on the command line, with ``seeds`` or ``grid``: ``["seeds=8"]``.
        run_dir: the folder of all; None: as configured.

    Raises:
        ConfigError: if a setting is unknown, malformed or impossible.
    """
    return Runs(compose_in(run_dir, overrides))


def build_members(config: DictConfig, mesh: Mesh | None = None) -> tuple[list[Trainer], Seeds]:
    """Build what every run is trained by alone, and all of them as one.

    Args:
        config: a training configuration with ``seeds`` or ``grid``.
        mesh: see `build`.

    Raises:
        ConfigError: see `Runs`.
    """
    check_settings(config)
    config = thaw(config)
    config.run_dir = config.run_dir or "runs"  # where they will be is not known yet
    configs, seeds = members(config), seeds_of(config)
    if mesh is None:
        mesh = choose_mesh(config, len(configs))
    # Those of one setting differ in the seed alone, which a trainer does not know.
    trainers = [build(member, mesh) for member in configs[:: len(seeds)] for _ in seeds]
    try:
        return trainers, side_by_side(trainers)
    except ValueError as error:
        raise ConfigError(
            f"grid={config.grid}: what varies within one program must be a number to it, such as "
            "optimizer.learning_rate or agent.tau; sweep over others with --multirun"
        ) from error


def _rows(metrics: dict[str, Any]) -> list[Row]:
    """Return metrics ``[S]`` on the device as numbers of each run."""
    columns = jax.device_get(metrics)
    count = len(next(iter(columns.values())))
    return [{name: float(x[n]) for name, x in columns.items()} for n in range(count)]
