"""How a run ends: what it leaves in its folder for sweeps and reports, and what it finds there."""

import contextlib
import dataclasses
import math
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import jax
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from amago_jax.acting.rollout import NOT_FINITE
from amago_jax.errors import (
    CheckpointError,
    ConfigError,
    disk_reason,
    first_line,
    suggest,
)
from amago_jax.learning import Trainer
from amago_jax.learning.health import HEALTH
from amago_jax.reports.finding import CONFIG_FILE, flatten
from amago_jax.reports.outcomes import OUTCOME_FILE, Outcome, read_outcome
from amago_jax.reports.row_store import RowStore
from amago_jax.reports.rows import METRICS_FILE
from amago_jax.reports.saved import read_settings
from amago_jax.runs.checkpoints import REST, RETURN, candidates, latest_step, may_have
from amago_jax.runs.directories import TOGETHER_FILE, write_json
from amago_jax.runs.hosts import is_writer
from amago_jax.runs.members import members, read_together
from amago_jax.runs.run import Run

LOCK_FILE = ".lock"
# What a run may be given otherwise and still be the same run.
INCIDENTAL = (
    "run_dir",
    "label",
    "imports",
    "sweep",
    "logger",
    "checkpoint",
    "compilation_cache",
    "resume",
    "distributed",
)
# What runs did that were saved before there was a choice.
MEANT: dict[str, object] = {
    "on_env_nan": "stop",
    "timestep_encoder.one_hot": False,
    "trajectory_encoder.inner_norms": False,
    "replay.starts": "inside",
}


@contextlib.contextmanager
def recorded(run: Run) -> Iterator[None]:
    """Write down how what is done inside ends, in ``outcome.json`` in the run's folder.

    Args:
        run: whose metrics tell the number it was run for.

    Raises:
        ConfigError: if another process trains in the folder.
    """
    if not is_writer():
        yield
        return
    with in_use(run.directory):
        forget_outcome(run.directory)
        try:
            yield
        except BaseException as error:
            with contextlib.suppress(OSError):  # where the disk is what failed
                write_end(run, error)
            raise
        try:
            write_end(run)
        except OSError as error:
            raise CheckpointError(
                f"cannot write {run.directory / OUTCOME_FILE}: {disk_reason(error)}"
            ) from error


def write_end(run: Run, error: BaseException | None = None) -> None:
    """Write down how a run ended: complete, with an error, or for now."""
    if error is None and not run.finished:
        done = f"{run.next_epoch - 1} of epochs={run.config.epochs}"
        outcome = Outcome("interrupted", f"it paused after {done}, as it was trained to")
    elif error is None:
        outcome = Outcome("complete", metric=sweep_metric(run.rows, run.config))
    else:
        failed = isinstance(error, Exception)
        outcome = Outcome("failed" if failed else "interrupted", reason_of(error))
    write_outcome(run.directory, outcome)


