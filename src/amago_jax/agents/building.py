"""Assembling an agent from its encoders, heads and settings."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from amago_jax.agents.agent import Agent
from amago_jax.agents.networks import DEFAULT_GAMMAS, Gammas
from amago_jax.models.distributions import Distribution
from amago_jax.models.heads import Actor
from amago_jax.models.layers import ActivationName
from amago_jax.settings import HiddenLayers, Size, checked

AnyAgent = TypeVar("AnyAgent", bound=Agent)


def learned_gammas(gammas: Sequence[float], multi_gamma: bool) -> tuple[float, ...]:
    """Return the discounts that are learned: all, or the acting one, the last, alone."""
    return tuple(float(gamma) for gamma in gammas)[0 if multi_gamma else -1 :]


@checked
def assemble(
    make_agent: Callable[..., AnyAgent],
    make_critics: Callable[..., Any],
    *,
    distribution: Distribution,
    timestep_encoder: Any,
    trajectory_encoder: Any,
    actor: Any = None,
    gammas: Gammas = DEFAULT_GAMMAS,
    multi_gamma: bool = True,
    critics: Size = 4,
    hidden_size: Size = 256,
    layers: HiddenLayers = 2,
    activation: ActivationName = "leaky_relu",
    rematerialize: bool = False,
    **settings: Any,
) -> AnyAgent:
    """Build the heads, and the agent on top of them.

    Args:
        make_agent: a subclass of `Agent`.
        make_critics: called with the size of the ensemble, the discounts, and, as keywords, the
            sizes of the hidden layers.
        distribution: see `Agent`, as are the encoders.
        timestep_encoder: see `Agent`.
        trajectory_encoder: see `Agent`.
        actor: an actor head; None: an MLP of the sizes below.
        gammas: discounts; the last one acts.
        multi_gamma: learn them all; off: the last one alone.
        critics: C, the size of the ensemble.
        hidden_size: width of the hidden layers of the critics.
        layers: hidden layers of the critics.
        activation: name of the activation of the critics.
        rematerialize: compute hidden layers of the critics anew in the backward pass.
        **settings: further fields of the agent.

    Returns:
        The agent.
    """
    head: dict[str, Any] = {"hidden_size": hidden_size, "layers": layers, "activation": activation}
    gammas = learned_gammas(gammas, multi_gamma)
    return make_agent(
        distribution=distribution,
        timestep_encoder=timestep_encoder,
        trajectory_encoder=trajectory_encoder,
        actor=actor or Actor(len(gammas), distribution.parameter_count, **head),
        critics=make_critics(critics, gammas, rematerialize=rematerialize, **head),
        gammas=gammas,
        **settings,
    )
