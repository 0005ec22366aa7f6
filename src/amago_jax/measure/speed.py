"""How fast this machine learns and acts, against its own matrix-product rate.

Each figure is the median over repeats that are interleaved with measurements of the matrix rate,
so that a machine that slows down slows both. Shares of the ceiling count matrix products alone.
"""

import dataclasses
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from omegaconf import DictConfig

from amago_jax.acting.rollout import rollout
from amago_jax.learning.trainer import Trainer, TrainState
from amago_jax.measure.operations import matmul_flops
from amago_jax.measure.timing import seconds_of
from amago_jax.parallel import SHARED, SPLIT, device_key, own_part, per_device
from amago_jax.runs.building import build
from amago_jax.types import Array

MATRIX = (2400, 256, 1024)

# A function, how many updates or steps it takes, and its floating-point operations.
Timed = tuple[Callable[[], Any], float, float]


def benchmark(config: DictConfig) -> dict[str, float]:
    """Measure learner, rollout and whole epochs of a configuration; print a table.

    Args:
        config: a training configuration with a ``benchmark`` node: repeats and a file to append to.

    Returns:
        Figures by name: rates per second, and shares of the matrix rate.
    """
    trainer = build(config)
    state = trainer.init(jax.random.key(config.seed))
    # Enough epochs to fill windows; the first compiles.
    for _ in range(2):
        state, _ = trainer.train_epoch(state)
    timed = _timed(trainer, state)
    seconds, ceiling = _take_turns(timed, config.benchmark.repeats)
    device = jax.devices()[0]
    figures = {"matrix GFLOP/s": ceiling / 1e9}
    print(f"{device.platform} {device.device_kind}, jax {jax.__version__}: {settings_of(trainer)}")
    print(f"float32 matrix product {'x'.join(map(str, MATRIX))}: {ceiling / 1e9:.0f} GFLOP/s")
    for name, (_, count, flops) in timed.items():
        median = statistics.median(seconds[name])
        share = flops / median / ceiling
        figures |= {f"{name}/s": count / median, f"{name} share of ceiling": share}
        print(
            f"{name:18s} {count / median:10.5g} per second, {flops / count / 1e6:8.1f} MFLOP each, "
            f"{100 * share:4.0f}% of the ceiling, "
            f"spread {min(seconds[name]) / median:.2f} to {max(seconds[name]) / median:.2f}"
        )
    if trainer.hindsight is not None:
        added = figures["without hindsight/s"] / figures["learner updates/s"] - 1
        figures["relabelling share"] = added
        print(f"relabelling adds {100 * added:.1f}% to an update")
    if config.benchmark.output:
        with Path(config.benchmark.output).open("a") as file:
            file.write(json.dumps({"settings": settings_of(trainer), **figures}) + "\n")
    return figures


def _timed(trainer: Trainer, state: TrainState) -> dict[str, Timed]:
    """Return what is timed, by name."""
    steps = trainer.rollout_steps * trainer.envs

    def timed(function: Callable[[TrainState], Any], count: float) -> Timed:
        compiled = jax.jit(function)
        return lambda: compiled(state), count, matmul_flops(function, state)

    found = {
        "learner updates": timed(lambda state: learn(trainer, state), trainer.updates),
        "rollout steps": timed(lambda state: act(trainer, state), steps),
        "end-to-end steps": timed(lambda state: trainer.traced_epoch(state)[1], steps),
    }
    if trainer.hindsight is not None:
        plain = dataclasses.replace(trainer, hindsight=None)
        found["without hindsight"] = timed(lambda state: learn(plain, state), trainer.updates)
    return found


def _take_turns(timed: dict[str, Timed], repeats: int) -> tuple[dict[str, list[float]], float]:
    """Time everything in turns; return seconds by name, and the matrix rate in FLOP/s."""
    left, right = (jnp.ones(shape) for shape in (MATRIX[:2], MATRIX[1:]))
    product, flops = jax.jit(jnp.matmul), 2.0 * np.prod(MATRIX, dtype=float)
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    rates = []
    for function, _, _ in timed.values():
        jax.block_until_ready(function())  # compiles
    for _ in range(repeats):
        for name, (function, _, _) in timed.items():
            rates.append(flops / _matrix_seconds(product, left, right))
            seconds[name].append(seconds_of(function))
    return seconds, statistics.median(rates)


def settings_of(trainer: Trainer) -> str:
    """Say in one line what is trained, and how large."""
    agent = trainer.agent
    memory = agent.trajectory_encoder
    variant = [f" {name} {getattr(memory, name, None)}" for name in ("window", "sink")]
    variants = "".join(text for text in variant if not text.endswith((" None", " 0")))
    return (
        f"{trainer.env.name}, {type(agent).__name__}, {type(memory).__name__}{variants}, "
        f"context {memory.context_length}, "
        f"batch {trainer.batch_size}, {trainer.envs} environments"
    )


def learn(trainer: Trainer, state: TrainState) -> Any:
    """Take an epoch's updates alone, to be traced; return what `Trainer.learn` does."""

    def learning(learner: Any, experience: Any, key: Array) -> Any:
        own = own_part(experience)
        return trainer.learn(learner, own.replay, device_key(key), own.goals)

    split = per_device(learning, trainer.mesh, (SHARED, SPLIT, SHARED), SHARED)
    return split(state.learner, state.experience, state.key)


def act(trainer: Trainer, state: TrainState) -> Any:
    """Take an epoch's steps alone, to be traced; return the timesteps."""

    def acting(learner: Any, experience: Any, key: Array) -> Any:
        _, timesteps, _ = rollout(
            trainer.agent,
            trainer.env,
            trainer.schedule,
            learner.agent,
            own_part(experience).rollout,
            device_key(key),
            steps=trainer.rollout_steps,
            greedy=trainer.greedy_rollouts,
        )
        return timesteps

    split = per_device(acting, trainer.mesh, (SHARED, SPLIT, SHARED), SPLIT)
    return split(state.learner, state.experience, state.key)


def _matrix_seconds(product: Callable[..., Any], left: Array, right: Array) -> float:
    return statistics.median(seconds_of(lambda: product(left, right)) for _ in range(20))
