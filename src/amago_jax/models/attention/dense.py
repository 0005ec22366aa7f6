"""Attention with a bias over all pairs of timesteps: short windows, and one step of acting."""

import dataclasses
import itertools

import chex
import jax
import jax.numpy as jnp

from amago_jax.models.attention.sight import Sight
from amago_jax.models.precision import sum_dtype
from amago_jax.models.segments import segment_positions
from amago_jax.types import Array

# Finite, so that a sum with it stays a number.
MASKED = -1e30


@dataclasses.dataclass(frozen=True)
class Dense:
    """The plain `AttentionBackend`, which takes everything.

    Attributes:
        sight: what a timestep sees.
        row_blocks: see `causal_attend`.
    """

    sight: Sight
    row_blocks: int | None = None

    def prepare(self, segment_ids: Array) -> Array:
        """Return a `causal_bias`, float32 ``[B, L, L]``."""
        return causal_bias(segment_ids, self.sight.window, self.sight.sink)

    def attend(self, query: Array, key: Array, value: Array, prepared: Array) -> Array:
        """See `AttentionBackend`."""
        sight = self.sight
        # What no timestep sees need not be computed, but sinks may be anywhere.
        window = None if sight.sink else sight.window
        return causal_attend(query, key, value, prepared, window, sight.clip, self.row_blocks)


def in_sight(segment_ids: Array, window: int | None = None, sink: int = 0) -> Array:
    """Return bool ``[B, L, L]``: whether timestep i (axis 1) may attend to j (axis 2).

    Args:
        segment_ids: int32 ``[B, L]``, see `Batch`.
        window: if given, i sees only the last so many timesteps, itself included.
        sink: the segment's first so many timesteps stay in sight of all that follow.
    """
    length = segment_ids.shape[-1]
    same_segment = segment_ids[:, :, None] == segment_ids[:, None, :]
    allowed = same_segment & jnp.tril(jnp.ones((1, length, length), bool))
    if window is not None:
        recent = jnp.triu(jnp.ones((1, length, length), bool), 1 - window)
        allowed &= recent | (segment_positions(segment_ids) < sink)[:, None, :]
    return allowed


def causal_bias(segment_ids: Array, window: int | None = None, sink: int = 0) -> Array:
    """Return float32 ``[B, L, L]``: 0 where timestep i (axis 1) may attend to j (axis 2).

    Built once for all layers and heads, and added rather than selected with: XLA on a CPU fuses
    an addition with the products around it, not a selection.

    Args:
        segment_ids: as in `in_sight`; window and sink too.
        window: see there.
        sink: see there.
    """
    allowed = in_sight(segment_ids, window, sink)
    return jax.lax.optimization_barrier(jnp.where(allowed, 0.0, MASKED))


def attend(query: Array, key: Array, value: Array, bias: Array, clip: float | None = None) -> Array:
    """Dot-product attention; the query comes scaled, scores and softmax are float32.

    Args:
        query: float32 or bfloat16 ``[B, H, L, E]``, divided by sqrt(E) beforehand.
        key: ``[B, H, M, E]``, of the query's dtype.
        value: ``[B, H, M, E]``, of the query's dtype.
        bias: float32 ``[B, L, M]``, added to the scores of every head.
        clip: if given, scores go through clip * tanh(score / clip) first.

    Returns:
        ``[B, H, L, E]``, of the query's dtype.
    """
    chex.assert_rank([query, key, value, bias], [4, 4, 4, 3])
    scores = _scores(query, key, bias, clip)
    # Softmax with the division moved behind the product, where it touches E numbers, not M.
    weights = jnp.exp(scores - jax.lax.stop_gradient(scores.max(-1, keepdims=True)))
    weighted = jnp.einsum(
        "bhlm,bhme->bhle",
        weights.astype(value.dtype),
        value,
        preferred_element_type=sum_dtype(query),
    )
    return (weighted / weights.sum(-1, keepdims=True)).astype(query.dtype)


def attention_weights(query: Array, key: Array, bias: Array, clip: float | None = None) -> Array:
    """Return what `attend` weighs values by, float32 ``[B, H, L, M]``; rows sum to 1.

    Args:
        query: as in `attend`; the others too.
        key: see there.
        bias: see there.
        clip: see there.
    """
    return jax.nn.softmax(_scores(query, key, bias, clip), axis=-1)


def _scores(query: Array, key: Array, bias: Array, clip: float | None) -> Array:
    scores = jnp.einsum("bhle,bhme->bhlm", query, key, preferred_element_type=sum_dtype(query))
    if clip is not None:
        scores = clip * jnp.tanh(scores / clip)
    return scores + bias[:, None]


def causal_attend(
    query: Array,
    key: Array,
    value: Array,
    bias: Array,
    window: int | None = None,
    clip: float | None = None,
    row_blocks: int | None = None,
) -> Array:
    """`attend` for a causal bias ``[B, L, L]``, skipping most of what the bias would mask.

    Rows are taken in a few blocks, each against the keys from its first row's window up to its own
    end. Short sequences gain nothing from it.

    Args:
        query: as in `attend`; key, value and bias too, with M = L.
        key: see there.
        value: see there.
        bias: from `causal_bias`.
        window: if given, the bias masks all but the last so many timesteps, sinks too.
        clip: as in `attend`.
        row_blocks: how many blocks; None: as many as are best on a CPU.
    """
    length = query.shape[2]
    blocks = row_blocks or (1 if length < 64 else 3 if length < 256 else 4)
    edges = [round(length * block / blocks) for block in range(blocks + 1)]
    attended = []
    for start, end in itertools.pairwise(edges):
        rows, keys = (
            slice(start, end),
            slice(0 if window is None else max(0, start + 1 - window), end),
        )
        attended.append(
            attend(query[:, :, rows], key[:, :, keys], value[:, :, keys], bias[:, rows, keys], clip)
        )
    return jnp.concatenate(attended, axis=2)
