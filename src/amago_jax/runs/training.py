"""Train a run to its end, with progress, logs, checkpoints and curves in its folder."""

import contextlib
import functools
from collections.abc import Callable
from typing import Any

from amago_jax.errors import CheckpointError, InterruptionError
from amago_jax.runs.foresight import describe
from amago_jax.runs.hosts import is_writer
from amago_jax.runs.interruption import Interruption
from amago_jax.runs.lanes import describe_lanes
from amago_jax.runs.logging import ConsoleLogger, Loggers, build_loggers
from amago_jax.runs.outcome import recorded
from amago_jax.runs.run import Run
from amago_jax.runs.snapshots import is_met
from amago_jax.settings import Size, check

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


def train_more(run: Run, epochs: int | None = None, progress: bool = True) -> None:
    """Train a run from Python, see `amago_jax.Run.train`."""
    run.check_own()
    shows, last = progress and is_writer(), None
    if epochs is not None:
        check("epochs", epochs, Size)
        last = run.next_epoch - 1 + epochs
        overrides = [f"epochs={last}"] if last > run.config.epochs else []
        if is_met(run.config, run.rows):
            overrides.append("stop.return=null")
            if shows:
                print(f"stop.return={run.config.stop['return']} is met: goes on without it")
        if overrides:
            run.change(overrides)
    elif run.finished:
        if shows:
            print(
                f"{run.trainer.env.name}: has ended after {run.next_epoch - 1} epochs of "
                f"epochs={run.config.epochs}; train(epochs=...) goes on"
            )
        return
    train_run(run, last=last, progress=progress, exits=False)


def train_run(
    run: Run, *, last: int | None = None, progress: bool = True, exits: bool = True
) -> Run:
    """Train a run, new or going on, until it ends or the process is asked to end.

    Args:
        run: the run.
        last: the epoch after which it pauses, if it has not ended; None: it does not.
        progress: show it, if ``logger.console`` says so too.
        exits: see `Interruption`.

    Raises:
        ConfigError: if the folder holds another run, or a logger's setting is impossible.
        TrainingError: if training cannot go on.
        CheckpointError: if results cannot be written, and ``checkpoint.on_error`` is "stop".
        InterruptionError: if the process was asked to end; all is saved.
    """
    writes = is_writer()
    loggers = build_loggers(run.config) if writes else {}
    again = f"resume={run.directory}" if exits else "train()"
    run.check_own()
    with contextlib.ExitStack() as stack:
        stack.enter_context(recorded(run))  # from now on, the folder is this process's
        shows = progress and writes
        console = stack.enter_context(ConsoleLogger(run.config.logger.console and shows))
        for line in _opening(run):
            console.message(line)
        logs = stack.enter_context(Loggers(run, loggers, console.message))
        jsonl = stack.enter_context(run.written(writes))
        interruption, saved = stack.enter_context(Interruption(exits)), True
        keeper = Keeper(on_error_of(run), console.message)
        stack.callback(keeper.attempt, run.saver.close)
        if not run.is_compiled:
            console.message(f"compiled in {run.compile():.0f} s")
        for row in run.epochs(write=False):
            keeper.attempt(functools.partial(jsonl.log, row))
            logs.log(row)
            console.log(row)
            asked, pauses = interruption.asked, row["epoch"] == last
            regular = row["epoch"] % run.config.checkpoint.every == 0
            if asked or pauses or run.finished or regular:
                saved = keeper.attempt(lambda: run.save(wait=False))
                if run.config.logger.plots and writes and keeper.attempt(run.plot):
                    logs.pictures()
            if asked:
                saved &= keeper.attempt(run.saver.wait)
                raise InterruptionError(interrupted(asked, row["epoch"], saved, again))
            if pauses:
                break
        keeper.attempt(run.saver.wait)
        if not run.directory.is_dir() and writes:
            raise CheckpointError(f"the run's folder {run.directory} is gone, and its results")
    if shows:
        print(_summary(run))
    return run


def interrupted(asked: str, epoch: float, saved: bool, again: str) -> str:
    """Say how training ended that was asked to end, and what goes on."""
    kept = "which is saved" if saved else "which could not be saved; what was before is there"
    return f"{asked}: ended after epoch {epoch:.0f}, {kept}; {again} goes on"


def _opening(run: Run) -> list[str]:
    """Say what is about to happen."""
    memory, lines = run.trainer.agent.trajectory_encoder, []
    choice = memory.choose_attention(run.trainer.replay.window)
    if choice is not None:
        lines.append(f"attention={choice.name}, {choice.reason}")
    name = run.trainer.env.name
    lines += describe(run.trainer, run.config.context_length)
    doing = "training" if run.is_compiled else "compiling"
    lines.append(f"{name}: {doing}; everything goes to {run.directory}")
    if run.rows:
        lines.append(f"goes on after epoch {run.next_epoch - 1}")
    if run.in_lanes:
        lines.append(describe_lanes(run.config))
    return lines


def _summary(run: Run) -> str:
    if not run.rows:
        return f"{run.trainer.env.name}: there was nothing to train; {run.directory}"
    last = run.rows[-1]
    (returns,) = run.rows.columns("evaluation/return")
    evaluated = "no evaluation yet"
    if len(returns):
        evaluated = f"evaluation return {returns[0]:.2f} at first, {returns[-1]:.2f} at last"
    return (
        f"Trained in {run.trainer.env.name}: {evaluated}, "
        f"after {last['env_steps']:,.0f} steps and "
        f"{last['updates']:,.0f} updates in {last['time/seconds']:.0f} s, "
        f"beside {last['time/compile_seconds']:.0f} s of compiling; "
        f"metrics, curves and checkpoint are in {run.directory}"
    )
