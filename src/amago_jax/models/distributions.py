"""Action distributions: static descriptions with pure functions of their parameters.

A distribution never holds arrays: the actor's output is passed to every call, so the same object
serves rollouts, losses and tests, and hashes as a static argument.

Source: AMAGO, appendix on the policy; shared conventions of the authors' implementation.
"""

import dataclasses

import jax
import jax.numpy as jnp

from amago_jax.types import Array

LOG_STD_RANGE = (-5.0, 2.0)
BUFFER_ACTION_LIMIT = 0.99


def soften(probabilities: Array, low: float, high: float) -> Array:
    """Clip probabilities ``[..., A]`` to [low, high] and renormalize them.

    Keeps every log-probability finite. Gradients flow through the clip's open range and through
    the normalizer.
    """
    clipped = jnp.clip(probabilities, low, high)
    return clipped / clipped.sum(-1, keepdims=True)


@dataclasses.dataclass(frozen=True)
class Discrete:
    """One of A actions, with softened softmax probabilities.

    Attributes:
        actions: A, the number of actions.
        clip_low: least probability before renormalization.
        clip_high: greatest probability before renormalization.
    """

    actions: int
    clip_low: float = 0.001
    clip_high: float = 0.99

    @property
    def parameter_count(self) -> int:
        """Numbers the actor gives per distribution."""
        return self.actions

    def probabilities(self, logits: Array) -> Array:
        """Return the softened probabilities of logits, both ``[..., A]``."""
        return soften(jax.nn.softmax(logits), self.clip_low, self.clip_high)

    def soft_one_hot(self, actions: Array) -> Array:
        """Return actions ``[...]`` as vectors ``[..., A]``, softened as the policy's own are."""
        return soften(jax.nn.one_hot(actions, self.actions), self.clip_low, self.clip_high)

    def log_prob(self, logits: Array, actions: Array) -> Array:
        """Return log-probabilities ``[...]`` of integer actions ``[...]``."""
        log_probs = jnp.log(self.probabilities(logits))
        return jnp.take_along_axis(log_probs, actions[..., None], axis=-1)[..., 0]

    def entropy(self, logits: Array) -> Array:
        """Return entropies ``[...]`` in nats."""
        probs = self.probabilities(logits)
        return -(probs * jnp.log(probs)).sum(-1)

    def sample(self, logits: Array, key: Array) -> Array:
        """Draw int32 actions ``[...]``."""
        return jax.random.categorical(key, jnp.log(self.probabilities(logits))).astype(jnp.int32)

    def mode(self, logits: Array) -> Array:
        """Return the likeliest int32 actions ``[...]``."""
        return jnp.argmax(logits, axis=-1).astype(jnp.int32)


@dataclasses.dataclass(frozen=True)
class TanhGaussian:
    """A diagonal Gaussian squashed to (-1, 1) by tanh.

    The first A parameters are means; the last A, squashed by tanh, place log-std between -5 and 2.

    Attributes:
        actions: A, the number of action dimensions.
    """

    actions: int

    @property
    def parameter_count(self) -> int:
        """Numbers the actor gives per distribution."""
        return 2 * self.actions

    def mean_and_std(self, params: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation before squashing, each ``[..., A]``."""
        mean, log_std = jnp.split(params, 2, axis=-1)
        low, high = LOG_STD_RANGE
        return mean, jnp.exp(low + 0.5 * (high - low) * (jnp.tanh(log_std) + 1.0))

    def log_prob(self, params: Array, actions: Array) -> Array:
        """Return log-densities ``[..., A]`` per dimension of actions ``[..., A]``.

        Actions are clipped to ±0.99 first, since a buffer's extremes have unbounded pre-images.
        """
        mean, std = self.mean_and_std(params)
        clipped = jnp.clip(actions, -BUFFER_ACTION_LIMIT, BUFFER_ACTION_LIMIT)
        pre_tanh = jnp.arctanh(clipped)
        standard = (pre_tanh - mean) / std
        log_density = -0.5 * jnp.square(standard) - jnp.log(std) - 0.5 * jnp.log(2 * jnp.pi)
        # log |d tanh(x)/dx| = log(1 - tanh²x), written so that it does not cancel.
        log_slope = 2.0 * (jnp.log(2.0) - pre_tanh - jax.nn.softplus(-2.0 * pre_tanh))
        return log_density - log_slope

    def sample_from_noise(self, params: Array, noise: Array) -> Array:
        """Return actions ``[..., A]`` for standard normal noise ``[..., A]``, differentiably."""
        mean, std = self.mean_and_std(params)
        return jnp.tanh(mean + std * noise)

    def sample(self, params: Array, key: Array) -> Array:
        """Draw float32 actions ``[..., A]``."""
        noise = jax.random.normal(key, (*params.shape[:-1], self.actions))
        return self.sample_from_noise(params, noise)

    def mode(self, params: Array) -> Array:
        """Return the squashed means ``[..., A]``."""
        return jnp.tanh(self.mean_and_std(params)[0])


Distribution = Discrete | TanhGaussian
