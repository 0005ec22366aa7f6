"""What a Transformer's acting step costs, against the context and how much of it is filled.

Each time is the median over repeats, in which all cases take turns.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from omegaconf import DictConfig

from amago_jax.measure.timing import medians_in_turns
from amago_jax.models.transformer import Transformer, TransformerMemory
from amago_jax.types import Array, Params

WIDTH = 64  # of what is encoded


def benchmark_decoding(config: DictConfig) -> dict[tuple[int, float], float]:
    """Measure as `conf/benchmark_decoding.yaml` describes; print a Markdown table.

    Returns:
        Seconds a step of all rows, by context and filled share.
    """
    cases = {
        (context, filled): Decoder(config, context, filled)
        for context in config.contexts
        for filled in config.filled
    }
    medians = medians_in_turns(cases, config.repeats)
    found = {case: seconds / cases[case].steps for case, seconds in medians.items()}
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


class Decoder:
    """Steps of all rows that end with a share of the cache filled.

    Attributes:
        steps: in one call.
        memory: what the last call left, over which the next one begins anew.
    """

    def __init__(self, config: DictConfig, context: int, filled: float) -> None:
        """Prepare a call; it compiles when it is first made."""
        encoder, rows = Transformer(context, **config.transformer), config.rows
        x, zeros = jnp.ones((rows, WIDTH)), jnp.zeros(rows, jnp.int32)
        variables = encoder.init(jax.random.key(0), x[:, None], zeros[:, None], zeros[:, None])
        length = max(1, round(filled * context))
        self.steps = min(config.steps, length)
        self.memory: TransformerMemory = encoder.initial_memory(rows)
        self._variables, start = variables, length - self.steps

        def run(variables: Params, memory: TransformerMemory) -> Any:
            def step(memory: TransformerMemory, _: None) -> Any:
                first = jnp.zeros(rows, bool)
                h, after = encoder.apply(variables, x, zeros, first, memory, method="decode")
                return after, h

            memory = dataclasses.replace(
                memory, cursor=jnp.int32(start), lengths=jnp.full(rows, start, jnp.int32)
            )
            return jax.lax.scan(step, memory, None, length=self.steps)

        # The cache is given up, for a copy of it would cost as much as some steps.
        self._run = jax.jit(run, donate_argnums=1)

    def __call__(self) -> Array:
        """Take the steps; return states ``[steps, rows, D]``."""
        self.memory, h = self._run(self._variables, self.memory)
        return h
