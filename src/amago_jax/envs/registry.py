"""Every environment by id: one line each."""

import contextlib
import importlib
import io
from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType
from typing import Any

import gymnax

from amago_jax.envs.adapters.gymnax import make_gymnax
from amago_jax.envs.goals.maze_runner import make_maze_runner
from amago_jax.envs.goals.package_delivery import make_package_delivery
from amago_jax.envs.memory.tmaze import make_tmaze
from amago_jax.envs.meta.dark_key_door import make_dark_key_door
from amago_jax.envs.meta.frozen_lake import make_frozen_lake
from amago_jax.envs.meta.gymnax import make_meta_gymnax
from amago_jax.envs.meta.wind import make_wind
from amago_jax.envs.popgym import tasks as popgym
from amago_jax.envs.popgym.multidomain import make_multidomain
from amago_jax.envs.stream import StreamEnv
from amago_jax.errors import MissingExtraError, how_to_install, suggest
from amago_jax.settings import Signature, check_part, signature_of

Factory = Callable[..., StreamEnv]

# A factory's keyword arguments are the environment's settings.
_FACTORIES: dict[str, Factory] = {
    "goals/maze_runner": make_maze_runner,
    "goals/package_delivery": make_package_delivery,
    "meta/dark_key_door": make_dark_key_door,
    "meta/frozen_lake": make_frozen_lake,
    "meta/gymnax": make_meta_gymnax,
    "meta/wind": make_wind,
    "popgym/multidomain": make_multidomain,
    **{f"popgym/{task}": partial(popgym.make_popgym, task) for task in popgym.TASKS},
    "tmaze/passive": partial(make_tmaze, False),
    "tmaze/active": partial(make_tmaze, True),
}

# Those that need an extra of the package: the extra, the module, and its factory.
_OPTIONAL: dict[str, tuple[str, str, str]] = {
    "meta/half_cheetah_velocity": (
        "mjx",
        "amago_jax.envs.meta.half_cheetah_velocity",
        "make_half_cheetah_velocity",
    ),
    "meta/xland_minigrid": (
        "xminigrid",
        "amago_jax.envs.meta.xland_minigrid",
        "make_xland_minigrid",
    ),
    "goals/crafter": ("craftax", "amago_jax.envs.goals.crafter", "make_symbolic_crafter"),
    "goals/crafter_pixels": ("craftax", "amago_jax.envs.goals.crafter", "make_pixel_crafter"),
}

# Other packages' environments, ids "<suite>/<the package's own id>". Of each there are an extra
# and a module in adapters, with `list_ids` and `make_<suite>`; it is imported when first needed,
# as some take seconds.
SUITES = ("brax", "craftax", "jumanji", "navix", "xminigrid")


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
    check_part(factory, settings, of=env_id)
    return factory(**settings)


def check_settings(env_id: str, settings: Mapping[str, Any], prefix: str = "") -> None:
    """Check an environment's settings, and make nothing.

    Args:
        env_id: one of `list_ids`.
        settings: its own, by name.
        prefix: what stands before their names.

    Raises:
        ValueError: see `make`; what settings come to together, only the environment knows.
    """
    check_part(_find(env_id), settings, of=env_id, prefix=prefix)


def signature(env_id: str) -> Signature:
    """Return which settings an environment has.

    Raises:
        ValueError: if there is none, or it needs an extra that is not installed.
    """
    return signature_of(_find(env_id))


def register(env_id: str, factory: Factory) -> None:
    """Add an environment.

    Args:
        env_id: a new id.
        factory: called with the settings as keyword arguments; its signature says which exist.

    Raises:
        ValueError: if the id is taken.
    """
    if env_id in list_ids(suites=False):
        raise ValueError(f"there already is an environment {env_id!r}")
    _FACTORIES[env_id] = factory


def list_ids(*, suites: bool = True) -> list[str]:
    """Return the id of every environment, sorted; some of ours need an extra to be made.

    Args:
        suites: also those of the other packages that are installed, which are imported for it.
    """
    found = {*_of_gymnax(), *_FACTORIES, *_OPTIONAL}
    if suites:
        for suite in SUITES:
            with contextlib.suppress(MissingExtraError):
                found.update(f"{suite}/{env_id}" for env_id in _adapter(suite).list_ids())
    return sorted(found)


def missing_suites() -> list[str]:
    """Return which of `SUITES` are not installed."""
    missing = []
    for suite in SUITES:
        try:
            _adapter(suite)
        except MissingExtraError:
            missing.append(suite)
    return missing


def _find(env_id: str) -> Factory:
    known = {**_of_gymnax(), **_FACTORIES}
    suite, _, suite_id = env_id.partition("/")
    if env_id in known:
        return known[env_id]
    if env_id in _OPTIONAL:
        extra, module, name = _OPTIONAL[env_id]
        return getattr(_import(env_id, extra, module), name)
    if suite in SUITES:
        return partial(getattr(_adapter(suite, env_id), f"make_{suite}"), suite_id)
    ids = [*list_ids(suites=False), *(f"{suite}/..." for suite in SUITES)]
    raise ValueError(f"there is no environment {env_id!r}: {suggest(env_id, ids)}")


def _adapter(suite: str, env_id: str = "") -> ModuleType:
    return _import(env_id or f"{suite}/...", suite, f"amago_jax.envs.adapters.{suite}")


def _import(env_id: str, extra: str, module: str) -> ModuleType:
    try:
        # Some print what else could have been installed.
        with contextlib.redirect_stdout(io.StringIO()):
            return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{env_id} needs the extra {extra!r} ({error}): {how_to_install(extra)}"
        ) from error


def _of_gymnax() -> dict[str, Factory]:
    # gymnax's registry is looked up anew: it can be added to as well.
    return {f"gymnax/{id_}": partial(make_gymnax, id_) for id_ in gymnax.registered_envs}
