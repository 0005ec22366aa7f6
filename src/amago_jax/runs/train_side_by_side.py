"""Train several runs as one, with the logs, checkpoints and curves of each in its folder."""

import contextlib
import functools
from collections.abc import Iterable, Mapping

from omegaconf import DictConfig, OmegaConf

from amago_jax.errors import InterruptionError, TrainingError
from amago_jax.reports.finding import CONFIG_FILE
from amago_jax.reports.outcomes import Outcome
from amago_jax.reports.plotting import plot_comparison
from amago_jax.reports.row_store import RowStore
from amago_jax.runs.directories import save_settings
from amago_jax.runs.foresight import describe
from amago_jax.runs.hosts import is_writer
from amago_jax.runs.interruption import Interruption
from amago_jax.runs.logging import ConsoleLogger, JsonLinesLogger, Logger, Loggers, build_loggers
from amago_jax.runs.member_run import MemberRun
from amago_jax.runs.members import write_together
from amago_jax.runs.outcome import forget_outcome, in_use, reason_of, write_end, write_outcome
from amago_jax.runs.run import Row
from amago_jax.runs.side_by_side import Runs
from amago_jax.runs.training import Keeper, interrupted, on_error_of

SUMS = ("time/env_steps_per_second", "time/updates_per_second")


def train_side_by_side(runs: Runs, *, progress: bool = True, exits: bool = True) -> Runs:
    """Train runs side by side, new or going on; one that fails ends, and the others go on.

    Args:
        runs: the runs.
        progress: show it, if ``logger.console`` says so too.
        exits: see `Interruption`.

    Raises:
        ConfigError: if a folder holds another run, or a logger's setting is impossible.
        TrainingError: at the end, if runs failed, with the reason of each.
        CheckpointError: if results cannot be written, and ``checkpoint.on_error`` is "stop".
        InterruptionError: if the process was asked to end; all is saved.
    """
    writes = is_writer()
    loggers = {
        number: build_loggers(run.config) if writes else {} for number, run in runs.training.items()
    }
    runs.check_own()
    with contextlib.ExitStack() as stack:
        if writes:
            stack.enter_context(in_use(runs.directory))
            _write_settings(runs)
        shows = progress and writes
        training = _Training(runs, loggers, stack, shows=shows, exits=exits)
        try:
            training.train()
        except BaseException as error:
            if writes:
                # What ended them all is no failure of theirs; where the disk failed, nothing helps.
                with contextlib.suppress(OSError):
                    for run in runs.training.values():
                        write_outcome(run.directory, Outcome("interrupted", reason_of(error)))
            raise
    _tell(runs, shows)
    return runs


def _write_settings(runs: Runs) -> None:
    write_together(runs.config, runs.directory)
    for run in runs.runs:
        save_settings(run.config, run.directory / CONFIG_FILE)
    for run in runs.training.values():
        forget_outcome(run.directory)


