"""Filling arrays up to the sizes that kernels take."""

import jax.numpy as jnp

from amago_jax.types import Array


def pad_axis(x: Array, axis: int, multiple: int) -> Array:
    """Append zeros to an axis until its size is a multiple."""
    fill = -x.shape[axis] % multiple
    return jnp.pad(x, [(0, fill if a == axis else 0) for a in range(x.ndim)])


def power_of_two(size: int, least: int) -> int:
    """Return the least power of two that is no less than ``size``, nor than ``least``, one too."""
    return max(least, 1 << (size - 1).bit_length())
