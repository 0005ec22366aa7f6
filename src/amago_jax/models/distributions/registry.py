"""Distributions by name."""

from collections.abc import Mapping
from typing import Any

from amago_jax.models.distributions.base import ActionKind, Distribution
from amago_jax.models.distributions.continuous import Beta, TanhGaussian, TanhMixture
from amago_jax.models.distributions.discrete import Discrete, MultiBinary

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
