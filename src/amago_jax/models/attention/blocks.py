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
from amago_jax.models.attention.padding import pad_axis
from amago_jax.models.attention.sight import Sight
from amago_jax.models.precision import sum_dtype
from amago_jax.models.segments import segment_positions
from amago_jax.types import Array

# From so many timesteps on, windows are taken in blocks: measured in docs/benchmarks.md, faster
# than with a bias there, and level with it at half as many.
LONG = 1000
# Timesteps in a block: few enough that the scores of a pair stay in a processor's cache, many
# enough that an accelerator has work to do.
BLOCK = 256


@struct.dataclass
class Timesteps:
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


@dataclasses.dataclass(frozen=True)
class Blocks:
    """An `AttentionBackend` of plain JAX in memory linear in the length; it takes everything.

    Attributes:
        sight: what a timestep sees.
        block: the most timesteps in a block.
    """

    sight: Sight
    block: int = BLOCK

    def prepare(self, segment_ids: Array) -> Timesteps:
        """See `AttentionBackend`."""
        blocks = -(-segment_ids.shape[1] // self.block)
        positions = segment_positions(segment_ids)
        return Timesteps(_cut(segment_ids, 1, blocks), _cut(positions, 1, blocks))

    def attend(self, query: Array, key: Array, value: Array, prepared: Timesteps) -> Array:
        """See `AttentionBackend`."""
        chex.assert_equal_shape([query, key, value])
        blocks, length = len(prepared.ids), query.shape[2]
        cut = (_cut(x, 2, blocks) for x in (query, key, value))
        attended = jnp.moveaxis(_attend(self.sight, *cut, prepared), 0, 2)
        return attended.reshape(*query.shape[:2], -1, query.shape[3])[:, :, :length]


def _cut(x: Array, axis: int, blocks: int) -> Array:
    """Cut an axis into blocks of equal size, and put theirs first.

    What fills the last block comes after every timestep, so that none of them sees it.
    """
    x = pad_axis(x, axis, blocks)
    x = x.reshape(*x.shape[:axis], blocks, -1, *x.shape[axis + 1 :])
    return jnp.moveaxis(x, axis, 0)


def block_pairs(sight: Sight, blocks: int, size: int) -> Array:
    """Return int32 ``[P, 2]``: blocks of queries, and blocks of keys some of them may see.

    The diagonal comes first in each row: there every query sees a key, itself, so that its
    running maximum is a real score from then on.

    Args:
        sight: what a timestep sees.
        blocks: N, how many there are.
        size: S, timesteps in each.
    """
    back = blocks
    if sight.window is not None and not sight.sink:
        back = -(-(sight.window - 1) // size)
    pairs = [(i, j) for i in range(blocks) for j in range(i, max(0, i - back) - 1, -1)]
    return jnp.asarray(pairs, jnp.int32)


def _product(axes: str, x: Array, y: Array) -> Array:
    """Multiply in the dtype of ``y``, adding up in float32."""
    return jnp.einsum(axes, x.astype(y.dtype), y, preferred_element_type=sum_dtype(y))


def _scores(query: Array, key: Array, clip: float | None) -> Array:
    scores = _product("bhle,bhme->bhlm", query, key)
    return scores if clip is None else clip * jnp.tanh(scores / clip)


def _bias(sight: Sight, timesteps: Timesteps, i: Array, j: Array) -> Array:
    """Return the part of `causal_bias` for queries of block i and keys of block j."""
    place = jnp.arange(timesteps.ids.shape[-1])
    behind = (i * place.size + place)[None, :, None] - (j * place.size + place)[None, None]
    allowed = (timesteps.ids[i][:, :, None] == timesteps.ids[j][:, None, :]) & (behind >= 0)
    if sight.window is not None:
        allowed &= (behind < sight.window) | (timesteps.positions[j] < sight.sink)[:, None, :]
    return jax.lax.optimization_barrier(jnp.where(allowed, 0.0, MASKED))[:, None]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(sight: Sight, query: Array, key: Array, value: Array, timesteps: Timesteps) -> Array:
    """Attend from and to ``[N, B, H, S, E]``."""
    return _forward(sight, query, key, value, timesteps)[0]


def _forward(
    sight: Sight, query: Array, key: Array, value: Array, timesteps: Timesteps
) -> tuple[Array, Any]:
    def visit(running: _Running, pair: Array) -> tuple[_Running, None]:
        i, j = pair
        scores = _scores(query[i], key[j], sight.clip) + _bias(sight, timesteps, i, j)
        before = jax.tree.map(lambda x: x[i], running)
        greatest = jnp.maximum(before.greatest, scores.max(-1, keepdims=True))
        weights, shrink = jnp.exp(scores - greatest), jnp.exp(before.greatest - greatest)
        after = _Running(
            attended=shrink * before.attended + _product("bhlm,bhme->bhle", weights, value[j]),
            greatest=greatest,
            total=shrink * before.total + weights.sum(-1, keepdims=True),
        )
        return jax.tree.map(lambda x, row: x.at[i].set(row), running, after), None

    zeros = jnp.zeros(query.shape, sum_dtype(query))
    one = zeros[..., :1]
    start = _Running(zeros, jnp.full_like(one, -jnp.inf), one)
    end, _ = jax.lax.scan(visit, start, block_pairs(sight, len(query), query.shape[3]))
    attended = (end.attended / end.total).astype(query.dtype)
    log_total = end.greatest + jnp.log(end.total)
    return attended, (query, key, value, timesteps, attended, log_total)


def _backward(sight: Sight, residuals: Any, gradient: Array) -> tuple[Any, ...]:
    query, key, value, timesteps, attended, log_total = residuals
    mean = (gradient * attended).sum(-1, keepdims=True, dtype=sum_dtype(query))

    def visit(grads: _Gradients, pair: Array) -> tuple[_Gradients, None]:
        i, j = pair
        scores, pull = jax.vjp(lambda q, k: _scores(q, k, sight.clip), query[i], key[j])
        weights = jnp.exp(scores + _bias(sight, timesteps, i, j) - log_total[i])
        to_weights = _product("bhle,bhme->bhlm", gradient[i], value[j])
        to_query, to_key = pull(weights * (to_weights - mean[i]))
        to_value = _product("bhlm,bhle->bhme", weights, gradient[i])
        return _Gradients(
            query=grads.query.at[i].add(to_query),
            key=grads.key.at[j].add(to_key),
            value=grads.value.at[j].add(to_value),
        ), None

    zeros = jnp.zeros(query.shape, sum_dtype(query))
    grads, _ = jax.lax.scan(
        visit, _Gradients(zeros, zeros, zeros), block_pairs(sight, len(query), query.shape[3])
    )
    grads = jax.tree.map(lambda x: x.astype(query.dtype), grads)
    return grads.query, grads.key, grads.value, None


_attend.defvjp(_forward, _backward)
