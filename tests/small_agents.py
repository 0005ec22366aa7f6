"""Agents small enough to compile in a second or two."""

from amago_jax.agents.amago import build_amago_agent
from amago_jax.models.distributions import make_distribution
from amago_jax.models.timestep_encoders import FeedForwardTimestepEncoder
from amago_jax.models.transformer import Transformer


def small_transformer(context_length, **settings):
    defaults = {"width": 16, "heads": 2, "feedforward_width": 32, "layers": 2, "dropout": 0.0}
    return Transformer(context_length=context_length, **(defaults | settings))


def small_agent(
    actions=3,
    discrete=True,
    context_length=32,
    transformer=None,
    trajectory_encoder=None,
    build=build_amago_agent,
    distribution="natural",
    **settings,
):
    defaults = {
        "gammas": (0.9, 0.99),
        "critics": 3,
        "hidden_size": 16,
        "layers": 1,
        "detailed_metrics": False,
    }
    kind = "discrete" if discrete else "continuous"
    return build(
        distribution=make_distribution(distribution, actions=actions, kind=kind),
        timestep_encoder=FeedForwardTimestepEncoder(16, 1, 16),
        trajectory_encoder=trajectory_encoder
        or small_transformer(context_length, **({"layers": 1} | (transformer or {}))),
        **(defaults | settings),
    )
