"""Filters f(A): how strongly the offline actor term imitates an action, given its advantage.

Source: Critic-Regularized Regression, arXiv 2006.15134; AMAGO, section 3.
"""

import jax.numpy as jnp

from amago_jax.types import Array


def binary_filter(advantage: Array) -> Array:
    """Imitate what is better than the policy: 1 where A > 0, else 0; any shape."""
    return (advantage > 0).astype(advantage.dtype)


def exponential_filter(
    advantage: Array,
    beta: float = 1.0,
    advantage_range: tuple[float, float] = (-jnp.inf, jnp.inf),
    weight_range: tuple[float, float] = (1e-7, jnp.inf),
) -> Array:
    """Imitate in proportion to exp(beta A), with advantages and weights clipped; any shape."""
    return jnp.clip(jnp.exp(beta * jnp.clip(advantage, *advantage_range)), *weight_range)


def no_filter(advantage: Array) -> Array:
    """Imitate everything alike (behaviour cloning): 1; any shape."""
    return jnp.ones_like(advantage)
