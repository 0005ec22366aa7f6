"""Configuration: a run's settings, composed from conf/ and overrides.

What does not exist, or is malformed, is said in one sentence with the nearest that would work.
"""

import difflib
import functools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from amago_jax import envs
from amago_jax.envs.registry import SUITES
from amago_jax.errors import ConfigError, first_line

PACKAGED = Path(__file__).parents[1] / "conf"
# An installed wheel carries conf/ inside the package; a checkout has it at the top.
CONF_DIR = PACKAGED if PACKAGED.is_dir() else Path(__file__).parents[3] / "conf"
PRESETS = ("experiment", "sweep")  # groups whose files choose environments


def offer_environments(overrides: Sequence[str] = ()) -> None:
    """Offer every environment as ``env=<id>``; a file in conf/ takes precedence.

    Of other packages' suites, only the environments that the overrides, or an experiment or a
    sweep, mention: to list them all takes seconds of imports. Whether there are such environments
    is found out when they are made.

    Args:
        overrides: as on the command line.
    """
    presets = [path for group in PRESETS for path in (CONF_DIR / group).glob("*.yaml")]
    text = " ".join([*overrides, *(path.read_text() for path in presets)])
    mentioned = re.findall(rf"\b(?:{'|'.join(SUITES)})/[\w.-]+", text)
    for env_id in {*envs.list_ids(suites=False), *mentioned}:
        _offer_environment(env_id)


@functools.cache
def _offer_environment(env_id: str) -> None:
    if (CONF_DIR / "env" / f"{env_id}.yaml").exists():
        return
    folder, _, name = f"env/{env_id}".rpartition("/")
    node = {"env": {"_target_": "amago_jax.envs.make", "env_id": env_id}}
    ConfigStore.instance().store(group=folder, name=name, node=node, package="_global_")


def open_environment(overrides: Sequence[str]) -> list[str]:
    """Let ``env.<setting>=`` be said of settings that no file in conf/ names.

    Which ones there are, the environment says when it is made.

    Args:
        overrides: as on the command line.
    """
    return [f"++{item}" if item.startswith("env.") else item for item in overrides]


def compose(
    overrides: Sequence[str] = (), config_name: str = "config", *, hydra_settings: bool = False
) -> DictConfig:
    """Compose a configuration.

    Args:
        overrides: as on the command line, for example ``["env=tmaze/active", "seed=1"]``.
        config_name: a file at the top of conf/.
        hydra_settings: include Hydra's own, under ``hydra``.

    Returns:
        The composed configuration.

    Raises:
        ConfigError: if a choice or a key does not exist, or an override is malformed.
    """
    offer_environments(overrides)
    with initialize_config_dir(str(CONF_DIR.resolve()), version_base="1.3"):
        try:
            return hydra_compose(
                config_name,
                overrides=open_environment(overrides),
                return_hydra_config=hydra_settings,
            )
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            defaults = hydra_compose(config_name)
            raise ConfigError(_explain(error, overrides, defaults)) from error


def _explain(error: Exception, overrides: Sequence[str], defaults: DictConfig) -> str:
    """Say what is wrong with the overrides in one sentence, with the nearest that would work."""
    if isinstance(error, OverrideParseException):
        return f"{error.override} is malformed: {first_line(error)}"
    tree: Any = OmegaConf.to_container(defaults, resolve=False)
    known = sorted(_keys(tree))
    groups = [key for key, value in tree.items() if isinstance(value, dict)]
    text = f"{error} {error.__cause__ or ''}"
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        if type(error) is ValueError and value == "null":
            # Hydra overrides what a file overrides already with a name only.
            return f"{override} does not leave out {key} here; write '~{key}'"
        if key in groups and value and f"{key}/{value}" in text:
            return f"{key}={value} does not exist{_suggest(value, list(choices(key)))}"
        if key not in groups and key not in known and key in text and override[0] not in "+~":
            return f"there is no setting {key!r}{_suggest(key, known)}"
    return first_line(error)


def choices(group: str) -> Iterator[str]:
    """Yield the names that ``group=`` takes, for example "gymnax/CartPole-v1" for "env".

    Without other packages' suites, see `offer_environments`.
    """
    folder = CONF_DIR / group
    found = {path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")}
    if group == "env":
        found |= set(envs.list_ids(suites=False))
    yield from sorted(found)


def _suggest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    ends = [other for other in known if other.rpartition(".")[2] == name]
    near = list(dict.fromkeys([*ends, *close]))
    return f"; did you mean {' or '.join(near)}?" if near else f"; choose from {', '.join(known)}"


def _keys(tree: Any, prefix: str = "") -> Iterator[str]:
    for key, value in tree.items():
        if key in ("hydra", "_target_"):
            continue
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _keys(value, f"{prefix}{key}.")
