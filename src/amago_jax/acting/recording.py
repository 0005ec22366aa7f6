"""One episode of a trained policy, recorded step by step, and what its frames show.

Environments that can be drawn have a method ``draw(env_state, params)``, which returns an image,
uint8 ``[H, W, 3]``, and may have ``describe(env_state, params)``, which returns a line of text.
Both are given NumPy arrays.
"""

import functools
from collections.abc import Iterator

import jax
import numpy as np

from amago_jax.acting.policy import Policy
from amago_jax.acting.trajectories import play
from amago_jax.agents import Agent, AgentState
from amago_jax.envs import StreamEnv, StreamState
from amago_jax.types import Array


def record_episode(
    env: StreamEnv, policy: Policy, *, seed: int = 0, greedy: bool = True
) -> list[StreamState]:
    """Play one episode.

    Args:
        env: the environment.
        policy: who plays.
        seed: of the episode.
        greedy: take the likeliest actions, else sample.

    Returns:
        The state at every timestep, the last one included, as NumPy arrays.
    """
    states = jax.device_get(_play(policy.agent, env, policy.state, jax.random.key(seed), greedy))
    last = int(np.argmax(states.timestep.is_last))
    return [jax.tree.map(lambda x, step=step: x[step], states) for step in range(last + 1)]


def check_drawing(env: StreamEnv) -> None:
    """Check that an environment can be drawn.

    Raises:
        ValueError: if it cannot.
    """
    if not hasattr(env.env, "draw"):
        raise ValueError(f"{env.name} cannot be drawn: {type(env.env).__name__} has no method draw")


def frames(env: StreamEnv, states: list[StreamState]) -> Iterator[tuple[np.ndarray, list[str]]]:
    """Yield an image, uint8 ``[H, W, 3]``, and the lines of its caption for every state.

    Raises:
        ValueError: if the environment cannot be drawn.
    """
    check_drawing(env)
    describe = getattr(env.env, "describe", lambda state, params: "")
    total = 0.0
    for step, state in enumerate(states):
        total += float(state.timestep.previous_reward)
        caption = [f"{env.name}, step {step}, return {total:g}"]
        caption += [line for line in [describe(state.env_state, env.params)] if line]
        yield env.env.draw(state.env_state, env.params), caption


@functools.partial(jax.jit, static_argnums=(0, 1, 4))
def _play(
    agent: Agent, env: StreamEnv, agent_state: AgentState, key: Array, greedy: bool
) -> StreamState:
    """Return the states of one episode, leaves ``[horizon + 1, ...]``, whatever follows its end."""
    key_reset, key_steps = jax.random.split(key)
    keys = jax.vmap(jax.random.split)(jax.random.split(key_steps, env.horizon + 1))
    states = play(agent, env, agent_state, key_reset[None], keys[:, 1:], keys[:, 0], greedy)
    return jax.tree.map(lambda x: x[:, 0], states)
