"""One block of the Transformer: self-attention and a feed-forward sublayer, each residual.

Pre-norm, with NormFormer's extra norms, a learned scale per head, and sigma-reparametrized linears.

Source: AMAGO, section 3 and appendix ("Transformer architecture"); NormFormer, arXiv 2110.09456.
"""

from collections.abc import Callable
from typing import NamedTuple

from flax import linen as nn

from amago_jax.models.attention import CacheStep, attend_to_cache, write_cache
from amago_jax.models.chunks import by_chunks
from amago_jax.models.layers import (
    Dropout,
    SigmaReparamLinear,
    activation,
    materialize_gradient,
)
from amago_jax.models.normalization import Norm
from amago_jax.models.positions import rotate
from amago_jax.models.products import threefold_product
from amago_jax.types import Array

# From query, key and value, each [B, H, L, E], to attended values alike: a pass's backend.
Attend = Callable[[Array, Array, Array], Array]


class BlockKernels(NamedTuple):
    """W_hat of a block's linears, see `SigmaReparamLinear`."""

    qkv: Array
    out: Array
    expand: Array
    contract: Array


class SelfAttention(nn.Module):
    """Multi-head causal self-attention with a learned scale per head."""

    width: int
    heads: int
    rotary: bool
    sigma_reparam: bool
    head_scaling: bool
    logit_clip: float | None

    def setup(self) -> None:
        """Create the projections."""
        width, enabled = self.width, self.sigma_reparam
        self.qkv = SigmaReparamLinear(width, 3 * width, use_bias=False, enabled=enabled)
        self.out = SigmaReparamLinear(width, width, enabled=enabled)
        if self.head_scaling:
            self.head_scale = self.param("head_scale", nn.initializers.ones, (self.heads,))

    def project(self, x: Array, time: Array, kernel: Array) -> tuple[Array, Array, Array]:
        """Map ``x [B, L, D]`` at ``time [B, L]`` to query, key, value, each ``[B, H, L, E]``.

        The query comes divided by sqrt(E). ``kernel`` is W_hat of the three.
        """
        batch, length, _ = x.shape
        query, key, value = (
            projected.reshape(batch, length, self.heads, -1).swapaxes(1, 2)
            for projected in threefold_product(x, kernel)
        )
        if self.rotary:
            query, key = rotate(query, time), rotate(key, time)
        return query * query.shape[-1] ** -0.5, key, value

    def merge(self, attended: Array, kernel: Array | None = None) -> Array:
        """Map attended values ``[B, H, L, E]`` to ``[B, L, D]``; see `SigmaReparamLinear`."""
        if self.head_scaling:
            scaled = attended * self.head_scale[None, :, None, None]
            attended = scaled.astype(attended.dtype)
        batch, _, length, _ = attended.shape
        return self.out(attended.transpose(0, 2, 1, 3).reshape(batch, length, -1), kernel=kernel)

    def __call__(self, x: Array, time: Array, attend: Attend, kernels: BlockKernels) -> Array:
        """Attend within ``x [B, L, D]`` at ``time [B, L]``, as the pass's backend does."""
        return self.merge(attend(*self.project(x, time, kernels.qkv)), kernels.out)

    def decode(
        self, x: Array, time: Array, keys: Array, values: Array, step: CacheStep
    ) -> tuple[Array, Array, Array]:
        """Attend from one timestep ``x [B, D]`` to the cache and itself.

        Args:
            x: ``[B, D]``.
            time: int32 ``[B]``.
            keys: ``[B, H, M+S, E]``, in the dtype of x.
            values: likewise.
            step: where this timestep is written and what it sees.

        Returns:
            Output ``[B, D]``, keys and values with this timestep written.
        """
        query, key, value = self.project(x[:, None], time[:, None], self.qkv.kernel())
        keys, values = write_cache(keys, key, step), write_cache(values, value, step)
        attended = attend_to_cache(query, keys, values, step, self.logit_clip)
        return self.merge(attended)[:, 0], keys, values


class TransformerBlock(nn.Module):
    """Attention and feed-forward with residual connections, see the module's docstring."""

    width: int
    heads: int
    feedforward_width: int
    dropout: float
    activation: str
    rotary: bool
    normformer_norms: bool
    sigma_reparam: bool
    head_scaling: bool
    logit_clip: float | None
    rematerialize: bool
    normalization: str = "layer"

    def setup(self) -> None:
        """Create the parts."""
        self.attention = SelfAttention(
            width=self.width,
            heads=self.heads,
            rotary=self.rotary,
            sigma_reparam=self.sigma_reparam,
            head_scaling=self.head_scaling,
            logit_clip=self.logit_clip,
        )
        self.attention_norm = Norm(self.normalization)
        self.feedforward_norm = Norm(self.normalization)
        if self.normformer_norms:
            self.attended_norm = Norm(self.normalization)
            self.hidden_norm = Norm(self.normalization)
        width, hidden = self.width, self.feedforward_width
        self.expand = SigmaReparamLinear(width, hidden, enabled=self.sigma_reparam)
        self.contract = SigmaReparamLinear(hidden, width, enabled=self.sigma_reparam)
        self.drop = Dropout(self.dropout)

    def linears(self) -> list[SigmaReparamLinear]:
        """Return the linears in the order of `BlockKernels`."""
        return [self.attention.qkv, self.attention.out, self.expand, self.contract]

    def add_attended(self, x: Array, attended: Array) -> Array:
        """Residual connection around attention, all ``[..., D]``."""
        attended = self.attended_norm(attended) if self.normformer_norms else attended
        return materialize_gradient(x) + attended

    def feedforward(self, x: Array, training: bool, kernels: BlockKernels | None = None) -> Array:
        """Residual feed-forward sublayer, ``[..., D]`` to ``[..., D]``."""
        expand, contract = (None, None) if kernels is None else (kernels.expand, kernels.contract)

        def transform(block: TransformerBlock, x: Array) -> Array:
            hidden = block.expand(block.feedforward_norm(x), kernel=expand)
            hidden = activation(block.activation)(hidden)
            if block.normformer_norms:
                hidden = block.hidden_norm(hidden)
            return block.contract(hidden, kernel=contract)

        transformed = by_chunks(transform, self, x) if self.rematerialize else transform(self, x)
        return materialize_gradient(x) + self.drop(transformed, training)

    def __call__(
        self, x: Array, time: Array, attend: Attend, kernels: BlockKernels, training: bool
    ) -> Array:
        """Map ``x [B, L, D]`` to ``[B, L, D]``; see `SelfAttention`."""
        attended = self.attention(self.attention_norm(x), time, attend, kernels)
        return self.feedforward(self.add_attended(x, attended), training, kernels)

    def decode(
        self, x: Array, time: Array, keys: Array, values: Array, step: CacheStep
    ) -> tuple[Array, Array, Array]:
        """Map one timestep ``x [B, D]``; arguments and results as in `SelfAttention.decode`."""
        attended, keys, values = self.attention.decode(
            self.attention_norm(x), time, keys, values, step
        )
        return self.feedforward(self.add_attended(x, attended), training=False), keys, values
