"""Train a run to its end, with progress, logs, checkpoints and curves in its folder."""

import contextlib
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from amago_jax.errors import CheckpointError, InterruptionError
from amago_jax.reports.finding import CONFIG_FILE
from amago_jax.runs.directories import check_unused, save_settings
from amago_jax.runs.foresight import describe
from amago_jax.runs.hosts import is_writer
from amago_jax.runs.interruption import Interruption
from amago_jax.runs.lanes import describe_lanes
from amago_jax.runs.logging import ConsoleLogger, JsonLinesLogger, Loggers, build_loggers
from amago_jax.runs.outcome import recorded
from amago_jax.runs.run import Run

STOP = "stop"  # of checkpoint.on_error, where a failure ends training


class Keeper:
    """Does what touches the disk, where a failure need not end training."""

    def __init__(self, on_error: Callable[[], str], tell: Callable[[str], None]) -> None:
        """Choose what a failure does.

        Args:
            on_error: returns ``checkpoint.on_error`` as it is by then, see `Run.change`.
            tell: shows a line, of a failure after which training goes on.
        """
        self._on_error, self._tell = on_error, tell

    def attempt(self, action: Callable[[], object]) -> bool:
        """Do something, and return whether that succeeded.

        Raises:
            CheckpointError: if that fails, and a failure is to stop.
        """
        try:
            action()
        except (OSError, CheckpointError) as error:
            message = str(error)
            if isinstance(error, OSError):
                message = f"cannot write {error.filename or 'the results'}: {error.strerror}"
            if self._on_error() == STOP:
                raise CheckpointError(message) from error
            self._tell(f"warning: {message}; training goes on, as checkpoint.on_error says")
            return False
        return True


def on_error_of(run: Any) -> Callable[[], str]:
    """Return what tells ``checkpoint.on_error`` of a run, or of several, at any time."""
    # Runs saved before there was a choice stop.
    return lambda: str(run.config.checkpoint.get("on_error", STOP))


def train_run(run: Run) -> Run:
    """Train a run, new or resumed, until it ends or the process is asked to end.

    Raises:
        ConfigError: if the folder holds another run, or a logger's setting is impossible.
        TrainingError: if training cannot go on.
        CheckpointError: if results cannot be written, and ``checkpoint.on_error`` is "stop".
        InterruptionError: if the process was asked to end; all is saved.
    """
    writes = is_writer()
    loggers = build_loggers(run.config) if writes else {}
    if run.resumed_step is None:
        check_unused(run.directory)
    with contextlib.ExitStack() as stack:
        stack.enter_context(recorded(run))  # from now on, the folder is this process's
        if writes:
            save_settings(run.config, run.directory / CONFIG_FILE)
        console = stack.enter_context(ConsoleLogger(run.config.logger.console and writes))
        for line in _opening(run):
            console.message(line)
        logs = stack.enter_context(Loggers(run, loggers, console.message))
        jsonl = stack.enter_context(JsonLinesLogger(run.directory, writes, after=run.rows))
        interruption, saved = stack.enter_context(Interruption()), True
        keeper = Keeper(on_error_of(run), console.message)
        stack.callback(keeper.attempt, run.saver.close)
        console.message(f"compiled in {run.compile():.0f} s")
        for row in run.epochs():
            keeper.attempt(functools.partial(jsonl.log, row))
            logs.log(row)
            console.log(row)
            asked = interruption.asked
            if asked or run.finished or row["epoch"] % run.config.checkpoint.every == 0:
                saved = keeper.attempt(lambda: run.save(wait=False))
                if run.config.logger.plots and writes and keeper.attempt(run.plot):
                    logs.pictures()
            if asked:
                saved &= keeper.attempt(run.saver.wait)
                raise InterruptionError(interrupted(asked, row["epoch"], saved, run.directory))
        keeper.attempt(run.saver.wait)
        if not run.directory.is_dir() and writes:
            raise CheckpointError(f"the run's folder {run.directory} is gone, and its results")
    if writes:
        print(_summary(run))
    return run


def interrupted(asked: str, epoch: float, saved: bool, directory: Path) -> str:
    """Say how training ended that was asked to end."""
    kept = "which is saved" if saved else "which could not be saved; what was before is there"
    return f"{asked}: ended after epoch {epoch:.0f}, {kept}; resume={directory} goes on"


def _opening(run: Run) -> list[str]:
    """Say what is about to happen."""
    memory, lines = run.trainer.agent.trajectory_encoder, []
    choice = memory.choose_attention(run.trainer.replay.window)
    if choice is not None:
        lines.append(f"attention={choice.name}, {choice.reason}")
    name = run.trainer.env.name
    lines += describe(run.trainer, run.config.context_length)
    lines.append(f"{name}: compiling; everything goes to {run.directory}")
    if run.rows:
        lines.append(f"goes on after epoch {run.next_epoch - 1}")
    if run.in_lanes:
        lines.append(describe_lanes(run.config))
    return lines


def _summary(run: Run) -> str:
    if not run.rows:
        return f"{run.trainer.env.name}: there was nothing to train; {run.directory}"
    last = run.rows[-1]
    returns = [row["evaluation/return"] for row in run.rows if "evaluation/return" in row]
    return (
        f"Learned {run.trainer.env.name}: evaluation return {returns[0]:.2f} at first, "
        f"{returns[-1]:.2f} at last, after {last['env_steps']:,.0f} steps and "
        f"{last['updates']:,.0f} updates in {last['time/seconds']:.0f} s, "
        f"beside {last['time/compile_seconds']:.0f} s of compiling; "
        f"metrics, curves and checkpoint are in {run.directory}"
    )
