"""The Transformer trajectory encoder: AMAGO's memory.

Pre-norm blocks with NormFormer's extra norms and per-head scaling, and sigma-reparametrized
linears. The same weights run over packed windows in training and, one timestep at a time, over a
key/value cache when acting. Variants bound how far back a timestep sees, and its scores.

Source: AMAGO, section 3 and appendix ("Transformer architecture"); NormFormer, arXiv 2110.09456;
sliding windows: Longformer, arXiv 2004.05150; sinks: StreamingLLM, arXiv 2309.17453; soft capping
of scores: Gemma 2, arXiv 2408.00118.
"""

import functools
import itertools
from typing import Annotated, Literal

import jax.numpy as jnp
from flax import linen as nn
from flax import struct

from amago_jax.kinds import Real
from amago_jax.models.attention import (
    Choice,
    Sight,
    Wanted,
    cache_step,
    choose,
    make_backend,
)
from amago_jax.models.layers import (
    ActivationName,
    Dropout,
    Linear,
    fold_sigma,
    reparametrized_kernels,
)
from amago_jax.models.normalization import Norm, Normalization, check_normalization
from amago_jax.models.positions import sinusoid
from amago_jax.models.trajectory_encoder import TrajectoryEncoder
from amago_jax.models.transformer_block import BlockKernels, TransformerBlock
from amago_jax.settings import Count, Depth, Positive, Size
from amago_jax.types import Array, Attention, Params

PositionEmbedding = Literal["fixed", "learnable", "rope"]


@struct.dataclass
class TransformerMemory:
    """Key/value cache of the last M timesteps of each row, and of its episode's first S, the sinks.

    The last M are a ring shared by all rows: every row writes at the same place, so that one slice
    update serves the batch; how far back a row may look is its own. A reset only forgets the
    length. The sinks follow behind the ring.

    Attributes:
        keys: ``[B, H, M+S, E]`` per layer, of the encoder's dtype.
        values: ``[B, H, M+S, E]`` per layer.
        cursor: int32 ``[]``, where the next timestep is written.
        lengths: int32 ``[B]``, timesteps a row has written since its episode began, at most M+S.
    """

    keys: tuple[Array, ...]
    values: tuple[Array, ...]
    cursor: Array
    lengths: Array


