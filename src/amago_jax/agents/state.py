"""The arrays of an agent, and what the parts of its loss hand to one another."""

from typing import Any

from flax import struct

from amago_jax.models.normalization import PopArt
from amago_jax.types import Array, Params


@struct.dataclass
class AgentState:
    """Every array of the agent.

    Attributes:
        params: trained weights, by module: timestep_encoder, trajectory_encoder, actor, critics;
            extra_losses, if there are any, by their names.
        target_params: slowly following copies of actor and critics.
        statistics: running statistics of the encoders, by module; not trained.
        popart: value normalization.
    """

    params: Params
    target_params: Params
    statistics: Params
    popart: PopArt


@struct.dataclass
class LossDraws:
    """What one loss draws at random, drawn beforehand so that the loss itself is deterministic.

    Attributes:
        critic_subset: int32 ``[B, L, S, G]``, critics that form the target.
        policy_noise: the distribution's noise for ``[K, B, L+1, G]`` actions of the policy; None,
            here and below, if no actions are sampled, because expectations are exact.
        target_noise: likewise for the target policy's actions.
        dropout: the key of dropout and augmentation.
    """

    critic_subset: Array
    policy_noise: Any
    target_noise: Any
    dropout: Array


@struct.dataclass
class Values:
    """What the critics say of one batch.

    Attributes:
        outputs: raw outputs of the critics for the buffer's actions, which their loss reads.
        taken: float32 ``[C, B, L, G]``, Q(s, a) of the buffer's actions in real units.
        policy: float32 ``[C, B, L, G]``, Q(s, a ~ pi) in real units.
        policy_normalized: likewise in normalized units, differentiable through the action alone;
            None if the online term is off.
        advantages: float32 ``[B, L, G]``, A = Q(s, a) - Q(s, a ~ pi), as the filter reads it.
    """

    outputs: Array
    taken: Array
    policy: Array
    policy_normalized: Array | None
    advantages: Array
