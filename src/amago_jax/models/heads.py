"""Heads on top of the trajectory encoder: the actor and the critic ensembles.

They compute in the dtype of the states, but for their output layers: those are float32, and so is
all that reads them. Log-probabilities and advantages tell values apart that bfloat16 does not.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from amago_jax.models.chunks import by_chunks
from amago_jax.models.layers import (
    MLP,
    ActivationName,
    Linear,
    activation,
    uniform_fan_in,
)
from amago_jax.models.normalization import Norm, Normalization, check_normalization
from amago_jax.models.precision import at_least_float32
from amago_jax.models.products import product
from amago_jax.models.symlog import symlog
from amago_jax.settings import HiddenLayers, Size, check_fields
from amago_jax.types import Array

CRITIC_ACTION_LIMIT = 0.999
FLOAT32_LAYER = "output"  # name of every head's output layer


class Actor(nn.Module):
    """An MLP that gives the parameters of one action distribution per discount.

    Attributes:
        gammas: G, the number of discounts.
        parameter_count: P, numbers per distribution.
        hidden_size: width of the hidden layers.
        layers: number of hidden layers.
        activation: name of the activation.
    """

    gammas: Size
    parameter_count: Size
    hidden_size: Size = 256
    layers: HiddenLayers = 2
    activation: ActivationName = "leaky_relu"

    def __post_init__(self) -> None:
        """Check the settings."""
        check_fields(self)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map ``[..., D]`` to ``[..., G, P]``."""
        outputs = self.gammas * self.parameter_count
        mlp = MLP(
            self.hidden_size, self.layers, outputs, self.activation, float32_output=True, name="mlp"
        )
        return mlp(x).reshape(*x.shape[:-1], self.gammas, self.parameter_count)


class ResidualActor(nn.Module):
    """A deeper, normalized actor head: residual blocks of two linears each.

    Stem: linear, norm, activation. Block: x + norm(linear(act(norm(linear(x))))).

    Source: BRO, Nauman et al. 2024, arXiv 2405.16158; AMAGO-2's larger agents.

    Attributes:
        gammas: G, the number of discounts.
        parameter_count: P, numbers per distribution.
        width: width of stem and blocks.
        blocks: number of residual blocks.
        activation: name of the activation.
        normalization: what norms do, see `amago_jax.models.normalization.Norm`.
    """

    gammas: Size
    parameter_count: Size
    width: Size = 512
    blocks: HiddenLayers = 2
    activation: ActivationName = "leaky_relu"
    normalization: Normalization = "layer"

    def __post_init__(self) -> None:
        """Check the settings."""
        check_fields(self)
        check_normalization(self.normalization, width=self.width)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map ``[..., D]`` to ``[..., G, P]``."""
        act = activation(self.activation)
        leading = x.shape[:-1]
        x = act(Norm(self.normalization, name="stem_norm")(Linear(self.width, name="stem")(x)))
        for index in range(self.blocks):
            y = Linear(self.width, name=f"block_{index}_hidden")(x)
            y = act(Norm(self.normalization, name=f"block_{index}_hidden_norm")(y))
            y = Linear(self.width, name=f"block_{index}_output")(y)
            x = x + Norm(self.normalization, name=f"block_{index}_output_norm")(y)
        output = Linear(self.gammas * self.parameter_count, name="output")
        y = output(at_least_float32(x))
        return y.reshape(*leading, self.gammas, self.parameter_count)


class EnsembleLinear(nn.Module):
    """C linear maps side by side, as one batched matrix product."""

    critics: int
    features: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map ``[C, N, I]``, or ``[N, I]`` shared by all, to ``[C, N, features]``."""
        init = uniform_fan_in(x.shape[-1])
        kernel = self.param("kernel", init, (self.critics, x.shape[-1], self.features))
        bias = self.param("bias", init, (self.critics, self.features))
        each = jax.vmap(product, in_axes=(None if x.ndim == 2 else 0, 0))
        return (each(x, kernel) + bias[:, None]).astype(x.dtype)


