"""Causal attention over long windows: exact, without an array of all pairs of timesteps.

Timesteps are taken in blocks, and the pairs of blocks that causality and the window leave are
visited one after another. Each visit makes the scores of its pair alone and folds them into a
running softmax; the backward pass makes them again. Memory grows with the length, not its square.

Source: Rabe and Staats 2021, arXiv 2112.05682; FlashAttention, Dao et al. 2022, arXiv 2205.14135.
"""

import dataclasses
import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
from flax import struct

from amago_jax.models.attention.dense import MASKED
from amago_jax.models.segments import segment_positions
from amago_jax.types import Array

# From so many timesteps on, windows are taken in blocks: measured in docs/benchmarks.md, faster
# than with a bias there, and level with it at half as many.
LONG = 1000
# Timesteps in a block: few enough that the scores of a pair stay in a processor's cache, many
# enough that an accelerator has work to do.
BLOCK = 256


@dataclasses.dataclass(frozen=True)
class Sight:
    """What is static: window and sink as in `causal_bias`, clip as in `attend`."""

    window: int | None
    sink: int
    clip: float | None

    def pairs(self, blocks: int, size: int) -> Array:
        """Return int32 ``[P, 2]``: blocks of queries, and blocks of keys some of them may see.

        The diagonal comes first in each row: there every query sees a key, itself, so that its
        running maximum is a real score from then on.
        """
        back = blocks
        if self.window is not None and not self.sink:
            back = -(-(self.window - 1) // size)
        pairs = [(i, j) for i in range(blocks) for j in range(i, max(0, i - back) - 1, -1)]
        return jnp.asarray(pairs, jnp.int32)


@struct.dataclass
class _Blocks:
    """Timesteps in N blocks of S.

    Attributes:
        ids: int32 ``[N, B, S]``, segment ids.
        positions: int32 ``[N, B, S]``, timesteps since the segment began.
    """

    ids: Array
    positions: Array


@struct.dataclass
class _Running:
    """A softmax over the keys visited so far; leaves ``[N, B, H, S, ...]``.

    Attributes:
        attended: ``[..., E]``, the sum of values, weighted by exp(score - greatest).
        greatest: ``[..., 1]``, the greatest score.
        total: ``[..., 1]``, the sum of the weights.
    """

    attended: Array
    greatest: Array
    total: Array


@struct.dataclass
class _Gradients:
    query: Array
    key: Array
    value: Array


def long_causal_attend(
    query: Array,
    key: Array,
    value: Array,
    segment_ids: Array,
    *,
    window: int | None = None,
    sink: int = 0,
    clip: float | None = None,
    block: int = BLOCK,
) -> Array:
    """Return what `attend` with a `causal_bias` returns, in memory linear in the length.

    Args:
        query: ``[B, H, L, E]``, divided by sqrt(E) beforehand; float32 or bfloat16, as are:
        key: ``[B, H, L, E]``.
        value: ``[B, H, L, E]``.
        segment_ids: int32 ``[B, L]``, see `Batch`.
        window: as in `causal_bias`.
        sink: as in `causal_bias`.
        clip: as in `attend`.
        block: the most timesteps in a block.

    Returns:
        ``[B, H, L, E]`` in the same dtype; scores, softmax and sums are float32.
    """
    chex.assert_equal_shape([query, key, value])
    chex.assert_rank([query, segment_ids], [4, 2])
    length = query.shape[2]
    blocks = -(-length // block)
    size = -(-length // blocks)
    # What fills the last block comes after every timestep, so that none of them sees it.
    fill = blocks * size - length

    def cut(x: Array, axis: int) -> Array:
        x = jnp.pad(x, [(0, fill if a == axis else 0) for a in range(x.ndim)])
        x = x.reshape(*x.shape[:axis], blocks, size, *x.shape[axis + 1 :])
        return jnp.moveaxis(x, axis, 0)

    timesteps = _Blocks(cut(segment_ids, 1), cut(segment_positions(segment_ids), 1))
    sight = Sight(window, sink, clip)
    attended = _attend(sight, cut(query, 2), cut(key, 2), cut(value, 2), timesteps)
    attended = jnp.moveaxis(attended, 0, 2)
    return attended.reshape(*query.shape[:2], blocks * size, -1)[:, :, :length]


def _scores(query: Array, key: Array, clip: float | None) -> Array:
    scores = _product("bhle,bhme->bhlm", query, key)
    return scores if clip is None else clip * jnp.tanh(scores / clip)


def _product(axes: str, left: Array, right: Array) -> Array:
    """Return a product of arrays of one dtype, float32."""
    return jnp.einsum(axes, left, right, preferred_element_type=jnp.float32)


def _bias(sight: Sight, timesteps: _Blocks, i: Array, j: Array) -> Array:
    """Return the part of `causal_bias` for queries of block i and keys of block j."""
    place = jnp.arange(timesteps.ids.shape[-1])
    behind = (i * place.size + place)[None, :, None] - (j * place.size + place)[None, None]
    allowed = (timesteps.ids[i][:, :, None] == timesteps.ids[j][:, None, :]) & (behind >= 0)
    if sight.window is not None:
        allowed &= (behind < sight.window) | (timesteps.positions[j] < sight.sink)[:, None, :]
    return jax.lax.optimization_barrier(jnp.where(allowed, 0.0, MASKED))[:, None]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(sight: Sight, query: Array, key: Array, value: Array, timesteps: _Blocks) -> Array:
    """Attend from and to ``[N, B, H, S, E]``."""
    return _forward(sight, query, key, value, timesteps)[0]


def _forward(
    sight: Sight, query: Array, key: Array, value: Array, timesteps: _Blocks
) -> tuple[Array, Any]:
    def visit(running: _Running, pair: Array) -> tuple[_Running, None]:
        i, j = pair
        scores = _scores(query[i], key[j], sight.clip) + _bias(sight, timesteps, i, j)
        before = jax.tree.map(lambda x: x[i], running)
        greatest = jnp.maximum(before.greatest, scores.max(-1, keepdims=True))
        weights, shrink = jnp.exp(scores - greatest), jnp.exp(before.greatest - greatest)
        after = _Running(
            attended=shrink * before.attended
            + _product("bhlm,bhme->bhle", weights.astype(value.dtype), value[j]),
            greatest=greatest,
            total=shrink * before.total + weights.sum(-1, keepdims=True),
        )
        return jax.tree.map(lambda x, row: x.at[i].set(row), running, after), None

    one = (*query.shape[:-1], 1)
    start = _Running(jnp.zeros(query.shape), jnp.full(one, -jnp.inf), jnp.zeros(one))
    end, _ = jax.lax.scan(visit, start, sight.pairs(len(query), query.shape[3]))
    attended = (end.attended / end.total).astype(value.dtype)
    log_total = end.greatest + jnp.log(end.total)
    return attended, (query, key, value, timesteps, attended, log_total)


def _backward(sight: Sight, residuals: Any, gradient: Array) -> tuple[Any, ...]:
    query, key, value, timesteps, attended, log_total = residuals
    mean = (gradient.astype(jnp.float32) * attended).sum(-1, keepdims=True)

    def visit(grads: _Gradients, pair: Array) -> tuple[_Gradients, None]:
        i, j = pair
        scores, pull = jax.vjp(lambda q, k: _scores(q, k, sight.clip), query[i], key[j])
        weights = jnp.exp(scores + _bias(sight, timesteps, i, j) - log_total[i])
        to_weights = _product("bhle,bhme->bhlm", gradient[i], value[j])
        to_query, to_key = pull(weights * (to_weights - mean[i]))
        to_value = _product("bhlm,bhle->bhme", weights.astype(value.dtype), gradient[i])
        return _Gradients(
            query=grads.query.at[i].add(to_query),
            key=grads.key.at[j].add(to_key),
            value=grads.value.at[j].add(to_value),
        ), None

    zeros = jnp.zeros(query.shape)
    grads, _ = jax.lax.scan(
        visit, _Gradients(zeros, zeros, zeros), sight.pairs(len(query), query.shape[3])
    )
    grads = jax.tree.map(lambda x: x.astype(query.dtype), grads)
    return grads.query, grads.key, grads.value, None


_attend.defvjp(_forward, _backward)
