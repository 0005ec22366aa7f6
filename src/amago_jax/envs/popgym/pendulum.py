"""Pendulum, half seen: swing it up and hold it there without knowing its velocity.

The dynamics are gymnax's.

Source: Morad et al. 2023, "POPGym" (arXiv 2303.01859), and its package, popgym 1.0.7.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from gymnax.environments import spaces
from gymnax.environments.classic_control import pendulum
from gymnax.environments.classic_control.pendulum import EnvParams, EnvState

from amago_jax.envs.popgym.half_seen import HalfSeen
from amago_jax.types import Array

# The least reward of gymnasium's pendulum: -(pi^2 + 0.1 * 8^2 + 0.001 * 2^2).
LEAST_REWARD = -16.2736044


class Pendulum(HalfSeen, pendulum.Pendulum):
    """A pendulum of which only the direction is seen."""

    def __init__(self, horizon: int = 200, noise: float = 0.0):
        """Fix what is seen.

        Args:
            horizon: steps of every episode.
            noise: standard deviation of what is added to every observation, clipped to [-1, 1].
        """
        super().__init__()
        self.horizon, self.noise = horizon, noise

    def step_env(
        self, key: Array, state: EnvState, action: Any, params: EnvParams
    ) -> tuple[Array, EnvState, Array, Array, dict[Any, Any]]:
        """Apply a torque, float32 ``[1]``; rewards sum up to at least -1 and at most 1."""
        _, state, reward, done, info = super().step_env(key, state, action, params)
        reward = (1.0 - reward / (LEAST_REWARD / 2)) / self.horizon
        return self.observe(key, state, action, params), state, reward, done, info

    def observe(self, key: Array, state: EnvState, action: Any, params: EnvParams) -> Array:
        """Return cosine and sine of the angle from upright, float32 ``[2]``."""
        observation = self.get_obs(state)[:2]
        if self.noise == 0.0:
            return observation
        return jnp.clip(observation + self.noise * jax.random.normal(key, (2,)), -1.0, 1.0)

    @property
    def name(self) -> str:
        """Environment name."""
        return f"{'Noisy' if self.noise else ''}PositionOnlyPendulum-{self.horizon}"

    def observation_space(self, params: EnvParams) -> spaces.Box:
        """Cosine and sine."""
        return spaces.Box(-1.0, 1.0, (2,), jnp.float32)


# Of those that see exactly, the shorter ones are harder.
TASKS: dict[str, Callable[[], Pendulum]] = {
    "PositionOnlyPendulumEasy": Pendulum,
    "PositionOnlyPendulumMedium": functools.partial(Pendulum, horizon=150),
    "PositionOnlyPendulumHard": functools.partial(Pendulum, horizon=100),
    "NoisyPositionOnlyPendulumEasy": functools.partial(Pendulum, noise=0.1),
    "NoisyPositionOnlyPendulumMedium": functools.partial(Pendulum, noise=0.2),
    "NoisyPositionOnlyPendulumHard": functools.partial(Pendulum, noise=0.3),
}
