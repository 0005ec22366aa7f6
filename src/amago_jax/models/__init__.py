"""Networks: pure of environments, replay and configuration."""

from amago_jax.models.convolutions import GridworldEncoder, ImpalaEncoder, NatureEncoder
from amago_jax.models.feedforward import FeedForward, Identity
from amago_jax.models.gru import GRU
from amago_jax.models.heads import ActionCritics, Actor, DiscreteCritics, ResidualActor
from amago_jax.models.mamba import Mamba
from amago_jax.models.timestep_encoders import FeedForwardTimestepEncoder, TokenEncoder
from amago_jax.models.transformer import Transformer
from amago_jax.models.value_bins import ValueBins

__all__ = [
    "GRU",
    "ActionCritics",
    "Actor",
    "DiscreteCritics",
    "FeedForward",
    "FeedForwardTimestepEncoder",
    "GridworldEncoder",
    "Identity",
    "ImpalaEncoder",
    "Mamba",
    "NatureEncoder",
    "ResidualActor",
    "TokenEncoder",
    "Transformer",
    "ValueBins",
]
