"""Backends of attention side by side: time and memory of one layer's values and gradients.

Each time is the median over repeats, in which all ways take turns.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from omegaconf import DictConfig

from amago_jax.errors import ConfigError
from amago_jax.measure.timing import medians_in_turns
from amago_jax.models.attention import AttentionBackend, Sight, Wanted, choose, make_backend
from amago_jax.models.attention.blocks import Blocks
from amago_jax.types import Array


def benchmark_attention(config: DictConfig) -> dict[tuple[int, str], tuple[float, float]]:
    """Measure as `conf/benchmark_attention.yaml` describes; print a Markdown table.

    Returns:
        Seconds, and bytes to work with, by window and way.

    Raises:
        ConfigError: if a backend does not exist or cannot serve here.
    """
    ways = _ways(config)
    print("| window | " + " | ".join(ways) + " |")
    print("| --- " * (len(ways) + 1) + "|")
    found = {}
    for length in config.lengths:
        shape = (config.batch_size, config.heads, length, config.head_width)
        keys = jax.random.split(jax.random.key(0), 4)
        inputs = [jax.random.normal(key, shape, config.dtype) for key in keys]
        ids = jnp.ones((config.batch_size, length), jnp.int32)
        compiled = {
            way: layer(backend).lower(*inputs, ids).compile() for way, backend in ways.items()
        }
        calls = {way: functools.partial(run, *inputs, ids) for way, run in compiled.items()}
        medians = medians_in_turns(calls, config.repeats)
        cells = []
        for way, function in compiled.items():
            median = medians[way]
            work = float(function.memory_analysis().temp_size_in_bytes)
            found[length, way] = median, work
            cells.append(f"{1e3 * median:.0f} ms, {work / 1e6:.0f} MB")
        print(f"| {length} | " + " | ".join(cells) + " |")
    return found


def layer(backend: AttentionBackend) -> Any:
    """Return a function of one layer's attention, to be compiled for any device.

    Args:
        backend: what is measured.

    Returns:
        A function of query, key, value, the gradient of what is attended (all ``[B, H, L, E]``) and
        segment ids (int32 ``[B, L]``), that gives what is attended and the gradients of query, key
        and value.
    """

    def values_and_gradients(
        query: Array, key: Array, value: Array, gradient: Array, segment_ids: Array
    ) -> Any:
        prepared = backend.prepare(segment_ids)
        attended, pull = jax.vjp(
            lambda q, k, v: backend.attend(q, k, v, prepared), query, key, value
        )
        return attended, pull(gradient)

    return jax.jit(values_and_gradients)


def _ways(config: DictConfig) -> dict[str, AttentionBackend]:
    platform, sight = jax.default_backend(), Sight()
    ways: dict[str, AttentionBackend] = {}
    try:
        for name in config.backends:
            wanted = Wanted(platform, config.dtype, max(config.lengths), config.head_width, sight)
            chosen = choose(name, wanted).name
            ways[chosen] = make_backend(chosen, sight, platform)
    except ValueError as error:
        raise ConfigError(f"backends={list(config.backends)}: {error}") from error
    return ways | {f"blocks of {size}": Blocks(sight, size) for size in config.blocks}
