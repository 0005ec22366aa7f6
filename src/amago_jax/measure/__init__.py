"""Measuring: how fast a run is and what it takes, found here or from the compiler."""

from amago_jax.measure.attention import benchmark_attention
from amago_jax.measure.decoding import benchmark_decoding
from amago_jax.measure.environments import benchmark_envs
from amago_jax.measure.estimates import Estimate
from amago_jax.measure.estimating import estimate
from amago_jax.measure.speed import benchmark

__all__ = [
    "Estimate",
    "benchmark",
    "benchmark_attention",
    "benchmark_decoding",
    "benchmark_envs",
    "estimate",
]
