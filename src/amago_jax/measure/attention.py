"""Attention with a bias against attention in blocks: time and memory of one layer's gradients.

Each time is the median over repeats, in which all ways take turns.
"""

import functools
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
from omegaconf import DictConfig

from amago_jax.models.attention.blocks import long_causal_attend
from amago_jax.models.attention.dense import causal_attend, causal_bias
from amago_jax.types import Array

BIAS = 0  # a block of no timesteps: attention with a bias


def benchmark_attention(config: DictConfig) -> dict[tuple[int, int], tuple[float, float]]:
    """Measure as `conf/benchmark_attention.yaml` describes; print a Markdown table.

    Returns:
        Seconds, and bytes to work with, by window and block; block 0 is attention with a bias.
    """
    ways = [BIAS, *config.blocks]
    print("| window | " + " | ".join(f"blocks of {way}" if way else "bias" for way in ways) + " |")
    print("| --- " * (len(ways) + 1) + "|")
    found = {}
    for length in config.lengths:
        shape = (4, config.batch_size, config.heads, length, config.head_width)
        inputs = tuple(jax.random.normal(jax.random.key(0), shape))
        compiled = {way: _gradients(way).lower(*inputs).compile() for way in ways}
        seconds: dict[int, list[float]] = {way: [] for way in ways}
        for _ in range(config.repeats + 1):
            for way, function in compiled.items():
                start = time.perf_counter()
                jax.block_until_ready(function(*inputs))
                seconds[way].append(time.perf_counter() - start)
        cells = []
        for way, function in compiled.items():
            # The first run warms up.
            median = statistics.median(seconds[way][1:])
            work = float(function.memory_analysis().temp_size_in_bytes)
            found[length, way] = median, work
            cells.append(f"{1e3 * median:.0f} ms, {work / 1e6:.0f} MB")
        print(f"| {length} | " + " | ".join(cells) + " |")
    return found


def _gradients(block: int) -> Any:
    """Return a compiled function of query, key, value and weights of the output."""

    def weighed(query: Array, key: Array, value: Array, weights: Array) -> Array:
        ids = jnp.ones((query.shape[0], query.shape[2]), jnp.int32)
        if block == BIAS:
            return (causal_attend(query, key, value, causal_bias(ids)) * weights).sum()
        attend = functools.partial(long_causal_attend, block=block)
        return (attend(query, key, value, ids) * weights).sum()

    return jax.jit(jax.grad(weighed, argnums=(0, 1, 2)))
