"""Arrays of unlike ranks are brought to one rank before they meet, never by NumPy's rules.

Those align axes from the right, whatever was meant; tests forbid it
(``jax_numpy_rank_promotion="raise"``).
"""

import jax
import numpy as np

from amago_jax.types import Array


def align(x: Array | np.ndarray, like: Array | np.ndarray) -> Array:
    """Return ``x`` with the rank of ``like``: axes of length 1 come in front of its own.

    Raises:
        ValueError: if ``x`` has the higher rank.
    """
    if x.ndim > like.ndim:
        raise ValueError(f"an array {x.shape} has a higher rank than {like.shape}")
    return jax.lax.expand_dims(x, range(like.ndim - x.ndim))
