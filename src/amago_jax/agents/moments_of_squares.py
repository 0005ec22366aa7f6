"""Statistics as they were kept before, and as the authors keep them: averages of x and x².

Checkpoints saved before there were variances hold these, and so do the authors' state dicts. What
either holds is exact, so a variance is worked out in float64: no more digits are lost than in what
was saved.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from amago_jax.models.normalization import RunningMoments
from amago_jax.types import Array


@struct.dataclass
class MomentsOfSquares:
    """Exponential moving averages of x and x².

    Attributes:
        mean: float32 ``[F]``, mu.
        mean_of_squares: float32 ``[F]``, nu.
        steps: float32 ``[]``, t: 1 plus the number of updates so far.
    """

    mean: Array
    mean_of_squares: Array
    steps: Array


def shapes_with_squares(tree: Any) -> Any:
    """Return a tree, of shapes or arrays, as one of its kind was before; its values mean nothing.

    Args:
        tree: holds `RunningMoments` wherever statistics are.
    """
    return _replace(
        tree, RunningMoments, lambda new: MomentsOfSquares(new.mean, new.variance, new.steps)
    )


def with_squares(tree: Any) -> Any:
    """Return a tree of arrays with `MomentsOfSquares` for every `RunningMoments`."""

    def convert(new: RunningMoments) -> MomentsOfSquares:
        mean = _double(new.mean) + _double(new.remainder)
        squares = _double(new.variance) + np.square(mean)
        return MomentsOfSquares(new.mean, _like(squares, new.variance), new.steps)

    return _replace(tree, RunningMoments, convert)


def with_variances(tree: Any) -> Any:
    """Return a tree of arrays with `RunningMoments` for every `MomentsOfSquares`.

    What rounding has made less than 0 becomes 0.
    """

    def convert(old: MomentsOfSquares) -> RunningMoments:
        variance = _double(old.mean_of_squares) - np.square(_double(old.mean))
        return RunningMoments(
            mean=old.mean,
            remainder=_like(np.zeros(old.mean.shape), old.mean),
            variance=_like(np.maximum(variance, 0.0), old.mean),
            steps=old.steps,
        )

    return _replace(tree, MomentsOfSquares, convert)


def _replace(tree: Any, kind: type[Any], convert: Callable[[Any], Any]) -> Any:
    def is_kind(part: Any) -> bool:
        return isinstance(part, kind)

    return jax.tree.map(lambda x: convert(x) if is_kind(x) else x, tree, is_leaf=is_kind)


def _double(x: Array) -> np.ndarray:
    return np.asarray(x, np.float64)


def _like(x: np.ndarray, like: Array) -> Array:
    """Return ``x`` in the dtype of an array, where that is, and as free to move."""
    # A program's results are bound to a device if one argument is; given back, it compiles anew.
    return jax.device_put(jnp.asarray(x, like.dtype), like.sharding if like.committed else None)
