"""Saved configurations are data: nothing is built from them that was not meant to be.

A configuration names what it is built of by module and name (``_target_``), so whoever can write
one could have anything called. Of one that was read from a file, only the parts that conf/ names
are built, and what is defined in modules that are named by who loads it.
"""

import functools
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.utils import _locate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from amago_jax.errors import CheckpointError, FileError, first_line
from amago_jax.reports.saved import check_references
from amago_jax.runs.compilation_cache import DEFAULT
from amago_jax.runs.config import CONF_DIR
from amago_jax.runs.moved_names import current_name
from amago_jax.runs.own_parts import import_modules

TARGET = "_target_"


def trusted(saved: Any, where: str | Path, imports: Sequence[str] = ()) -> DictConfig:
    """Return a saved configuration if it can be built without running what is foreign.

    Args:
        saved: a dictionary or a configuration.
        where: the file it comes from, to be named.
        imports: modules, imported first, whose classes and functions may be built from it.

    Raises:
        CheckpointError: if it names something else, or asks for more than its own settings.
        ConfigError: if a module cannot be imported.
    """
    modules = import_modules(imports)
    tree: Any = saved
    if OmegaConf.is_config(saved):
        tree = OmegaConf.to_container(saved, resolve=False)
    try:
        check_references(tree)
        config = OmegaConf.create(tree)
    except (FileError, OmegaConfBaseException) as error:
        raise CheckpointError(f"{where}: {first_line(error)}") from error
    for name, target in _targets(tree):
        if not _is_known(target) and not any(_is_defined_in(target, module) for module in modules):
            raise CheckpointError(
                f"{where}: {name}={target} is no part that conf/ names, and not built from a file; "
                "if you trust it, name the module on loading, as in "
                f"imports=[{target.rpartition('.')[0] or 'my_package'}]"
            )
    _check_imports(config, where, modules)
    return _without_cache(config, where)


def _check_imports(config: DictConfig, where: str | Path, modules: Sequence[str]) -> None:
    """Check that building imports no module but those that were named, or are there already."""
    names = config.get("imports") or []
    for name in names:
        if name not in modules and name not in sys.modules:
            raise CheckpointError(
                f"{where}: imports={list(names)}: {name} is not imported because a file names it; "
                f"if you trust it, name it on loading, as in imports=[{','.join(map(str, names))}]"
            )


def modules_of(config: DictConfig) -> list[str]:
    """Return the modules of what a configuration names that was composed, not read from a file."""
    tree: Any = OmegaConf.to_container(config, resolve=True)
    own = [target for _, target in _targets(tree) if not _is_known(target)]
    owners = {owner for target in own if (owner := _owner(target)) is not None}
    return sorted({*owners, *(tree.get("imports") or ())})


def _targets(tree: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield what is to be built by the setting that names it: a value, or of a grid, several."""
    if isinstance(tree, list):
        for value in tree:
            yield from _targets(value, prefix)
    elif isinstance(tree, dict):
        for key, value in tree.items():
            if TARGET in re.split(r"[.\[\]]", str(key)):  # of a grid, names are dotted
                for target in value if isinstance(value, list) else [value]:
                    yield f"{prefix}{key}", str(target)
            yield from _targets(value, f"{prefix}{key}.")


def _is_known(target: str) -> bool:
    """Whether conf/ names a part, by this name or one that leads to the same."""
    name = current_name(target)
    if name in _parts():
        return True
    last = name.rpartition(".")[2]
    parts = [part for part in _parts() if part.rpartition(".")[2] == last]
    if not parts or not name.startswith("amago_jax."):
        return False
    try:
        found = _locate(name)
    except Exception:  # there is no such thing
        return False
    return any(found is _locate(part) for part in parts)


@functools.cache
def _parts() -> frozenset[str]:
    """Return whatever conf/ names, read as text: composing every choice would take seconds."""
    files = (path.read_text(encoding="utf-8") for path in CONF_DIR.rglob("*.yaml"))
    named = {name for text in files for name in re.findall(rf"^\s*{TARGET}: (\S+)", text, re.M)}
    return frozenset(named)


def _is_defined_in(target: str, module: str) -> bool:
    """Whether a name leads to what a module, or one in it, defines: not to what it imports."""
    if not target.startswith(f"{module}."):
        return False
    owner = _owner(target)
    return owner is not None and f"{owner}.".startswith(f"{module}.")


def _owner(target: str) -> str | None:
    """Return the module that defines what a name leads to; None if there is no such thing."""
    try:
        return getattr(_locate(target), "__module__", None)
    except Exception:  # whatever a module does as it is imported
        return None


def _without_cache(config: DictConfig, where: str | Path) -> DictConfig:
    """Leave out a folder of programs: what is in it would be run."""
    folder = OmegaConf.select(config, "compilation_cache.folder")
    if folder not in (None, DEFAULT):
        warnings.warn(
            f"{where}: compilation_cache.folder={folder} is not taken from a file, for programs "
            "in it would be run; name it again to use it",
            stacklevel=4,
        )
        config.compilation_cache.folder = DEFAULT
    return config
