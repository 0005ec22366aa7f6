"""Action distributions: static descriptions with pure functions of their parameters.

A distribution never holds arrays: the actor's output is passed to every call, so the same object
serves rollouts, losses and tests, and hashes as a static argument. Whatever a sample draws at
random can be drawn beforehand (`draw_noise`), which makes sampling a deterministic function of
parameters and noise, and its gradient explicit.

Source: AMAGO, appendix on the policy; AMAGO-2, appendix A.
"""

import dataclasses
from typing import Any, ClassVar, Literal, Protocol

from amago_jax.settings import Size, check_fields
from amago_jax.types import Array

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


@dataclasses.dataclass(frozen=True)
class VectorDistribution:
    """What distributions over vectors ``[..., A]`` share, most of them one for each number.

    Attributes:
        actions: A, the number of action dimensions.

    Raises:
        ValueError: if a setting is not what its annotation says.
    """

    actions: Size

    def __post_init__(self) -> None:
        """Check the settings."""
        check_fields(self)

    def log_density(self, params: Array, actions: Array) -> Array:
        """Return log-densities ``[..., A]`` of each number of actions ``[..., A]``."""
        raise NotImplementedError

    def log_prob(self, params: Array, actions: Array) -> Array:
        """See `Distribution`."""
        return self.log_density(params, actions).sum(-1)

    def draw_noise(self, key: Array, shape: tuple[int, ...]) -> Any:
        """See `Distribution`."""
        raise NotImplementedError

    def sample_vector(self, params: Array, noise: Any) -> Array:
        """See `Distribution`."""
        raise NotImplementedError

    def sample(self, params: Array, key: Array) -> Array:
        """See `Distribution`."""
        return self.sample_vector(params, self.draw_noise(key, params.shape[:-1]))
