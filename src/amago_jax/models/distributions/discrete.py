"""Distributions over discrete actions, and over vectors of coin flips."""

import dataclasses
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp

from amago_jax.axes import align
from amago_jax.kinds import Real
from amago_jax.models.attention import MASKED
from amago_jax.models.distributions.base import ActionKind, VectorDistribution
from amago_jax.settings import Share, Size, check_fields
from amago_jax.types import Array

STRAIGHT_THROUGH_TEMPERATURE = 0.5
# What the least probabilities of all actions may come to together. At .001 each, a policy that is
# certain would keep .61 for its action out of 625, and .19 out of 4,096.
MOST_SHARED = 0.05


def soften(probabilities: Array, low: float, high: float, legal: Array) -> Array:
    """Clip probabilities ``[..., A]`` to [low, high] where ``legal``, else 0; renormalize them.

    Keeps every legal log-probability finite. Gradients flow through the clip's open range and
    through the normalizer.
    """
    clipped = jnp.where(legal, jnp.clip(probabilities, low, high), 0.0)
    return clipped / clipped.sum(-1, keepdims=True)


@dataclasses.dataclass(frozen=True)
class Discrete:
    """One of A actions, with softened softmax probabilities.

    Logits of `MASKED` stand for actions that are not allowed: their probability is exactly 0.

    Attributes:
        actions: A, the number of actions.
        clip_low: least probability before renormalization; of many actions less, so that all
            together have no more than .05 by it.
        clip_high: greatest probability before renormalization.

    Raises:
        ValueError: if a setting is not what its annotation says, or nothing is left between both.
    """

    kind: ClassVar[ActionKind] = "discrete"
    reparametrized: ClassVar[bool] = True
    actions: Size
    clip_low: Share = 0.001
    clip_high: Annotated[float, Real(above=0, high=1)] = 0.99

    def __post_init__(self) -> None:
        """Check the settings."""
        check_fields(self)
        if self.clip_low > self.clip_high:
            raise ValueError(f"clip_low={self.clip_low} must be at most clip_high={self.clip_high}")

    @property
    def parameter_count(self) -> int:
        """See `Distribution`."""
        return self.actions

    @property
    def least(self) -> float:
        """The least probability of an action before renormalization."""
        return min(self.clip_low, MOST_SHARED / self.actions)

    def probabilities(self, logits: Array) -> Array:
        """Return the softened probabilities of logits, both ``[..., A]``."""
        legal = logits > 0.5 * MASKED
        return soften(jax.nn.softmax(logits), self.least, self.clip_high, legal)

    def log_probabilities(self, logits: Array) -> Array:
        """Return their logarithms, finite even for actions that are not allowed."""
        return jnp.log(jnp.maximum(self.probabilities(logits), 1e-30))

    def soft_one_hot(self, actions: Array, logits: Array) -> Array:
        """Return actions ``[...]`` as vectors ``[..., A]``, softened as the policy's own are.

        The policy's ``logits [..., A]`` say which actions are allowed.
        """
        legal = logits > 0.5 * MASKED
        one_hot = jax.nn.one_hot(actions, self.actions)
        return soften(one_hot, self.least, self.clip_high, legal)

    def log_prob(self, params: Array, actions: Array) -> Array:
        """See `Distribution`; actions are int32 ``[...]``."""
        chosen = jax.nn.one_hot(actions, self.actions, dtype=bool)
        # Not an index, whose gradient is a scatter of its own.
        return jnp.where(chosen, self.log_probabilities(params), 0.0).sum(-1)

    def entropy(self, params: Array, noise: Any = None) -> Array:
        """See `Distribution`; exact."""
        return -(self.probabilities(params) * self.log_probabilities(params)).sum(-1)

    def draw_noise(self, key: Array, shape: tuple[int, ...]) -> Array:
        """See `Distribution`: Gumbel noise."""
        return jax.random.gumbel(key, (*shape, self.actions))

    def sample_vector(self, params: Array, noise: Array) -> Array:
        """Return one-hot samples whose gradient is that of a softmax at temperature 0.5.

        Source: straight-through Gumbel-softmax, Jang et al. 2017, arXiv 1611.01144.
        """
        perturbed = align(self.log_probabilities(params), noise) + noise
        one_hot = jax.nn.one_hot(perturbed.argmax(-1), self.actions)
        soft = jax.nn.softmax(perturbed / STRAIGHT_THROUGH_TEMPERATURE)
        return one_hot + soft - jax.lax.stop_gradient(soft)

    def sample(self, params: Array, key: Array) -> Array:
        """See `Distribution`."""
        return jax.random.categorical(key, self.log_probabilities(params)).astype(jnp.int32)

    def mode(self, params: Array) -> Array:
        """See `Distribution`."""
        return jnp.argmax(params, axis=-1).astype(jnp.int32)


@dataclasses.dataclass(frozen=True)
class MultiBinary(VectorDistribution):
    """A independent coin flips, each 0.0 or 1.0; for offline terms only."""

    kind: ClassVar[ActionKind] = "binary"
    reparametrized: ClassVar[bool] = False

    @property
    def parameter_count(self) -> int:
        """See `Distribution`."""
        return self.actions

    def log_density(self, params: Array, actions: Array) -> Array:
        """Return log-probabilities ``[..., A]`` per flip."""
        params = align(params, actions)
        return actions * jax.nn.log_sigmoid(params) + (1.0 - actions) * jax.nn.log_sigmoid(-params)

    def entropy(self, params: Array, noise: Any = None) -> Array:
        """See `Distribution`; exact."""
        return (jax.nn.softplus(params) - params * jax.nn.sigmoid(params)).sum(-1)

    def draw_noise(self, key: Array, shape: tuple[int, ...]) -> Array:
        """See `Distribution`: uniform."""
        return jax.random.uniform(key, (*shape, self.actions))

    def sample_vector(self, params: Array, noise: Array) -> Array:
        """See `Distribution`; without gradient."""
        return (noise < align(jax.nn.sigmoid(params), noise)).astype(params.dtype)

    def mode(self, params: Array) -> Array:
        """See `Distribution`."""
        return (params > 0).astype(params.dtype)