@contextlib.contextmanager
def in_use(folder: Path) -> Iterator[None]:
    """Keep other processes from training in a folder; a process that dies keeps them no longer.

    Raises:
        ConfigError: if one does already.
    """
    lock = filelock.FileLock(folder / LOCK_FILE, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise ConfigError(f"run_dir={folder}: another process trains there") from error
    except OSError as error:
        path = folder / LOCK_FILE
        raise CheckpointError(f"cannot write {path}: {disk_reason(error)}") from error
    try:
        yield
    finally:
        lock.release()


def reason_of(error: BaseException) -> str:
    """Say in a line what went wrong, with the kind of error where the user cannot know it."""
    line = first_line(error)
    kind = type(error).__name__
    known = line == kind or type(error).__module__ == "amago_jax.errors"
    return line if known else f"{kind}: {line}"


def sweep_metric(rows: RowStore, config: DictConfig) -> float | None:
    """Return the number that a run is worth to a sweep: ``sweep.metric``, averaged.

    Args:
        rows: the run's.
        config: its settings.

    Returns:
        The mean of the last ``sweep.average`` values; None if it is not finite, and of runs
        without such settings, or in which the metric never was a number.
    """
    settings = config.get("sweep")  # runs saved before there were such settings have none
    if settings is None:
        return None
    values = rows.newest(settings.metric, settings.average)
    if not values:
        return None
    mean = statistics.mean(values)
    return mean if math.isfinite(mean) else None


def check_metric(config: DictConfig, trainer: Trainer) -> None:
    """Check, before anything compiles, that a run will have what ``sweep.metric`` names.

    Args:
        config: its settings.
        trainer: what they describe; traced, unless the metric is the default.

    Raises:
        ConfigError: if it will not.
    """
    settings = config.get("sweep")
    if settings is None:
        return
    metric = settings.metric
    if metric == RETURN or str(metric).startswith("time/"):
        return
    shapes, key = trainer.shapes(), jax.eval_shape(lambda: jax.random.key(0))
    names = set(jax.eval_shape(trainer.traced_evaluation, shapes.learner.agent, key))
    if metric not in names:
        names |= set(jax.eval_shape(trainer.traced_epoch, shapes)[1])
        names = {name for name in names if not name.startswith((HEALTH, NOT_FINITE))}
    if metric not in names:
        raise _no_metric(metric, names)


def standing(folder: Path, config: DictConfig) -> Outcome | None:
    """Return how a run of the same settings ended in a folder.

    Args:
        folder: the run's; it need not be there.
        config: the settings, of lanes what follows from them.

    Returns:
        Its outcome; None if there is no run, or one that did not come to an end.

    Raises:
        ConfigError: if there is a complete run of other settings.
    """
    outcome = outcome_of(folder)
    if outcome is None or outcome.status != "complete":
        return outcome
    together = folder / TOGETHER_FILE
    path = together if together.exists() else folder / CONFIG_FILE
    there, here = _settings(read_settings(path)), _settings(config)
    for key in sorted(there.keys() | here.keys()):
        if there.get(key) != here.get(key):
            raise ConfigError(
                f"run_dir={folder} holds a complete run with {key}={there.get(key)}, "
                f"not {here.get(key)}; choose another run_dir or sweep.name, or move it away"
            )
    return outcome


def outcome_of(folder: Path) -> Outcome | None:
    """Return how a run ended, or several that were trained side by side: when all have ended.

    Args:
        folder: the run's, or that of all.
    """
    path = folder / TOGETHER_FILE
    if not path.exists():
        return read_outcome(folder)
    found = [read_outcome(Path(one.run_dir)) for one in members(read_together(path))]
    ended = [one for one in found if one is not None and one.status != "interrupted"]
    if len(ended) < len(found):
        return None
    failed = [one for one in ended if one.status == "failed"]
    if failed:
        return Outcome("failed", "; ".join(str(one.reason) for one in failed))
    values = [one.metric for one in ended if one.metric is not None]
    return Outcome("complete", metric=statistics.mean(values) if values else None)


def can_go_on(folder: Path, config: DictConfig) -> bool:
    """Return whether a run that did not come to an end can be resumed with the same settings.

    Args:
        folder: the run's; it need not be there.
        config: the settings, of lanes what follows from them.
    """
    together = folder / TOGETHER_FILE
    if together.exists():
        return _settings(read_together(together)) == _settings(config)
    path, checkpoints = folder / CONFIG_FILE, folder / "checkpoints"
    if not path.exists() or latest_step(checkpoints) is None:
        return False
    same = _settings(read_settings(path)) == _settings(config)
    return same and may_have(checkpoints, REST)


def check_resumable(folder: Path) -> None:
    """Check that a folder holds checkpoints to go on from.

    Raises:
        CheckpointError: if it does not.
    """
    if not (folder / TOGETHER_FILE).exists():
        candidates(folder / "checkpoints")


def make_way(folder: Path) -> Path | None:
    """Begin a run anew that can neither be resumed nor came to an end: move what it left aside.

    Args:
        folder: the run's, in which nothing runs.

    Returns:
        Where it went, under a name that patterns such as ``runs/*`` pass over; None if there was
        nothing.
    """
    if not (folder / METRICS_FILE).exists() and not (folder / TOGETHER_FILE).exists():
        return None
    number = 1
    while (aside := folder.with_name(f".{folder.name}.unfinished{number}")).exists():
        number += 1
    with in_use(folder):
        folder.rename(aside)
    return aside


def _settings(config: Any) -> dict[str, object]:
    """Return the settings that make a run what it is, by dotted names."""
    try:
        tree: Any = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"run_dir={config.get('run_dir')}: {first_line(error)}") from error
    return MEANT | flatten({key: value for key, value in tree.items() if key not in INCIDENTAL})


def _no_metric(metric: str, known: set[str]) -> ConfigError:
    return ConfigError(f"sweep.metric={metric} is no metric of a run: {suggest(metric, known)}")


def forget_outcome(folder: Path) -> None:
    """Remove what says how a run ended, for it goes on.

    Raises:
        CheckpointError: if that cannot be done.
    """
    path = folder / OUTCOME_FILE
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {disk_reason(error)}") from error


def write_outcome(folder: Path, outcome: Outcome) -> None:
    """Write how a run ended into its folder."""
    write_json(folder / OUTCOME_FILE, dataclasses.asdict(outcome))
