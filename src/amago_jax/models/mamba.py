"""The Mamba trajectory encoder: a selective state space.

A linear recurrence whose decay, input and readout depend on the input. Being linear, it can be
computed over a whole window in a logarithmic number of parallel steps in training; when acting, it
moves one timestep at a time, with a memory of a fixed size.

Source: Gu & Dao 2023, arXiv 2312.00752, sections 3.1 to 3.4 and algorithm 2. Norms inside, which
there have learned scales: of what is selected, Lieber et al. 2024, "Jamba", arXiv 2403.19887; of
what is gated, Dao & Gu 2024, "Transformers are SSMs" (Mamba-2), arXiv 2405.21060.
"""

import functools
import math
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct

from amago_jax.axes import align
from amago_jax.kinds import Whole
from amago_jax.models.layers import (
    Linear,
    follow_input,
    uniform_fan_in,
)
from amago_jax.models.normalization import (
    Norm,
    Normalization,
    check_normalization,
    rms_normalized,
)
from amago_jax.models.precision import at_least_float32
from amago_jax.models.trajectory_encoder import RecurrentEncoder
from amago_jax.settings import Depth, Size
from amago_jax.types import Array

# The step sizes a channel may start with.
SHORTEST_STEP, LONGEST_STEP = 1e-3, 1e-1


@struct.dataclass
class MambaMemory:
    """What each row remembers, per block.

    Attributes:
        recent: ``[B, K-1, I]`` per block, the convolution's last inputs, oldest first.
        states: float32 ``[B, I, N]`` per block, the state space's state.
    """

    recent: tuple[Array, ...]
    states: tuple[Array, ...]


@struct.dataclass
class Selected:
    """What a timestep's input selects of the state space.

    Attributes:
        u: float32 ``[..., I]``, the input itself.
        step: float32 ``[..., I]``, how long the input acts, Delta.
        write: float32 ``[..., N]``, where it goes, B.
        read: float32 ``[..., N]``, what is read, C.
    """

    u: Array
    step: Array
    write: Array
    read: Array


def coefficients(selected: Selected, rates: Array) -> tuple[Array, Array]:
    """Return decay and drive, ``[..., I, N]``, of the recurrence state = decay * state + drive.

    The decay is discretized exactly (zero-order hold), the drive by Euler's rule.

    Args:
        selected: see `Selected`.
        rates: float32 ``[I, N]``, below zero.
    """
    step = selected.step[..., None]
    decay = jnp.exp(step * align(rates, step))
    return decay, (selected.step * selected.u)[..., None] * selected.write[..., None, :]


def read_out(state: Array, selected: Selected) -> Array:
    """Read ``[..., I]`` from states ``[..., I, N]``."""
    return (state * selected.read[..., None, :]).sum(-1)


def scan_in_parallel(selected: Selected, rates: Array, is_first: Array) -> Array:
    """`selective_scan` in a logarithmic number of steps.

    Two steps in a row, (a, b) then (a', b'), are one step (a a', a' b + b'), which is associative.
    """

    def compose(earlier: tuple[Array, Array], later: tuple[Array, Array]) -> tuple[Array, Array]:
        return earlier[0] * later[0], later[0] * earlier[1] + later[1]

    decay, drive = coefficients(selected, rates)
    decay = jnp.where(is_first[..., None, None], 0.0, decay)
    return read_out(jax.lax.associative_scan(compose, (decay, drive), axis=1)[1], selected)


def scan_in_sequence(selected: Selected, rates: Array, is_first: Array) -> Array:
    """`selective_scan` one timestep after another.

    Only states are kept for the backward pass; decays and drives are worked out again, which is
    cheaper than to fetch them.
    """

    @functools.partial(jax.checkpoint, prevent_cse=False)  # a scan needs no such prevention
    def step(state: Array, now: tuple[Selected, Array]) -> tuple[Array, Array]:
        selected, first = now
        decay, drive = coefficients(selected, rates)
        state = decay * jnp.where(first[:, None, None], 0.0, state) + drive
        return state, read_out(state, selected)

    over_time = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), (selected, is_first))
    start = jnp.zeros((len(is_first), *rates.shape), rates.dtype)
    return jnp.swapaxes(jax.lax.scan(step, start, over_time)[1], 0, 1)


