"""What a checkpoint says of its arrays: by name, each one's number, shape, dtype and checksum.

Small arrays lie behind one another in one array of bytes, and their entries say where: TensorStore
takes time for each array that it is given, and 0.1.86 keeps some of its memory for good.
"""

import math
import zlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from amago_jax.errors import CheckpointError

Entries = dict[str, dict[str, Any]]
FIELDS = {"number", "shape", "dtype", "crc32"}
OFFSET = "offset"  # of a small array, its first byte among those of all
SMALL = "small"  # the name under which Orbax is given the small ones
MOST_BYTES = 2**20  # of a small array


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
    entries, offset = {}, 0
    for number, (name, array) in enumerate(arrays.items()):
        entries[name] = {
            "number": number,
            "shape": list(array.shape),
            "dtype": str(array.dtype),
            "crc32": checksum(array),
        }
        size = _size(array)
        if 0 < size <= MOST_BYTES:
            entries[name][OFFSET] = offset
            offset += size
    return entries


def content(entries: Entries) -> dict[str, Any]:
    """Return what entries say of the arrays themselves, and not of where they lie."""
    return {
        name: [entry["shape"], entry["dtype"], entry["crc32"]] for name, entry in entries.items()
    }


def stored(arrays: dict[str, Any], entries: Entries) -> dict[str, Any]:
    """Return what Orbax is given: copies of arrays, the small ones as `SMALL`.

    The others go by number, for it confuses names such as ``a`` and ``a/``. It cannot hold arrays
    without elements either; their entry says all there is to know. Of random keys it is given the
    numbers, for of several processes it would ask all for them.
    """
    # Of an array on a processor, NumPy would see the memory that the next epoch is written to.
    found = {name: np.array(array) for name, array in _others(arrays, entries).items()}
    small = _small(arrays, entries)
    if small:
        found[SMALL] = np.concatenate(
            [np.frombuffer(np.asarray(array).tobytes(), np.uint8) for array in small.values()]
        )
    return found


def wanted_of(arrays: dict[str, Any], entries: Entries) -> dict[str, Any]:
    """Return what Orbax is asked for: arrays like those that it was given, see `stored`.

    Args:
        arrays: or their shapes.
        entries: of the checkpoint; those that were saved otherwise have no small arrays.
    """
    found, small = _others(arrays, entries), _small(arrays, entries)
    if small:
        found[SMALL] = np.empty(sum(map(_size, small.values())), np.uint8)
    return found


def taken(entry: dict[str, Any], arrays: dict[str, Any], like: Any) -> Any:
    """Return an array, or the numbers of random keys, out of what Orbax has read.

    Args:
        entry: of the array.
        arrays: as they were read.
        like: an array, or a shape, that says on which devices it is wanted; what is returned of
            one without elements.

    Raises:
        ValueError: if less was read than is wanted.
    """
    if OFFSET not in entry:
        return arrays.get(str(entry["number"]), like)
    data = key_data(like) if is_key(like) else like
    count = math.prod(data.shape)
    # Copied, for the rest of the bytes need not be kept for it.
    found = (
        np.frombuffer(arrays[SMALL], data.dtype, count, entry[OFFSET]).reshape(data.shape).copy()
    )
    return found if isinstance(data, np.ndarray) else jax.device_put(found, data.sharding)


def _others(arrays: dict[str, Any], entries: Entries) -> dict[str, Any]:
    return {
        str(entries[name]["number"]): key_data(array) if is_key(array) else array
        for name, array in arrays.items()
        if math.prod(array.shape) > 0 and OFFSET not in entries[name]
    }


def _small(arrays: dict[str, Any], entries: Entries) -> dict[str, Any]:
    return {
        name: key_data(array) if is_key(array) else array
        for name, array in arrays.items()
        if OFFSET in entries[name]
    }


def _size(array: Any) -> int:
    """Return the bytes of an array or a shape."""
    data = key_data(array) if is_key(array) else array
    return math.prod(data.shape) * np.dtype(data.dtype).itemsize


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