class _Training:
    """What goes on around the epochs of several runs."""

    def __init__(
        self,
        runs: Runs,
        loggers: Mapping[int, Mapping[str, Logger]],
        stack: contextlib.ExitStack,
        *,
        shows: bool,
        exits: bool,
    ) -> None:
        """Open what is written to; ``stack`` closes it."""
        config, group = runs.config, runs.directory.name
        self._runs, self._writes = runs, is_writer()
        self._again = f"resume={runs.directory}" if exits else "train()"
        self._console = stack.enter_context(ConsoleLogger(config.logger.console and shows))
        self._loggers = {
            number: stack.enter_context(
                Loggers(run, loggers[number], self._console.message, group=group)
            )
            for number, run in runs.training.items()
        }
        self._logs = {
            number: stack.enter_context(
                JsonLinesLogger(run.directory, self._writes, after=run.rows)
            )
            for number, run in runs.training.items()
        }
        self._interruption = stack.enter_context(Interruption(exits))
        self._keeper = Keeper(on_error_of(runs), self._console.message)
        for run in runs.runs:
            stack.callback(self._keeper.attempt, run.saver.close)

    def train(self) -> None:
        """Train all to their ends."""
        runs, console = self._runs, self._console
        trainer, count = runs.runs[0].trainer, len(runs.runs)
        for line in describe(trainer, runs.config.context_length):
            console.message(line)
        name = trainer.env.name
        console.message(f"{name}: compiling; {count} runs go to folders in {runs.directory}")
        console.message(f"compiled in {runs.compile():.0f} s")
        for rows in runs.epochs(write=False):
            training = runs.training
            for number, row in rows.items():
                self._keeper.attempt(functools.partial(self._logs[number].log, row))
                self._loggers[number].log(row)
            if rows:
                console.log(summary(runs, rows))
            asked = self._interruption.asked
            done = max(run.next_epoch for run in runs.runs) - 1
            if asked or done % runs.config.checkpoint.every == 0:
                saved = [
                    self._keeper.attempt(functools.partial(run.save, wait=False))
                    for run in training.values()
                ]
                self._plot()
            for number, run in enumerate(runs.runs):
                if number in self._logs and number not in training:
                    self._end(number, run)
            if asked and training:
                saved += [self._keeper.attempt(run.saver.wait) for run in training.values()]
                raise InterruptionError(interrupted(asked, done, all(saved), self._again))
        self._plot()

    def _end(self, number: int, run: MemberRun) -> None:
        """Save what a run has come to, once; no other run waits for more than that."""
        self._logs.pop(number)
        failure = self._runs.failures.get(number)
        if failure is None:
            self._keeper.attempt(run.save)
        if self._writes:
            if failure is None and run.config.logger.plots and self._keeper.attempt(run.plot):
                self._loggers[number].pictures()
            self._keeper.attempt(functools.partial(write_end, run, failure))
        self._loggers[number].end(failure)

    def _plot(self) -> None:
        """Draw all runs in one picture: a line for each setting, over its seeds."""
        groups: dict[str, list[RowStore]] = {}
        for run in self._runs.runs:
            if run.rows:
                groups.setdefault(_setting(self._runs.config, run), []).append(run.rows)
        if not (groups and self._writes and self._runs.config.logger.plots):
            return
        path, title = self._runs.directory / "curves.png", self._runs.runs[0].trainer.env.name
        self._keeper.attempt(lambda: plot_comparison(groups, path, title=title))


def summary(runs: Runs, rows: dict[int, Row]) -> Row:
    """Return what an epoch's rows say together.

    Means are over all runs that have not failed; of one that has ended, its last row counts. Rates
    are sums over those that are training.

    Args:
        runs: all of them.
        rows: of those that were training, by number.
    """
    last = [run.rows[-1] for n, run in enumerate(runs.runs) if n not in runs.failures]
    newest = next(iter(rows.values()))
    found = {name: _mean(row[name] for row in last if name in row) for name in newest}
    found |= {name: sum(row[name] for row in rows.values()) for name in SUMS}
    found |= {"epoch": newest["epoch"], "runs": float(len(last))}
    if "evaluation/return" in newest:
        returns = [row["evaluation/return"] for row in last if "evaluation/return" in row]
        found |= {"runs/least_return": min(returns), "runs/greatest_return": max(returns)}
    return found


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)


def _setting(config: DictConfig, run: MemberRun) -> str:
    """Say in which setting of the grid a run is."""
    names = [] if config.grid is None else list(config.grid)
    return ", ".join(f"{name}={OmegaConf.select(run.config, name)}" for name in names)


def _tell(runs: Runs, shows: bool) -> None:
    """Print how each run ended, if progress is shown.

    Raises:
        TrainingError: if any failed.
    """
    for number, run in enumerate(runs.runs):
        if shows and number not in runs.failures:
            (returns,) = run.rows.columns("evaluation/return")
            print(
                f"{run.directory}: evaluation return {returns[0]:.2f} at first, "
                f"{returns[-1]:.2f} at last, after {run.rows[-1]['updates']:,.0f} updates"
            )
    done = next((run for number, run in enumerate(runs.runs) if number not in runs.failures), None)
    if shows and done is not None:
        print(
            f"Trained {len(runs.runs) - len(runs.failures)} runs side by side in "
            f"{max(run.rows[-1]['time/seconds'] for run in runs.runs if run.rows):.0f} s, "
            f"beside {done.compile_seconds:.0f} s of compiling"
        )
    if runs.failures:
        reasons = "".join(
            f"\n  {runs.runs[number].directory}: {error}" for number, error in runs.failures.items()
        )
        raise TrainingError(f"{len(runs.failures)} of {len(runs.runs)} runs failed:{reasons}")
