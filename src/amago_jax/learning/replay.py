"""A ring buffer of the stream on the device, sampled as packed windows.

One row per environment; all rows are written together. A window begins at an episode's start and
goes on into the episodes that follow, so that no padding is computed; an episode longer than the
window is seen through windows at random places in it, which `Starts` chooses.

Source: AMAGO, section 3 (off-policy learning from sliding windows of whole rollouts); sequence
packing as in Krell et al. 2021, arXiv 2107.02027. The manner is that of flashbax.
"""

import dataclasses
from typing import Annotated, Literal

import chex
import jax
import jax.numpy as jnp
from flax import struct

from amago_jax.kinds import Whole
from amago_jax.settings import Size, check_fields
from amago_jax.types import Array, Batch, Timestep

Starts = Literal["inside", "across", "anywhere"]
"""Where a window may begin, once an episode is drawn by its length.

- ``inside``, the original's: where it lies wholly inside an episode that is longer than it, and
  else at the episode's start. An end of a long episode is in few of its windows: the first and the
  last of n timesteps in one of n - W + 1 each, those between in up to W.
- ``across``: anywhere in an episode that is longer, going on into the next one. Where all episodes
  are longer, every timestep is as likely as any other.
- ``anywhere``: at any timestep, so that this holds whatever the episodes; short ones lose their
  beginnings, and what is to be remembered of them, in most windows that begin in them.
"""


@struct.dataclass
class ReplayState:
    """A ring of timesteps, and where its episodes lie.

    An *age* counts stored timesteps from the oldest, 0, to the newest.

    Attributes:
        timesteps: leaves ``[E, capacity, ...]``, by place in the ring.
        episode_start: int32 ``[E, capacity]``, by age: the age at which the episode begins, or
            what the ring still holds of it.
        window_starts: int32 ``[E, capacity]``, by age: how many places in the episode a window
            may begin at, counted from its start.
        written: int32 ``[]``, timesteps ever written per environment.
    """

    timesteps: Timestep
    episode_start: Array
    window_starts: Array
    written: Array


@dataclasses.dataclass(frozen=True)
class Replay:
    """The ring buffer's description; its methods are pure functions of `ReplayState`.

    Attributes:
        capacity: timesteps kept per environment.
        window: timesteps in a sampled window, L + 1.
        starts: where windows may begin.

    Raises:
        ValueError: if a size is not what its annotation says, or a window does not fit the ring.
    """

    capacity: Size
    window: Annotated[int, Whole(2)]
    starts: Starts = "inside"

    def __post_init__(self) -> None:
        """Check the sizes."""
        check_fields(self)
        if self.window > self.capacity:
            raise ValueError(f"window={self.window} must be at most capacity={self.capacity}")

    def init(self, timestep: Timestep) -> ReplayState:
        """Return an empty ring.

        Args:
            timestep: an example, leaves ``[E, ...]``; only shapes and dtypes matter.
        """
        envs = timestep.time.shape[0]

        def ring(x: Array) -> Array:
            return jnp.zeros((envs, self.capacity, *x.shape[1:]), x.dtype)

        return ReplayState(
            timesteps=jax.tree.map(ring, timestep),
            episode_start=jnp.zeros((envs, self.capacity), jnp.int32),
            window_starts=jnp.ones((envs, self.capacity), jnp.int32),
            written=jnp.zeros((), jnp.int32),
        )

    def add(self, state: ReplayState, timesteps: Timestep) -> ReplayState:
        """Write the next timesteps of every environment over the oldest.

        Args:
            state: the ring.
            timesteps: leaves ``[E, T, ...]``, T at most the capacity.

        Returns:
            The ring after.

        Raises:
            ValueError: if T exceeds the capacity.
            AssertionError: if a leaf's shape or dtype is not that of the ring.
        """
        steps = timesteps.time.shape[1]
        chex.assert_trees_all_equal_structs(state.timesteps, timesteps)
        if steps > self.capacity:
            raise ValueError(f"{steps} timesteps do not fit capacity={self.capacity}")
        places = (state.written + jnp.arange(steps)) % self.capacity

        def write(ring: Array, new: Array) -> Array:
            # Against the ring's own rows: fewer would broadcast silently.
            chex.assert_shape(new, (ring.shape[0], steps, *ring.shape[2:]))
            chex.assert_type(new, ring.dtype)
            return ring.at[:, places].set(new, unique_indices=True)

        stored = jax.tree.map(write, state.timesteps, timesteps)
        written = state.written + steps
        episode_start, window_starts = self._episodes(stored.is_first, written)
        return ReplayState(stored, episode_start, window_starts, written)

    def sample(self, state: ReplayState, key: Array, batch_size: int) -> Batch:
        """Draw windows: an episode by its length, then a place in it.

        Every stored transition can be drawn. Where the newest timestep meets the oldest, a window
        goes on with the oldest as another segment; so only a ring that holds less than a window
        gives padding.

        Args:
            state: the ring, written at least once.
            key: a random key.
            batch_size: B.

        Returns:
            Windows of `window` timesteps.
        """
        key_row, key_age, key_place = jax.random.split(key, 3)
        rows = jax.random.randint(key_row, (batch_size,), 0, state.episode_start.shape[0])
        age = jax.random.randint(key_age, (batch_size,), 0, self.size(state))
        places = jax.random.randint(key_place, (batch_size,), 0, state.window_starts[rows, age])
        return self.windows(state, rows, state.episode_start[rows, age] + places)

    def windows(self, state: ReplayState, rows: Array, starts: Array) -> Batch:
        """Return the windows of ``rows [B]`` that begin at the ages ``starts [B]``."""
        size = self.size(state)
        steps = jnp.arange(self.window)[None]
        ages = (starts[:, None] + steps) % size
        places = (self._oldest(state.written) + ages) % self.capacity
        timesteps = jax.tree.map(lambda ring: ring[rows[:, None], places], state.timesteps)
        begins = (timesteps.is_first | (ages == 0)) & (steps > 0)
        segment_ids = 1 + jnp.cumsum(begins, axis=1, dtype=jnp.int32)
        return Batch(timesteps, jnp.where(steps < size, segment_ids, 0))

    def size(self, state: ReplayState) -> Array:
        """Return the timesteps stored per environment, int32 ``[]``."""
        return jnp.minimum(state.written, self.capacity)

    def _oldest(self, written: Array) -> Array:
        """Place of the oldest timestep: 0 until the ring is full, then the next to be written."""
        return jnp.where(written > self.capacity, written % self.capacity, 0)

    def _episodes(self, is_first: Array, written: Array) -> tuple[Array, Array]:
        """Return, by age, where the episode begins and how many places windows may begin at."""
        ages = jnp.arange(self.capacity)[None]
        size = jnp.minimum(written, self.capacity)
        first = is_first[:, (self._oldest(written) + ages[0]) % self.capacity]
        # What is left of an episode whose start was overwritten is sampled as an episode too.
        first = jnp.where(ages < size, first | (ages == 0), True)
        start = jax.lax.cummax(jnp.where(first, ages, 0), axis=1)
        # The end is the next start: the earliest of those at a greater age.
        later = jnp.where(first, jnp.minimum(ages, size), size)[:, 1:]
        later = jnp.pad(later, ((0, 0), (0, 1)), constant_values=self.capacity)
        end = jnp.minimum(jax.lax.cummin(later, axis=1, reverse=True), size)
        length = end - start
        if self.starts == "anywhere":
            return start, jnp.maximum(length, 1)
        if self.starts == "across":
            return start, jnp.where(length > self.window, length, 1)
        return start, jnp.maximum(length - (self.window - 1), 1)