class EnsembleMLP(nn.Module):
    """C multi-layer perceptrons side by side, see `MLP`."""

    critics: int
    hidden_size: int
    layers: int
    output_size: int
    activation: str
    rematerialize: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map ``[..., I]`` to ``[C, ..., output_size]``."""

        def transform(mlp: EnsembleMLP, y: Array) -> Array:
            act = activation(mlp.activation)
            for index in range(mlp.layers):
                y = act(EnsembleLinear(mlp.critics, mlp.hidden_size, name=f"hidden_{index}")(y))
            output = EnsembleLinear(mlp.critics, mlp.output_size, name="output")
            return output(at_least_float32(y))

        # Flat batched matrix products: einsums over the leading axes run several times slower.
        y = x.reshape(-1, x.shape[-1])
        y = by_chunks(transform, self, y) if self.rematerialize else transform(self, y)
        return y.reshape(self.critics, *x.shape[:-1], self.output_size)


class DiscreteCritics(nn.Module):
    """An ensemble of C critics that value every action under every discount at once.

    Attributes:
        critics: C.
        gammas: G, the number of discounts.
        actions: A, the number of actions.
        hidden_size: width of the hidden layers.
        layers: number of hidden layers.
        activation: name of the activation.
        rematerialize: compute the hidden layers anew in the backward pass, see `by_chunks`.
    """

    critics: int
    gammas: int
    actions: int
    hidden_size: int = 256
    layers: int = 2
    activation: str = "leaky_relu"
    rematerialize: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map states ``[..., D]`` to values ``[C, ..., G, A]``."""
        outputs = self.gammas * self.actions
        mlp = EnsembleMLP(
            self.critics,
            self.hidden_size,
            self.layers,
            outputs,
            self.activation,
            self.rematerialize,
            name="mlp",
        )
        return mlp(x).reshape(self.critics, *x.shape[:-1], self.gammas, self.actions)


class ActionCritics(nn.Module):
    """An ensemble of C critics that value one action, evaluated once per discount.

    The input is [state, symlog(1 / (1 - gamma)), action]: the horizon tells the discounts apart.

    Attributes:
        critics: C.
        gammas: the G discounts.
        outputs: numbers per value: 1, or the logits of value bins.
        hidden_size: width of the hidden layers.
        layers: number of hidden layers.
        activation: name of the activation.
        rematerialize: compute the hidden layers anew in the backward pass, see `by_chunks`.
    """

    critics: int
    gammas: tuple[float, ...]
    outputs: int = 1
    hidden_size: int = 256
    layers: int = 2
    activation: str = "leaky_relu"
    rematerialize: bool = False

    @nn.compact
    def __call__(self, x: Array, actions: Array) -> Array:
        """Value actions.

        Args:
            x: states ``[..., D]``.
            actions: float32 ``[..., G, A]``, one per discount.

        Returns:
            float32 ``[C, ..., G]``, or ``[C, ..., G, outputs]`` if there is more than one.
        """
        mlp = EnsembleMLP(
            self.critics,
            self.hidden_size,
            self.layers,
            self.outputs,
            self.activation,
            self.rematerialize,
            name="mlp",
        )
        values = mlp(_with_horizon_and_action(x, self.gammas, actions))
        return values[..., 0] if self.outputs == 1 else values


def _with_horizon_and_action(x: Array, gammas: tuple[float, ...], actions: Array) -> Array:
    """Join states ``[..., D]``, discounts and actions ``[..., G, A]`` to ``[..., G, D+1+A]``.

    In the dtype of the states.
    """
    horizon = 1.0 / jnp.clip(1.0 - jnp.asarray(gammas), 1e-6, 1.0)
    per_gamma = actions.shape[:-1]
    return jnp.concatenate(
        [
            jnp.broadcast_to(x[..., None, :], (*per_gamma, x.shape[-1])),
            jnp.broadcast_to(symlog(horizon)[:, None], (*per_gamma, 1)),
            jnp.clip(actions, -CRITIC_ACTION_LIMIT, CRITIC_ACTION_LIMIT),
        ],
        axis=-1,
        dtype=x.dtype,
    )
