"""Observations that are codes: whole numbers that name things, and mean nothing as numbers.

Environments say so in their observation space: `Codes`, or gymnax's own ``Discrete``.
"""

from typing import Any

import jax.numpy as jnp
from gymnax.environments import spaces

from amago_jax.envs.stream import StreamEnv


class Codes(spaces.Box):
    """Whole numbers from 0 on, each of which names something: what a cell of a grid holds."""

    def __init__(self, count: int, shape: tuple[int, ...], dtype: Any, *, none: bool = False):
        """Say how many there are.

        Args:
            count: K, codes from 0 to K-1.
            shape: of an observation.
            dtype: of whole numbers.
            none: -1 occurs as well, and stands for nothing.
        """
        super().__init__(-1 if none else 0, count - 1, shape, dtype)
        self.count = count


def codes_of(env: StreamEnv) -> dict[str, int]:
    """Return how many codes there are, by key of the observations that are codes.

    Args:
        env: the environment.
    """
    counts = {key: _count(space) for key, space in observation_spaces(env).items()}
    shapes = env.observation_shapes
    return {
        key: count
        for key, count in sorted(counts.items())
        if count and key in shapes and jnp.issubdtype(shapes[key].dtype, jnp.integer)
    }


def observation_spaces(env: StreamEnv) -> dict[str, spaces.Space]:
    """Return the space of each observation, by key, as far as the environment states any."""
    try:
        space = env.env.observation_space(env.params)
    except (AttributeError, NotImplementedError):
        return {}
    return dict(space.spaces) if isinstance(space, spaces.Dict) else {"observation": space}


def _count(space: spaces.Space) -> int:
    if isinstance(space, Codes):
        return space.count
    return int(space.n) if isinstance(space, spaces.Discrete) else 0
