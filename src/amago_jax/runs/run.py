"""A run: epochs of training, and everything around them that touches the world.

Progress, logs, curves, checkpoints and early stopping live here, and nowhere below.
"""

import functools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from omegaconf import DictConfig, OmegaConf

from amago_jax.errors import ConfigError, TrainingError
from amago_jax.learning import Trainer
from amago_jax.learning.metrics import floats
from amago_jax.reports.finding import CONFIG_FILE
from amago_jax.reports.plotting import plot_run
from amago_jax.reports.row_store import RowStore
from amago_jax.reports.rows import Frame, frame_of, times
from amago_jax.runs import changing, checkpoints, older_checkpoints, snapshots
from amago_jax.runs.built import BuiltRun, Row
from amago_jax.runs.changes import Changes
from amago_jax.runs.checkpoints import Checkpoint
from amago_jax.runs.config import compose_in
from amago_jax.runs.directories import check_unused, save_settings
from amago_jax.runs.frozen import freeze
from amago_jax.runs.health import Health, check_evaluation, failures_named
from amago_jax.runs.hosts import is_writer
from amago_jax.runs.logging.jsonl import JsonLinesLogger
from amago_jax.runs.saving import Saver
from amago_jax.runs.shapes import learner_shapes

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Run(BuiltRun):
    """A run that can be stepped, evaluated, plotted and saved.

    Attributes:
        trainer: what it describes.
        directory: the run's folder.
        in_lanes: whether it follows from ``lanes``.
        resumed_step: the checkpoint that it goes on from; None of a new run.
        changes: what `change` has changed, and after which epochs.
        compile_seconds: how long `compile` took; None before.
    """

    def __init__(self, config: DictConfig, trainer: Trainer | None = None) -> None:
        """See `amago_jax.runs.built.BuiltRun`."""
        super().__init__(config, trainer)
        self.changes = Changes()
        self._loaded_from: Path | None = None
        self.resumed_step: int | None = None
        self._rows = RowStore()
        self._has_saved = False
        self.health = Health(self.trainer, config.optimizer.get("learning_rate"))

    def train(self, epochs: int | None = None, *, progress: bool = True) -> Frame:
        """Train with progress, logs, curves and checkpoints in the folder, as the command does.

        Asked to stop, by Ctrl-C or a notebook's button, it ends when the epoch is finished and
        saved; the run can train again.

        Args:
            epochs: how many more, also after the last one or where the stop criterion was met
                before: ``epochs`` and ``stop.return`` change with that, see `change`. None: up to
                the last one. Either ends where the stop criterion is met.
            progress: show it, in a terminal or a notebook.

        Returns:
            `metrics`.

        Raises:
            ConfigError: if the run cannot train, or ``epochs`` is no number of epochs.
            TrainingError: if training cannot go on.
            CheckpointError: if results cannot be written, and ``checkpoint.on_error`` is "stop".
            InterruptionError: a KeyboardInterrupt, when it was asked to stop and has saved.
        """
        from amago_jax.runs.training import train_more  # which trains runs

        train_more(self, epochs, progress)
        return self.metrics

    @property
    def rows(self) -> RowStore:
        """Metrics of every epoch so far; of a run that goes on, of those that its folder has."""
        return self._rows

    @rows.setter
    def rows(self, rows: Iterable[Row]) -> None:
        self._rows = rows if isinstance(rows, RowStore) else RowStore(rows)

    @property
    def metrics(self) -> Frame:
        """Metrics by epoch, a pandas frame where pandas is installed, else `rows`, copied."""
        return frame_of(self.rows)

    def epochs(self, *, write: bool = True) -> Iterator[Row]:
        """Train epoch by epoch, yielding metrics, until the last epoch or the stop criterion.

        Configuration and metrics are left in the run's folder, where curves are drawn from.

        Args:
            write: False: they are not, for the caller does that.

        Yields:
            Metrics by name as floats; evaluations under ``evaluation/`` in the epochs that hold
            one, rates and times under ``time/``.

        Raises:
            TrainingError: if an environment gave NaN or infinity (``on_env_nan``) or raised an
                error, the loss, gradients or weights became that (``on_nan``), or the device's
                memory is full.
        """
        if write:
            self.check_own()
        with self.written(write and is_writer()) as log:
            self.changes.write(self.directory, self._config)
            self.compile()
            if not self.rows:
                self._check(lambda: self.health.check_start(self.state))
            while not self.finished:
                self.compile()  # what was changed may need another program
                started = time.perf_counter()
                with failures_named(self.trainer.env):
                    self.state, metrics = self.trainer.train_epoch(self.state)
                    found = floats(metrics)
                row = self.describe(found)
                training = time.perf_counter() - started
                if self.evaluates_next:
                    row |= self.checked(self.evaluate(self.next_epoch))
                row = self.record(row, training, time.perf_counter() - started)
                if write:
                    log.log(row)
                yield row

    def written(self, enabled: bool = True) -> JsonLinesLogger:
        """Write the configuration into the run's folder; return what writes the rows to come.

        Raises:
            CheckpointError: if that cannot be written.
        """
        if enabled:
            save_settings(self._config, self.directory / CONFIG_FILE)
        return JsonLinesLogger(self.directory, enabled, after=self.rows)

    def check_own(self) -> None:
        """Check that it can train in its folder, which holds no other run; all processes must ask.

        Raises:
            ConfigError: if it cannot.
        """
        if self._loaded_from == self.directory.resolve():
            raise ConfigError(
                f"{self.directory} was loaded to evaluate or act, without what training goes on "
                "from; Run.resume goes on with it, and load_run(..., ['run_dir=...']) begins a new "
                "run with its weights"
            )
        if self.resumed_step is None and not (self.rows or self._has_saved):
            check_unused(self.directory)

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
        return snapshots.is_over(self.config, self.rows)

    def describe(self, metrics: Row) -> Row:
        """Return what is known of the next epoch, given its metrics.

        Raises:
            TrainingError: see `epochs`; the last good agent is saved.
        """
        row = {"epoch": float(self.next_epoch), "epochs": float(self.config.epochs), **metrics}
        self._check(lambda: self.health.check(row))
        # Means over episodes are NaN in an epoch in which none ended.
        return {name: value for name, value in row.items() if not math.isnan(value)}

    def checked(self, evaluation: Row) -> Row:
        """Return the metrics of an evaluation.

        Raises:
            TrainingError: if its return is no number; the last good agent is saved.
        """
        self._check(lambda: check_evaluation(self.trainer, evaluation))
        return evaluation

    def record(self, row: Row, training: float, whole: float) -> Row:
        """Add rates and times to the next epoch's row, and the row to the others; return it.

        Args:
            row: from `describe`, with an evaluation if there was one.
            training: seconds that the epoch took.
            whole: likewise, an evaluation included.
        """
        before = self.rows[-1] if self.rows else None
        # Those that end first are no fair sample of those begun, of which every environment has one
        # that goes on.
        ended = (before or {}).get("train/episodes_ended", 0.0) + row["train/episodes"]
        row |= {"train/episodes_ended": ended, "train/episodes_begun": ended + self.config.envs}
        row["time/compile_seconds"] = self.compile_seconds or 0.0
        row |= times(row, before, training, whole)
        self.rows.append(row)
        return row

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
        return self.save_parts(snapshots.parts_of(self), wait)

    def save_parts(self, parts: dict[str, Any], wait: bool = True) -> Path:
        """Save what `snapshots.parts_of` gives; see `save`."""
        step, self._has_saved = int(parts[checkpoints.STATE].updates), True
        if is_writer():
            config: Any = OmegaConf.to_container(self._config, resolve=True)
            self.saver.save(step, parts, config, snapshots.progress_of(self))
            if wait:
                self.saver.wait()
        return self.saver.directory / str(step)

    @functools.cached_property
    def saver(self) -> Saver:
        """What writes the checkpoints, in the background; close it when the run is over."""
        folder, keep = self.directory / "checkpoints", self.config.checkpoint.keep
        return Saver(folder, keep=keep, after=self.resumed_step)

    def load(self, checkpoint: Checkpoint) -> None:
        """Take the learner from a checkpoint.

        Raises:
            CheckpointError: if it cannot be read, or does not fit.
        """
        self._loaded = older_checkpoints.restore(checkpoint, learner_shapes(self.trainer))
        self.health.remember([], learned_before=True)
        self._state, self._loaded_from = None, checkpoint.folder.parents[1].resolve()

    def change(self, overrides: Sequence[str]) -> None:
        """Change settings of a run that is built, or trains; nothing it has learned is lost.

        What can change is in `amago_jax.runs.changing`; sizes of what is compiled (``updates``,
        ``batch_size``, ``evaluation.episodes``) compile anew. What was changed, and after which
        epoch, is in `changes`, in ``changes.json`` and in every later checkpoint.

        Args:
            overrides: as on the command line: ``["optimizer.learning_rate=1e-4", "epochs=200"]``.

        Raises:
            ConfigError: if an override is wrong, or cannot change within a run.
            CheckpointError: if the change cannot be written down.
        """
        config = changing.live(self.config, overrides)
        trainer = changing.rebuilt(self.trainer, self.config, config)
        changing.check_epochs(config, self.next_epoch - 1)
        self.take(config, trainer)

    def take(self, config: DictConfig, trainer: Trainer) -> None:
        """Go on as a changed configuration says, see `change`.

        Args:
            config: from `amago_jax.runs.changing.live`.
            trainer: what it describes.
        """
        if config.checkpoint.keep != self._config.checkpoint.keep:
            self.saver.keep_other(config.checkpoint.keep)
        self.changes.note(self.next_epoch - 1, self._config, config)
        self._config, self.trainer = freeze(config), trainer
        self.health.follow(trainer, config.optimizer.get("learning_rate"))
        self.changes.write(self.directory, self._config)

    @classmethod
    def resume(
        cls,
        directory: str | Path,
        overrides: Sequence[str] = (),
        *,
        step: int | str = "newest",
        imports: Sequence[str] = (),
    ) -> Self:
        """Return a run as it was when a checkpoint was saved, to go on with `epochs`.

        Metrics and weights after N epochs, a checkpoint, and M epochs more are bit for bit those
        after N + M, on the same machine with the same devices.

        Args:
            directory: the run's folder, in which it goes on.
            overrides: changes to its configuration, of what can change within a run, see `change`:
                ``["epochs=200"]``.
            step: a checkpoint's number, "newest" or "best".
            imports: see `amago_jax.load_run`.

        Raises:
            CheckpointError: if there is no readable checkpoint, or it does not fit, or holds the
                learner alone.
            ConfigError: if an override is wrong.
        """
        return snapshots.first_readable(
            directory,
            step,
            lambda config, checkpoint: snapshots.resumed(
                cls(changing.resumable(config, overrides, directory)), checkpoint
            ),
            part=checkpoints.REST,
            imports=imports,
        )

    def plot(self) -> "Figure":
        """Draw the learning curves so far into the run's folder, and return the figure.

        The file is ``curves.png``. A notebook shows the figure where a cell ends with it.
        Where the environment tells successes apart, theirs go to ``success.png`` beside it, and
        what it says by attempt of a meta-episode to ``adaptation.png``.
        """
        title = f"{self.trainer.env.name}, seed {self.config.seed}"
        return plot_run(self.rows, self.directory, title)

    def _check(self, check: Callable[[], None]) -> None:
        """Go on, or save the last good agent, if it has learned, and raise `TrainingError`."""
        try:
            check()
        except TrainingError as error:
            raise TrainingError(f"{error}; {snapshots.keep_last_good(self)}") from error


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
