"""Rollouts on the device: parallel environments, a policy with memory, and what they record.

One `jax.lax.scan` over steps of E environments; the policy decodes one timestep at a time with
its memory carried from call to call, so that an episode may span many rollouts.

Source: AMAGO, section 3 ("collecting data"); the layout of the stream is `amago_jax.types`.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from amago_jax.acting.exploration import ExplorationDraws, Schedule, draw_exploration, explore
from amago_jax.acting.first_states import FirstStates, prepare, take
from amago_jax.acting.restarts import begin, choose, is_finite, restart
from amago_jax.acting.words import Packed, pack, unpack
from amago_jax.agents import AgentState
from amago_jax.agents.networks import Networks
from amago_jax.envs import StreamEnv, StreamState
from amago_jax.types import Array, Metrics, Timestep

ACTING = "acting"  # what the loop over steps is called in a compiled program
NOT_FINITE = "train/not_finite/"  # metrics: how many numbers are none, by reward or observation


@struct.dataclass
class RolloutState:
    """Where E environments and the policy's memory of them stand between rollouts.

    Attributes:
        stream: environments and current timesteps, leaves ``[E, ...]``.
        memory: the policy's memory.
        epsilon_scale: float32 ``[E]``, the running episode's factor on epsilon.
        episode_return: float32 ``[E]``, rewards of the running episode so far.
        steps: int32 ``[]``, steps taken per environment, resets included.
    """

    stream: StreamState
    memory: Any
    epsilon_scale: Array
    episode_return: Array
    steps: Array


@struct.dataclass
class StepDraws:
    """What the steps of a rollout draw at random; leaves lead with the axis of steps.

    Attributes:
        action: random keys ``[T]``, to sample actions with.
        exploration: leaves ``[T, E, ...]``.
        env: random keys ``[T, E]``, for the environments.
        reset: random keys ``[T, E]``, for what episodes begin with; None if that is drawn as it is
            wanted, see `amago_jax.acting.first_states`.
    """

    action: Array
    exploration: ExplorationDraws
    env: Array
    reset: Array | None


@struct.dataclass
class _Carry:
    """What goes from step to step: the state, and first states where resets are expensive."""

    state: RolloutState
    first: FirstStates | None


@struct.dataclass
class _Moved:
    """One step of the environments: where they stand after, and what was seen before, see `_Seen`.

    The timestep before the step is the last one where the step failed.
    """

    stream: StreamState
    first: FirstStates | None
    timestep: Timestep
    ended: Array | None = None


@struct.dataclass
class _Seen:
    """What one step records, leaves ``[E, ...]``: described is what the environment says.

    Where episodes may end by a fault, ended tells where they end as episodes do; else it is None.
    """

    timestep: Timestep
    episode_return: Array
    epsilon: Array
    described: dict[str, Array]
    ended: Array | None = None


@struct.dataclass
class EpisodeTotals:
    """Sums over the episodes that ended in a rollout, those that a fault ended left out.

    Attributes:
        episodes: int32 ``[]``, how many ended.
        returns: float32 ``[]``, sum of their returns.
        lengths: int32 ``[]``, sum of their lengths in transitions.
        transitions: int32 ``[]``, transitions made by all environments.
        not_finite: int32 ``[]`` by name of an observation or the reward, how many of its numbers
            were NaN or infinite.
        epsilon: float32 ``[]``, sum of epsilon over the transitions.
        described: float32 ``[]`` by name, sums of what the environment says of episodes.
        described_episodes: int32 ``[]`` by name, how many episodes each sum is over.
        restarts: int32 ``[]``, episodes that a fault ended, and resets that failed; None where
            faults end no episodes.
    """

    episodes: Array
    returns: Array
    lengths: Array
    transitions: Array
    not_finite: dict[str, Array]
    epsilon: Array
    described: dict[str, Array]
    described_episodes: dict[str, Array]
    restarts: Array | None = None

    def metrics(self) -> Metrics:
        """Means per episode; NaN where no episode ended."""
        count = self.episodes.astype(jnp.float32)
        described = {
            f"train/{name}": total / self.described_episodes[name]
            for name, total in self.described.items()
        }
        return {
            **described,
            **({} if self.restarts is None else {"env/restarts": self.restarts}),
            **{f"{NOT_FINITE}{name}": number for name, number in self.not_finite.items()},
            "train/return": self.returns / count,
            "train/episode_length": self.lengths / count,
            "train/episodes": count,
            "train/epsilon": self.epsilon / self.transitions,
        }


def init_rollout(
    agent: Networks, env: StreamEnv, key: Array, envs: int, *, restarts: bool = False
) -> RolloutState:
    """Reset ``envs`` environments; with ``restarts``, again where a reset is not finite."""
    stream = jax.vmap(env.reset)(jax.random.split(key, envs))
    if restarts:
        stream = begin(stream, jax.tree.map(jnp.zeros_like, stream.timestep.observation))
    return RolloutState(
        stream=stream,
        memory=agent.initial_memory(envs),
        epsilon_scale=jnp.ones(envs),
        episode_return=jnp.zeros(envs),
        steps=jnp.zeros((), jnp.int32),
    )


def rollout(
    agent: Networks,
    env: StreamEnv,
    schedule: Schedule,
    agent_state: AgentState,
    state: RolloutState,
    key: Array,
    *,
    steps: int,
    greedy: bool,
    restarts: bool = False,
) -> tuple[RolloutState, Timestep, EpisodeTotals]:
    """Step every environment ``steps`` times.

    Args:
        agent: the agent (static).
        env: the environment (static).
        schedule: of exploration (static).
        agent_state: the agent's arrays.
        state: where the last rollout stopped.
        key: a random key.
        steps: T (static).
        greedy: explore around the likeliest action, else around a sampled one (static).
        restarts: end an episode before a step that is not finite, see `amago_jax.acting.restarts`
            (static).

    Returns:
        The state after, the T timesteps the policy saw as leaves ``[E, T, ...]``, and totals.
    """
    agent, agent_state = agent.for_acting(agent_state)
    envs = state.episode_return.shape[0]
    *keys, key_first = jax.random.split(key, 4)
    first = prepare(env, key_first, state.stream, steps)
    draws = _draw(agent, keys, steps, envs, resets=first is None)

    def step(carry: Packed, draws: StepDraws) -> tuple[Packed, Packed]:
        before = unpack(carry)
        after, seen = _step(agent, env, schedule, agent_state, before, draws, greedy, restarts)
        return pack(after, envs), pack(seen, envs)

    with jax.named_scope(ACTING):
        end, recorded = jax.lax.scan(step, pack(_Carry(state, first), envs), draws)
    state, seen = unpack(end).state, unpack(recorded)
    timesteps = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), seen.timestep)
    return state, timesteps, _total(seen)


def _draw(
    agent: Networks, keys: Sequence[Array], steps: int, envs: int, *, resets: bool
) -> StepDraws:
    key_actions, key_exploration, key_envs = keys
    keys_env, keys_reset = jax.random.split(key_envs, (steps, envs)), None
    if resets:
        # As `StreamEnv.step` would split them, but outside of the loop.
        keys_reset, keys_env = jnp.moveaxis(jax.vmap(jax.vmap(jax.random.split))(keys_env), -1, 0)
    return StepDraws(
        action=jax.random.split(key_actions, steps),
        exploration=draw_exploration(
            key_exploration,
            (steps, envs),
            agent.action_size,
            kind=agent.distribution.kind,
            masked=agent.action_mask_key is not None,
        ),
        env=keys_env,
        reset=keys_reset,
    )


def _total(seen: _Seen) -> EpisodeTotals:
    """Sum up what the steps of a rollout recorded, leaves ``[T, E, ...]``."""
    timesteps = seen.timestep
    whole = timesteps.is_last if seen.ended is None else seen.ended
    ended = {name: whole & ~jnp.isnan(x) for name, x in seen.described.items()}
    return EpisodeTotals(
        episodes=whole.sum(),
        returns=jnp.where(whole, seen.episode_return, 0.0).sum(),
        lengths=jnp.where(whole, timesteps.time, 0).sum(),
        transitions=(~timesteps.is_last).sum(),
        not_finite=_count_not_finite(timesteps),
        epsilon=jnp.where(timesteps.is_last, 0.0, seen.epsilon).sum(),
        described={
            name: jnp.where(ended[name], x, 0.0).sum() for name, x in seen.described.items()
        },
        described_episodes={name: where.sum() for name, where in ended.items()},
        restarts=None if seen.ended is None else (timesteps.is_last & ~whole).sum(),
    )


def _step(
    agent: Networks,
    env: StreamEnv,
    schedule: Schedule,
    agent_state: AgentState,
    carry: _Carry,
    draws: StepDraws,
    greedy: bool,
    restarts: bool,
) -> tuple[_Carry, _Seen]:
    """Act once in every environment; return the state after, and what was seen before."""
    state = carry.state
    timestep = state.stream.timestep
    scale = state.epsilon_scale
    if schedule.randomize:
        scale = jnp.where(timestep.is_first, draws.exploration.scale, scale)
    action, memory = agent.act(agent_state, timestep, state.memory, draws.action, greedy=greedy)
    epsilon = scale * schedule.epsilon(state.steps, timestep.time)
    legal = agent.legal_actions(timestep.observation)
    action = explore(action, epsilon, draws.exploration, legal)
    episode_return = timestep.previous_reward + jnp.where(
        timestep.is_first, 0.0, state.episode_return
    )
    moved = _move(env, carry, draws, action, restarts)
    after = RolloutState(
        stream=moved.stream,
        memory=memory,
        epsilon_scale=scale,
        episode_return=episode_return,
        steps=state.steps + 1,
    )
    described = jax.vmap(env.episode_metrics)(state.stream)
    seen = _Seen(moved.timestep, episode_return, epsilon, described, moved.ended)
    return _Carry(after, moved.first), seen


def _move(env: StreamEnv, carry: _Carry, draws: StepDraws, action: Array, restarts: bool) -> _Moved:
    """Step every environment, or begin its next episode."""
    before, first = carry.state.stream, carry.first
    is_last = before.timestep.is_last
    after = jax.vmap(env.transition)(draws.env, before, action)
    begins = is_last | ~is_finite(after.timestep) if restarts else is_last
    if first is not None:
        first, begun = take(env, first, begins)
    elif draws.reset is not None:
        begun = jax.vmap(env.reset)(draws.reset)
    after = choose(is_last, begun, after)
    if not restarts:
        return _Moved(after, first, before.timestep)
    stream, timestep, ended = restart(before, after, begun)
    return _Moved(stream, first, timestep, ended)


def _count_not_finite(timesteps: Timestep) -> dict[str, Array]:
    named = {f"observation {key!r}": x for key, x in timesteps.observation.items()}
    named["reward"] = timesteps.previous_reward
    return {
        name: (~jnp.isfinite(x)).sum()
        for name, x in named.items()
        if jnp.issubdtype(x.dtype, jnp.floating)
    }
