"""Multi-domain POPGym: one policy for 27 tasks, which must find out which one it is in.

The task is drawn anew in every episode and not told. It is played twice: first to warm up, for
rewards that are shown but not paid, then for rewards that count.

Source: Grigsby et al. 2024, "AMAGO-2" (arXiv 2411.11188), and its code, but that an episode ends
with its last attempt, not one step later.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments import environment, spaces

from amago_jax.envs.popgym.tasks import TASKS, TIME_SCALE
from amago_jax.envs.stream import StreamEnv, make_stream_env
from amago_jax.types import Array

ACTIONS = 26
OBSERVATIONS = 26  # a task's own, padded with zeros
EXTRAS = 4
ATTEMPTS = 2


@struct.dataclass
class EnvState:
    """Where the task stands; all leaves but the tasks' states ``[]``.

    Attributes:
        states: of every task, in order; only one of them is played.
        task: int32, the task played.
        attempt: int32, attempts that were completed before this one.
        attempt_over: bool, the step to come begins the next attempt.
        paid: float32, rewards paid so far.
        time: int32, steps since the episode began.
    """

    states: tuple[Any, ...]
    task: Array
    attempt: Array
    attempt_over: Array
    paid: Array
    time: Array


class MultiDomain(environment.Environment[EnvState, environment.EnvParams]):
    """One of several tasks, twice."""

    def __init__(self, tasks: Mapping[str, environment.Environment]):
        """Choose from tasks that `fits`."""
        super().__init__()
        self.tasks: dict[str, Any] = dict(tasks)
        # One step between attempts shows the next one's first observation.
        longest = max(env.horizon for env in self.tasks.values())
        self.horizon = ATTEMPTS * (longest + 1) - 1

    @property
    def default_params(self) -> environment.EnvParams:
        """Time for both attempts at the longest task."""
        return environment.EnvParams(max_steps_in_episode=self.horizon)

    def reset_env(self, key: Array, params: environment.EnvParams) -> tuple[Array, EnvState]:
        """Draw a task, and begin it."""
        key_task, key_begin = jax.random.split(key)
        task = jax.random.randint(key_task, (), 0, len(self.tasks))
        observations, states = self._begin(key_begin)
        zero, false = jnp.int32(0), jnp.zeros((), bool)
        state = EnvState(states, task, zero, false, jnp.float32(0.0), zero)
        return self._observe(observations[task], state, ~false, state.paid), state

    def step_env(
        self, key: Array, state: EnvState, action: Any, params: environment.EnvParams
    ) -> tuple[Array, EnvState, Array, Array, dict[Any, Any]]:
        """Act in the task, at random if it has no such action; or begin the next attempt."""
        key_action, key_begin, key_act = jax.random.split(key, 3)
        actions = jnp.array([env.num_actions for env in self.tasks.values()])[state.task]
        valid = action < actions
        action = jnp.where(valid, action, jax.random.randint(key_action, (), 0, actions))
        acted, rewards, overs = self._act(key_act, state.states, action)
        again = state.attempt_over
        observations, states = jax.tree.map(
            lambda begun, acted: jnp.where(again, begun, acted), self._begin(key_begin), acted
        )
        reward = jnp.where(again, 0.0, rewards[state.task])
        attempt = state.attempt + again
        paid = jnp.where(attempt == ATTEMPTS - 1, reward, 0.0)
        state = EnvState(
            states=states,
            task=state.task,
            attempt=attempt,
            attempt_over=~again & overs[state.task],
            paid=state.paid + paid,
            time=state.time + 1,
        )
        observation = self._observe(observations[state.task], state, valid, reward)
        return observation, state, paid, self.is_terminated(state, params), {}

    # All tasks are computed, as they would be under vmap anyway. They share random numbers: only
    # one task of an episode is ever seen.

    def _begin(self, key: Array) -> tuple[Array, tuple[Any, ...]]:
        """Return every task's observation, float32 ``[tasks, 26]``, and state."""
        begun = [env.reset_env(key, env.default_params) for env in self.tasks.values()]
        observations, states = zip(*begun, strict=True)
        return _pad(observations), states

    def _act(
        self, key: Array, states: tuple[Any, ...], action: Array
    ) -> tuple[tuple[Array, tuple[Any, ...]], Array, Array]:
        """Return observations and states, rewards and whether attempts are over ``[tasks]``."""
        observations, after, rewards, overs = [], [], [], []
        for env, state in zip(self.tasks.values(), states, strict=True):
            # Tasks that are not played may not have the action: no forces beyond all bounds there.
            own = jnp.minimum(action, env.num_actions - 1)
            params = env.default_params
            observation, state, reward, done, _ = env.step_env(key, state, own, params)
            observations.append(observation)
            after.append(state)
            rewards.append(reward)
            overs.append(done | env.is_truncated(state, params))
        return (_pad(observations), tuple(after)), jnp.stack(rewards), jnp.stack(overs)

    def _observe(self, observation: Array, state: EnvState, valid: Array, reward: Array) -> Array:
        """Return a task's observation and [time/1000, attempt, action was valid, reward]."""
        extras = [state.time / TIME_SCALE, state.attempt / (ATTEMPTS - 1), valid, reward]
        return jnp.append(observation, jnp.stack(extras).astype(jnp.float32))

    def is_terminated(self, state: EnvState, params: environment.EnvParams) -> Array:
        """Whether the last attempt is over."""
        return state.attempt_over & (state.attempt == ATTEMPTS - 1)

    def is_truncated(self, state: EnvState, params: environment.EnvParams) -> Array:
        """Never: a task that is out of time is over."""
        return jnp.zeros((), bool)

    def episode_metrics(self, state: EnvState, params: environment.EnvParams) -> dict[str, Array]:
        """Return what was paid, by task."""
        return {
            f"return/{task}": jnp.where(state.task == index, state.paid, jnp.nan)
            for index, task in enumerate(self.tasks)
        }

    def describe(self, state: EnvState, params: environment.EnvParams) -> str:
        """Say which task is played, for which time."""
        return f"{list(self.tasks)[int(state.task)]}, attempt {int(state.attempt) + 1}"

    @property
    def name(self) -> str:
        """Environment name."""
        return f"MultiDomain-{len(self.tasks)}"

    @property
    def num_actions(self) -> int:
        """As many as most tasks have."""
        return ACTIONS

    def action_space(self, params: environment.EnvParams | None = None) -> spaces.Discrete:
        """The first of these are a task's own."""
        return spaces.Discrete(ACTIONS)

    def observation_space(self, params: environment.EnvParams) -> spaces.Box:
        """A task's observation, padded, and the extras; noise and velocities know no bounds."""
        return spaces.Box(-jnp.inf, jnp.inf, (OBSERVATIONS + EXTRAS,), jnp.float32)


def fits(env: environment.Environment) -> bool:
    """Whether a task is small enough to be among the others.

    The 27th action of two CountRecall tasks, which is right only once all cards of a kind are
    dealt, cannot be taken here, and neither can it in AMAGO-2's code.
    """
    actions = env.action_space(env.default_params)
    observations = env.observation_space(env.default_params)
    return (
        isinstance(actions, spaces.Discrete)
        and actions.n <= ACTIONS + 1
        and observations.shape[0] <= OBSERVATIONS
    )


def _pad(observations: Any) -> Array:
    return jnp.stack([jnp.pad(x, (0, OBSERVATIONS - x.size)) for x in observations])


def make_multidomain() -> StreamEnv:
    """Make multi-domain POPGym; the best return is about 1, whatever the task."""
    tasks = {task: make() for task, make in TASKS.items()}
    env = MultiDomain({task: env for task, env in tasks.items() if fits(env)})
    return make_stream_env("popgym/multidomain", env, env.default_params)
