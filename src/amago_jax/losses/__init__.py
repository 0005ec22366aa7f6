"""Losses as free functions of arrays."""

from amago_jax.losses.actor_critic import (
    binned_critic_loss,
    critic_loss,
    masked_mean,
    offline_actor_loss,
    online_actor_loss,
    subset_values,
)
from amago_jax.losses.returns import n_step_returns

__all__ = [
    "binned_critic_loss",
    "critic_loss",
    "masked_mean",
    "n_step_returns",
    "offline_actor_loss",
    "online_actor_loss",
    "subset_values",
]
