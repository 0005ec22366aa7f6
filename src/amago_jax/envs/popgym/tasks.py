"""All of POPGym's tasks by name, as AMAGO plays them.

Source: AMAGO (Grigsby, Fan, Zhu; ICLR 2024), appendix on POPGym: the time is seen, and being out of
time counts as termination.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from gymnax.environments import environment, spaces

from amago_jax.envs.popgym import (
    autoencode,
    battleship,
    cart_pole,
    concentration,
    count_recall,
    higher_lower,
    mine_sweeper,
    multiarmed_bandit,
    pendulum,
    repeat_first,
    repeat_previous,
)
from amago_jax.envs.stream import StreamEnv, make_stream_env
from amago_jax.errors import suggest
from amago_jax.settings import checked
from amago_jax.types import Array

_FAMILIES: tuple[Any, ...] = (
    autoencode,
    battleship,
    cart_pole,
    concentration,
    count_recall,
    higher_lower,
    mine_sweeper,
    multiarmed_bandit,
    pendulum,
    repeat_first,
    repeat_previous,
)

# By the name of popgym's class. An environment has a `horizon`, states with a field `time`, and, if
# resets cost far more than steps, a true `expensive_reset`.
TASKS: dict[str, Callable[[], environment.Environment]] = {
    task: make for family in _FAMILIES for task, make in family.TASKS.items()
}

TIME_SCALE = 1000.0


class TimeAppended(environment.Environment[Any, Any]):
    """A task that shows the steps since the episode began, in thousands, as the last number."""

    def __init__(self, env: environment.Environment):
        """Show the time in ``env``."""
        super().__init__()
        self.env = env

    @property
    def default_params(self) -> Any:
        """Those of the task."""
        return self.env.default_params

    def reset_env(self, key: Array, params: Any) -> tuple[Array, Any]:
        """Begin the task."""
        observation, state = self.env.reset_env(key, params)
        return self._append(observation, state), state

    def step_env(
        self, key: Array, state: Any, action: Any, params: Any
    ) -> tuple[Array, Any, Array, Array, dict[Any, Any]]:
        """Act in the task."""
        observation, state, reward, done, info = self.env.step_env(key, state, action, params)
        return self._append(observation, state), state, reward, done, info

    def _append(self, observation: Array, state: Any) -> Array:
        return jnp.append(observation, state.time / TIME_SCALE)

    def is_terminated(self, state: Any, params: Any) -> Array:
        """As the task says."""
        return self.env.is_terminated(state, params)

    def is_truncated(self, state: Any, params: Any) -> Array:
        """As the task says."""
        return self.env.is_truncated(state, params)

    @property
    def name(self) -> str:
        """Environment name."""
        return self.env.name

    @property
    def num_actions(self) -> int:
        """Those of the task."""
        return self.env.num_actions

    def action_space(self, params: Any = None) -> spaces.Space:
        """That of the task."""
        return self.env.action_space(params)

    def observation_space(self, params: Any) -> spaces.Box:
        """That of the task, and the time."""
        space = self.env.observation_space(params)
        low, high = (jnp.broadcast_to(bound, space.shape) for bound in (space.low, space.high))
        shape = (space.shape[0] + 1,)
        return spaces.Box(jnp.append(low, 0.0), jnp.append(high, jnp.inf), shape, jnp.float32)


@checked
def make_popgym(
    task: str, /, *, append_time: bool = True, terminate_on_truncation: bool = True
) -> StreamEnv:
    """Make a task of POPGym; the best return of most is 1, the worst -1.

    Args:
        task: one of `TASKS`, for example "RepeatPreviousEasy".
        append_time: show the steps since the episode began, in thousands, as the last number.
        terminate_on_truncation: count being out of time as termination.

    Returns:
        The environment, its observations flat, categories one-hot.

    Raises:
        ValueError: if there is no such task.
    """
    if task not in TASKS:
        raise ValueError(f"POPGym has no task {task!r}: {suggest(task, list(TASKS))}")
    env: Any = TASKS[task]()
    return make_stream_env(
        f"popgym/{task}",
        TimeAppended(env) if append_time else env,
        env.default_params,
        horizon=env.horizon,
        terminate_on_truncation=terminate_on_truncation,
        expensive_reset=getattr(env, "expensive_reset", False),
    )
