"""Trajectory encoders without memory: the ablations that show what memory is worth.

Source: AMAGO, appendix (the feed-forward ablation).
"""

from amago_jax.models.layers import ActivationName, Linear, activation
from amago_jax.models.normalization import Norm, Normalization, check_normalization
from amago_jax.models.trajectory_encoder import TrajectoryEncoder
from amago_jax.settings import Depth, Size
from amago_jax.types import Array

NoMemory = tuple[()]


class FeedForward(TrajectoryEncoder):
    """Residual feed-forward blocks, h + act(W2 act(W1 h)), on each timestep by itself.

    Attributes:
        context_length: unused: there is no memory.
        width: D.
        feedforward_width: hidden width of a block.
        layers: number of blocks.
        activation: name of the activation.
        normalization: what norms do, see `amago_jax.models.normalization.Norm`.
    """

    context_length: Size
    width: Size = 256
    feedforward_width: Size = 1024
    layers: Depth = 3
    activation: ActivationName = "leaky_relu"
    normalization: Normalization = "layer"

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        check_normalization(self.normalization, width=self.width)

    def setup(self) -> None:
        """Create the parts."""
        self.input = Linear(self.width)
        self.expand = [Linear(self.feedforward_width) for _ in range(self.layers)]
        self.contract = [Linear(self.width) for _ in range(self.layers)]
        self.output = Linear(self.width)
        self.output_norm = Norm(self.normalization)

    def encode(self, x: Array) -> Array:
        """Map ``[..., E]`` to ``[..., D]``."""
        act = activation(self.activation)
        h = act(self.input(x.astype(self.dtype)))
        for expand, contract in zip(self.expand, self.contract, strict=True):
            h = h + act(contract(act(expand(h))))
        return self.output_norm(self.output(h))

    def __call__(self, x: Array, time: Array, segment_ids: Array, training: bool = False) -> Array:
        """Encode ``x [B, L, E]`` to ``[B, L, D]``; times and segments change nothing."""
        return self.encode(x)

    def initial_memory(self, batch_size: int) -> NoMemory:
        """Return nothing, which is what is remembered."""
        return ()

    def decode(
        self, x: Array, time: Array, is_first: Array, memory: NoMemory
    ) -> tuple[Array, NoMemory]:
        """Encode the next timestep of every row, ``x [B, E]`` to ``[B, D]``."""
        return self.encode(x), memory


class Identity(TrajectoryEncoder):
    """The encoded timestep as it is: the policy sees the present only.

    Attributes:
        context_length: unused: there is no memory.
    """

    context_length: Size

    def __call__(self, x: Array, time: Array, segment_ids: Array, training: bool = False) -> Array:
        """Return ``x [B, L, E]``."""
        return x.astype(self.dtype)

    def initial_memory(self, batch_size: int) -> NoMemory:
        """Return nothing, which is what is remembered."""
        return ()

    def decode(
        self, x: Array, time: Array, is_first: Array, memory: NoMemory
    ) -> tuple[Array, NoMemory]:
        """Return ``x [B, E]`` and no memory."""
        return x.astype(self.dtype), memory
