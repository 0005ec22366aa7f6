"""Layers that see each timestep by itself, in chunks: less memory, more work."""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from amago_jax.types import Array

# Rows at a time: their activations are tens of megabytes, and still enough for an accelerator.
CHUNK = 16384


def by_chunks(function: Callable[[Any, Array], Array], module: nn.Module, x: Array) -> Array:
    """Apply layers row by row, keeping no activation for the backward pass but the input.

    Rows are taken some at a time in one scan, so that wide activations exist for a chunk alone, in
    both passes. The scan also keeps XLA's CPU backend from merging what is computed anew with what
    was computed before, which it does to a plain `jax.checkpoint`.

    Source: Chen et al. 2016, arXiv 1604.06174.

    Args:
        function: maps a module and rows ``[N, I]`` to ``[*, N, O]``; it may read parameters and
            statistics.
        module: its first argument.
        x: float32 ``[..., I]``.

    Returns:
        ``function(module, x)`` of the flat rows, float32 ``[*, ..., O]``.
    """
    *leading, features = x.shape
    count = math.prod(leading)
    chunks = -(-count // CHUNK)
    if chunks == 1:
        return function(module, x)
    size = -(-count // chunks)
    rows = jnp.pad(x.reshape(count, features), ((0, chunks * size - count), (0, 0)))

    def visit(module: Any, carry: None, rows: Array) -> tuple[None, Array]:
        return carry, function(module, rows)

    scan = nn.scan(
        nn.remat(visit, prevent_cse=False),
        variable_broadcast=["params", "statistics"],
        split_rngs={"params": False},
    )
    _, y = scan(module, None, rows.reshape(chunks, size, features))
    y = jnp.moveaxis(y, 0, -3)
    y = y.reshape(*y.shape[:-3], chunks * size, y.shape[-1])[..., :count, :]
    return y.reshape(*y.shape[:-2], *leading, y.shape[-1])
