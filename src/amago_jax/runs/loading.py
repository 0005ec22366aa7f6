"""Runs and policies that were saved, to evaluate and act with."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from amago_jax.acting.policy import Policy
from amago_jax.runs.changing import changed, for_devices_here, in_folder
from amago_jax.runs.checkpoints import Checkpoint
from amago_jax.runs.run import Run
from amago_jax.runs.snapshots import first_readable


def load_policy(
    directory: str | Path, *, step: int | str = "newest", imports: Sequence[str] = ()
) -> Policy:
    """Load a policy of a run.

    Args:
        directory: the run's folder.
        step: a checkpoint's number, "newest", or "best" by its evaluation.
        imports: modules of parts that are not of this package, see `load_run`.

    Raises:
        CheckpointError: if there is no readable checkpoint.
    """
    run = load_run(directory, step=step, imports=imports)
    # Not `Run.policy`, a copy of its own: this run will not train.
    return Policy(run.trainer.agent, run.learner.agent)


def load_run(
    directory: str | Path,
    overrides: Sequence[str] = (),
    *,
    step: int | str = "newest",
    imports: Sequence[str] = (),
) -> Run:
    """Load a run's learner, to evaluate or act with it; `Run.resume` goes on training.

    Args:
        directory: the run's folder.
        overrides: changes to its configuration, which mean what they mean on the command line; a
            choice of a group, ``["env=tmaze/active"]``, replaces that group's settings alone. With
            ``run_dir=...``, it can be trained there, as a new run that begins with these weights.
        step: a checkpoint's number, "newest", or "best" by its evaluation.
        imports: modules, which are imported, and whose classes and functions may be built. Of
            others, a file's configuration builds this package's parts alone.

    Raises:
        CheckpointError: if there is no readable checkpoint, or it does not fit, or its
            configuration names a part of a module that ``imports`` does not.
        ConfigError: if an override is wrong.
    """

    def load(config: DictConfig, checkpoint: Checkpoint) -> Run:
        # Whatever kernel it attended with, and devices, may not be had here; acting needs none.
        free = OmegaConf.merge(config, {"attention": "auto", "devices": None})
        free = in_folder(free, directory)  # type: ignore[arg-type]
        run = Run(for_devices_here(changed(free, overrides)))
        run.load(checkpoint)
        return run

    return first_readable(directory, step, load, imports=imports)
