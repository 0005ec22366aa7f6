"""The segments of one packed window, and what is asked of them timestep by timestep."""

import jax
import jax.numpy as jnp
from flax import struct

from amago_jax.types import Array


@struct.dataclass
class Segments:
    """Where the segments of one window lie; every timestep knows its segment's bounds.

    Attributes:
        start: int32 ``[W]``, its first timestep.
        end: int32 ``[W]``, its last.
        index: int32 ``[W]``, 0 to W - 1.
    """

    start: Array
    end: Array
    index: Array

    @property
    def is_start(self) -> Array:
        """Whether a timestep is its segment's first, bool ``[W]``."""
        return self.index == self.start

    def before(self, x: Array) -> Array:
        """Return the previous timestep's ``x [W]``, False or 0 at a segment's start."""
        return jnp.where(self.is_start, jnp.zeros_like(x), jnp.roll(x, 1))

    def ever(self, x: Array) -> Array:
        """Whether bool ``x [W]`` held at this timestep or before it in its segment."""
        return jax.lax.cummax(jnp.where(x, self.index, -1)) >= self.start

    def count(self, x: Array) -> Array:
        """How often bool ``x [W]`` held up to this timestep in its segment."""
        total = jnp.cumsum(x, dtype=jnp.int32)
        return total - (total - x)[self.start]

    def most(self, x: Array) -> Array:
        """Return the greatest of ``x [W]`` in the timestep's segment."""
        return jax.ops.segment_max(x, self.start, num_segments=x.shape[0])[self.start]

    def least(self, x: Array) -> Array:
        """Return the least of ``x [W]`` in the timestep's segment."""
        return -self.most(-x)

    def total(self, x: Array) -> Array:
        """Return the sum of ``x [W]`` over the timestep's segment."""
        return jax.ops.segment_sum(x, self.start, num_segments=x.shape[0])[self.start]

    def ranked(self, x: Array) -> Array:
        """Sort ``x [W]`` within its segments, ascending."""
        return x[jnp.lexsort((x, self.start))]


def find_segments(segment_ids: Array) -> Segments:
    """Find the bounds of every timestep's segment in a window ``[W]``."""
    index = jnp.arange(segment_ids.shape[0], dtype=jnp.int32)
    changes = segment_ids[1:] != segment_ids[:-1]
    starts = jnp.pad(changes, (1, 0), constant_values=True)
    ends = jnp.pad(changes, (0, 1), constant_values=True)
    return Segments(
        start=jax.lax.cummax(jnp.where(starts, index, 0)),
        end=jax.lax.cummin(jnp.where(ends, index, index.shape[0]), reverse=True),
        index=index,
    )
