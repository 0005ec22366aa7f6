"""A logarithm for numbers of both signs, and its inverse.

Source: Hafner et al. 2023, arXiv 2301.04104.
"""

import jax.numpy as jnp

from amago_jax.types import Array


def symlog(x: Array) -> Array:
    """Return sign(x) log(1 + |x|)."""
    return jnp.sign(x) * jnp.log1p(jnp.abs(x))


def symexp(x: Array) -> Array:
    """Return sign(x) (exp(|x|) - 1), the inverse of symlog."""
    return jnp.sign(x) * jnp.expm1(jnp.abs(x))
