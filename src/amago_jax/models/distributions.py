"""Action distributions: static descriptions with pure functions of their parameters.

A distribution never holds arrays: the actor's output is passed to every call, so the same object
serves rollouts, losses and tests, and hashes as a static argument. Whatever a sample draws at
random can be drawn beforehand (`draw_noise`), which makes sampling a deterministic function of
parameters and noise, and its gradient explicit.

Source: AMAGO, appendix on the policy; AMAGO-2, appendix A.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Protocol

import jax
import jax.numpy as jnp
from jax.scipy.special import betaln, digamma

from amago_jax.models.attention import MASKED
from amago_jax.types import Array

LOG_STD_RANGE = (-5.0, 2.0)
BUFFER_ACTION_LIMIT = 0.99
STRAIGHT_THROUGH_TEMPERATURE = 0.5

ActionKind = Literal["discrete", "continuous", "binary"]


class Distribution(Protocol):
    """What the agent needs of a distribution over actions.

    Discrete actions are int32 ``[...]`` to act with and to score, and one-hot vectors
    ``[..., A]`` where critics read them; all others are float32 ``[..., A]`` throughout.

    Attributes:
        kind: the actions it is over.
        reparametrized: samples carry gradients to the parameters, as the online term needs.
        actions: A, the number of discrete actions or of action dimensions.
    """

    kind: ClassVar[ActionKind]
    reparametrized: ClassVar[bool]

    @property
    def actions(self) -> int:
        """A."""
        ...

    @property
    def parameter_count(self) -> int:
        """P, the numbers the actor gives per distribution."""
        ...

    def log_prob(self, params: Array, actions: Array) -> Array:
        """Return log-probabilities ``[...]`` of whole actions, given ``params [..., P]``."""
        ...

    def entropy(self, params: Array, noise: Any) -> Array:
        """Return entropies ``[...]`` in nats, estimated with noise ``[K, ...]`` if need be."""
        ...

    def draw_noise(self, key: Array, shape: tuple[int, ...]) -> Any:
        """Draw what one vector sample for each of ``shape`` needs; leaves lead with ``shape``."""
        ...

    def sample_vector(self, params: Array, noise: Any) -> Array:
        """Return actions as critics read them, float32 ``[..., A]``.

        Noise of more leading axes, ``[K, ...]``, gives K samples for each of ``params [..., P]``.
        """
        ...

    def sample(self, params: Array, key: Array) -> Array:
        """Draw actions to act with."""
        ...

    def mode(self, params: Array) -> Array:
        """Return the actions a greedy policy takes."""
        ...


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
        clip_low: least probability before renormalization.
        clip_high: greatest probability before renormalization.
    """

    kind: ClassVar[ActionKind] = "discrete"
    reparametrized: ClassVar[bool] = True
    actions: int
    clip_low: float = 0.001
    clip_high: float = 0.99

    @property
    def parameter_count(self) -> int:
        """See `Distribution`."""
        return self.actions

    def probabilities(self, logits: Array) -> Array:
        """Return the softened probabilities of logits, both ``[..., A]``."""
        legal = logits > 0.5 * MASKED
        return soften(jax.nn.softmax(logits), self.clip_low, self.clip_high, legal)

    def log_probabilities(self, logits: Array) -> Array:
        """Return their logarithms, finite even for actions that are not allowed."""
        return jnp.log(jnp.maximum(self.probabilities(logits), 1e-30))

    def soft_one_hot(self, actions: Array, logits: Array) -> Array:
        """Return actions ``[...]`` as vectors ``[..., A]``, softened as the policy's own are.

        The policy's ``logits [..., A]`` say which actions are allowed.
        """
        legal = logits > 0.5 * MASKED
        one_hot = jax.nn.one_hot(actions, self.actions)
        return soften(one_hot, self.clip_low, self.clip_high, legal)

    def log_prob(self, params: Array, actions: Array) -> Array:
        """See `Distribution`; actions are int32 ``[...]``."""
        log_probs = self.log_probabilities(params)
        return jnp.take_along_axis(log_probs, actions[..., None], axis=-1)[..., 0]

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
        perturbed = self.log_probabilities(params) + noise
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
class TanhGaussian:
    """A diagonal Gaussian squashed to (-1, 1) by tanh.

    The first A parameters are means; the last A, squashed by tanh, place log-std between -5 and 2.

    Attributes:
        actions: A, the number of action dimensions.
    """

    kind: ClassVar[ActionKind] = "continuous"
    reparametrized: ClassVar[bool] = True
    actions: int

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
        """Return log-densities ``[..., A]`` per dimension of actions ``[..., A]``.

        Actions are clipped to ±0.99 first, since a buffer's extremes have unbounded pre-images.
        """
        mean, std = self.mean_and_std(params)
        clipped = jnp.clip(actions, -BUFFER_ACTION_LIMIT, BUFFER_ACTION_LIMIT)
        pre_tanh = jnp.arctanh(clipped)
        return _normal_log_density(pre_tanh, mean, std) - _log_slope_of_tanh(pre_tanh)

    def log_prob(self, params: Array, actions: Array) -> Array:
        """See `Distribution`."""
        return self.log_density(params, actions).sum(-1)

    def entropy(self, params: Array, noise: Array) -> Array:
        """See `Distribution`; the Gaussian's own, and what tanh takes off it on average."""
        mean, std = self.mean_and_std(params)
        gaussian = jnp.log(std) + 0.5 * jnp.log(2 * jnp.pi * jnp.e)
        return (gaussian + _log_slope_of_tanh(mean + std * noise).mean(0)).sum(-1)

    def draw_noise(self, key: Array, shape: tuple[int, ...]) -> Array:
        """See `Distribution`: standard normal."""
        return jax.random.normal(key, (*shape, self.actions))

    def sample_vector(self, params: Array, noise: Array) -> Array:
        """See `Distribution`."""
        mean, std = self.mean_and_std(params)
        return jnp.tanh(mean + std * noise)

    def sample(self, params: Array, key: Array) -> Array:
        """See `Distribution`."""
        return self.sample_vector(params, self.draw_noise(key, params.shape[:-1]))

    def mode(self, params: Array) -> Array:
        """Return the squashed means ``[..., A]``."""
        return jnp.tanh(self.mean_and_std(params)[0])


