"""Runs and policies that were saved, to evaluate and act with."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from amago_jax.acting.policy import Policy
from amago_jax.runs.run import Run
from amago_jax.runs.snapshots import changed, first_readable


def load_policy(directory: str | Path, *, step: int | str = "newest") -> Policy:
    """Load a policy of a run.

    Args:
        directory: the run's folder.
        step: a checkpoint's number, "newest", or "best" by its evaluation.

    Raises:
        CheckpointError: if there is no readable checkpoint.
    """
    return load_run(directory, step=step).policy


def load_run(
    directory: str | Path, overrides: Sequence[str] = (), *, step: int | str = "newest"
) -> Run:
    """Load a run's learner, to evaluate or act with it; `Run.resume` goes on training.

    Args:
        directory: the run's folder.
        overrides: changes to its configuration; with ``run_dir=...``, it can be trained there, as
            a new run that begins with these weights.
        step: a checkpoint's number, "newest", or "best" by its evaluation.

    Raises:
        CheckpointError: if there is no readable checkpoint.
        ConfigError: if an override is wrong.
    """

    def load(config: DictConfig, number: int) -> Run:
        # Whatever kernel it attended with, and devices, may not be had here; acting needs none.
        free = OmegaConf.merge(config, {"attention": "auto", "devices": None})
        run = Run(changed(free, overrides, directory))  # type: ignore[arg-type]
        run.load(Path(directory) / "checkpoints", number)
        return run

    return first_readable(directory, step, load)
