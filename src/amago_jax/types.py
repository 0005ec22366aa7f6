"""The shapes everything in amago_jax agrees on: one timestep, one training batch.

Letters used throughout: B batch, L transitions in a window (the context length), E parallel
environments, G discount factors, C critics, A action size, K sampled actions, D model width,
H attention heads.
"""

from typing import Any, Literal

import jax
from flax import struct

Array = jax.Array
# What networks compute in. float64 is for tests of gradients, and needs jax_enable_x64.
Dtype = Literal["float32", "bfloat16", "float64"]
# Backends of attention, see `amago_jax.models.attention`, and which of them is best.
Attention = Literal["auto", "dense", "blocks", "pallas", "cudnn", "splash"]
Metrics = dict[str, Array]
Params = dict[str, Any]


@struct.dataclass
class Timestep:
    """Everything the policy knows at the moment it must act.

    Leaves share any number of leading axes ``[...]``. A *stream* is consecutive timesteps of one
    environment. Environments reset on the step after ``is_last`` (the action of that step is
    ignored), so a stream holds every final observation once and nothing twice, and a transition
    is two neighbours of which the second is not ``is_first``.

    Attributes:
        observation: arrays ``[..., *shape]`` by observation key, in the environment's own dtypes.
        previous_action: the action that led here. Discrete: int32 ``[...]``, -1 where there is
            none; continuous: float32 ``[..., A]`` in [-1, 1], 0 where there is none.
        previous_reward: float32 ``[...]``, the reward that action earned; 0 at an episode's start.
        time: int32 ``[...]``, steps since the episode began.
        is_first: bool ``[...]``, the first timestep of an episode.
        is_last: bool ``[...]``, the last timestep of an episode: terminated or truncated.
        terminated: bool ``[...]``, the episode ended here for good: its value is not bootstrapped.
    """

    observation: dict[str, Array]
    previous_action: Array
    previous_reward: Array
    time: Array
    is_first: Array
    is_last: Array
    terminated: Array


@struct.dataclass
class Batch:
    """Windows of a stream, packed: episodes follow one another, told apart by segment ids.

    Attributes:
        timesteps: leaves ``[B, L+1, ...]``.
        segment_ids: int32 ``[B, L+1]``; neighbours of one episode share an id >= 1; 0 is padding.
    """

    timesteps: Timestep
    segment_ids: Array

    @property
    def timestep_mask(self) -> Array:
        """Bool ``[B, L+1]``: where a timestep is not padding."""
        return self.segment_ids > 0

    @property
    def transition_mask(self) -> Array:
        """Bool ``[B, L]``: where timesteps t and t+1 belong to one episode."""
        return (self.segment_ids[:, 1:] == self.segment_ids[:, :-1]) & self.timestep_mask[:, :-1]
