"""Put off imports that other packages make for drawing, and few runs need.

gymnax imports seaborn and pyplot with its first environment, and they scipy and pandas: half of
the time it takes to start.
"""

import importlib
import importlib.util
import sys
import types
from typing import Any


def put_off(*names: str) -> None:
    """Let modules be loaded when something in them is first asked for.

    Python's own `importlib.util.LazyLoader` loads them at the next ``import`` statement already.

    Args:
        names: of modules; one that is loaded already, or not installed, is left alone.
    """
    for name in names:
        if name not in sys.modules and importlib.util.find_spec(name) is not None:
            sys.modules[name] = _PutOff(name)


class _PutOff(types.ModuleType):
    """Stands for a module until something in it is asked for."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "Not loaded yet.")
        # Whoever looks through all modules asks for these.
        self.__spec__ = importlib.util.find_spec(name)
        self.__file__ = None

    def __getattr__(self, attribute: str) -> Any:
        # Whoever warns asks for that of every module.
        if attribute == "__warningregistry__":
            raise AttributeError(attribute)
        return getattr(self._load(), attribute)

    def __dir__(self) -> list[str]:
        return dir(self._load())

    def _load(self) -> types.ModuleType:
        name = self.__name__
        if sys.modules.get(name) is self:
            del sys.modules[name]
        return importlib.import_module(name)


put_off("seaborn", "matplotlib.pyplot")
