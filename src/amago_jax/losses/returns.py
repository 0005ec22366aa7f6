"""Multi-step returns over packed windows."""

import chex
import jax.numpy as jnp

from amago_jax.axes import align
from amago_jax.types import Array


def n_step_returns(
    rewards: Array, terminated: Array, mask: Array, next_values: Array, gammas: Array, n: int
) -> Array:
    """Bootstrapped n-step returns, cut at termination and at the last valid transition.

    y_t = sum_{i<k} gamma^i r_{t+i} + gamma^k (1 - d_{t+k-1}) q'_{t+k}, with k <= n the steps until
    n, termination or the last valid transition, whichever comes first.

    Source: AMAGO, section 3; the return is that of Sutton and Barto, section 7.1.

    Args:
        rewards: float32 ``[B, L]``, of the transition from t to t+1.
        terminated: bool ``[B, L]``, the transition ended its episode for good.
        mask: bool ``[B, L]``, valid transitions; an episode's form one run.
        next_values: float32 ``[B, L, G]``, q' at timestep t+1.
        gammas: float32 ``[G]``.
        n: the most steps taken before bootstrapping, at least 1.

    Returns:
        float32 ``[B, L, G]``; meaningless where the mask is off.
    """
    chex.assert_equal_shape([rewards, terminated, mask])
    chex.assert_rank(rewards, 2)
    chex.assert_shape(next_values, (*rewards.shape, *gammas.shape))
    reward, gamma = rewards[..., None], align(gammas, next_values)
    bootstrap = gamma * (1.0 - terminated[..., None]) * next_values
    # A return goes on past t if the next transition is valid and this one did not terminate.
    following = jnp.concatenate([mask[:, 1:], jnp.zeros_like(mask[:, :1])], axis=1)
    goes_on = (following & ~terminated)[..., None]
    returns = reward + bootstrap
    for _ in range(n - 1):
        later = jnp.concatenate([returns[:, 1:], jnp.zeros_like(returns[:, :1])], axis=1)
        returns = jnp.where(goes_on, reward + gamma * later, reward + bootstrap)
    return returns
