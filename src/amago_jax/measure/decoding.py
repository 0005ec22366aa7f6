"""What a Transformer's acting step costs, against the context and how much of it is filled.

Each time is the median over repeats, in which all cases take turns.
"""

import dataclasses
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from omegaconf import DictConfig

from amago_jax.models.transformer import Transformer, TransformerMemory
from amago_jax.types import Array, Params

WIDTH = 64  # of what is encoded


def benchmark_decoding(config: DictConfig) -> dict[tuple[int, float], float]:
    """Measure as `conf/benchmark_decoding.yaml` describes; print a Markdown table.

    Returns:
        Seconds a step of all rows, by context and filled share.
    """
    cases = {
        (context, filled): _decoder(config, context, filled)
        for context in config.contexts
        for filled in config.filled
    }
    seconds: dict[tuple[int, float], list[float]] = {case: [] for case in cases}
    for _ in range(config.repeats + 1):
        for case, run in cases.items():
            start = time.perf_counter()
            jax.block_until_ready(run())
            seconds[case].append((time.perf_counter() - start) / config.steps)
    # The first run compiles.
    found = {case: statistics.median(times[1:]) for case, times in seconds.items()}
    print("| context | " + " | ".join(f"{filled:.0%} filled" for filled in config.filled) + " |")
    print("| --- " * (len(config.filled) + 1) + "|")
    for context in config.contexts:
        cells = [f"{1e6 * found[context, filled]:.0f} us" for filled in config.filled]
        print(f"| {context} | " + " | ".join(cells) + " |")
    if config.output:
        rows = [
            {"context": context, "filled": filled, "microseconds": 1e6 * value}
            for (context, filled), value in found.items()
        ]
        device = jax.devices()[0].device_kind
        with Path(config.output).open("a") as file:
            file.write(json.dumps({"device": device, "rows": rows}) + "\n")
    return found


def _decoder(config: DictConfig, context: int, filled: float) -> Callable[[], Array]:
    """Return a function that takes some steps of all rows, from a cache so far filled."""
    encoder = Transformer(context, **config.transformer)
    rows = config.rows
    x, zeros = jnp.ones((rows, WIDTH)), jnp.zeros(rows, jnp.int32)
    params = encoder.init(jax.random.key(0), x[:, None], zeros[:, None], zeros[:, None])["params"]
    # Steps of the case end where it is filled.
    length = max(1, round(filled * context))
    start = max(0, length - config.steps)
    memory = dataclasses.replace(
        encoder.initial_memory(rows),
        cursor=jnp.int32(start % context),
        lengths=jnp.full(rows, start, jnp.int32),
    )

    @jax.jit
    def run(params: Params, memory: TransformerMemory) -> Array:
        def step(memory: TransformerMemory, _: None) -> Any:
            first = jnp.zeros(rows, bool)
            variables = {"params": params}
            h, after = encoder.apply(variables, x, zeros, first, memory, method="decode")
            return after, h

        return jax.lax.scan(step, memory, None, length=config.steps)[1]

    return lambda: run(params, memory)
