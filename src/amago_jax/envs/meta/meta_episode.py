"""Meta-episodes: several attempts at one hidden task, which makes memory worth something.

A task is drawn once per meta-episode. An attempt ends when the environment says so or after a
number of steps; at that very step a soft reset begins the next attempt at the same task.

Source: AMAGO (Grigsby, Fan, Zhu; ICLR 2024), section 2 (k-shot meta-reinforcement learning);
RL^2 (Duan et al. 2016, arXiv 1611.02779).
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments import environment, spaces

from amago_jax.envs.stream import StreamEnv, make_stream_env
from amago_jax.settings import Size, checked
from amago_jax.types import Array

SHOWN_ATTEMPTS = 100  # attempts with metrics of their own, at most


class TaskEnvironment(Protocol):
    """An environment whose task can be held fixed while its attempts begin anew.

    A task is any pytree, hidden from the policy. All functions are pure, as in gymnax. Optional is
    ``succeeded(state, params) -> bool []``, of the state an attempt ended in; without it, an
    attempt has succeeded if its return is greater than 0. Optional are also ``draw`` and
    ``describe``, see `amago_jax.acting.recording`.
    """

    def draw_task(self, key: Array, params: Any) -> Any:
        """Draw what stays the same over the attempts of a meta-episode."""

    def begin_attempt(self, key: Array, task: Any, params: Any) -> tuple[Any, Any]:
        """Return the first observation and the first state of an attempt at the task."""

    def step_env(
        self, key: Array, state: Any, action: Any, params: Any
    ) -> tuple[Any, Any, Array, Array, dict[Any, Any]]:
        """Step as in gymnax; the attempt is over where it terminated."""

    def is_truncated(self, state: Any, params: Any) -> Array:
        """Whether the attempt is over for another reason."""

    def action_space(self, params: Any) -> spaces.Space:
        """The actions `step_env` takes."""

    def observation_space(self, params: Any) -> spaces.Space:
        """What is observed in an attempt."""


class HeldReset:
    """Any gymnax environment as a `TaskEnvironment`: every attempt begins with the same reset."""

    def __init__(self, env: Any):
        """Wrap an environment in gymnax 1.0's interface."""
        self.env = env
        self.step_env = env.step_env
        self.is_truncated = env.is_truncated
        self.action_space = env.action_space
        self.observation_space = env.observation_space

    def draw_task(self, key: Array, params: Any) -> tuple[Any, Any]:
        """Reset; what came of it is the task, so that attempts begin at no cost."""
        return self.env.reset_env(key, params)

    def begin_attempt(self, key: Array, task: tuple[Any, Any], params: Any) -> tuple[Any, Any]:
        """Return the observation and the state of the reset."""
        return task


@struct.dataclass
class MetaState:
    """Where a meta-episode stands.

    Attributes:
        task: hidden, held fixed.
        inner: the state of the environment in the running attempt.
        attempt: int32 ``[]``, attempts finished.
        attempt_time: int32 ``[]``, steps since the attempt began.
        attempt_return: float32 ``[]``, rewards since the attempt began.
        time: int32 ``[]``, steps since the meta-episode began.
        returns: float32 ``[K]``, of the first attempts, NaN where unfinished.
        successes: float32 ``[K]``, 0 or 1, of the first attempts, NaN where unfinished.
        succeeded: int32 ``[]``, attempts that succeeded.
        resets: bool ``[]``, the next step does nothing but begin an attempt; None where none does.
    """

    task: Any
    inner: Any
    attempt: Array
    attempt_time: Array
    attempt_return: Array
    time: Array
    returns: Array
    successes: Array
    succeeded: Array
    resets: Array | None = None


