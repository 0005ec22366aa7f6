"""A trained policy to act with in one's own loop."""

import dataclasses
import functools
from typing import Any

import jax

from amago_jax.acting.trajectories import Trajectories, collect
from amago_jax.agents import Agent, AgentState
from amago_jax.agents.analysis import Analysis
from amago_jax.envs import StreamEnv
from amago_jax.errors import ConfigError, config_errors
from amago_jax.types import Array, Timestep


@dataclasses.dataclass(frozen=True, eq=False)
class Policy:
    """An agent and its arrays.

    Attributes:
        agent: the static description.
        state: its arrays.
    """

    agent: Agent
    state: AgentState

    def initial_memory(self, batch_size: int = 1) -> Any:
        """Return an empty memory for ``batch_size`` rows."""
        return self.agent.initial_memory(batch_size)

    def act(self, timestep: Timestep, memory: Any, key: Array | None = None) -> tuple[Array, Any]:
        """Choose the next action of every row.

        Args:
            timestep: leaves ``[B, ...]``; rows with ``is_first`` forget their past.
            memory: from `initial_memory` or the previous call.
            key: a random key to sample with; None takes the likeliest actions.

        Returns:
            Actions (int32 ``[B]`` if discrete; else float32 ``[B, A]``, continuous in [-1, 1],
            binary 0 or 1), and the new memory.
        """
        greedy = key is None
        return _act(
            self.agent,
            self.state,
            timestep,
            memory,
            jax.random.key(0) if key is None else key,
            greedy,
        )

    def rollout(
        self,
        env: StreamEnv,
        episodes: int,
        *,
        key: Array | None = None,
        max_steps: int | None = None,
        seed: int = 0,
    ) -> Trajectories:
        """Play whole episodes side by side, on the device, and keep every step.

        Args:
            env: the environment.
            episodes: N.
            key: a random key to sample actions with; None takes the likeliest.
            max_steps: L, after which episodes are cut off; None: the environment's horizon.
            seed: of what the environments draw, whatever the actions are drawn with.

        Returns:
            The episodes, as NumPy arrays.

        Raises:
            ConfigError: if there is no episode or no step to play.
        """
        steps = env.horizon if max_steps is None else max_steps
        for name, value in (("episodes", episodes), ("max_steps", steps)):
            if value < 1:
                raise ConfigError(f"{name}={value} must be at least 1")
        return collect(
            self.agent,
            env,
            self.state,
            jax.random.key(seed),
            key,
            episodes=episodes,
            steps=steps,
        )

    def analyze(self, trajectories: Trajectories, episode: int = 0) -> Analysis:
        """Return what the policy thinks of an episode: values, advantages, entropy.

        Args:
            trajectories: from `rollout`.
            episode: which one of them.

        Returns:
            NumPy arrays ``[L, G]`` for an episode of L transitions and G discounts, of which the
            last one acts. Targets, Q, V and the critics' spread are means over the critics in the
            units of the environment's rewards. An agent that learns no values, as plain behaviour
            cloning, has those it began with.

        Raises:
            ConfigError: if there is no such episode.
        """
        found = jax.device_get(_analyze(self.agent, self.state, trajectories.batch(episode)))
        length = int(trajectories.lengths[episode])
        cut: Analysis = jax.tree.map(lambda x: x[0, :length], found)
        return cut

    def attention_maps(self, trajectories: Trajectories, episode: int = 0) -> Array:
        """Return where the memory looks in an episode, whichever kernel it attends with.

        Args:
            trajectories: from `rollout`.
            episode: which one of them.

        Returns:
            A NumPy array, float32 ``[layers, heads, L+1, L+1]`` for an episode of L+1 timesteps:
            row i is what timestep i sees, and sums to 1.

        Raises:
            ConfigError: if the memory has no attention, or there is no such episode.
        """
        with config_errors():
            maps = _attention_maps(self.agent, self.state, trajectories.batch(episode))
        seen = int(trajectories.lengths[episode]) + 1
        return jax.device_get(maps)[0, :, :, :seen, :seen]


@functools.partial(jax.jit, static_argnums=(0, 5))
def _act(agent, state, timestep, memory, key, greedy):
    return agent.act(state, timestep, memory, key, greedy=greedy)


@functools.partial(jax.jit, static_argnums=0)
def _analyze(agent, state, batch):
    agent = agent.for_whole_episodes(batch.segment_ids.shape[1])
    analysis = agent.analyze(state, batch, jax.random.key(0))
    scale = 1 / agent.reward_multiplier
    real = {name: getattr(analysis, name) * scale for name in ("targets", "q", "v", "spread")}
    return dataclasses.replace(analysis, **real)


@functools.partial(jax.jit, static_argnums=0)
def _attention_maps(agent, state, batch):
    agent = agent.for_whole_episodes(batch.segment_ids.shape[1])
    return agent.attention_maps(state, batch)
