"""Causal attention: over packed windows in training, over a key/value cache when acting.

Training goes through `AttentionBackend`, one signature with a file for each way to compute it;
`choose` says which serves.
"""

from amago_jax.models.attention.backend import AttentionBackend, make_backend
from amago_jax.models.attention.blocks import LONG
from amago_jax.models.attention.cache import CacheStep, attend_to_cache, cache_step, write_cache
from amago_jax.models.attention.choosing import Choice, choose
from amago_jax.models.attention.dense import MASKED, attend, attention_weights, causal_bias
from amago_jax.models.attention.limits import LIMITS, Wanted
from amago_jax.models.attention.sight import Sight

__all__ = [
    "LIMITS",
    "LONG",
    "MASKED",
    "AttentionBackend",
    "CacheStep",
    "Choice",
    "Sight",
    "Wanted",
    "attend",
    "attend_to_cache",
    "attention_weights",
    "cache_step",
    "causal_bias",
    "choose",
    "make_backend",
    "write_cache",
]