def selective_scan(selected: Selected, rates: Array, is_first: Array) -> Array:
    """Run the state space over windows, anew where ``is_first``.

    In sequence on a CPU, where that takes a quarter of the time, in parallel elsewhere.

    Args:
        selected: leaves ``[B, L, ...]``, finite.
        rates: float32 ``[I, N]``, below zero.
        is_first: bool ``[B, L]``.

    Returns:
        What is read at each timestep, float32 ``[B, L, I]``.
    """
    return jax.lax.platform_dependent(
        selected, rates, is_first, cpu=scan_in_sequence, default=scan_in_parallel
    )


def segment_convolve(x: Array, kernel: Array, bias: Array, positions: Array) -> Array:
    """Depthwise causal convolution that does not look across segment borders.

    Args:
        x: ``[B, L, I]``.
        kernel: float32 ``[K, I]``, the present's weight last.
        bias: float32 ``[I]``.
        positions: int32 ``[B, L]``, from `segment_positions`.

    Returns:
        float32 ``[B, L, I]``.
    """
    length = x.shape[1]
    kernel = kernel[:, None, None]
    y = x * kernel[-1] + bias[None, None]
    for lag in range(1, min(len(kernel), length)):
        past = jnp.pad(x[:, : length - lag], ((0, 0), (lag, 0), (0, 0)))
        y = y + jnp.where((positions >= lag)[..., None], past, 0.0) * kernel[-1 - lag]
    return y


def root_mean_square_one(x: Array) -> Array:
    """Divide ``x [..., N]`` by the root of its mean square, taken in float32.

    A single number stays as it is: nothing but its sign would be left.
    """
    if x.shape[-1] == 1:
        return x
    return rms_normalized(at_least_float32(x)).astype(x.dtype)


def log_rates(key: Array, shape: tuple[int, int]) -> Array:
    """Return log(1..N) for every channel, ``[I, N]``: the S4D-real initialization."""
    return jnp.broadcast_to(jnp.log(jnp.arange(1.0, shape[1] + 1.0)), shape)


