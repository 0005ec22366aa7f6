"""How many steps of an environment a device takes per second, with random actions.

What Python offers of the same task, popgym's own environments and MazeRunner in plain NumPy, is
measured beside it, in one process.
"""

import fnmatch
import importlib
import importlib.util
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from omegaconf import DictConfig

from amago_jax import envs
from amago_jax.envs import DiscreteActions, StreamEnv, StreamState
from amago_jax.envs.goals.numpy_maze_runner import NumpyMazeRunner
from amago_jax.errors import ConfigError, suggest
from amago_jax.types import Array

PYTHON = "Python"  # the column of what is measured beside
POOL = 64  # first states drawn at once, a power of 2
NEEDS_A_DOWNLOAD = ("gymnax/MNISTBandit-bsuite",)
# A state, the next one, what its successor may begin with, and what is in between.
BUFFERS = 4

Run = Callable[[int], Any]  # takes so many steps, in each of the copies


@struct.dataclass
class _Progress:
    state: StreamState
    key: Array
    seen: Array


def benchmark_envs(config: DictConfig) -> dict[str, dict[str, float]]:
    """Measure environments as `conf/benchmark_envs.yaml` describes; print a Markdown table.

    Returns:
        Steps per second, all copies together, by environment and number of copies or `PYTHON`.

    Raises:
        ConfigError: if an environment does not exist or cannot be made.
    """
    columns = [*map(str, config.copies), PYTHON]
    print(f"steps per second, {jax.devices()[0].device_kind}, jax {jax.__version__}")
    print(f"| environment | {' | '.join(columns)} | times |")
    print("| --- |" + " --- |" * (len(columns) + 1), flush=True)
    rates: dict[str, dict[str, float]] = {}
    for env_id, settings in _chosen(config.environments).items():
        try:
            env = envs.make(env_id, **settings)
        except ValueError as error:
            raise ConfigError(f"environments: {error}") from error
        rates[env_id] = measure(env, config)
        _print_row(env_id, rates[env_id], columns)
        # Programs hold memory maps, and a process can have only so many.
        jax.clear_caches()
    return rates


def _chosen(environments: DictConfig | str) -> dict[str, Mapping[str, Any]]:
    """Return settings by id: those given, or the default ones of all ids of some patterns."""
    if not isinstance(environments, str):
        return {str(env_id): settings for env_id, settings in environments.items()}
    known = [env_id for env_id in envs.list_ids() if env_id not in NEEDS_A_DOWNLOAD]
    found: list[str] = []
    for pattern in environments.split():
        fitting = fnmatch.filter(known, pattern)
        if not fitting:
            raise ConfigError(f"environments={pattern!r} matches no id: {suggest(pattern, known)}")
        found += fitting
    return {env_id: {} for env_id in found}


def measure(env: StreamEnv, config: DictConfig) -> dict[str, float]:
    """Measure one environment, as medians over repeats in which the numbers of copies take turns.

    Numbers of copies whose states would take more than ``config.most_bytes`` are left out.
    """
    draw = jax.jit(jax.vmap(env.reset))
    keys = jax.random.split(jax.random.key(0), POOL)
    pool = draw(keys)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(pool)) / POOL
    fitting = [n for n in config.copies if BUFFERS * size * n <= config.most_bytes]
    runs: dict[str, Run] = {str(copies): stepper(env, pool, copies) for copies in fitting}
    in_python = python_stepper(env)
    if in_python is not None:
        runs[PYTHON] = in_python
    steps = {name: _steps_within(config.seconds, run) for name, run in runs.items()}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    seconds_of_draws = []
    for _ in range(config.repeats):
        for name, run in runs.items():
            seconds[name].append(_time(run, steps[name]))
        seconds_of_draws.append(_time(lambda _: jax.block_until_ready(draw(keys)), 0))
    rates = {}
    for name in runs:
        copies = 1 if name == PYTHON else int(name)
        one_step = statistics.median(seconds[name]) / steps[name] / copies
        if name != PYTHON and env.expensive_reset:
            # Drawn as it is wanted, see `amago_jax.acting.first_states`: once in a full episode.
            one_step += statistics.median(seconds_of_draws) / POOL / (env.horizon + 1)
        rates[name] = 1 / one_step
    return rates


