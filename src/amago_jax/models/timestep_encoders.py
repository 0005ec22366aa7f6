"""Timestep encoders: one timestep in, one vector out, no memory."""

import jax.numpy as jnp
from flax import linen as nn

from amago_jax.models.layers import MLP, LayerNorm
from amago_jax.models.normalization import InputNormalization
from amago_jax.types import Array


class FeedForwardTimestepEncoder(nn.Module):
    """Flatten and concatenate everything the policy sees, normalize it, and pass it through an MLP.

    Source: AMAGO, section 3 ("timestep encoder").

    Attributes:
        hidden_size: width of the hidden layers.
        layers: number of hidden layers.
        output_size: width E of the output.
        activation: name of the activation.
        normalize_inputs: standardize the inputs by running statistics.
        axis_name: mesh axis over whose devices batches are split, if any.
    """

    hidden_size: int = 512
    layers: int = 2
    output_size: int = 256
    activation: str = "leaky_relu"
    normalize_inputs: bool = True
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, observation: dict[str, Array], rl2: Array, mask: Array, training: bool = False
    ) -> Array:
        """Encode timesteps.

        Args:
            observation: arrays ``[..., *shape]`` by key.
            rl2: float32 ``[..., 1+A]``, the previous reward, then the previous action.
            mask: bool ``[...]``, which timesteps count for the running statistics.
            training: move the running statistics before using them.

        Returns:
            float32 ``[..., E]``.
        """
        leading = rl2.shape[:-1]
        parts = [observation[key].reshape(*leading, -1) for key in sorted(observation)]
        x = jnp.concatenate([part.astype(rl2.dtype) for part in [*parts, rl2]], axis=-1)
        if self.normalize_inputs:
            normalize = InputNormalization(axis_name=self.axis_name, name="input_normalization")
            x = normalize(x, mask, training)
        mlp = MLP(self.hidden_size, self.layers, self.output_size, self.activation, name="mlp")
        return LayerNorm(name="output_norm")(mlp(x))
