"""Small arrays of unlike kinds side by side in one array of words, and back.

A loop over steps copies what it carries and writes what it records, array by array. A step of many
environments has a dozen arrays of a few numbers a row: as words of 32 bits they are one.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from amago_jax.types import Array

# What fits a word as it is; anything else stays an array of its own.
PACKED = ("bool", "int32", "uint32", "float32")
# Numbers a row up to which an array is packed: wider ones are worth a write of their own.
WIDEST = 64


@struct.dataclass
class Packed:
    """A tree of arrays, the small ones as words.

    Attributes:
        words: uint32 ``[..., W]``.
        rest: the leaves that are not packed, None for those that are.
        kinds: shape and dtype of each leaf that is packed, without its leading axes; None for those
            that are not.
        structure: of the tree.
    """

    words: Array
    rest: tuple[Any, ...]
    kinds: tuple[tuple[tuple[int, ...], str] | None, ...] = struct.field(pytree_node=False)
    structure: jax.tree_util.PyTreeDef = struct.field(pytree_node=False)


def pack(tree: Any, rows: int) -> Packed:
    """Pack a tree's small leaves ``[rows, ...]``.

    Args:
        tree: its other leaves may have any shape.
        rows: parallel environments.

    Returns:
        The tree with words ``[rows, W]``.
    """
    leaves, structure = jax.tree.flatten(tree)
    kinds = tuple(_kind(leaf, rows) for leaf in leaves)
    words = [
        _to_words(leaf).reshape(rows, -1)
        for leaf, kind in zip(leaves, kinds, strict=True)
        if kind is not None
    ]
    return Packed(
        words=jnp.concatenate([jnp.zeros((rows, 0), jnp.uint32), *words], axis=1),
        rest=tuple(
            leaf if kind is None else None for leaf, kind in zip(leaves, kinds, strict=True)
        ),
        kinds=kinds,
        structure=structure,
    )


def unpack(packed: Packed) -> Any:
    """Return the tree; leaves keep whatever leading axes they were given since."""
    leaves, place = [], 0
    for kind, leaf in zip(packed.kinds, packed.rest, strict=True):
        if kind is not None:
            shape, dtype = kind
            size = math.prod(shape)
            words = packed.words[..., place : place + size]
            leaf = _from_words(words.reshape(*words.shape[:-1], *shape), dtype)
            place += size
        leaves.append(leaf)
    return jax.tree.unflatten(packed.structure, leaves)


def _kind(leaf: Array, rows: int) -> tuple[tuple[int, ...], str] | None:
    shape, dtype = leaf.shape[1:], str(leaf.dtype)
    fits = leaf.shape[:1] == (rows,) and dtype in PACKED and math.prod(shape) <= WIDEST
    return (shape, dtype) if fits else None


def _to_words(leaf: Array) -> Array:
    if leaf.dtype == jnp.bool_:
        return leaf.astype(jnp.uint32)
    return jax.lax.bitcast_convert_type(leaf, jnp.uint32)


def _from_words(words: Array, dtype: str) -> Array:
    if dtype == "bool":
        return words != 0
    return jax.lax.bitcast_convert_type(words, jnp.dtype(dtype))
