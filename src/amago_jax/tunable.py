"""Settings that are numbers: arguments of what is compiled, not constants in it.

A description such as an agent is static, but for a few numbers that change no shape and no
branch: a learning rate, tau, the ends of an exploration schedule. Where those are leaves of a
pytree, a run with other ones needs no other program, and many runs can share one under `vmap`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np

AnyClass = TypeVar("AnyClass", bound=type[Any])
Part = TypeVar("Part")

TUNED = "_tuned"  # attribute of a rebuilt object: the names of its leaves
NUMBERS = (int, float, np.generic, np.ndarray, jax.Array, jax.ShapeDtypeStruct)


def tunable(*names: str) -> Callable[[AnyClass], AnyClass]:
    """Make a frozen dataclass a pytree of its settings ``names``; all others are static.

    Such a setting may be a number, a tuple of numbers, or a tunable dataclass itself; where it is
    something else, a function for instance, it is static too.
    Rebuilt from its leaves, an object is not checked again, for these may be tracers.
    """

    def register(cls: AnyClass) -> AnyClass:
        jax.tree_util.register_pytree_node(
            cls, lambda part: _flatten(part, names), lambda aux, leaves: _rebuild(cls, aux, leaves)
        )
        return cls

    return register


def changed(part: Part, **settings: Any) -> Part:
    """Return a tunable object with other settings, unchecked: its numbers may be tracers."""
    fields = {field.name: getattr(part, field.name) for field in dataclasses.fields(part)}  # type: ignore[arg-type]
    return _make(type(part), fields | settings)


@dataclasses.dataclass(frozen=True, eq=False)
class _ById:
    """A static setting that cannot be hashed: the same only as itself."""

    value: Any

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ById) and self.value is other.value


def _flatten(part: Any, names: tuple[str, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    fields = {f.name: _typed(getattr(part, f.name), f) for f in dataclasses.fields(part)}
    # Of an object rebuilt with whatever JAX puts into trees, the values no longer tell.
    tuned = vars(part).get(TUNED)
    if tuned is None:
        tuned = tuple(name for name in fields if name in names and _is_tunable(fields[name]))
    static = tuple(
        (name, value if _is_hashable(value) else _ById(value))
        for name, value in fields.items()
        if name not in tuned
    )
    return tuple(fields[name] for name in tuned), (tuned, static)


def _typed(value: Any, field: "dataclasses.Field[Any]") -> Any:
    """Make whole numbers real where a real one is meant: another type is another program."""
    if "float" not in str(field.type):
        return value
    return jax.tree.map(lambda x: float(x) if type(x) is int else x, value)


def _is_tunable(value: Any) -> bool:
    leaves = jax.tree.leaves(value)
    return all(isinstance(x, NUMBERS) and not isinstance(x, bool) for x in leaves)


def _is_hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _rebuild(cls: type[Any], aux: tuple[Any, ...], leaves: tuple[Any, ...]) -> Any:
    tuned, static = aux
    fields = {name: x.value if isinstance(x, _ById) else x for name, x in static}
    return _make(cls, fields | dict(zip(tuned, leaves, strict=True)) | {TUNED: tuned})


def _make(cls: type[Any], fields: dict[str, Any]) -> Any:
    part = object.__new__(cls)
    for name, value in fields.items():
        object.__setattr__(part, name, value)
    return part
