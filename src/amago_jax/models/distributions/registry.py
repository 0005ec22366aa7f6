"""Distributions by name."""

from collections.abc import Mapping
from typing import Annotated, Any

from amago_jax.kinds import OneOf
from amago_jax.models.distributions.base import ActionKind, Distribution
from amago_jax.models.distributions.continuous import Beta, TanhGaussian, TanhMixture
from amago_jax.models.distributions.discrete import Discrete, MultiBinary
from amago_jax.settings import SettingsOf, checked, forwards

DISTRIBUTIONS: dict[str, type[Any]] = {
    "discrete": Discrete,
    "tanh_gaussian": TanhGaussian,
    "beta": Beta,
    "tanh_mixture": TanhMixture,
    "multi_binary": MultiBinary,
}
NATURAL = {"discrete": "discrete", "continuous": "tanh_gaussian", "binary": "multi_binary"}

DistributionName = Annotated[str, OneOf(("natural", *DISTRIBUTIONS))]
TanhGaussianSettings = Annotated[Mapping[str, Any], SettingsOf(TanhGaussian, given=("actions",))]
DiscreteSettings = Annotated[Mapping[str, Any], SettingsOf(Discrete, given=("actions",))]


@checked
@forwards(*DISTRIBUTIONS.values())
def make_distribution(
    name: DistributionName,
    *,
    actions: int,
    kind: ActionKind,
    discrete: DiscreteSettings | None = None,
    tanh_gaussian: TanhGaussianSettings | None = None,
    **settings: Any,
) -> Distribution:
    """Make a distribution by name.

    Args:
        name: a key of `DISTRIBUTIONS`, or "natural": the paper's choice for the kind of actions.
        actions: A.
        kind: of the environment's actions.
        discrete: further fields of `Discrete`, if that is chosen: "natural" serves tasks of
            discrete actions and others.
        tanh_gaussian: likewise of `TanhGaussian`.
        **settings: further fields of the distribution.

    Raises:
        ValueError: if there is no such distribution, or it does not fit the actions.
    """
    natural = NATURAL[kind]
    found = DISTRIBUTIONS[natural if name == "natural" else name]
    if found.kind != kind:
        raise ValueError(
            f"{name} is over {found.kind} actions, but the environment's are {kind}; "
            f"choose {natural}"
        )
    if found is Discrete:
        settings |= discrete or {}
    if found is TanhGaussian:
        settings |= tanh_gaussian or {}
    return found(actions=actions, **settings)
