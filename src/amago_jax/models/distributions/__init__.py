"""Action distributions: static descriptions with pure functions of their parameters."""

from amago_jax.models.distributions.base import ActionKind, Distribution
from amago_jax.models.distributions.continuous import Beta, TanhGaussian, TanhMixture
from amago_jax.models.distributions.discrete import Discrete, MultiBinary
from amago_jax.models.distributions.registry import DISTRIBUTIONS, make_distribution

__all__ = [
    "DISTRIBUTIONS",
    "ActionKind",
    "Beta",
    "Discrete",
    "Distribution",
    "MultiBinary",
    "TanhGaussian",
    "TanhMixture",
    "make_distribution",
]