class Transformer(TrajectoryEncoder):
    """Causal Transformer over a window of timesteps, or one timestep with a cache.

    Attributes:
        context_length: timesteps kept in the cache when acting, if no window says less.
        width: D.
        heads: H, dividing D.
        feedforward_width: hidden width of the feed-forward sublayers.
        layers: number of blocks.
        dropout: share dropped after the embedding and after each feed-forward, in training.
        activation: name of the activation.
        position: "fixed" sinusoid, "learnable" table, or "rope" rotary embedding of the time.
        max_time: rows of the learnable table; later times share its last row. A run needs one more
            than the longest episode has transitions.
        normformer_norms: NormFormer's norms after attention and inside the feed-forward.
        sigma_reparam: bound spectral norms, see `SigmaReparamLinear`.
        head_scaling: learned scale per head.
        window: timesteps of its segment that a timestep sees, itself included; None: all of them.
            Layers together see further. A window longer than the context length counts as that.
        sink: first timesteps of its segment that a timestep sees besides its window. Where a batch
            begins inside an episode, these are the first of the batch's part of it; when acting,
            they are the first of the episode.
        logit_clip: attention scores are softly kept within ± this number; None: they are not.
        rematerialize: compute feed-forward layers anew in the backward pass, see `by_chunks`.
        normalization: what norms do, see `amago_jax.models.normalization.Norm`; "simnorm" needs
            widths divisible by 8.
        attention: how windows are attended, see `choose`; acting is the same for all.
        platform: of JAX, where windows are encoded. What is for a CPU works everywhere.
    """

    context_length: Size
    width: Size = 256
    heads: Size = 8
    feedforward_width: Size = 1024
    layers: Depth = 3
    dropout: Annotated[float, Real(0, 0.999)] = 0.05
    activation: ActivationName = "leaky_relu"
    position: PositionEmbedding = "fixed"
    max_time: Size = 2048
    normformer_norms: bool = True
    sigma_reparam: bool = True
    head_scaling: bool = True
    window: Size | None = None
    sink: Count = 0
    logit_clip: Positive | None = None
    rematerialize: bool = False
    normalization: Normalization = "layer"
    attention: Attention = "auto"
    platform: str = "cpu"

    def __post_init__(self) -> None:
        """Check the settings before anything compiles.

        Raises:
            ValueError: if a setting is impossible, or settings do not fit each other.
        """
        super().__post_init__()
        if self.width % self.heads:
            raise ValueError(
                f"heads={self.heads} does not divide width={self.width}; "
                f"choose heads from {[h for h in range(1, 33) if self.width % h == 0]}"
            )
        head_width = self.width // self.heads
        if self.position == "rope" and head_width % 2:
            raise ValueError(
                f"position='rope' needs an even width per head, not {head_width} "
                f"(width={self.width}, heads={self.heads})"
            )
        hidden = {"feedforward_width": self.feedforward_width} if self.normformer_norms else {}
        check_normalization(self.normalization, width=self.width, **hidden)
        if self.sink and self.window is None:
            raise ValueError(
                f"sink={self.sink} has no effect without a window: every timestep is in sight; "
                "set window, or sink=0"
            )

    def setup(self) -> None:
        """Create the parts."""
        self.input = Linear(self.width)
        if self.position == "learnable":
            self.positions = nn.Embed(self.max_time, self.width)
        self.blocks = [
            TransformerBlock(
                width=self.width,
                heads=self.heads,
                feedforward_width=self.feedforward_width,
                dropout=self.dropout,
                activation=self.activation,
                rotary=self.position == "rope",
                normformer_norms=self.normformer_norms,
                sigma_reparam=self.sigma_reparam,
                head_scaling=self.head_scaling,
                logit_clip=self.logit_clip,
                rematerialize=self.rematerialize,
                normalization=self.normalization,
            )
            for _ in range(self.layers)
        ]
        self.output_norm = Norm(self.normalization)
        self.drop = Dropout(self.dropout)

    @property
    def reach(self) -> int:
        """Timesteps in sight when acting, sinks apart: M, the size of the cache's ring."""
        if self.window is None:
            return self.context_length
        return min(self.window, self.context_length)

    @property
    def sight(self) -> Sight:
        """What a timestep of a window sees."""
        return Sight(None if self.window is None else self.reach, self.sink, self.logit_clip)

    def with_attention(self, name: str, platform: str) -> "Transformer":
        """See `TrajectoryEncoder`."""
        return self.clone(attention=name, platform=platform)

    def check_times(self, horizon: int) -> None:
        """See `TrajectoryEncoder`."""
        if self.position == "learnable" and self.max_time <= horizon:
            raise ValueError(
                f"trajectory_encoder.max_time={self.max_time} is too small a table of positions "
                f"for an episode's {horizon + 1} timesteps: set max_time={horizon + 1}, or "
                "trajectory_encoder.position=fixed, which needs no table"
            )

    def choose_attention(self, length: int) -> Choice:
        """See `TrajectoryEncoder`."""
        return choose(
            self.attention,
            Wanted(self.platform, self.dtype, length, self.width // self.heads, self.sight),
        )

    def embed(self, x: Array, time: Array) -> Array:
        """Map inputs ``[..., E]`` at ``time [...]`` to ``[..., D]``."""
        embedded = self.input(x.astype(self.dtype))
        if self.position == "fixed":
            embedded = embedded + sinusoid(time, self.width)
        elif self.position == "learnable":
            embedded = embedded + self.positions(jnp.minimum(time, self.max_time - 1))
        return embedded.astype(self.dtype)

    def __call__(self, x: Array, time: Array, segment_ids: Array, training: bool = False) -> Array:
        """Encode packed windows.

        Args:
            x: ``[B, L, E]``, encoded timesteps.
            time: int32 ``[B, L]``, steps since the episode began.
            segment_ids: int32 ``[B, L]``, see `Batch`.
            training: dropout (rng "dropout") and the power iterations of sigma are on.

        Returns:
            Of `dtype`, ``[B, L, D]``; each timestep sees its own segment's past and itself, as far
            as window and sink let it.
        """
        h = self.drop(self.embed(x, time), training)
        choice = self.choose_attention(h.shape[1])
        backend = make_backend(choice.name, self.sight, self.platform)
        attend = functools.partial(backend.attend, prepared=backend.prepare(segment_ids))
        for block, own in zip(self.blocks, self._kernels(training), strict=True):
            h = block(h, time, attend, own, training)
        return self.output_norm(h)

    def _kernels(self, training: bool) -> list[BlockKernels]:
        """Return the kernels of every block, worked out together."""
        linears = [linear for block in self.blocks for linear in block.linears()]
        kernels = iter(reparametrized_kernels(linears, training))
        return [BlockKernels(*itertools.islice(kernels, 4)) for _ in self.blocks]

    def for_acting(self, params: Params, statistics: Params) -> tuple["Transformer", Params]:
        """Return an encoder and parameters that decode alike, with sigma worked out beforehand.

        A rollout would otherwise scale every kernel anew at every step.
        """
        if not self.sigma_reparam:
            return self, params
        return self.clone(sigma_reparam=False), fold_sigma(params, statistics)

    def initial_memory(self, batch_size: int) -> TransformerMemory:
        """Return an empty cache for ``batch_size`` rows."""
        size = self.reach + self.sink
        shape = (batch_size, self.heads, size, self.width // self.heads)
        return TransformerMemory(
            keys=tuple(jnp.zeros(shape, self.dtype) for _ in range(self.layers)),
            values=tuple(jnp.zeros(shape, self.dtype) for _ in range(self.layers)),
            cursor=jnp.zeros((), jnp.int32),
            lengths=jnp.zeros(batch_size, jnp.int32),
        )

    def decode(
        self, x: Array, time: Array, is_first: Array, memory: TransformerMemory
    ) -> tuple[Array, TransformerMemory]:
        """Encode the next timestep of every row.

        Args:
            x: ``[B, E]``.
            time: int32 ``[B]``.
            is_first: bool ``[B]``, rows whose past is forgotten first.
            memory: the rows' cache.

        Returns:
            Of `dtype`, ``[B, D]``, equal to the full pass while the episode is within the context
            length, and the memory that includes this timestep. Beyond, the oldest entry falls out,
            which equals the full pass with the context length as its window.
        """
        reach, sink = self.reach, self.sink
        lengths = jnp.minimum(jnp.where(is_first, 0, memory.lengths) + 1, reach + sink)
        step = cache_step(memory.cursor, lengths, window=reach, sink=sink)
        h = self.embed(x, time)
        keys, values = [], []
        for index, block in enumerate(self.blocks):
            h, key, value = block.decode(h, time, memory.keys[index], memory.values[index], step)
            keys.append(key)
            values.append(value)
        memory = TransformerMemory(
            keys=tuple(keys),
            values=tuple(values),
            cursor=(memory.cursor + 1) % reach,
            lengths=lengths,
        )
        return self.output_norm(h), memory