def stepper(env: StreamEnv, pool: StreamState, copies: int) -> Run:
    """Return a function that takes random steps in each of ``copies`` environments.

    Args:
        env: the environment.
        pool: first states ``[P]``, which copies begin in; later episodes, too, if a reset costs
            far more than a step.
        copies: E.
    """
    space = env.action_space
    places = jnp.arange(copies)

    def act(key: Array) -> Array:
        if isinstance(space, DiscreteActions):
            return jax.random.randint(key, (copies,), 0, space.count)
        if space.kind == "binary":
            return jax.random.bernoulli(key, 0.5, (copies, space.size)).astype(np.float32)
        return jax.random.uniform(key, (copies, space.size), minval=-1.0)

    def pick(turn: Array | int) -> StreamState:
        return jax.tree.map(lambda x: x[(places + turn) & (POOL - 1)], pool)

    @jax.jit
    def run(start: _Progress, steps: Array) -> _Progress:
        def step(time: Array, now: _Progress) -> _Progress:
            key, key_action, key_env = jax.random.split(now.key, 3)
            first = pick(time) if env.expensive_reset else None
            keys = jax.random.split(key_env, copies)
            state = jax.vmap(env.step)(keys, now.state, act(key_action), first)
            # What a policy would see must be computed.
            sums = [x.sum(dtype=jnp.float32) for x in state.timestep.observation.values()]
            return _Progress(state, key, now.seen + sum(sums))

        return jax.lax.fori_loop(0, steps, step, start)

    start = _Progress(pick(0), jax.random.key(1), jnp.zeros(()))
    return lambda steps: jax.block_until_ready(run(start, steps))


def python_stepper(env: StreamEnv) -> Run | None:
    """Return a function that takes random steps in the same task in Python, if there is one."""
    family, _, task = env.name.partition("/")
    if env.name == "goals/maze_runner":
        return _numpy_maze(env.env.side, env.env.goals, env.params.limit)
    if family == "popgym" and importlib.util.find_spec("popgym") is not None:
        classes = {found.__name__: found for found in importlib.import_module("popgym.envs").ALL}
        return _gymnasium(classes[task]()) if task in classes else None
    return None


def _numpy_maze(side: int, goals: int, limit: int) -> Run:
    rng = np.random.default_rng(0)
    env = NumpyMazeRunner(rng, side, goals, limit)
    env.reset()

    def run(steps: int) -> None:
        for action in rng.integers(5, size=steps).tolist():
            _, _, done = env.step(action)
            if done:
                env.reset()

    return run


def _gymnasium(env: Any) -> Run:
    actions = [env.action_space.sample() for _ in range(1000)]
    env.reset(seed=0)

    def run(steps: int) -> None:
        for step in range(steps):
            _, _, terminated, truncated, _ = env.step(actions[step % len(actions)])
            if terminated or truncated:
                env.reset()

    return run


def _steps_within(seconds: float, run: Run) -> int:
    """Return how many steps take about so long."""
    run(1)  # compiles
    steps = 1
    # The lesser of two: what else the machine does must not end the search.
    while (taken := min(_time(run, steps), _time(run, steps))) < seconds / 4:
        steps *= 4
    return max(1, round(steps * seconds / taken))


def _time(run: Run, steps: int) -> float:
    start = time.perf_counter()
    run(steps)
    return time.perf_counter() - start


def _print_row(env_id: str, rates: dict[str, float], columns: list[str]) -> None:
    cells = [f"{rates[column]:,.0f}" if column in rates else "" for column in columns]
    ours = max((rate for name, rate in rates.items() if name != PYTHON), default=0.0)
    times = f"{ours / rates[PYTHON]:,.0f}" if PYTHON in rates else ""
    print(f"| {env_id} | {' | '.join(cells)} | {times} |", flush=True)
