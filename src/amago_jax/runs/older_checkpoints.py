"""Checkpoints of any age: statistics saved as means of squares are converted when read."""

from pathlib import Path
from typing import TypeVar

from amago_jax.agents.moments_of_squares import shapes_with_squares, with_variances
from amago_jax.runs import checkpoints

Tree = TypeVar("Tree")


def restore(directory: str | Path, like: Tree, *, step: int | None = None) -> Tree:
    """Read a checkpoint, see `amago_jax.runs.checkpoints.restore`.

    Bit for bit, but for variances that were saved as means of squares.
    """
    names = checkpoints.read_entries(checkpoints.step_folder(directory, step))
    if not any(name.endswith("/mean_of_squares") for name in names):
        return checkpoints.restore(directory, like, step=step)
    older = checkpoints.restore(directory, shapes_with_squares(like), step=step)
    return with_variances(older)
