"""Distributions over continuous actions in (-1, 1)."""

import dataclasses
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
from jax.scipy.special import betaln, digamma

from amago_jax.axes import align
from amago_jax.kinds import Real
from amago_jax.models.distributions.base import ActionKind, VectorDistribution
from amago_jax.settings import Size
from amago_jax.types import Array

LOG_STD_RANGE = (-5.0, 2.0)
BUFFER_ACTION_LIMIT = 0.99
ActionLimit = Annotated[float, Real(above=0, below=1)]


@dataclasses.dataclass(frozen=True)
class TanhGaussian(VectorDistribution):
    """A diagonal Gaussian squashed to (-1, 1) by tanh.

    The first A parameters are means; the last A, squashed by tanh, place log-std between -5 and 2.

    Attributes:
        actions: A, the number of action dimensions.
        action_limit: actions beyond it are scored as if they were there, for a buffer's extremes
            have unbounded pre-images. Ratios of probabilities, as PPO's, want it close to 1.
    """

    kind: ClassVar[ActionKind] = "continuous"
    reparametrized: ClassVar[bool] = True
    action_limit: ActionLimit = BUFFER_ACTION_LIMIT

    @property
    def parameter_count(self) -> int:
        """See `Distribution`."""
        return 2 * self.actions

    def mean_and_std(self, params: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation before squashing, each ``[..., A]``."""
        mean, log_std = jnp.split(params, 2, axis=-1)
        low, high = LOG_STD_RANGE
        return mean, jnp.exp(low + 0.5 * (high - low) * (jnp.tanh(log_std) + 1.0))

    def log_density(self, params: Array, actions: Array) -> Array:
        """Return log-densities ``[..., A]`` per dimension; actions are clipped first."""
        mean, std = self.mean_and_std(params)
        clipped = jnp.clip(actions, -self.action_limit, self.action_limit)
        pre_tanh = jnp.arctanh(clipped)
        return _normal_log_density(pre_tanh, mean, std) - _log_slope_of_tanh(pre_tanh)

    def entropy(self, params: Array, noise: Array) -> Array:
        """See `Distribution`; the Gaussian's own, and what tanh takes off it on average."""
        mean, std = self.mean_and_std(params)
        gaussian = jnp.log(std) + 0.5 * jnp.log(2 * jnp.pi * jnp.e)
        pre_tanh = align(mean, noise) + align(std, noise) * noise
        return (gaussian + _log_slope_of_tanh(pre_tanh).mean(0)).sum(-1)

    def draw_noise(self, key: Array, shape: tuple[int, ...]) -> Array:
        """See `Distribution`: standard normal."""
        return jax.random.normal(key, (*shape, self.actions))

    def sample_vector(self, params: Array, noise: Array) -> Array:
        """See `Distribution`."""
        mean, std = self.mean_and_std(params)
        return jnp.tanh(align(mean, noise) + align(std, noise) * noise)

    def mode(self, params: Array) -> Array:
        """Return the squashed means ``[..., A]``."""
        return jnp.tanh(self.mean_and_std(params)[0])


@dataclasses.dataclass(frozen=True)
class Beta(VectorDistribution):
    """Independent Beta distributions, stretched from (0, 1) to (-1, 1).

    The first A parameters give alpha, the last A beta, both softplus + 1.0001: always unimodal.

    Attributes:
        actions: A, the number of action dimensions.
        action_limit: see `TanhGaussian`.
    """

    kind: ClassVar[ActionKind] = "continuous"
    reparametrized: ClassVar[bool] = True
    action_limit: ActionLimit = BUFFER_ACTION_LIMIT

    @property
    def parameter_count(self) -> int:
        """See `Distribution`."""
        return 2 * self.actions

    def concentrations(self, params: Array) -> tuple[Array, Array]:
        """Return alpha and beta, each ``[..., A]``."""
        alpha, beta = jnp.split(jax.nn.softplus(params) + 1.0001, 2, axis=-1)
        return alpha, beta

    def log_density(self, params: Array, actions: Array) -> Array:
        """Return log-densities ``[..., A]`` per dimension; actions are clipped first."""
        alpha, beta = self.concentrations(params)
        x = 0.5 * (jnp.clip(actions, -self.action_limit, self.action_limit) + 1.0)
        alpha, beta = align(alpha, x), align(beta, x)
        unit = (alpha - 1.0) * jnp.log(x) + (beta - 1.0) * jnp.log1p(-x) - betaln(alpha, beta)
        return unit - jnp.log(2.0)

    def entropy(self, params: Array, noise: Any = None) -> Array:
        """See `Distribution`; exact."""
        alpha, beta = self.concentrations(params)
        unit = (
            betaln(alpha, beta)
            - (alpha - 1.0) * digamma(alpha)
            - (beta - 1.0) * digamma(beta)
            + (alpha + beta - 2.0) * digamma(alpha + beta)
        )
        return (unit + jnp.log(2.0)).sum(-1)

    def draw_noise(self, key: Array, shape: tuple[int, ...]) -> Array:
        """See `Distribution`: random keys, for Beta samples are found by rejection."""
        return jax.random.split(key, (*shape, self.actions))

    def sample_vector(self, params: Array, noise: Array) -> Array:
        """See `Distribution`; differentiable implicitly, as JAX's gamma samples are."""
        alpha, beta = self.concentrations(params)
        keys = jnp.broadcast_to(noise, jnp.broadcast_shapes(noise.shape, alpha.shape))
        alpha, beta = jnp.broadcast_to(alpha, keys.shape), jnp.broadcast_to(beta, keys.shape)
        unit = jax.vmap(jax.random.beta)(keys.ravel(), alpha.ravel(), beta.ravel())
        return 2.0 * unit.reshape(keys.shape) - 1.0

    def mode(self, params: Array) -> Array:
        """Return the means ``[..., A]``, which is what the authors' greedy policy takes."""
        alpha, beta = self.concentrations(params)
        return 2.0 * alpha / (alpha + beta) - 1.0


@dataclasses.dataclass(frozen=True)
class TanhMixture(VectorDistribution):
    """A mixture of M diagonal Gaussians squashed to (-1, 1) by tanh; for offline terms only.

    Parameters: M x A means, M x A standard deviations (softplus + 1e-4), M mixture logits.

    Attributes:
        actions: A, the number of action dimensions.
        modes: M, the number of components.
    """

    kind: ClassVar[ActionKind] = "continuous"
    reparametrized: ClassVar[bool] = False
    modes: Size = 5

    @property
    def parameter_count(self) -> int:
        """See `Distribution`."""
        return self.modes * (2 * self.actions + 1)

    def components(self, params: Array) -> tuple[Array, Array, Array]:
        """Return means and stds ``[..., M, A]`` before squashing, and log-weights ``[..., M]``."""
        size = self.modes * self.actions
        shape = (*params.shape[:-1], self.modes, self.actions)
        means = params[..., :size].reshape(shape)
        stds = jax.nn.softplus(params[..., size : 2 * size].reshape(shape)) + 1e-4
        return means, stds, jax.nn.log_softmax(params[..., 2 * size :])

    def log_prob(self, params: Array, actions: Array) -> Array:
        """See `Distribution`."""
        above = jnp.maximum(1.0 + actions, 1e-6)
        below = jnp.maximum(1.0 - actions, 1e-6)
        log_slope = jnp.log(1.0 - jnp.square(actions) + 1e-6).sum(-1)
        return self._log_density(params, 0.5 * jnp.log(above / below)) - log_slope

    def _log_density(self, params: Array, pre_tanh: Array) -> Array:
        """Log-density ``[...]`` of the mixture before squashing."""
        means, stds, log_weights = self.components(params)
        densities = _normal_log_density(pre_tanh[..., None, :], means, stds).sum(-1)
        return jax.nn.logsumexp(align(log_weights, densities) + densities, axis=-1)

    def entropy(self, params: Array, noise: tuple[Array, Array]) -> Array:
        """See `Distribution`; estimated before squashing, where nothing saturates."""
        pre_tanh = self._pre_tanh(params, noise)
        surprise = -self._log_density(params, pre_tanh)
        return (surprise + _log_slope_of_tanh(pre_tanh).sum(-1)).mean(0)

    def draw_noise(self, key: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
        """See `Distribution`: Gumbel noise for the component, normal noise within it."""
        key_component, key_normal = jax.random.split(key)
        return (
            jax.random.gumbel(key_component, (*shape, self.modes)),
            jax.random.normal(key_normal, (*shape, self.actions)),
        )

    def sample_vector(self, params: Array, noise: tuple[Array, Array]) -> Array:
        """See `Distribution`; the gradient is stopped, for the choice of component has none."""
        return jax.lax.stop_gradient(jnp.tanh(self._pre_tanh(params, noise)))

    def _pre_tanh(self, params: Array, noise: tuple[Array, Array]) -> Array:
        means, stds, log_weights = self.components(params)
        gumbel, normal = noise
        log_weights = align(log_weights, gumbel)
        chosen = jax.nn.one_hot((log_weights + gumbel).argmax(-1), self.modes)[..., None]
        means, stds = align(means, chosen), align(stds, chosen)
        return (chosen * means).sum(-2) + (chosen * stds).sum(-2) * normal

    def mode(self, params: Array) -> Array:
        """Return the squashed mean of the mixture ``[..., A]``, as the authors' policy does."""
        means, _, log_weights = self.components(params)
        return jnp.tanh((jnp.exp(log_weights)[..., None] * means).sum(-2))


def _normal_log_density(x: Array, mean: Array, std: Array) -> Array:
    mean, std = align(mean, x), align(std, x)
    return -0.5 * jnp.square((x - mean) / std) - jnp.log(std) - 0.5 * jnp.log(2 * jnp.pi)


def _log_slope_of_tanh(x: Array) -> Array:
    """Return log |d tanh(x)/dx| = log(1 - tanh²x), written so that it does not cancel."""
    return 2.0 * (jnp.log(2.0) - x - jax.nn.softplus(-2.0 * x))
