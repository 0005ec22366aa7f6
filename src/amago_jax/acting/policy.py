"""A trained policy to act with in one's own loop."""

import dataclasses
import functools
from typing import Any

import jax

from amago_jax.agents import Agent, AgentState
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


@functools.partial(jax.jit, static_argnums=(0, 5))
def _act(agent, state, timestep, memory, key, greedy):
    return agent.act(state, timestep, memory, key, greedy=greedy)
