"""Any gymnax environment as a stream of timesteps.

`Timestep` says what a stream is. Functions here are unbatched and pure: callers vmap them over
environments and scan them over time.
"""

import contextlib
import dataclasses
import functools
import math
from collections.abc import Iterator
from typing import Any

import chex
import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments import spaces

from amago_jax.envs.checks import (
    by_key,
    check_action_space,
    check_goals,
    check_stated,
    common_structure,
    flag_of,
    is_binary,
    named,
    one_number,
    reward_of,
)
from amago_jax.envs.equality import same
from amago_jax.envs.spaces import ActionSpace, BinaryActions, ContinuousActions, DiscreteActions
from amago_jax.hindsight.instructions import GoalProtocol
from amago_jax.settings import Size, check
from amago_jax.types import Array, Timestep

ADAPTERS = "amago_jax.envs.adapters."


@struct.dataclass
class StreamState:
    """Where one environment stands.

    Attributes:
        env_state: the environment's own state, at ``timestep``.
        timestep: what the policy sees, leaves without leading axes.
    """

    env_state: Any
    timestep: Timestep


@dataclasses.dataclass(frozen=True, eq=False)
class StreamEnv:
    """An environment in gymnax 1.0's interface, as a stream of timesteps.

    Two that were made alike are equal, so that what is compiled for one serves the other.

    Attributes:
        name: what error messages and logs call it.
        env: a `gymnax.environments.environment.Environment`.
        params: the environment's parameters, constants of whatever is compiled.
        horizon: the longest episode in transitions; an episode still running then is truncated.
        terminate_on_truncation: count truncation as termination, for tasks that show the timer.
        goals: what hindsight must know, if the task follows instructions.
        expensive_reset: a reset costs far more than a step. As all environments of a rollout
            step together, a reset is paid at every step, unless what episodes begin with is drawn
            as it is wanted, see `amago_jax.acting.first_states`.

    Raises:
        ValueError: if the horizon is no positive whole number, the action space is unsupported,
            a state after a reset and one after a step differ in structure or shapes, what it
            states of itself is not so, or it raises an error itself.
    """

    name: str
    env: Any
    params: Any
    horizon: int
    terminate_on_truncation: bool = False
    goals: GoalProtocol | None = None
    expensive_reset: bool = False

    def __post_init__(self) -> None:
        """Find out now, not in the middle of a compilation, what cannot be streamed."""
        check(f"{self.name}: horizon", self.horizon, Size)
        check_action_space(self.name, self._native_actions)
        shapes = self.observation_shapes
        check_stated(self.name, self.env, self.params, shapes)
        if self.goals is not None:
            check_goals(self.name, self.goals, shapes)
        jax.eval_shape(self._out_of_time, self.state_shapes, jnp.zeros(()))
        jax.eval_shape(self._described, self.state_shapes)

    def __hash__(self) -> int:
        """Hash what two equal ones surely share."""
        return hash((self.name, type(self.env), self.horizon))

    def __eq__(self, other: object) -> bool:
        """Whether both are made alike, see `amago_jax.envs.equality`."""
        if self is other or not isinstance(other, StreamEnv):
            return self is other
        fields = [field.name for field in dataclasses.fields(self)]
        return all(same(getattr(self, name), getattr(other, name)) for name in fields)

    @property
    def action_space(self) -> ActionSpace:
        """The actions `step` takes."""
        space = self._native_actions
        if isinstance(space, spaces.Discrete):
            return DiscreteActions(int(space.n))
        size = math.prod(space.shape)
        return BinaryActions(size) if is_binary(space) else ContinuousActions(size)

    @property
    def observation_shapes(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Shape and dtype of every observation, by key."""
        return dict(self._structure[0])

    @property
    def state_shapes(self) -> Any:
        """Shape and dtype of every array of the environment's own state."""
        return self._structure[1]

    def reset(self, key: Array) -> StreamState:
        """Begin an episode.

        Args:
            key: a random key.

        Returns:
            The state at the episode's first timestep.
        """
        observation, env_state = self._canonical(self._native_reset(key))
        space = self.action_space
        if isinstance(space, DiscreteActions):
            no_action = jnp.full((), -1, jnp.int32)
        else:
            no_action = jnp.zeros(space.size, jnp.float32)
        timestep = Timestep(
            observation=observation,
            previous_action=no_action,
            previous_reward=jnp.zeros((), jnp.float32),
            time=jnp.zeros((), jnp.int32),
            is_first=jnp.ones((), bool),
            is_last=jnp.zeros((), bool),
            terminated=jnp.zeros((), bool),
        )
        return StreamState(env_state=env_state, timestep=timestep)

    def step(
        self, key: Array, state: StreamState, action: Array, first: StreamState | None = None
    ) -> StreamState:
        """Act, or begin the next episode where the last one has ended.

        Args:
            key: a random key.
            state: the state to act in.
            action: int32 ``[]`` if actions are discrete, else float32 ``[A]``, continuous in
                [-1, 1], binary 0 or 1; ignored where ``state.timestep.is_last``.
            first: the first state of the next episode; None: reset.

        Returns:
            The state one timestep on.
        """
        if first is None:
            key_reset, key = jax.random.split(key)
            first = self.reset(key_reset)
        is_last = state.timestep.is_last
        return jax.tree.map(
            lambda first, stepped: jnp.where(is_last, first, stepped),
            first,
            self.transition(key, state, action),
        )

    def episode_metrics(self, state: StreamState) -> dict[str, Array]:
        """Return what the environment says of an episode by its state, float32 ``[]`` by name.

        NaN stands for what does not apply. Environments may offer a method
        ``episode_metrics(env_state, params)``.
        """
        return self._described(state.env_state)

    def transition(self, key: Array, state: StreamState, action: Array) -> StreamState:
        """Act in an episode that goes on, see `step`."""
        space = self.action_space
        discrete = isinstance(space, DiscreteActions)
        chex.assert_shape(action, () if discrete else (space.size,))
        after, reward, terminated = self._native_step(key, state.env_state, action)
        observation, env_state = self._canonical(after)
        time = state.timestep.time + 1
        out_of_time, reward = self._out_of_time(env_state, reward)
        truncated = out_of_time | (time >= self.horizon)
        timestep = Timestep(
            observation=observation,
            previous_action=jnp.asarray(action, jnp.int32 if discrete else jnp.float32),
            previous_reward=reward,
            time=time,
            is_first=jnp.zeros((), bool),
            is_last=terminated | truncated,
            terminated=terminated | (truncated & self.terminate_on_truncation),
        )
        return StreamState(env_state=env_state, timestep=timestep)

    # The environment's own functions, with observations named.

    @property
    def _native_actions(self) -> spaces.Space:
        with named(self.name, "action_space", self.env):
            return self.env.action_space(self.params)

    def _native_reset(self, key: Array) -> tuple[dict[str, Array], Any]:
        with self._their_code("reset_env"):
            observation, env_state = self.env.reset_env(key, self.params)
        return by_key(self.name, observation), env_state

    def _native_step(
        self, key: Array, env_state: Any, action: Array
    ) -> tuple[tuple[dict[str, Array], Any], Array, Array]:
        space = self._native_actions
        if is_binary(space):
            action = action.reshape(space.shape).astype(space.dtype)
        elif isinstance(space, spaces.Box):
            unit = (action.reshape(space.shape) + 1.0) / 2.0
            action = space.low + unit * (space.high - space.low)
            # Rounding may lead beyond the ends.
            action = jnp.clip(action, space.low, space.high).astype(space.dtype)
        with self._their_code("step_env"):
            observation, env_state, reward, terminated, _ = self.env.step_env(
                key, env_state, action, self.params
            )
        after = (by_key(self.name, observation), env_state)
        flag, reward = flag_of(
            self.name, "flag of termination", terminated, reward_of(self.name, reward)
        )
        return after, reward, flag

    def _out_of_time(self, env_state: Any, reward: Array) -> tuple[Array, Array]:
        """Return whether the environment's own time is up, and the reward, see `flag_of`."""
        with self._their_code("is_truncated"):
            flag = self.env.is_truncated(env_state, self.params)
        return flag_of(self.name, "flag of truncation", flag, reward)

    def _described(self, env_state: Any) -> dict[str, Array]:
        describe = getattr(self.env, "episode_metrics", None)
        if describe is None:
            return {}
        with named(self.name, "episode_metrics", self.env):
            metrics = describe(env_state, self.params)
        return {
            name: one_number(self.name, f"metric {name!r}", value).astype(jnp.float32)
            for name, value in metrics.items()
        }

    @contextlib.contextmanager
    def _their_code(self, what: str) -> Iterator[None]:
        """Call a function of the environment's: by its package's rules, its errors named.

        Other packages' code may mix ranks, which ours does not, see `amago_jax.axes`.
        """
        module = type(self.env).__module__
        ours = module.startswith("amago_jax.envs.") and not module.startswith(ADAPTERS)
        rules = contextlib.nullcontext() if ours else jax.numpy_rank_promotion("allow")
        with named(self.name, what, self.env), rules:
            yield

    # One structure for states after resets and after steps. Environments write `time=0` in one
    # and count arrays in the other; a scan's carry and `jnp.where` want the same of both.

    @functools.cached_property
    def _structure(self) -> tuple[dict[str, jax.ShapeDtypeStruct], Any]:
        """Shapes and dtypes of (observation, environment's state)."""
        key = jax.eval_shape(lambda: jax.random.key(0))
        space = self.action_space
        action = (
            jax.ShapeDtypeStruct((), jnp.int32)
            if isinstance(space, DiscreteActions)
            else jax.ShapeDtypeStruct((space.size,), jnp.float32)
        )
        # A promoted dtype may promote others in the next step; dtypes only grow, so this ends.
        before = jax.eval_shape(self._native_reset, key)
        while True:
            after, _, _ = jax.eval_shape(self._native_step, key, before[1], action)
            common = common_structure(self.name, before, after)
            # Leaf by leaf: an environment's classes may mean something else by ==, as Navix's do.
            if jax.tree.leaves(common) == jax.tree.leaves(before):
                return common
            before = common

    def _canonical(self, tree: tuple[dict[str, Array], Any]) -> tuple[dict[str, Array], Any]:
        return jax.tree.map(lambda x, like: jnp.asarray(x, like.dtype), tree, self._structure)


def make_stream_env(
    name: str,
    env: Any,
    params: Any,
    *,
    horizon: int | None = None,
    terminate_on_truncation: bool = False,
    goals: GoalProtocol | None = None,
    expensive_reset: bool = False,
) -> StreamEnv:
    """Stream an environment, by default for as long as its own time limit.

    Args:
        name: what error messages and logs call it.
        env: an environment in gymnax 1.0's interface.
        params: its parameters.
        horizon: the longest episode in transitions; None for ``params.max_steps_in_episode``.
        terminate_on_truncation: count truncation as termination.
        goals: what hindsight must know, if the task follows instructions.
        expensive_reset: a reset costs far more than a step, see `StreamEnv`.

    Returns:
        The environment as a stream.

    Raises:
        ValueError: if there is no horizon, or the environment cannot be streamed.
    """
    if horizon is None:
        limit = getattr(params, "max_steps_in_episode", None)
        if limit is None:
            raise ValueError(f"{name}: its params have no max_steps_in_episode; give horizon=")
        if not 1 <= limit < math.inf:
            raise ValueError(f"{name}: horizon={limit}, from its params, must be at least 1")
        horizon = int(limit)
    return StreamEnv(name, env, params, horizon, terminate_on_truncation, goals, expensive_reset)
