"""Checkpoints of any age: statistics saved as means of squares are converted when read."""

from typing import TypeVar

from amago_jax.agents.moments_of_squares import shapes_with_squares, with_variances
from amago_jax.runs.checkpoints import Checkpoint

Tree = TypeVar("Tree")


def restore(checkpoint: Checkpoint, like: Tree) -> Tree:
    """Read the learner of a checkpoint, see `Checkpoint.restore`.

    Bit for bit, but for variances that were saved as means of squares.
    """
    if not any(name.endswith("/mean_of_squares") for name in checkpoint.entries()):
        return checkpoint.restore(like)
    return with_variances(checkpoint.restore(shapes_with_squares(like)))
