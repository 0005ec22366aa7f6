"""Multiarmed bandit: find out which bandits pay most often, and play those.

Source: Morad et al. 2023, "POPGym" (arXiv 2303.01859), and its package, popgym 1.0.7.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments import environment, spaces

from amago_jax.types import Array


@struct.dataclass
class EnvState:
    """The bandits.

    Attributes:
        chances: float32 ``[bandits]``, how likely each one is to pay.
        time: int32 ``[]``, steps since the episode began.
    """

    chances: Array
    time: Array


class MultiarmedBandit(environment.Environment[EnvState, environment.EnvParams]):
    """Bandits that pay or take the same amount, some more often than others."""

    def __init__(self, bandits: int, horizon: int):
        """Fix the shapes.

        Args:
            bandits: to choose from.
            horizon: steps of every episode.
        """
        super().__init__()
        self.bandits, self.horizon = bandits, horizon

    @property
    def default_params(self) -> environment.EnvParams:
        """The steps of every episode."""
        return environment.EnvParams(max_steps_in_episode=self.horizon)

    def reset_env(self, key: Array, params: environment.EnvParams) -> tuple[Array, EnvState]:
        """Draw how likely each bandit is to pay, uniformly."""
        state = EnvState(chances=jax.random.uniform(key, (self.bandits,)), time=jnp.int32(0))
        return jax.nn.one_hot(0, 2), state

    def step_env(
        self, key: Array, state: EnvState, action: Any, params: environment.EnvParams
    ) -> tuple[Array, EnvState, Array, Array, dict[Any, Any]]:
        """Play bandit ``action``."""
        pays = jax.random.uniform(key) < state.chances[action]
        reward = jnp.where(pays, 1.0 / self.horizon, -1.0 / self.horizon)
        state = dataclasses.replace(state, time=state.time + 1)
        done = self.is_terminated(state, params)
        return jax.nn.one_hot(jnp.int32(pays), 2), state, reward, done, {}

    def is_terminated(self, state: EnvState, params: environment.EnvParams) -> Array:
        """Never: episodes end when the time is up."""
        return jnp.zeros((), bool)

    @property
    def name(self) -> str:
        """Environment name."""
        return f"MultiarmedBandit-{self.bandits}"

    @property
    def num_actions(self) -> int:
        """One for each bandit."""
        return self.bandits

    def action_space(self, params: environment.EnvParams | None = None) -> spaces.Discrete:
        """One action for each bandit."""
        return spaces.Discrete(self.num_actions)

    def observation_space(self, params: environment.EnvParams) -> spaces.Box:
        """[did not pay, paid], float32 ``[2]``."""
        return spaces.Box(0.0, 1.0, (2,), jnp.float32)


TASKS: dict[str, Callable[[], MultiarmedBandit]] = {
    "MultiarmedBanditEasy": functools.partial(MultiarmedBandit, 10, 200),
    "MultiarmedBanditMedium": functools.partial(MultiarmedBandit, 20, 400),
    "MultiarmedBanditHard": functools.partial(MultiarmedBandit, 30, 600),
}
