"""The GRU trajectory encoder: recurrent memory of a fixed size.

Source: AMAGO, appendix (the RNN ablation); Cho et al. 2014, arXiv 1406.1078, in the variant that
cuDNN and PyTorch compute.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from amago_jax.models.layers import Linear, follow_input, uniform_fan_in
from amago_jax.models.normalization import Norm, Normalization, check_normalization
from amago_jax.models.trajectory_encoder import RecurrentEncoder
from amago_jax.settings import Depth, Size
from amago_jax.types import Array, Params


def gru_step(inputs: Array, hidden: Array, kernel: Array, bias: Array) -> Array:
    """Move a hidden state by one timestep.

    With the gates in the order reset, update, new::

        r = sigmoid(i_r + h W_r + b_r)
        z = sigmoid(i_z + h W_z + b_z)
        n = tanh(i_n + r (h W_n + b_n))
        h' = (1 - z) n + z h

    Args:
        inputs: float32 ``[B, 3H]``, the projected inputs i, with their bias.
        hidden: float32 ``[B, H]``.
        kernel: ``[H, 3H]``, in the dtype that its product is to be computed in.
        bias: float32 ``[3H]``.

    Returns:
        float32 ``[B, H]``.
    """
    input_reset, input_update, input_new = jnp.split(inputs, 3, axis=-1)
    projected = hidden.astype(kernel.dtype) @ kernel + bias[None]
    hidden_reset, hidden_update, hidden_new = jnp.split(projected, 3, axis=-1)
    reset = jax.nn.sigmoid(input_reset + hidden_reset)
    update = jax.nn.sigmoid(input_update + hidden_update)
    new = jnp.tanh(input_new + reset * hidden_new)
    return (1.0 - update) * new + update * hidden


class GRULayer(nn.Module):
    """One GRU layer, started as PyTorch starts it.

    Its hidden state is float32 whatever its input is: what a gate that is nearly shut lets in at
    each step would be lost on a bfloat16.
    """

    hidden_size: int

    def setup(self) -> None:
        """Create the projections."""
        size = self.hidden_size
        init = uniform_fan_in(size)
        self.input = nn.Dense(
            3 * size, kernel_init=init, bias_init=init, promote_dtype=follow_input
        )
        self.hidden_kernel = self.param("hidden_kernel", init, (size, 3 * size))
        self.hidden_bias = self.param("hidden_bias", init, (3 * size,))

    def __call__(self, x: Array, is_first: Array) -> Array:
        """Map ``x [B, L, I]`` to hidden states ``[B, L, H]``; ``is_first [B, L]`` forgets."""

        def step(hidden: Array, now: tuple[Array, Array]) -> tuple[Array, Array]:
            inputs, first = now
            # Cast here, so that the kernel's gradient is summed over time as float32.
            kernel = self.hidden_kernel.astype(x.dtype)
            hidden = jnp.where(first[:, None], 0.0, hidden)
            hidden = gru_step(inputs, hidden, kernel, self.hidden_bias)
            return hidden, hidden

        # All timesteps are projected in one product; only what depends on the past waits for it.
        inputs = self.input(x)
        over_time = (jnp.swapaxes(inputs, 0, 1), jnp.swapaxes(is_first, 0, 1))
        start = jnp.zeros((x.shape[0], self.hidden_size), inputs.dtype)
        _, hidden = jax.lax.scan(step, start, over_time)
        return jnp.swapaxes(hidden, 0, 1).astype(x.dtype)

    def decode(self, x: Array, hidden: Array) -> Array:
        """Map one timestep ``x [B, I]`` and the hidden state ``[B, H]`` to the next ``[B, H]``."""
        kernel = self.hidden_kernel.astype(x.dtype)
        return gru_step(self.input(x), hidden, kernel, self.hidden_bias)


class GRU(RecurrentEncoder):
    """Stacked GRU layers, a linear and a norm.

    Its memory is the hidden states, float32 ``[layers, B, hidden_size]``.

    Attributes:
        context_length: unused: the memory has no end.
        layers: number of GRU layers.
        hidden_size: H, width of a hidden state.
        output_width: D.
        normalization: what norms do, see `amago_jax.models.normalization.Norm`.
    """

    context_length: Size
    layers: Depth = 2
    hidden_size: Size = 256
    output_width: Size = 256
    normalization: Normalization = "layer"

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        check_normalization(self.normalization, output_width=self.output_width)

    def setup(self) -> None:
        """Create the parts."""
        self.cells = [GRULayer(self.hidden_size) for _ in range(self.layers)]
        self.output = Linear(self.output_width)
        self.output_norm = Norm(self.normalization)

    def unroll(self, x: Array, positions: Array) -> Array:
        """See `RecurrentEncoder`."""
        x = x.astype(self.dtype)
        for cell in self.cells:
            x = cell(x, positions == 0)
        return self.output_norm(self.output(x))

    def initial_memory(self, batch_size: int) -> Array:
        """Return hidden states of zero, float32 ``[layers, B, H]``."""
        return jnp.zeros((self.layers, batch_size, self.hidden_size))

    def for_acting(self, params: Params, statistics: Params) -> tuple["GRU", Params]:
        """Return itself and parameters that decode alike, recurrent kernels cast beforehand."""
        cast = {
            name: {**layer, "hidden_kernel": layer["hidden_kernel"].astype(self.dtype)}
            for name, layer in params.items()
            if "hidden_kernel" in layer
        }
        return self, {**params, **cast}

    def decode(self, x: Array, time: Array, is_first: Array, memory: Array) -> tuple[Array, Array]:
        """See `TrajectoryEncoder`."""
        memory = jnp.where(is_first[:, None], 0.0, memory)
        x, states = x.astype(self.dtype), []
        for cell, state in zip(self.cells, memory, strict=True):
            states.append(cell.decode(x, state))
            x = states[-1].astype(self.dtype)
        return self.output_norm(self.output(x)), jnp.stack(states)