class MetaEpisode(environment.Environment[MetaState, Any]):
    """A number of attempts at one task, or as many as fit into a budget of steps.

    Observed is what the environment shows, by key, and ``attempt``, float32 ``[2]``: whether an
    attempt begins here, and progress: the share of attempts finished, or under a budget the share
    of this attempt's steps made. The step that ends an attempt shows the first observation of the
    next one, together with its own reward; if resets take a step, it shows the attempt's last
    observation, and the step after it, whatever the action, the first of the next. No attempt
    follows the last one, so the very last timestep shows what the environment showed last, and no
    soft reset.
    """

    @checked
    def __init__(
        self,
        env: TaskEnvironment,
        attempts: Size | None,
        budget: Size | None,
        attempt_limit: Size,
        terminates: bool = True,
        reset_step: bool = False,
    ):
        """Wrap an environment; exactly one of attempts and budget is given.

        Args:
            env: the environment; its parameters are those of the meta-episode.
            attempts: k, after which the meta-episode ends.
            budget: steps, after which the meta-episode ends.
            attempt_limit: steps after which an attempt ends.
            terminates: the last attempt or step is the end of the task; else it only ends the
                episode, whose value goes on.
            reset_step: between two attempts lies a step of the budget that only resets.

        Raises:
            ValueError: if a number is out of range, or both or neither of attempts and budget are
                given, or resets take steps where attempts are counted.
        """
        super().__init__()
        if (attempts is None) == (budget is None):
            raise ValueError(
                f"attempts={attempts!r} and budget={budget!r}: give one of them, "
                f"the other must be null"
            )
        self.env, self.attempt_limit, self.attempts_counted = env, attempt_limit, budget is None
        self.terminates, self.reset_step = terminates, reset_step
        if reset_step and budget is None:
            raise ValueError("reset_step=true needs a budget of steps, of which resets take some")
        if attempts is not None:
            self.attempts, self.horizon = attempts, attempts * attempt_limit
            shown = attempts
        elif budget is not None:
            self.attempts, self.horizon = budget, budget  # an attempt takes a step at least
            # Of more attempts only the quick episodes would tell.
            shown = max(1, budget // attempt_limit)
        self.shown_attempts = min(SHOWN_ATTEMPTS, shown)

    def reset_env(self, key: Array, params: Any) -> tuple[dict[str, Array], MetaState]:
        """Draw a task and begin the first attempt at it."""
        key_task, key_attempt = jax.random.split(key)
        task = self.env.draw_task(key_task, params)
        observation, inner = self.env.begin_attempt(key_attempt, task, params)
        unfinished = jnp.full(self.shown_attempts, jnp.nan, jnp.float32)
        state = MetaState(
            task=task,
            inner=inner,
            attempt=jnp.int32(0),
            attempt_time=jnp.int32(0),
            attempt_return=jnp.float32(0),
            time=jnp.int32(0),
            returns=unfinished,
            successes=unfinished,
            succeeded=jnp.int32(0),
            resets=jnp.zeros((), bool) if self.reset_step else None,
        )
        return self._show(observation, state, jnp.ones((), bool)), state

    def step_env(
        self, key: Array, state: MetaState, action: Any, params: Any
    ) -> tuple[dict[str, Array], MetaState, Array, Array, dict[Any, Any]]:
        """Step the attempt, and where it is over begin the next one."""
        key_step, key_attempt = jax.random.split(key)
        observation, inner, reward, over, _ = self.env.step_env(
            key_step, state.inner, action, params
        )
        reward = jnp.asarray(reward, jnp.float32).reshape(())
        over = jnp.asarray(over, bool).reshape(())
        attempt_time = state.attempt_time + 1
        over |= jnp.asarray(self.env.is_truncated(inner, params), bool).reshape(())
        over |= attempt_time >= self.attempt_limit
        if state.resets is not None:
            reward, over = jnp.where(state.resets, 0.0, reward), over & ~state.resets
        attempt_return = state.attempt_return + reward
        success = over & self._succeeded(inner, attempt_return, params)
        finished = over & (jnp.arange(self.shown_attempts) == state.attempt)

        attempt, time = state.attempt + over, state.time + 1
        done = self._is_over(attempt, time)
        soft_reset, resets = over & ~done, None
        if state.resets is not None:
            soft_reset, resets = state.resets, soft_reset
        observation, inner = jax.tree.map(
            lambda begun, went_on: jnp.where(soft_reset, begun, went_on),
            self.env.begin_attempt(key_attempt, state.task, params),
            (observation, inner),
        )
        state = MetaState(
            task=state.task,
            inner=inner,
            attempt=attempt,
            attempt_time=jnp.where(soft_reset, 0, attempt_time),
            attempt_return=jnp.where(soft_reset, 0.0, attempt_return),
            time=time,
            returns=jnp.where(finished, attempt_return, state.returns),
            successes=jnp.where(finished, success.astype(jnp.float32), state.successes),
            succeeded=state.succeeded + success,
            resets=resets,
        )
        terminated = done & self.terminates
        return self._show(observation, state, soft_reset), state, reward, terminated, {}

    def is_truncated(self, state: MetaState, params: Any) -> Array:
        """Whether the episode is over although the task would go on."""
        return self._is_over(state.attempt, state.time) & (not self.terminates)

    def _is_over(self, attempt: Array, time: Array) -> Array:
        # A used-up budget is by default the end of the task, not of our patience with it: no
        # attempt afterwards would earn anything.
        return (attempt >= self.attempts) | (time >= self.horizon)

    def episode_metrics(self, state: MetaState, params: Any) -> dict[str, Array]:
        """Return returns and successes by attempt, NaN where unfinished, and over all attempts."""
        by_attempt = {
            f"{name}/attempt_{number + 1}": values[number]
            for name, values in (("return", state.returns), ("success", state.successes))
            for number in range(self.shown_attempts)
        }
        share = state.succeeded / state.attempt  # NaN if none is finished
        return {
            **by_attempt,
            "success/attempts": share,
            "attempts": state.attempt,
            "succeeded": state.succeeded,
        }

    @property
    def draw(self) -> Callable[[MetaState, Any], np.ndarray]:
        """How to draw a state, if the environment itself can be drawn."""
        draw = self.env.draw  # type: ignore[attr-defined]
        return lambda state, params: draw(state.inner, params)

    def describe(self, state: MetaState, params: Any) -> str:
        """Say which attempt it is, and what the environment says."""
        line = f"attempt {int(state.attempt) + 1}, step {int(state.attempt_time)}"
        describe = getattr(self.env, "describe", None)
        return line if describe is None else f"{line}; {describe(state.inner, params)}"

    @property
    def name(self) -> str:
        """Environment name."""
        return f"Meta-{getattr(self.env, 'name', type(self.env).__name__)}"

    def action_space(self, params: Any) -> spaces.Space:
        """The environment's own."""
        return self.env.action_space(params)

    def observation_space(self, params: Any) -> spaces.Dict:
        """The environment's own by key, and the soft-reset flag and progress."""
        space = self.env.observation_space(params)
        by_key = space.spaces if isinstance(space, spaces.Dict) else {"observation": space}
        return spaces.Dict({**by_key, "attempt": spaces.Box(0.0, 1.0, (2,), jnp.float32)})

    def _show(self, observation: Any, state: MetaState, soft_reset: Array) -> dict[str, Array]:
        by_key = observation if isinstance(observation, Mapping) else {"observation": observation}
        if self.attempts_counted:
            progress = state.attempt / self.attempts
        else:
            progress = state.attempt_time / self.attempt_limit
        return {**by_key, "attempt": jnp.stack([soft_reset, progress]).astype(jnp.float32)}

    def _succeeded(self, inner: Any, attempt_return: Array, params: Any) -> Array:
        succeeded = getattr(self.env, "succeeded", None)
        if succeeded is None:
            return attempt_return > 0
        return jnp.asarray(succeeded(inner, params), bool).reshape(())


def make_meta_env(
    name: str,
    env: TaskEnvironment,
    params: Any,
    *,
    attempts: int | None = None,
    budget: int | None = None,
    attempt_limit: int,
    terminates: bool = True,
    reset_step: bool = False,
    **stream: Any,
) -> StreamEnv:
    """Make meta-episodes of an environment.

    Args:
        name: what error messages and logs call it.
        env: an environment whose task can be held fixed, see `TaskEnvironment` and `HeldReset`.
        params: its parameters.
        attempts: k, after which a meta-episode ends; or
        budget: steps, after which a meta-episode ends.
        attempt_limit: steps after which an attempt ends.
        terminates: the last attempt or step is the end of the task, see `MetaEpisode`.
        reset_step: between two attempts lies a step that only resets, see `MetaEpisode`.
        **stream: options of `make_stream_env`, for example ``expensive_reset=True`` if tasks are
            expensive to draw.

    Returns:
        The environment, with episodes of at most ``attempts * attempt_limit`` or ``budget`` steps.

    Raises:
        ValueError: if a setting is out of range.
    """
    meta = MetaEpisode(env, attempts, budget, attempt_limit, terminates, reset_step)
    return make_stream_env(name, meta, params, horizon=meta.horizon, **stream)
