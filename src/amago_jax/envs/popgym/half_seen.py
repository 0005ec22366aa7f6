"""What POPGym's cart-pole and pendulum share: gymnax's dynamics, of which only a part is seen."""

import dataclasses
from typing import Any

import jax

from amago_jax.types import Array


class HalfSeen:
    """Put before one of gymnax's classes: its episodes have a horizon, its state is half seen.

    Attributes:
        horizon: steps of the longest episode.
        noise: standard deviation of what is added to every observation.
    """

    horizon: int
    noise: float

    @property
    def default_params(self) -> Any:
        """Those of gymnax, for as long as the horizon."""
        return dataclasses.replace(super().default_params, max_steps_in_episode=self.horizon)  # type: ignore[misc]

    def reset_env(self, key: Array, params: Any) -> tuple[Array, Any]:
        """Begin as gymnax does."""
        key_state, key_noise = jax.random.split(key)
        _, state = super().reset_env(key_state, params)  # type: ignore[misc]
        return self.observe(key_noise, state, None, params), state

    def observe(self, key: Array, state: Any, action: Any, params: Any) -> Array:
        """Return what is seen; ``action`` is None after a reset."""
        raise NotImplementedError
