"""Brax's environments, by id.

Brax's maintainers point to MuJoCo Playground for new work; these are the environments that
published results are given for.

Source: Brax, Freeman et al. 2021 (arXiv 2106.13281).
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from brax import envs
from gymnax.environments import environment, spaces

from amago_jax.envs.stream import StreamEnv, make_stream_env
from amago_jax.errors import suggest
from amago_jax.settings import Size, checked
from amago_jax.types import Array

_EPISODE_LENGTH = 1000  # what Brax itself wraps its environments in
_UNSUPPORTED = {
    "fast": "it is a stub for Brax's own tests, without physics",
    "swimmer": "Brax's fluids call jnp.clip with an argument that JAX no longer has",
}


class Brax(environment.Environment[Any, None]):
    """An environment of Brax without its wrappers; the state is Brax's."""

    def __init__(self, suite: envs.Env, env_id: str):
        """Wrap an environment of Brax, called ``env_id`` there."""
        super().__init__()
        self.suite, self.env_id = suite, env_id

    def reset_env(self, key: Array, params: None) -> tuple[Any, Any]:
        """Draw a position and velocities."""
        state = self.suite.reset(key)
        return state.obs, state

    def step_env(
        self, key: Array, state: Any, action: Any, params: None
    ) -> tuple[Any, Any, Array, Array, dict[Any, Any]]:
        """Apply forces; Brax's steps draw nothing at random."""
        state = self.suite.step(state, action)
        return state.obs, state, state.reward, state.done > 0, {}

    def is_truncated(self, state: Any, params: None) -> Array:
        """Never: Brax leaves time limits to wrappers, here to the stream's horizon."""
        return jnp.zeros((), bool)

    @property
    def name(self) -> str:
        """Brax's id."""
        return self.env_id

    def action_space(self, params: None = None) -> spaces.Box:
        """Forces, which every environment of Brax scales itself."""
        return spaces.Box(-1.0, 1.0, (self.suite.action_size,), jnp.float32)

    def observation_space(self, params: None) -> spaces.Box:
        """Positions and velocities, unbounded."""
        observation, _ = jax.eval_shape(self.reset_env, jax.random.key(0), None)
        return spaces.Box(-jnp.inf, jnp.inf, observation.shape, observation.dtype)


def list_ids() -> list[str]:
    """Return the ids in Brax's registry that can be streamed."""
    return sorted(set(envs._envs) - set(_UNSUPPORTED))


@checked
def make_brax(
    env_id: str,
    /,
    *,
    horizon: Size = _EPISODE_LENGTH,
    terminate_on_truncation: bool = False,
    kwargs: Mapping[str, Any] | None = None,
) -> StreamEnv:
    """Stream an environment of Brax.

    Args:
        env_id: Brax's id, for example "halfcheetah".
        horizon: the longest episode in transitions.
        terminate_on_truncation: count truncation as termination.
        kwargs: arguments of the environment's constructor, for example ``backend``.

    Raises:
        ValueError: if there is no such environment, or an argument is wrong.
    """
    if env_id in _UNSUPPORTED:
        raise ValueError(f"brax/{env_id} cannot be streamed: {_UNSUPPORTED[env_id]}")
    if env_id not in envs._envs:
        raise ValueError(f"brax has no environment {env_id!r}: {suggest(env_id, list_ids())}")
    try:
        suite = envs.get_environment(env_id, **(kwargs or {}))
    except (TypeError, ValueError) as error:
        raise ValueError(f"brax/{env_id}: kwargs={dict(kwargs or {})}: {error}") from error
    return make_stream_env(
        f"brax/{env_id}",
        Brax(suite, env_id),
        None,
        horizon=horizon,
        terminate_on_truncation=terminate_on_truncation,
    )
