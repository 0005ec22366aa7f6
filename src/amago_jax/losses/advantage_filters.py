"""Filters f(A): how strongly the offline actor term imitates an action, given its advantage.

Each is a frozen description that is called with advantages of any shape and returns weights of
that shape; the agent stops their gradient.

Source: Critic-Regularized Regression, arXiv 2006.15134; AMAGO, section 3; AMAGO-2, appendix A.
"""

import dataclasses
from typing import Annotated, ClassVar, Protocol

import jax
import jax.numpy as jnp

from amago_jax.kinds import Listed, Real
from amago_jax.settings import NotNegative, Positive, Share, check_fields
from amago_jax.types import Array

AdvantageRange = Annotated[
    tuple[Annotated[float, Real(finite=False)], Annotated[float, Real(finite=False)]],
    Listed(exactly=2, ascending=True),
]
WeightRange = Annotated[
    tuple[Annotated[float, Real(0, finite=False)], Annotated[float, Real(0, finite=False)]],
    Listed(exactly=2, ascending=True),
]


class AdvantageFilter(Protocol):
    """What the agent needs of a filter."""

    uses_advantage: ClassVar[bool]

    def __call__(self, advantage: Array) -> Array:
        """Map advantages of any shape to weights of that shape."""
        ...


class CheckedFilter:
    """A dataclass whose settings are checked when it is made.

    Raises:
        ValueError: if one is not what its annotation says.
    """

    def __post_init__(self) -> None:
        """Check the settings."""
        check_fields(self)


@dataclasses.dataclass(frozen=True)
class BinaryFilter(CheckedFilter):
    """Imitate what is better than the policy: 1 where A > threshold, else 0.

    Attributes:
        threshold: advantage above which an action is imitated.
    """

    uses_advantage: ClassVar[bool] = True
    threshold: float = 0.0

    def __call__(self, advantage: Array) -> Array:
        """See `AdvantageFilter`."""
        return (advantage > self.threshold).astype(advantage.dtype)


@dataclasses.dataclass(frozen=True)
class ExponentialFilter(CheckedFilter):
    """Imitate in proportion to exp(beta A), with advantages and weights clipped.

    Attributes:
        beta: how much sharper greater advantages count.
        advantage_range: advantages are clipped to it.
        weight_range: weights are clipped to it.
    """

    uses_advantage: ClassVar[bool] = True
    beta: NotNegative = 1.0
    advantage_range: AdvantageRange = (-float("inf"), float("inf"))
    weight_range: WeightRange = (1e-7, 100.0)

    def __call__(self, advantage: Array) -> Array:
        """See `AdvantageFilter`."""
        clipped = jnp.clip(advantage, *self.advantage_range)
        return jnp.clip(jnp.exp(self.beta * clipped), *self.weight_range)


@dataclasses.dataclass(frozen=True)
class LeakyReluFilter(CheckedFilter):
    """A ramp that rises by 1/beta per unit of advantage from ``hinge`` on, and leaks below.

    Attributes:
        beta: advantage over which the weight rises by 1.
        hinge: advantage where the ramp begins.
        negative_slope: share of the slope that is left below the hinge.
        weight_at_zero: the ramp's value at A = 0.
        weight_range: weights are clipped to it.
        add_binary: add 1 where A > 0.
    """

    uses_advantage: ClassVar[bool] = True
    beta: Positive = 2.0
    hinge: float = 0.01
    negative_slope: Share = 0.05
    weight_at_zero: NotNegative = 0.01
    weight_range: WeightRange = (1e-7, 10.0)
    add_binary: bool = True

    def __call__(self, advantage: Array) -> Array:
        """See `AdvantageFilter`."""
        offset = self.weight_at_zero + self.negative_slope * self.hinge / self.beta
        ramp = jax.nn.leaky_relu((advantage - self.hinge) / self.beta, self.negative_slope)
        weights = jnp.clip(offset + ramp, *self.weight_range)
        return weights + (advantage > 0) if self.add_binary else weights


@dataclasses.dataclass(frozen=True)
class NoFilter:
    """Imitate everything alike (behaviour cloning): 1. Needs no critics."""

    uses_advantage: ClassVar[bool] = False

    def __call__(self, advantage: Array) -> Array:
        """See `AdvantageFilter`."""
        return jnp.ones_like(advantage)
