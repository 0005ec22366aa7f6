"""Parts of one's own: modules that are imported, and parts handed what their signatures ask for.

A group's settings in conf/ are those of the class that its file names. Where ``_target_`` names
another, which is none of this package's, the settings that it does not take are left out, and so
are the arguments that come from other parts. What the command line sets by name stays, and is
refused if there is no such setting.
"""

import functools
import importlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from amago_jax import envs
from amago_jax.errors import ConfigError
from amago_jax.runs.moved_names import current_name
from amago_jax.runs.named_parts import find_part
from amago_jax.runs.schema import GIVEN
from amago_jax.settings import Part, as_names, signature_of

OURS = "amago_jax."


def import_modules(imports: Sequence[str]) -> list[str]:
    """Import modules by name and return the names.

    Raises:
        ConfigError: naming one that cannot be imported.
    """
    names = as_names(imports)
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:  # whatever a module does as it is imported
            raise ConfigError(f"imports={names}: {name} cannot be imported: {error}") from error
    return names


def search_in(folders: Sequence[str | Path | None]) -> None:
    """Let modules in some folders be imported, after all that can be already; None is no folder."""
    for folder in folders:
        if folder is not None and (path := str(Path(folder).absolute())) not in sys.path:
            sys.path.append(path)


def fitted(config: DictConfig, overrides: Sequence[str], folder: Path) -> DictConfig:
    """Return a configuration without the settings that parts of one's own do not take.

    Only settings of this package's parts are left out, which were there because the part stands in
    place of one of them: others are slips of whoever wrote them, and found when they are checked.

    Args:
        config: what was composed; of the groups in `GIVEN`, those that are there count.
        overrides: as on the command line: what they set stays.
        folder: conf/, whose files name this package's parts.
    """
    written = {item.partition("=")[0].lstrip("+~") for item in overrides}
    own = [group for group in GIVEN if _is_own(config.get(group))]
    if not own:
        return config
    config = config.copy()
    for group in own:
        settings = config[group]
        part = find_part(group, settings._target_)
        inherited = _settings_of_ours(group, folder, str(settings.get("env_id")))
        untaken = [
            str(name)
            for name in settings
            if name in inherited and f"{group}.{name}" not in written and not takes(part, name)
        ]
        with open_dict(settings):
            for name in untaken:
                del settings[name]
            if group == "env" and "env_id" not in settings:
                settings.env_id = _name_of(settings)
        left_out = ", ".join(name for name in untaken if name != "env_id")
        if left_out:
            _say(f"{group}: {settings._target_} does not take {left_out}: left out")
    return config


def takes(part: Part, name: Any) -> bool:
    """Whether a function or class takes an argument by this name."""
    signature = signature_of(part)
    return signature.is_open or name in signature.settings


def asked_for(part: Part, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that a function or class takes."""
    return {name: value for name, value in arguments.items() if takes(part, name)}


def is_ours(target: str) -> bool:
    """Whether a ``_target_`` is of this package."""
    return current_name(target).startswith(OURS)


def own_targets(config: DictConfig) -> dict[str, str]:
    """Return the ``_target_`` of every part of one's own, by group, or ``extra_losses.<name>``."""
    terms = config.get("extra_losses", {})
    parts = {group: config.get(group) for group in GIVEN if group != "env"}
    parts |= {f"extra_losses.{name}": terms[name] for name in terms}
    return {group: str(one._target_) for group, one in parts.items() if _is_own(one)}


def _is_own(settings: Any) -> bool:
    target = settings.get("_target_") if OmegaConf.is_dict(settings) else None
    return isinstance(target, str) and not is_ours(target)


def _settings_of_ours(group: str, folder: Path, env_id: str) -> set[str]:
    """Return the settings of this package's parts in a group; of environments, of one by its id."""
    if group != "env":
        return set(_settings_in(folder / group))
    try:
        return {"env_id", *envs.signature(env_id).settings}
    except ValueError:  # a name of one's own
        return set()


@functools.cache
def _settings_in(folder: Path) -> frozenset[str]:
    return settings_in(folder.glob("*.yaml"))


def settings_in(files: Iterable[Path]) -> frozenset[str]:
    """Return the settings that some files of a group name."""
    loaded: list[Any] = [OmegaConf.load(path) for path in files]
    named = {str(name) for one in loaded for name in one}
    return frozenset(named - {"_target_", "defaults"})


def _name_of(settings: DictConfig) -> str:
    """Return what an environment is called in folders and tables: its name, or its class's."""
    return str(settings.get("name") or settings._target_.rpartition(".")[2])


@functools.cache
def _say(text: str) -> None:
    """Print a line, once."""
    print(text, flush=True)
