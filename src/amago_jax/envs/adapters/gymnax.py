"""gymnax's own environments, by id."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import gymnax

from amago_jax.envs.stream import StreamEnv, make_stream_env
from amago_jax.errors import suggest
from amago_jax.settings import Size, check, checked, signature_of

# Where episodes always end before max_steps_in_episode. A tight horizon is a tight context.
_HORIZONS: dict[str, Callable[[Any], int]] = {
    "MemoryChain-bsuite": lambda params: params.memory_length + 1,
}


def make(
    env_id: str, params: Mapping[str, Any] | None = None, **env_kwargs: Any
) -> tuple[Any, Any]:
    """Make a gymnax environment.

    Args:
        env_id: gymnax's id, for example "CartPole-v1".
        params: what to change in the environment's default parameters, by name.
        **env_kwargs: arguments of the environment's constructor.

    Returns:
        The environment and its parameters.

    Raises:
        ValueError: if the id, a parameter or a constructor's argument does not exist, or a
            parameter is not what its annotation says.
    """
    if env_id not in gymnax.registered_envs:
        raise ValueError(
            f"gymnax has no environment {env_id!r}: {suggest(env_id, gymnax.registered_envs)}"
        )
    try:
        env, defaults = gymnax.make(env_id, **env_kwargs)
    except TypeError as error:
        raise ValueError(f"gymnax/{env_id}: kwargs={env_kwargs}: {error}") from error
    known = signature_of(type(defaults)).settings
    for name, value in (params or {}).items():
        if name not in known:
            raise ValueError(
                f"gymnax/{env_id} has no parameter {name!r} (={value!r}): {suggest(name, known)}"
            )
        check(f"gymnax/{env_id}: {name}", value, known[name].annotation)
    return env, dataclasses.replace(defaults, **(params or {}))


@checked
def make_gymnax(
    env_id: str,
    /,
    *,
    params: Mapping[str, Any] | None = None,
    horizon: Size | None = None,
    terminate_on_truncation: bool = False,
    kwargs: Mapping[str, Any] | None = None,
) -> StreamEnv:
    """Stream a gymnax environment.

    Args:
        env_id: gymnax's id, for example "CartPole-v1".
        params: what to change in the environment's default parameters, by name.
        horizon: the longest episode in transitions; None for the environment's own.
        terminate_on_truncation: count truncation as termination.
        kwargs: arguments of the environment's constructor.

    Returns:
        The environment as a stream.

    Raises:
        ValueError: if a name does not exist or the environment cannot be streamed.
    """
    env, env_params = make(env_id, params, **(kwargs or {}))
    if horizon is None and env_id in _HORIZONS:
        horizon = min(_HORIZONS[env_id](env_params), env_params.max_steps_in_episode)
    return make_stream_env(
        f"gymnax/{env_id}",
        env,
        env_params,
        horizon=horizon,
        terminate_on_truncation=terminate_on_truncation,
    )
