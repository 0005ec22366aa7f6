"""What a checkpoint says of its arrays: by name, each one's number, shape, dtype and checksum."""

import zlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from amago_jax.errors import CheckpointError

Entries = dict[str, dict[str, Any]]
FIELDS = {"number", "shape", "dtype", "crc32"}


def by_name(tree: Any) -> dict[str, Any]:
    """Return the leaves by their path in the tree, such as ``agent/params/actor/kernel``.

    Raises:
        TypeError: if a leaf is not an array, or two have the same name.
    """
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    arrays: dict[str, Any] = {}
    for path, leaf in leaves:
        # A tree that is one array has an empty path.
        name = jax.tree_util.keystr(path, simple=True, separator="/") or "array"
        if not (hasattr(leaf, "shape") and hasattr(leaf, "dtype")):
            raise TypeError(f"{name!r} is not an array but {type(leaf).__name__}")
        if name in arrays:
            raise TypeError(f"two leaves of the tree have the same name {name!r}")
        arrays[name] = leaf
    return arrays


def describe(arrays: dict[str, Any]) -> Entries:
    """Return the entries of arrays by name."""
    return {
        name: {
            "number": number,
            "shape": list(array.shape),
            "dtype": str(array.dtype),
            "crc32": checksum(array),
        }
        for number, (name, array) in enumerate(arrays.items())
    }


def stored(arrays: dict[str, Any], entries: Entries) -> dict[str, Any]:
    """Return what Orbax is given: arrays by number, for it confuses names such as ``a`` and ``a/``.

    It cannot hold arrays without elements either; their entry says all there is to know. Of random
    keys it is given the numbers, for of several processes it would ask all for them.
    """
    return {
        str(entries[name]["number"]): key_data(array) if is_key(array) else array
        for name, array in arrays.items()
        if np.prod(array.shape) > 0
    }


def is_key(array: Any) -> bool:
    """Return whether an array, or a shape, is one of typed random keys."""
    return bool(jnp.issubdtype(array.dtype, jax.dtypes.prng_key))


def key_data(keys: Any) -> Any:
    """Return the numbers of random keys; of shapes, their shape."""
    if isinstance(keys, jax.ShapeDtypeStruct):
        return jax.eval_shape(jax.random.key_data, keys)
    return jax.random.key_data(keys)


def wrap_keys(data: Any, like: Any) -> Any:
    """Return random keys of their numbers, of the kind of others or their shape."""
    kinds: list[Any] = []
    jax.eval_shape(lambda keys: kinds.append(jax.random.key_impl(keys)), like)
    return jax.random.wrap_key_data(jnp.asarray(data), impl=kinds[0])


def checksum(array: Any) -> int | None:
    """Return that of the bytes; None for an array of which this process sees only a part."""
    if isinstance(array, jax.Array):
        if is_key(array):
            array = key_data(array)
        if not (array.is_fully_addressable or array.is_fully_replicated):
            return None
    return zlib.crc32(np.asarray(array).tobytes())


def check_fit(folder: Path, wanted: dict[str, Any], entries: Entries) -> None:
    """Check that arrays are there that one wants, and no others.

    Args:
        folder: the checkpoint, to be named.
        wanted: arrays, or shapes, by name.
        entries: what is there.

    Raises:
        CheckpointError: naming what differs in name, shape or dtype.
    """
    problems = [f"{name!r} is missing in it" for name in wanted if name not in entries]
    problems += [f"{name!r} is not expected" for name in entries if name not in wanted]
    for name, leaf in wanted.items():
        if name in entries:
            expected = (list(leaf.shape), str(leaf.dtype))
            found = (entries[name]["shape"], entries[name]["dtype"])
            if expected != found:
                problems.append(
                    f"{name!r} should be {_described(*expected)} but is {_described(*found)}"
                )
    if problems:
        shown, more = problems[:5], len(problems) - 5
        tail = f"; and {more} more" if more > 0 else ""
        raise CheckpointError(f"checkpoint {folder} does not fit: {'; '.join(shown)}{tail}")


def _described(shape: Any, dtype: Any) -> str:
    return f"{dtype}{shape}"
