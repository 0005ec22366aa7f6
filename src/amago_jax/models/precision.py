"""What is summed in float32 whatever the networks compute in, or wider if they are.

Source: Björck et al. 2021, arXiv 2102.13565, on what fails in half precision.
"""

from typing import Any

import jax.numpy as jnp

from amago_jax.types import Array


def sum_dtype(x: Array) -> Any:
    """Return the dtype to sum products of ``x`` in: float32, or that of x if it is wider."""
    return jnp.promote_types(x.dtype, jnp.float32)


def at_least_float32(x: Array) -> Array:
    """Cast ``x`` up to float32, if it is narrower."""
    return x.astype(sum_dtype(x))
