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
from amago_jax.acting.words import Packed, pack, unpack
from amago_jax.agents import Agent, AgentState
from amago_jax.envs import StreamEnv, StreamState
from amago_jax.types import Array, Metrics, Timestep

ACTING = "acting"  # what the loop over steps is called in a compiled program


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
        reset: random keys ``[T, E]``, for what episodes begin with; None if that is drawn ahead.
    """

    action: Array
    exploration: ExplorationDraws
    env: Array
    reset: Array | None


@struct.dataclass
class _Seen:
    """What one step records, leaves ``[E, ...]``: described is what the environment says."""

    timestep: Timestep
    episode_return: Array
    epsilon: Array
    described: dict[str, Array]


@struct.dataclass
class EpisodeTotals:
    """Sums over the episodes that ended in a rollout.

    Attributes:
        episodes: int32 ``[]``, how many ended.
        returns: float32 ``[]``, sum of their returns.
        lengths: int32 ``[]``, sum of their lengths in transitions.
        transitions: int32 ``[]``, transitions made by all environments.
        not_finite: int32 ``[]``, observations and rewards with a NaN or an infinity.
        epsilon: float32 ``[]``, sum of epsilon over the transitions.
        described: float32 ``[]`` by name, sums of what the environment says of episodes.
        described_episodes: int32 ``[]`` by name, how many episodes each sum is over.
    """

    episodes: Array
    returns: Array
    lengths: Array
    transitions: Array
    not_finite: Array
    epsilon: Array
    described: dict[str, Array]
    described_episodes: dict[str, Array]

    def metrics(self) -> Metrics:
        """Means per episode; NaN where no episode ended."""
        count = self.episodes.astype(jnp.float32)
        described = {
            f"train/{name}": total / self.described_episodes[name]
            for name, total in self.described.items()
        }
        return {
            **described,
            "train/return": self.returns / count,
            "train/episode_length": self.lengths / count,
            "train/episodes": count,
            "train/not_finite": self.not_finite,
            "train/epsilon": self.epsilon / self.transitions,
        }


def init_rollout(agent: Agent, env: StreamEnv, key: Array, envs: int) -> RolloutState:
    """Reset ``envs`` environments."""
    return RolloutState(
        stream=jax.vmap(env.reset)(jax.random.split(key, envs)),
        memory=agent.initial_memory(envs),
        epsilon_scale=jnp.ones(envs),
        episode_return=jnp.zeros(envs),
        steps=jnp.zeros((), jnp.int32),
    )


def rollout(
    agent: Agent,
    env: StreamEnv,
    schedule: Schedule,
    agent_state: AgentState,
    state: RolloutState,
    key: Array,
    *,
    steps: int,
    greedy: bool,
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

    Returns:
        The state after, the T timesteps the policy saw as leaves ``[E, T, ...]``, and totals.
    """
    agent, agent_state = agent.for_acting(agent_state)
    envs = state.episode_return.shape[0]
    *keys, key_first = jax.random.split(key, 4)
    first = env.draw_first_states(key_first, envs, steps)
    draws = _draw(agent, keys, steps, envs, resets=first is None)
    places = None if first is None else first.places

    def step(carry: Packed, now: tuple[StepDraws, Array | None]) -> tuple[Packed, Packed]:
        draws, places = now
        states = None if first is None or places is None else first.at(places)
        before = unpack(carry)
        after, seen = _step(agent, env, schedule, agent_state, before, draws, states, greedy)
        return pack(after, envs), pack(seen, envs)

    with jax.named_scope(ACTING):
        end, recorded = jax.lax.scan(step, pack(state, envs), (draws, places))
    state, seen = unpack(end), unpack(recorded)
    timesteps = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), seen.timestep)
    return state, timesteps, _total(seen)


def _draw(agent: Agent, keys: Sequence[Array], steps: int, envs: int, *, resets: bool) -> StepDraws:
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
    ended = {name: timesteps.is_last & ~jnp.isnan(x) for name, x in seen.described.items()}
    return EpisodeTotals(
        episodes=timesteps.is_last.sum(),
        returns=jnp.where(timesteps.is_last, seen.episode_return, 0.0).sum(),
        lengths=jnp.where(timesteps.is_last, timesteps.time, 0).sum(),
        transitions=(~timesteps.is_last).sum(),
        not_finite=_count_not_finite(timesteps),
        epsilon=jnp.where(timesteps.is_last, 0.0, seen.epsilon).sum(),
        described={
            name: jnp.where(ended[name], x, 0.0).sum() for name, x in seen.described.items()
        },
        described_episodes={name: where.sum() for name, where in ended.items()},
    )


def _step(
    agent: Agent,
    env: StreamEnv,
    schedule: Schedule,
    agent_state: AgentState,
    state: RolloutState,
    draws: StepDraws,
    first: StreamState | None,
    greedy: bool,
) -> tuple[RolloutState, _Seen]:
    """Act once in every environment; return the state after, and what was seen before."""
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
    if draws.reset is not None:
        first = jax.vmap(env.reset)(draws.reset)
    after = RolloutState(
        stream=jax.vmap(env.step)(draws.env, state.stream, action, first),
        memory=memory,
        epsilon_scale=scale,
        episode_return=episode_return,
        steps=state.steps + 1,
    )
    described = jax.vmap(env.episode_metrics)(state.stream)
    return after, _Seen(timestep, episode_return, epsilon, described)


def _count_not_finite(timesteps: Timestep) -> Array:
    leaves = jax.tree.leaves((timesteps.observation, timesteps.previous_reward))
    floats = [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.stack([(~jnp.isfinite(leaf)).sum() for leaf in floats]).sum()