@dataclasses.dataclass(frozen=True)
class Beta:
    """Independent Beta distributions, stretched from (0, 1) to (-1, 1).

    The first A parameters give alpha, the last A beta, both softplus + 1.0001: always unimodal.

    Attributes:
        actions: A, the number of action dimensions.
    """

    kind: ClassVar[ActionKind] = "continuous"
    reparametrized: ClassVar[bool] = True
    actions: int

    @property
    def parameter_count(self) -> int:
        """See `Distribution`."""
        return 2 * self.actions

    def concentrations(self, params: Array) -> tuple[Array, Array]:
        """Return alpha and beta, each ``[..., A]``."""
        alpha, beta = jnp.split(jax.nn.softplus(params) + 1.0001, 2, axis=-1)
        return alpha, beta

    def log_density(self, params: Array, actions: Array) -> Array:
        """Return log-densities ``[..., A]`` per dimension; actions are clipped to ±0.99 first."""
        alpha, beta = self.concentrations(params)
        x = 0.5 * (jnp.clip(actions, -BUFFER_ACTION_LIMIT, BUFFER_ACTION_LIMIT) + 1.0)
        unit = (alpha - 1.0) * jnp.log(x) + (beta - 1.0) * jnp.log1p(-x) - betaln(alpha, beta)
        return unit - jnp.log(2.0)

    def log_prob(self, params: Array, actions: Array) -> Array:
        """See `Distribution`."""
        return self.log_density(params, actions).sum(-1)

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

    def sample(self, params: Array, key: Array) -> Array:
        """See `Distribution`."""
        return self.sample_vector(params, self.draw_noise(key, params.shape[:-1]))

    def mode(self, params: Array) -> Array:
        """Return the means ``[..., A]``, which is what the authors' greedy policy takes."""
        alpha, beta = self.concentrations(params)
        return 2.0 * alpha / (alpha + beta) - 1.0


