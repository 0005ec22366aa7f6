"""The runs of a sweep, each on its own: one that fails is written down, and the others go on."""

import contextlib
import dataclasses
import json
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from amago_jax.errors import InterruptionError, UserError
from amago_jax.reports.outcomes import Outcome
from amago_jax.runs.building import build
from amago_jax.runs.compilation_cache import use_compilation_cache
from amago_jax.runs.config import CONF_DIR
from amago_jax.runs.directories import write_json
from amago_jax.runs.interruption import Asked
from amago_jax.runs.lanes import in_lanes
from amago_jax.runs.members import is_side_by_side
from amago_jax.runs.outcome import (
    can_go_on,
    make_way,
    outcome_of,
    reason_of,
    standing,
    write_outcome,
)
from amago_jax.runs.own_parts import fitted
from amago_jax.runs.sweeps import run_folder

JOBS = "jobs"  # the folder, in that of a sweep, in which each run says how it ended
BEST = "optimization_results.yaml"  # what Hydra's sweepers that search leave
COMPLETE, SKIPPED, FAILED, INTERRUPTED = "complete", "skipped", "failed", "interrupted"


@dataclasses.dataclass(frozen=True)
class Job:
    """How one run of a sweep went.

    Attributes:
        name: what it was given that others were not.
        status: "complete", "skipped", for it was complete before, "failed", or "interrupted".
        folder: of the run, if it has one.
        reason: of a failure, why.
        metric: the number the run returned.
        began: when, in seconds since 1970.
        seconds: how long it took.
    """

    name: str
    status: str
    folder: str | None = None
    reason: str | None = None
    metric: float | None = None
    began: float | None = None
    seconds: float | None = None


@dataclasses.dataclass(frozen=True)
class SweepTask:
    """What Hydra calls for every run of a sweep, here or in another process.

    Attributes:
        task: what the script does with a configuration.
        trains: whether that is to train a run.
        swept: names of the settings that differ between runs.
    """

    task: Callable[[DictConfig], object]
    trains: bool
    swept: tuple[str, ...]

    def __call__(self, config: DictConfig) -> float | None:
        """Do the run and write down how it ended.

        Args:
            config: its settings.

        Returns:
            The number it is worth to a sweeper; None if it has none or failed, which sweepers take
            for a failure.
        """
        hydra = HydraConfig.get()
        overrides = list(hydra.overrides.task)
        name = " ".join(o for o in overrides if o.partition("=")[0].lstrip("+") in self.swept)
        folder, began = None, time.time()
        beside = "joblib" in hydra.launcher._target_  # other processes, with other runs
        if beside:
            Asked.listen()
        if Asked.to_end:
            _write(Job(name, INTERRUPTED, reason="it was not begun"), began)
            return None
        try:
            config = fitted(config, overrides, CONF_DIR)
            use_compilation_cache(**config.get("compilation_cache", {"folder": None}))
            if self.trains:
                folder = run_folder(config, overrides, self.swept)
                if beside:
                    config.logger.console = False  # lines of several runs would be mixed up
                job = self._train(config, name, folder)
            else:
                self.task(config)
                job = Job(name, COMPLETE)
        except InterruptionError as error:
            job = Job(name, INTERRUPTED, None if folder is None else str(folder), str(error))
            if not beside:  # with the run, the whole sweep ends
                _write(job, began)
                raise
            # An error would have joblib kill the other processes, which save yet.
            Asked.to_end = True
        except Exception as error:
            job = _failed(error, name, folder)
        _write(job, began)
        return job.metric

    def _train(self, config: DictConfig, name: str, folder: Path) -> Job:
        """Train, or go on with what was begun, unless that is done already."""
        config.run_dir = str(folder)
        before, whole = outcome_of(folder), config
        # Those of several runs side by side are kept as they were given.
        if config.lanes is not None and folder.exists() and not is_side_by_side(config):
            whole = in_lanes(config, build(config).replay.window)
        if before is not None and before.status == COMPLETE:
            standing(folder, whole)
            print(f"{name}: skipped, for it is complete in {folder}", flush=True)
            return Job(name, SKIPPED, str(folder), metric=before.metric)
        if can_go_on(folder, whole):
            config.resume = str(folder)
        else:
            aside = make_way(folder)
            if aside is not None:
                print(f"{name}: begins anew; what was there is in {aside}", flush=True)
        self.task(config)
        outcome = outcome_of(folder)
        return Job(name, COMPLETE, str(folder), metric=outcome.metric if outcome else None)


def _write(job: Job, began: float) -> None:
    """Write down how a run went, where its sweep reads it."""
    hydra = HydraConfig.get()
    path = Path(hydra.sweep.dir, JOBS, f"{hydra.job.num}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    ended = dataclasses.replace(job, began=began, seconds=time.time() - began)
    write_json(path, dataclasses.asdict(ended))


def _failed(error: Exception, name: str, folder: Path | None) -> Job:
    """Say what went wrong, and see to it that the run's folder says so."""
    if not isinstance(error, UserError):  # a fault of the program's, to be found and mended
        traceback.print_exc()
    reason = reason_of(error)
    print(f"error: {name}: {reason}", file=sys.stderr, flush=True)
    if folder is not None:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(parents=True)  # or the run has come so far that it wrote for itself
            write_outcome(folder, Outcome("failed", reason))
    return Job(name, FAILED, None if folder is None else str(folder), reason)


def forget_jobs(folder: Path) -> None:
    """Remove what an earlier call of a sweep wrote down.

    Args:
        folder: the sweep's.
    """
    for path in (folder / JOBS).glob("*.json"):
        path.unlink()
    (folder / BEST).unlink(missing_ok=True)


def read_jobs(folder: Path) -> list[Job]:
    """Read how the runs of a sweep went, in their order.

    Args:
        folder: the sweep's.
    """
    paths = sorted((folder / JOBS).glob("*.json"), key=lambda path: int(path.stem))
    return [Job(**json.loads(path.read_text(encoding="utf-8"))) for path in paths]


def summarize(jobs: Sequence[Job], folder: Path) -> str:
    """Say in a few lines how a sweep went: how many runs, which failed and why, which was best.

    Args:
        jobs: of its runs.
        folder: the sweep's.
    """
    counts = [
        f"{sum(job.status == status for job in jobs)} {words}"
        for status, words in (
            (COMPLETE, "complete"),
            (SKIPPED, "skipped, complete before"),
            (FAILED, "failed"),
            (INTERRUPTED, "interrupted"),
        )
        if any(job.status == status for job in jobs)
    ]
    lines = [f"sweep of {len(jobs)} runs: {', '.join(counts) or 'none ended'} ({folder})"]
    lines += [f"failed: {job.name}: {job.reason}" for job in jobs if job.status == FAILED]
    if (folder / BEST).exists():
        best: Any = OmegaConf.to_container(OmegaConf.load(folder / BEST))
        if "best_params" in best:  # several numbers have no best run
            chosen = " ".join(f"{key}={value}" for key, value in best["best_params"].items())
            lines.append(f"best: {chosen}: {best['best_value']}")
    return "\n".join(lines)