def step_bias(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """Return biases whose softplus is log-uniform between the shortest and the longest step."""
    low, high = math.log(SHORTEST_STEP), math.log(LONGEST_STEP)
    step = jnp.exp(jax.random.uniform(key, shape, dtype, low, high))
    return step + jnp.log(-jnp.expm1(-step))


class MambaBlock(nn.Module):
    """Residual block around a gated, selective state space.

    Whatever the dtype of its input, the state space is float32: its decays are close to 1, and its
    state is a sum over the whole past.
    """

    width: int
    inner_width: int
    state_size: int
    convolution_width: int
    step_rank: int
    normalization: str = "layer"
    inner_norms: bool = False

    def setup(self) -> None:
        """Create the parts."""
        inner, states, taps = self.inner_width, self.state_size, self.convolution_width
        self.norm = Norm(self.normalization)
        self.input = _projection(2 * inner, self.width)
        self.kernel = self.param("kernel", uniform_fan_in(taps), (taps, inner))
        self.bias = self.param("bias", uniform_fan_in(taps), (inner,))
        self.select = _projection(self.step_rank + 2 * states, inner)
        self.step = nn.Dense(
            inner,
            kernel_init=uniform_fan_in(self.step_rank),
            bias_init=step_bias,
            promote_dtype=follow_input,
        )
        self.log_rates = self.param("log_rates", log_rates, (inner, states))
        self.skip = self.param("skip", nn.initializers.ones, (inner,))
        self.output = _projection(self.width, inner)

    def rates(self) -> Array:
        """Return the rates of decay A, float32 ``[I, N]``."""
        return -jnp.exp(self.log_rates)

    def selected(self, u: Array) -> Selected:
        """Return what the convolved inputs ``u [..., I]`` select."""
        borders = [self.step_rank, self.step_rank + self.state_size]
        chosen = jnp.split(self.select(u), borders, axis=-1)
        step, write, read = map(root_mean_square_one, chosen) if self.inner_norms else chosen
        selected = Selected(u=u, step=jax.nn.softplus(self.step(step)), write=write, read=read)
        return jax.tree.map(at_least_float32, selected)

    def merge(self, x: Array, y: Array, u: Array, gate: Array) -> Array:
        """Add what was read, ``y [..., I]``, gated, to ``x [..., D]``."""
        passed = (y + align(self.skip, u) * u).astype(x.dtype) * jax.nn.silu(gate)
        return x + self.output(root_mean_square_one(passed) if self.inner_norms else passed)

    def __call__(self, x: Array, positions: Array) -> Array:
        """Map ``x [B, L, D]`` at ``positions [B, L]`` of their segments to ``[B, L, D]``."""
        u, gate = jnp.split(self.input(self.norm(x)), 2, axis=-1)
        u = segment_convolve(u, self.kernel, self.bias, positions)
        u = jax.nn.silu(u).astype(x.dtype)
        y = selective_scan(self.selected(u), self.rates(), positions == 0)
        return self.merge(x, y, u, gate)

    def decode(self, x: Array, recent: Array, state: Array) -> tuple[Array, Array, Array]:
        """Map one timestep ``x [B, D]``; ``recent`` and ``state`` as in `MambaMemory`, moved on."""
        u, gate = jnp.split(self.input(self.norm(x)), 2, axis=-1)
        seen = jnp.concatenate([recent, u[:, None]], axis=1)
        u = jnp.einsum("bki,ki->bi", seen, self.kernel) + self.bias[None]
        u = jax.nn.silu(u).astype(x.dtype)
        selected = self.selected(u)
        decay, drive = coefficients(selected, self.rates())
        state = decay * state + drive
        return self.merge(x, read_out(state, selected), u, gate), seen[:, 1:], state


class Mamba(RecurrentEncoder):
    """A linear, residual Mamba blocks and a norm.

    Attributes:
        context_length: unused: the memory has no end.
        width: D.
        layers: number of blocks.
        state_size: N, numbers remembered per inner channel.
        convolution_width: K, timesteps the convolution sees.
        expand: inner channels per channel, I = expand D.
        normalization: what norms do, see `amago_jax.models.normalization.Norm`.
        inner_norms: bring what an input selects (what its step is made of, B and C), and what is
            read and gated, to a root mean square of 1. Without, as published, what a first timestep
            wrote moves later outputs thousands of times less than it does in a Transformer when
            learning begins, and is not learned from; either norm alone did not do.
    """

    context_length: Size
    width: Size = 256
    layers: Depth = 3
    state_size: Size = 16
    convolution_width: Annotated[int, Whole(1, 1000)] = 4
    expand: Size = 2
    normalization: Normalization = "layer"
    inner_norms: bool = False

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        check_normalization(self.normalization, width=self.width)

    def setup(self) -> None:
        """Create the parts."""
        self.input = Linear(self.width)
        self.blocks = [
            MambaBlock(
                width=self.width,
                inner_width=self.inner_width,
                state_size=self.state_size,
                convolution_width=self.convolution_width,
                step_rank=math.ceil(self.width / 16),
                normalization=self.normalization,
                inner_norms=self.inner_norms,
            )
            for _ in range(self.layers)
        ]
        self.output_norm = Norm(self.normalization)

    @property
    def inner_width(self) -> int:
        """Channels inside a block, I."""
        return self.expand * self.width

    def unroll(self, x: Array, positions: Array) -> Array:
        """See `RecurrentEncoder`."""
        h = self.input(x.astype(self.dtype))
        for block in self.blocks:
            h = block(h, positions)
        return self.output_norm(h)

    def initial_memory(self, batch_size: int) -> MambaMemory:
        """Return a memory of zeros for ``batch_size`` rows."""
        inner = self.inner_width
        recent, state = (self.convolution_width - 1, inner), (inner, self.state_size)
        return MambaMemory(
            recent=tuple(jnp.zeros((batch_size, *recent), self.dtype) for _ in range(self.layers)),
            states=tuple(jnp.zeros((batch_size, *state)) for _ in range(self.layers)),
        )

    def decode(
        self, x: Array, time: Array, is_first: Array, memory: MambaMemory
    ) -> tuple[Array, MambaMemory]:
        """See `TrajectoryEncoder`."""
        memory = jax.tree.map(lambda m: jnp.where(is_first[:, None, None], 0.0, m), memory)
        h = self.input(x.astype(self.dtype))
        all_recent, states = [], []
        for block, recent, state in zip(self.blocks, memory.recent, memory.states, strict=True):
            h, recent, state = block.decode(h, recent, state)
            all_recent.append(recent)
            states.append(state)
        return self.output_norm(h), MambaMemory(tuple(all_recent), tuple(states))


def _projection(features: int, fan_in: int) -> nn.Dense:
    init = uniform_fan_in(fan_in)
    return nn.Dense(features, use_bias=False, kernel_init=init, promote_dtype=follow_input)
