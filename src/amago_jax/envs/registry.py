"""Every environment by id: one line each."""

import importlib
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnax

from amago_jax.envs.adapters.gymnax import make_gymnax
from amago_jax.envs.goals.maze_runner import make_maze_runner
from amago_jax.envs.goals.package_delivery import make_package_delivery
from amago_jax.envs.memory.tmaze import make_tmaze
from amago_jax.envs.popgym import tasks as popgym
from amago_jax.envs.popgym.multidomain import make_multidomain
from amago_jax.envs.stream import StreamEnv
from amago_jax.envs.suggestions import suggest

Factory = Callable[..., StreamEnv]

# A factory's keyword arguments are the environment's settings.
_FACTORIES: dict[str, Factory] = {
    "goals/maze_runner": make_maze_runner,
    "goals/package_delivery": make_package_delivery,
    "popgym/multidomain": make_multidomain,
    **{f"popgym/{task}": partial(popgym.make_popgym, task) for task in popgym.TASKS},
    "tmaze/passive": partial(make_tmaze, False),
    "tmaze/active": partial(make_tmaze, True),
}

# Those that need an extra of the package: the extra, the module, and its factory.
_OPTIONAL: dict[str, tuple[str, str, str]] = {
    "goals/crafter": ("craftax", "amago_jax.envs.goals.crafter", "make_crafter"),
}


def make(env_id: str, **settings: Any) -> StreamEnv:
    """Make an environment.

    Args:
        env_id: one of `list_ids`.
        **settings: the environment's own, for example ``corridor_length=100``.

    Returns:
        The environment as a stream.

    Raises:
        ValueError: if the id or a setting does not exist, a setting is out of range, or the
            environment needs an extra that is not installed.
    """
    factory = _find(env_id)
    parameters = inspect.signature(factory).parameters.values()
    known = [p.name for p in parameters if p.kind is not p.VAR_KEYWORD]
    for name, value in settings.items():
        if name not in known and len(known) == len(parameters):
            raise ValueError(
                f"{env_id} has no setting {name!r} (={value!r}): {suggest(name, known)}"
            )
    return factory(**settings)


def register(env_id: str, factory: Factory) -> None:
    """Add an environment.

    Args:
        env_id: a new id.
        factory: called with the settings as keyword arguments; its signature says which exist.

    Raises:
        ValueError: if the id is taken.
    """
    if env_id in list_ids():
        raise ValueError(f"there already is an environment {env_id!r}")
    _FACTORIES[env_id] = factory


def list_ids() -> list[str]:
    """Return the id of every environment, sorted."""
    return sorted({*_of_gymnax(), *_FACTORIES, *_OPTIONAL})


def _find(env_id: str) -> Factory:
    known = {**_of_gymnax(), **_FACTORIES}
    if env_id in known:
        return known[env_id]
    if env_id not in _OPTIONAL:
        raise ValueError(f"there is no environment {env_id!r}: {suggest(env_id, list_ids())}")
    extra, module, name = _OPTIONAL[env_id]
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise ValueError(
            f"{env_id} needs the extra {extra!r} ({error}): pip install '.[{extra}]'"
        ) from error


def _of_gymnax() -> dict[str, Factory]:
    # gymnax's registry is looked up anew: it can be added to as well.
    return {f"gymnax/{id_}": partial(make_gymnax, id_) for id_ in gymnax.registered_envs}