@dataclasses.dataclass(frozen=True)
class TanhMixture:
    """A mixture of M diagonal Gaussians squashed to (-1, 1) by tanh; for offline terms only.

    Parameters: M x A means, M x A standard deviations (softplus + 1e-4), M mixture logits.

    Attributes:
        actions: A, the number of action dimensions.
        modes: M, the number of components.
    """

    kind: ClassVar[ActionKind] = "continuous"
    reparametrized: ClassVar[bool] = False
    actions: int
    modes: int = 5

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
        return jax.nn.logsumexp(log_weights + densities, axis=-1)

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
        chosen = jax.nn.one_hot((log_weights + gumbel).argmax(-1), self.modes)[..., None]
        return (chosen * means).sum(-2) + (chosen * stds).sum(-2) * normal

    def sample(self, params: Array, key: Array) -> Array:
        """See `Distribution`."""
        return self.sample_vector(params, self.draw_noise(key, params.shape[:-1]))

    def mode(self, params: Array) -> Array:
        """Return the squashed mean of the mixture ``[..., A]``, as the authors' policy does."""
        means, _, log_weights = self.components(params)
        return jnp.tanh((jnp.exp(log_weights)[..., None] * means).sum(-2))


@dataclasses.dataclass(frozen=True)
class MultiBinary:
    """A independent coin flips, each 0.0 or 1.0; for offline terms only.

    Attributes:
        actions: A, the number of flips.
    """

    kind: ClassVar[ActionKind] = "binary"
    reparametrized: ClassVar[bool] = False
    actions: int

    @property
    def parameter_count(self) -> int:
        """See `Distribution`."""
        return self.actions

    def log_density(self, params: Array, actions: Array) -> Array:
        """Return log-probabilities ``[..., A]`` per flip."""
        return actions * jax.nn.log_sigmoid(params) + (1.0 - actions) * jax.nn.log_sigmoid(-params)

    def log_prob(self, params: Array, actions: Array) -> Array:
        """See `Distribution`."""
        return self.log_density(params, actions).sum(-1)

    def entropy(self, params: Array, noise: Any = None) -> Array:
        """See `Distribution`; exact."""
        return (jax.nn.softplus(params) - params * jax.nn.sigmoid(params)).sum(-1)

    def draw_noise(self, key: Array, shape: tuple[int, ...]) -> Array:
        """See `Distribution`: uniform."""
        return jax.random.uniform(key, (*shape, self.actions))

    def sample_vector(self, params: Array, noise: Array) -> Array:
        """See `Distribution`; without gradient."""
        return (noise < jax.nn.sigmoid(params)).astype(params.dtype)

    def sample(self, params: Array, key: Array) -> Array:
        """See `Distribution`."""
        return self.sample_vector(params, self.draw_noise(key, params.shape[:-1]))

    def mode(self, params: Array) -> Array:
        """See `Distribution`."""
        return (params > 0).astype(params.dtype)


DISTRIBUTIONS: dict[str, type[Any]] = {
    "discrete": Discrete,
    "tanh_gaussian": TanhGaussian,
    "beta": Beta,
    "tanh_mixture": TanhMixture,
    "multi_binary": MultiBinary,
}
NATURAL = {"discrete": "discrete", "continuous": "tanh_gaussian", "binary": "multi_binary"}


def make_distribution(
    name: str,
    *,
    actions: int,
    kind: ActionKind,
    discrete: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Distribution:
    """Make a distribution by name.

    Args:
        name: a key of `DISTRIBUTIONS`, or "natural": the paper's choice for the kind of actions.
        actions: A.
        kind: of the environment's actions.
        discrete: further fields of `Discrete`, if that is chosen: "natural" serves tasks of
            discrete actions and others.
        **settings: further fields of the distribution.

    Raises:
        ValueError: if there is no such distribution, or it does not fit the actions.
    """
    natural = NATURAL[kind]
    found = DISTRIBUTIONS.get(natural if name == "natural" else name)
    if found is None:
        raise ValueError(f"name={name!r} is not one of {['natural', *DISTRIBUTIONS]}")
    if found.kind != kind:
        raise ValueError(
            f"{name} is over {found.kind} actions, but the environment's are {kind}; "
            f"choose {natural}"
        )
    if found is Discrete:
        settings |= discrete or {}
    return found(actions=actions, **settings)


def _normal_log_density(x: Array, mean: Array, std: Array) -> Array:
    return -0.5 * jnp.square((x - mean) / std) - jnp.log(std) - 0.5 * jnp.log(2 * jnp.pi)


def _log_slope_of_tanh(x: Array) -> Array:
    """Return log |d tanh(x)/dx| = log(1 - tanh²x), written so that it does not cancel."""
    return 2.0 * (jnp.log(2.0) - x - jax.nn.softplus(-2.0 * x))
