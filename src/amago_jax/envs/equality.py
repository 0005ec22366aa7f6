"""Whether two environments, made apart, are one: what is compiled for one then serves the other."""

import functools
import types
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

PLAIN: tuple[type, ...] = (bool, int, float, complex, str, bytes, type(None), np.dtype, np.generic)
PLAIN += (jax.ShapeDtypeStruct, jax.tree_util.PyTreeDef)
OPAQUE = (type, types.BuiltinFunctionType, types.ModuleType)
_EMPTY = object()  # a variable that a function closes over, and that has no value yet


def same(a: Any, b: Any) -> bool:
    """Compare by value as far as that is safe, else by identity.

    Numbers, strings, arrays, containers of them, and plain Python objects, attribute by attribute;
    functions by their place in the source and what they close over. Classes and objects of
    extension modules are the same only if they are one.
    """
    return _same(a, b, {})


def _same(a: Any, b: Any, compared: dict[tuple[int, int], tuple[Any, Any]]) -> bool:
    if a is b or (id(a), id(b)) in compared:
        return True
    if type(a) is not type(b) or isinstance(a, OPAQUE):
        return False
    if isinstance(a, PLAIN):
        return bool(a == b)
    if isinstance(a, np.ndarray | jax.Array):
        return _same_array(a, b)
    # Objects may refer to one another in circles. They are kept, or others might get their ids.
    compared[id(a), id(b)] = (a, b)
    if isinstance(a, Mapping):
        return a.keys() == b.keys() and all(_same(a[key], b[key], compared) for key in a)
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(lambda x, y: _same(x, y, compared), a, b))
    if isinstance(a, functools.partial):
        ours, theirs = ((x.func, x.args, x.keywords) for x in (a, b))
        return _same(ours, theirs, compared)
    if isinstance(a, types.FunctionType):
        return a.__code__ is b.__code__ and _same(_holds(a), _holds(b), compared)
    if isinstance(a, types.MethodType):
        return a.__func__ is b.__func__ and _same(a.__self__, b.__self__, compared)
    has_slots = any(vars(base).get("__slots__") for base in type(a).__mro__)
    if type(a).__new__ is object.__new__ and hasattr(a, "__dict__") and not has_slots:
        return _same(vars(a), vars(b), compared)
    return False


def _holds(function: types.FunctionType) -> tuple[Any, ...]:
    """Return what a function takes along besides its code."""
    closure = [_content(cell) for cell in function.__closure__ or ()]
    return function.__defaults__, function.__kwdefaults__, closure, vars(function)


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _EMPTY


def _same_array(a: Any, b: Any) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
        a, b = jax.random.key_data(a), jax.random.key_data(b)
    return bool(np.array_equal(np.asarray(a), np.asarray(b), equal_nan=False))
