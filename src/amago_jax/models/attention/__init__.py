"""Causal attention: over packed windows in training, over a key/value cache when acting."""

from amago_jax.models.attention.blocks import LONG, long_causal_attend
from amago_jax.models.attention.cache import CacheStep, attend_to_cache, cache_step, write_cache
from amago_jax.models.attention.dense import MASKED, attend, causal_attend, causal_bias

__all__ = [
    "LONG",
    "MASKED",
    "CacheStep",
    "attend",
    "attend_to_cache",
    "cache_step",
    "causal_attend",
    "causal_bias",
    "long_causal_attend",
    "write_cache",
]
