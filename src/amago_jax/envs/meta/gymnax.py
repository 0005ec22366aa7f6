"""Meta-episodes of any gymnax environment."""

from collections.abc import Mapping
from typing import Any

from amago_jax.envs.adapters import gymnax as adapter
from amago_jax.envs.meta.meta_episode import HeldReset, make_meta_env
from amago_jax.envs.stream import StreamEnv
from amago_jax.settings import Name, Size, checked


@checked
def make_meta_gymnax(
    *,
    name: Name = "MetaMaze-misc",
    attempts: Size | None = 5,
    budget: Size | None = None,
    attempt_limit: Size | None = None,
    params: Mapping[str, Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
) -> StreamEnv:
    """Make meta-episodes of a gymnax environment: every attempt begins with the same reset.

    So the task is whatever a reset draws: in MetaMaze, for example, where the hidden goal is. An
    environment of your own with a finer idea of a task is made with `make_meta_env` and put under
    an id by `amago_jax.envs.register`.

    Args:
        name: gymnax's id.
        attempts: k, after which a meta-episode ends; or
        budget: steps, after which a meta-episode ends.
        attempt_limit: steps after which an attempt ends; None for the environment's own limit.
        params: what to change in the environment's default parameters, by name.
        kwargs: arguments of the environment's constructor.

    Returns:
        The environment. An attempt has succeeded if its return is greater than 0.

    Raises:
        ValueError: if a name does not exist or a number is out of range.
    """
    env, env_params = adapter.make(name, params, **(kwargs or {}))
    if attempt_limit is None:
        attempt_limit = int(env_params.max_steps_in_episode)
    return make_meta_env(
        "meta/gymnax",
        HeldReset(env),
        env_params,
        attempts=attempts,
        budget=budget,
        attempt_limit=attempt_limit,
        expensive_reset=True,
    )
