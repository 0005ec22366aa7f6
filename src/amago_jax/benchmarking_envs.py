"""How many steps of an environment a device takes per second, with random actions.

Each figure is the median over repeats, in which all environments and numbers of copies take
turns, together with MazeRunner in plain NumPy, one process of one core.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from omegaconf import DictConfig

from amago_jax.envs import DiscreteActions, StreamEnv, StreamState, make
from amago_jax.envs.goals.numpy_maze_runner import NumpyMazeRunner
from amago_jax.types import Array

MAZE = "goals/maze_runner"  # which is there in NumPy, too


def benchmark_envs(config: DictConfig) -> dict[str, dict[int, float]]:
    """Measure environments as `conf/benchmark_envs.yaml` describes; print a Markdown table.

    Returns:
        Steps per second by environment and number of copies; NumPy's, if MazeRunner is among the
        environments, under "numpy" and 1.
    """
    timed: dict[tuple[str, int], tuple[Callable[[], Any], int]] = {}
    for name, settings in config.environments.items():
        env = make(str(name), **settings)
        for copies in config.copies:
            steps = max(config.least_steps, config.total_steps // copies)
            timed[str(name), copies] = (stepper(env, copies, steps), steps * copies)
    if MAZE in config.environments:
        numpy_step = numpy_stepper(config.environments[MAZE], config.numpy_steps)
        timed["numpy", 1] = (numpy_step, config.numpy_steps)
    for function, _ in timed.values():
        function()  # compiles
    seconds: dict[tuple[str, int], list[float]] = {case: [] for case in timed}
    for _ in range(config.repeats):
        for case, (function, _) in timed.items():
            start = time.perf_counter()
            function()
            seconds[case].append(time.perf_counter() - start)
    rates: dict[str, dict[int, float]] = {}
    for (name, copies), (_, steps) in timed.items():
        rate = steps / statistics.median(seconds[name, copies])
        rates.setdefault(name, {})[copies] = rate
    _print_table(rates, list(config.copies))
    return rates


def stepper(env: StreamEnv, copies: int, steps: int) -> Callable[[], Any]:
    """Return a function that takes ``steps`` random steps in each of ``copies`` environments."""
    space = env.action_space

    def act(key: Array) -> Array:
        if isinstance(space, DiscreteActions):
            return jax.random.randint(key, (copies,), 0, space.count)
        if space.kind == "binary":
            return jax.random.bernoulli(key, 0.5, (copies, space.size)).astype(np.float32)
        return jax.random.uniform(key, (copies, space.size), minval=-1.0)

    @jax.jit
    def run(state: StreamState, key: Array) -> tuple[StreamState, Array]:
        key_first, key_steps = jax.random.split(key)
        first = env.draw_first_states(key_first, copies, steps)
        places = None if first is None else first.places

        def step(state: StreamState, now: tuple[Array, Array | None]) -> tuple[StreamState, Array]:
            key, places = now
            key_action, key_env = jax.random.split(key)
            keys = jax.random.split(key_env, copies)
            states = None if first is None or places is None else first.at(places)
            after = jax.vmap(env.step)(keys, state, act(key_action), states)
            # What a policy would see must be computed.
            observation = after.timestep.observation.values()
            return after, jnp.stack([x.sum(dtype=jnp.float32) for x in observation])

        return jax.lax.scan(step, state, (jax.random.split(key_steps, steps), places))

    key_reset, key_run = jax.random.split(jax.random.key(0))
    state = jax.jit(jax.vmap(env.reset))(jax.random.split(key_reset, copies))
    return lambda: jax.block_until_ready(run(state, key_run))


def numpy_stepper(settings: DictConfig, steps: int) -> Callable[[], None]:
    """Return a function that takes random steps in one MazeRunner of plain NumPy."""

    def run() -> None:
        rng = np.random.default_rng(0)
        env = NumpyMazeRunner(rng, settings.side, settings.goals, settings.limit)
        env.reset()
        for _ in range(steps):
            _, _, done = env.step(int(rng.integers(5)))
            if done:
                env.reset()

    return run


def _print_table(rates: dict[str, dict[int, float]], copies: list[int]) -> None:
    device = jax.devices()[0]
    print(f"steps per second, {device.device_kind}, jax {jax.__version__}")
    print(f"| environment | {' | '.join(map(str, copies))} |")
    print("| --- |" + " --- |" * len(copies))
    for name, by_copies in rates.items():
        if name != "numpy":
            print(f"| {name} | {' | '.join(f'{by_copies[n]:,.0f}' for n in copies)} |")
    if "numpy" in rates:
        rate = rates["numpy"][1]
        print(f"MazeRunner in NumPy: {rate:,.0f}; here, by number of copies:", end=" ")
        print(", ".join(f"{rates[MAZE][n] / rate:.0f} times" for n in copies))
