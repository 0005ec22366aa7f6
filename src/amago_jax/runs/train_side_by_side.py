"""Train several runs as one, with the logs, checkpoints and curves of each in its folder."""

import contextlib
from collections.abc import Iterable

from omegaconf import DictConfig, OmegaConf

from amago_jax.errors import TrainingError
from amago_jax.reports.plotting import plot_comparison
from amago_jax.runs.directories import check_unused
from amago_jax.runs.hosts import is_writer
from amago_jax.runs.logging import ConsoleLogger, JsonLinesLogger
from amago_jax.runs.run import Row, Run
from amago_jax.runs.side_by_side import Runs

SUMS = ("time/env_steps_per_second", "time/updates_per_second")


def train_side_by_side(config: DictConfig) -> Runs:
    """Train runs side by side as configured; one that fails ends, and the others go on.

    Raises:
        ConfigError: if a setting is unknown, malformed or impossible.
        TrainingError: at the end, if runs failed, with the reason of each.
    """
    runs = Runs(config)
    for run in runs.runs:
        check_unused(run.directory)
    writes = is_writer()
    for run in runs.runs if writes else []:
        OmegaConf.save(run.config, run.directory / "config.yaml", resolve=True)
    count, plots = len(runs.runs), config.logger.plots and writes
    with contextlib.ExitStack() as stack:
        logs = [stack.enter_context(JsonLinesLogger(run.directory, writes)) for run in runs.runs]
        console = stack.enter_context(ConsoleLogger(config.logger.console and writes))
        name = runs.runs[0].trainer.env.name
        console.message(f"{name}: compiling; {count} runs go to folders in {runs.directory}")
        console.message(f"compiled in {runs.compile():.0f} s")
        for rows in runs.epochs():
            training = runs.training
            for number, row in rows.items():
                logs[number].log(row)
                if number not in training:
                    _end(runs.runs[number], plots)
            if not rows:  # the last ones failed
                continue
            console.log(summary(runs, rows))
            if len(runs.runs[next(iter(rows))].rows) % config.checkpoint.every == 0:
                for run in training.values():
                    run.save()
                if plots:
                    _plot(runs)
        if plots and len(runs.failures) < count:
            _plot(runs)
    _tell(runs, writes)
    return runs


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


def _end(run: Run, plots: bool) -> None:
    """Save what a run has come to; no other run waits for more than that."""
    run.save()
    if plots:
        run.plot()


def _plot(runs: Runs) -> None:
    """Draw all runs in one picture: a line for each setting, over its seeds."""
    groups: dict[str, list[list[Row]]] = {}
    for run in runs.runs:
        if run.rows:
            groups.setdefault(_setting(runs.config, run), []).append(run.rows)
    title = runs.runs[0].trainer.env.name
    plot_comparison(groups, runs.directory / "curves.png", title=title)


def _setting(config: DictConfig, run: Run) -> str:
    """Say in which setting of the grid a run is."""
    names = [] if config.grid is None else list(config.grid)
    return ", ".join(f"{name}={OmegaConf.select(run.config, name)}" for name in names)


def _tell(runs: Runs, writes: bool) -> None:
    """Print how each run ended, if this process writes.

    Raises:
        TrainingError: if any failed.
    """
    for number, run in enumerate(runs.runs):
        if writes and number not in runs.failures:
            returns = [row["evaluation/return"] for row in run.rows if "evaluation/return" in row]
            print(
                f"{run.directory}: evaluation return {returns[0]:.2f} at first, "
                f"{returns[-1]:.2f} at last, after {run.rows[-1]['updates']:,.0f} updates"
            )
    done = next((run for number, run in enumerate(runs.runs) if number not in runs.failures), None)
    if writes and done is not None:
        print(
            f"Trained {len(runs.runs) - len(runs.failures)} runs side by side in "
            f"{max(run.rows[-1]['time/seconds'] for run in runs.runs if run.rows):.0f} s, "
            f"beside {done.compile_seconds:.0f} s of compiling"
        )
    if runs.failures:
        reasons = "; ".join(
            f"{runs.runs[number].directory}: {error}" for number, error in runs.failures.items()
        )
        raise TrainingError(f"{len(runs.failures)} of {len(runs.runs)} runs failed: {reasons}")
