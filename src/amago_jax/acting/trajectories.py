"""Whole episodes of a policy, played on the device, side by side, and kept step by step."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from amago_jax.agents import Agent, AgentState
from amago_jax.envs import StreamEnv, StreamState
from amago_jax.errors import ConfigError
from amago_jax.types import Array, Batch, Timestep


@struct.dataclass
class Trajectories:
    """N episodes as NumPy arrays, padded behind to L transitions, the longest there can be.

    What is behind an episode's last timestep has no meaning.

    Attributes:
        timesteps: leaves ``[N, L+1, ...]``.
        lengths: int32 ``[N]``, transitions.
        env_states: the environment's own states, leaves ``[N, L+1, ...]``, where it can be drawn;
            else None.
    """

    timesteps: Timestep
    lengths: Any
    env_states: Any

    @property
    def mask(self) -> Any:
        """Bool ``[N, L]``: which transitions there are."""
        steps = np.arange(self.timesteps.time.shape[1] - 1)
        return steps[None] < self.lengths[:, None]

    @property
    def actions(self) -> Any:
        """What was done: int32 ``[N, L]`` if discrete, else float32 ``[N, L, A]``."""
        return self.timesteps.previous_action[:, 1:]

    @property
    def rewards(self) -> Any:
        """What each action earned, float32 ``[N, L]``; 0 behind the episode's end."""
        return np.where(self.mask, self.timesteps.previous_reward[:, 1:], np.float32(0))

    @property
    def returns(self) -> Any:
        """Sums of rewards, float32 ``[N]``."""
        return self.rewards.sum(1)

    def check_episode(self, episode: int) -> None:
        """Check that there is an episode by this number.

        Raises:
            ConfigError: if there is none.
        """
        count = len(self.lengths)
        if not -count <= episode < count:
            raise ConfigError(
                f"episode={episode} is none of the {count} that were played: choose from 0 to "
                f"{count - 1}"
            )

    def states(self, episode: int = 0) -> list[StreamState]:
        """Return an episode's states, the last one included, as `frames` draws them.

        Raises:
            ConfigError: if there is no such episode.
            ValueError: if the environment cannot be drawn, so that its states were not kept.
        """
        self.check_episode(episode)
        if self.env_states is None:
            raise ValueError("states were not kept, for the environment has no method draw")
        whole = StreamState(env_state=self.env_states, timestep=self.timesteps)
        return [
            jax.tree.map(lambda x, step=step: x[episode, step], whole)
            for step in range(int(self.lengths[episode]) + 1)
        ]

    def batch(self, episode: int = 0) -> Batch:
        """Return an episode as a window of one row, padded as it is here, see `Batch`.

        Raises:
            ConfigError: if there is no such episode.
        """
        self.check_episode(episode)
        steps, length = np.arange(self.timesteps.time.shape[1]), self.lengths[episode]
        # Padding is the last timestep again: what follows it need not be a number.
        places = np.minimum(steps, length)
        return Batch(
            timesteps=jax.tree.map(lambda x: jnp.asarray(x[episode, places][None]), self.timesteps),
            segment_ids=jnp.asarray(steps <= length, jnp.int32)[None],
        )


def collect(
    agent: Agent,
    env: StreamEnv,
    agent_state: AgentState,
    key_env: Array,
    key_actions: Array | None,
    *,
    episodes: int,
    steps: int,
) -> Trajectories:
    """Play episodes side by side.

    Args:
        agent: who plays (static).
        env: where (static).
        agent_state: the agent's arrays.
        key_env: a random key, of what the environments draw.
        key_actions: a random key to sample actions with; None takes the likeliest.
        episodes: N (static).
        steps: L (static); an episode still running then is cut off.
    """
    greedy = key_actions is None
    key_reset, key_steps = jax.random.split(key_env)
    states = _collect(
        agent,
        env,
        agent_state,
        jax.random.split(key_reset, episodes),
        jax.random.split(key_steps, (steps + 1, episodes)),
        jax.random.split(jax.random.key(0) if key_actions is None else key_actions, steps + 1),
        greedy,
        hasattr(env.env, "draw"),
    )
    states = jax.tree.map(lambda x: np.swapaxes(x, 0, 1), jax.device_get(states))
    ends = states.timestep.is_last
    lengths = np.where(ends.any(1), ends.argmax(1), steps).astype(np.int32)
    return Trajectories(states.timestep, lengths, states.env_state)


def play(
    agent: Agent,
    env: StreamEnv,
    agent_state: AgentState,
    reset_keys: Array,
    step_keys: Array,
    action_keys: Array,
    greedy: bool,
    keep_states: bool = True,
) -> StreamState:
    """Return what happens from a reset on, leaves ``[T, N, ...]``, whatever follows an end.

    Args:
        agent: who plays (static).
        env: where (static).
        agent_state: the agent's arrays.
        reset_keys: random keys ``[N]``.
        step_keys: random keys ``[T, N]``.
        action_keys: random keys ``[T]``.
        greedy: take the likeliest actions, else sample (static).
        keep_states: return the environment's own states; else None in their place (static).
    """
    rows = len(reset_keys)
    start = (jax.vmap(env.reset)(reset_keys), agent.initial_memory(rows))

    def step(carry: tuple[StreamState, Any], keys: tuple[Array, Array]) -> tuple[Any, StreamState]:
        state, memory = carry
        key_action, keys_env = keys
        action, memory = agent.act(agent_state, state.timestep, memory, key_action, greedy=greedy)
        kept = state if keep_states else StreamState(env_state=None, timestep=state.timestep)
        return (jax.vmap(env.transition)(keys_env, state, action), memory), kept

    states: StreamState = jax.lax.scan(step, start, (action_keys, step_keys))[1]
    return states


@functools.partial(jax.jit, static_argnums=(0, 1, 6, 7))
def _collect(agent, env, agent_state, reset_keys, step_keys, action_keys, greedy, keep_states):
    agent, agent_state = agent.for_acting(agent_state)
    return play(agent, env, agent_state, reset_keys, step_keys, action_keys, greedy, keep_states)
