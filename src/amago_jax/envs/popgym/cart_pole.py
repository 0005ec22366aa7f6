"""Cart-pole, half seen: balance a pole knowing only positions, or only velocities.

The dynamics are gymnax's.

Source: Morad et al. 2023, "POPGym" (arXiv 2303.01859), and its package, popgym 1.0.7.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments import spaces
from gymnax.environments.classic_control import cartpole
from gymnax.environments.classic_control.cartpole import EnvParams, EnvState

from amago_jax.envs.popgym.half_seen import HalfSeen
from amago_jax.types import Array

# Of [x, x_dot, theta, theta_dot].
POSITIONS, VELOCITIES = (0, 2), (1, 3)


class CartPole(HalfSeen, cartpole.CartPole):
    """A cart-pole of which two of the four numbers are seen."""

    def __init__(self, seen: tuple[int, int], horizon: int = 200, noise: float = 0.0):
        """Fix what is seen.

        Args:
            seen: `POSITIONS` or `VELOCITIES`.
            horizon: steps of the longest episode, in which the best return is 1.
            noise: standard deviation of what is added to every observation; if positive,
                observations are clipped to twice what ends an episode.
        """
        super().__init__()
        self.seen, self.horizon, self.noise = seen, horizon, noise

    def step_env(
        self, key: Array, state: EnvState, action: Any, params: EnvParams
    ) -> tuple[Array, EnvState, Array, Array, dict[Any, Any]]:
        """Push to the left (0) or to the right (1)."""
        _, state, _, done, info = super().step_env(key, state, action, params)
        # popgym would fine steps after the end, which are never made.
        reward = jnp.full((), 1.0 / self.horizon)
        return self.observe(key, state, action, params), state, reward, done, info

    def observe(self, key: Array, state: EnvState, action: Any, params: EnvParams) -> Array:
        """Return what is seen, float32 ``[2]``; ``action`` is None after a reset."""
        # In popgym, even those that see velocities see positions after a reset.
        seen = POSITIONS if action is None else self.seen
        observation = self.get_obs(state)[np.array(seen)]
        if self.noise == 0.0:
            return observation
        observation = observation + self.noise * jax.random.normal(key, (2,))
        high = _bounds(self.seen, params)
        return jnp.clip(observation, -high, high)

    @property
    def name(self) -> str:
        """Environment name."""
        noisy = "Noisy" if self.noise else ""
        seen = "Position" if self.seen == POSITIONS else "Velocity"
        return f"{noisy}{seen}OnlyCartPole-{self.horizon}"

    def observation_space(self, params: EnvParams) -> spaces.Box:
        """See `observe`; popgym bounds positions, beyond where an episode ends."""
        high = _bounds(self.seen, params)
        return spaces.Box(-high, high, (2,), jnp.float32)


def _bounds(seen: tuple[int, int], params: EnvParams) -> Array:
    """Return the largest observation, float32 ``[2]``."""
    positions = (2 * params.x_threshold, 2 * params.theta_threshold_radians)
    return jnp.array(positions if seen == POSITIONS else (jnp.inf, jnp.inf), jnp.float32)


_position_only = functools.partial(CartPole, POSITIONS)
_velocity_only = functools.partial(CartPole, VELOCITIES)

# Noise makes it harder, episodes are no longer then.
TASKS: dict[str, Callable[[], CartPole]] = {
    "PositionOnlyCartPoleEasy": _position_only,
    "PositionOnlyCartPoleMedium": functools.partial(_position_only, horizon=400),
    "PositionOnlyCartPoleHard": functools.partial(_position_only, horizon=600),
    "VelocityOnlyCartPoleEasy": _velocity_only,
    "VelocityOnlyCartPoleMedium": functools.partial(_velocity_only, horizon=400),
    "VelocityOnlyCartPoleHard": functools.partial(_velocity_only, horizon=600),
    "NoisyPositionOnlyCartPoleEasy": functools.partial(_position_only, noise=0.1),
    "NoisyPositionOnlyCartPoleMedium": functools.partial(_position_only, noise=0.2),
    "NoisyPositionOnlyCartPoleHard": functools.partial(_position_only, noise=0.3),
}
