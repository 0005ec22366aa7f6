"""Craftax's four environments, by id.

Source: Craftax, Matthews et al. 2024 (arXiv 2402.16801).
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
from craftax.craftax_env import make_craftax_env_from_name
from gymnax.environments import environment, spaces

from amago_jax.envs.stream import StreamEnv, make_stream_env
from amago_jax.errors import suggest
from amago_jax.settings import Size, checked
from amago_jax.types import Array

_IDS = (
    "Craftax-Classic-Pixels-v1",
    "Craftax-Classic-Symbolic-v1",
    "Craftax-Pixels-v1",
    "Craftax-Symbolic-v1",
)
_NEVER = 2**31 - 1


class Craftax(environment.Environment[Any, Any]):
    """Craftax, whose time limit is told apart from the player's end.

    Observations are Craftax's own: symbolic float32 ``[F]``, or pixels, which it scales to [0, 1]
    and which are kept here as uint8 ``[H, W, 3]``, four times smaller.
    """

    def __init__(self, env_id: str):
        """Make the suite's environment.

        Args:
            env_id: Craftax's id.
        """
        super().__init__()
        self.suite = make_craftax_env_from_name(env_id, auto_reset=False)
        self.env_id, self.pixels = env_id, "Pixels" in env_id

    @property
    def default_params(self) -> Any:
        """Craftax's own."""
        return self.suite.default_params

    def reset_env(self, key: Array, params: Any) -> tuple[Array, Any]:
        """Make a world."""
        observation, state = self.suite.reset_env(key, params)
        return self._seen(observation), state

    def step_env(
        self, key: Array, state: Any, action: Any, params: Any
    ) -> tuple[Array, Any, Array, Array, dict[Any, Any]]:
        """Play a step; the episode terminates as Craftax's would without a time limit."""
        observation, state, reward, _, _ = self.suite.step_env(key, state, action, params)
        unlimited = dataclasses.replace(params, max_timesteps=_NEVER)
        terminated = self.suite.is_terminal(state, unlimited)
        return self._seen(observation), state, reward, terminated, {}

    def is_truncated(self, state: Any, params: Any) -> Array:
        """Whether the time is up."""
        return state.timestep >= params.max_timesteps

    def episode_metrics(self, state: Any, params: Any) -> dict[str, Array]:
        """Return how many of the achievements there are were unlocked."""
        return {"achievements": state.achievements.sum()}

    @property
    def name(self) -> str:
        """Craftax's id."""
        return self.env_id

    @property
    def num_actions(self) -> int:
        """Craftax's own."""
        return self.suite.num_actions

    def action_space(self, params: Any = None) -> spaces.Discrete:
        """Craftax's own."""
        return spaces.Discrete(self.num_actions)

    def observation_space(self, params: Any) -> spaces.Box:
        """Pixels from 0 to 255, or symbols from 0 to 1."""
        shape = self.suite.observation_space(params).shape
        if self.pixels:
            return spaces.Box(0, 255, shape, jnp.uint8)
        return spaces.Box(0.0, 1.0, shape, jnp.float32)

    def _seen(self, observation: Array) -> Array:
        return jnp.round(255 * observation).astype(jnp.uint8) if self.pixels else observation


def list_ids() -> list[str]:
    """Return Craftax's ids; it has no registry."""
    return list(_IDS)


@checked
def make_craftax(
    env_id: str,
    /,
    *,
    limit: Size | None = None,
    terminate_on_truncation: bool = False,
) -> StreamEnv:
    """Stream a Craftax environment.

    Args:
        env_id: Craftax's id, for example "Craftax-Symbolic-v1".
        limit: steps of the longest episode; None for Craftax's own.
        terminate_on_truncation: count truncation as termination.

    Raises:
        ValueError: if there is no such environment, or the limit is out of range.
    """
    if env_id not in _IDS:
        raise ValueError(f"craftax has no environment {env_id!r}: {suggest(env_id, _IDS)}")
    env = Craftax(env_id)
    params = env.default_params
    if limit is not None:
        params = dataclasses.replace(params, max_timesteps=limit)
    return make_stream_env(
        f"craftax/{env_id}",
        env,
        params,
        horizon=params.max_timesteps,
        terminate_on_truncation=terminate_on_truncation,
        expensive_reset=True,
    )
