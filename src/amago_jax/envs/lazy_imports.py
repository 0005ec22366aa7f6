"""Import gymnax without what it imports for drawing, and without starting JAX.

It imports seaborn and Matplotlib with its first environment, and they scipy and pandas: half of
the time it takes to start. And it makes an array, for which JAX looks for devices: it must not
before a run of several processes has found them all.
"""

import contextlib
import importlib
import importlib.util
import sys
import types
from collections.abc import Iterator
from typing import Any
from unittest import mock

import jax.numpy as jnp


class _PutOff(types.ModuleType):
    """Stands for a module until something in it is asked for."""

    def __getattr__(self, attribute: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), attribute)


@contextlib.contextmanager
def put_off(package: str, *modules: str) -> Iterator[None]:
    """Let what is imported inside have modules that load when something in them is asked for.

    Afterwards they are there for others as if nothing had been imported. Python's own
    `importlib.util.LazyLoader` loads them at the next ``import`` statement already.

    Args:
        package: left alone if it is loaded already, or not installed.
        modules: of the package, by their names in it.
    """
    spec = None if package in sys.modules else importlib.util.find_spec(package)
    if spec is None:
        yield
        return
    parent = _PutOff(package)
    parent.__path__ = spec.submodule_search_locations or []
    stand_ins = {package: parent}
    for name in modules:
        module = _PutOff(f"{package}.{name}")
        stand_ins[module.__name__] = module
        setattr(parent, name, module)
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name, stand_in in stand_ins.items():
            if sys.modules.get(name) is stand_in:
                del sys.modules[name]


class _LateArray:
    """A constant that becomes an array where it is read."""

    def __init__(self, values: Any) -> None:
        self._values = values

    def __getitem__(self, index: Any) -> Any:
        return jnp.asarray(self._values)[index]


with (
    put_off("seaborn"),
    put_off("matplotlib", "pyplot", "animation", "colors"),
    mock.patch.object(jnp, "array", _LateArray),
):
    import gymnax  # noqa: F401
