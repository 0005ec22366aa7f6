"""The function or class that a ``_target_`` names, or why there is none."""

import importlib
import pkgutil
import sys
from types import ModuleType
from typing import Any

from amago_jax.errors import ConfigError, first_line, nearest, suggest
from amago_jax.runs.moved_names import current_name
from amago_jax.settings import Part


def find_part(group: str, target: str) -> Part:
    """Return the function or class that a group's ``_target_`` names.

    Raises:
        ConfigError: if there is none, with the nearest name that there is.
    """
    setting = f"{group}._target_={target}"
    names = current_name(target).split(".")
    if len(names) < 2 or not all(name.isidentifier() for name in names):
        raise ConfigError(f"{setting} must name a module and what is in it, as in my_parts.Memory")
    found, rest = _imported(setting, names)
    for name in rest:
        if not hasattr(found, name):
            called = getattr(found, "__qualname__", found.__name__)
            raise ConfigError(f"{setting}: {called} has no {name!r}: {suggest(name, _made(found))}")
        found = getattr(found, name)
    if not callable(found):
        raise ConfigError(f"{setting} is a {type(found).__name__}, neither a class nor a function")
    part: Part = found
    return part


def _imported(setting: str, names: list[str]) -> tuple[Any, list[str]]:
    """Return the innermost module that dotted names lead to, and the names behind it."""
    for count in range(len(names) - 1, 0, -1):
        path = ".".join(names[:count])
        try:
            return importlib.import_module(path), names[count:]
        except ModuleNotFoundError as error:
            if error.name is None or not f"{path}.".startswith(f"{error.name}."):
                raise _broken(setting, path, error) from error
        except Exception as error:  # whatever a module does as it is imported
            raise _broken(setting, path, error) from error
    known = {*sys.modules, *(module.name for module in pkgutil.iter_modules())}
    hint = nearest(names[0], known)
    where = f": {hint}" if hint else " where Python looks for modules"
    raise ConfigError(f"{setting}: there is no module {names[0]!r}{where}")


def _broken(setting: str, path: str, error: Exception) -> ConfigError:
    return ConfigError(
        f"{setting}: {path} cannot be imported: {type(error).__name__}: {first_line(error)}"
    )


def _made(place: Any) -> list[str]:
    """Return what can be called of a module's own, or of a class's."""
    module = place.__name__ if isinstance(place, ModuleType) else place.__module__
    return [
        name
        for name, one in vars(place).items()
        if callable(one) and name[0] != "_" and getattr(one, "__module__", None) == module
    ]
