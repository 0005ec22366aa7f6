"""Shapes of an agent's arrays, known without making any."""

import dataclasses
import functools

import jax
from jax.sharding import NamedSharding

from amago_jax.agents import Agent, AgentState
from amago_jax.envs import StreamEnv
from amago_jax.learning import LearnerState, Trainer
from amago_jax.learning.learner import init_learner
from amago_jax.parallel import SHARED
from amago_jax.tunable import tunable
from amago_jax.types import Array, Timestep


@functools.lru_cache(maxsize=8)
def agent_shapes(agent: Agent, env: StreamEnv) -> AgentState:
    """Trace the networks on an environment's observations, and return shapes of their arrays.

    Raises:
        ValueError: if they do not fit.
    """
    key = jax.eval_shape(lambda: jax.random.key(0))
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 1))
    timestep = jax.eval_shape(jax.vmap(env.reset), keys).timestep
    agent.legal_actions(timestep.observation)
    shapes: AgentState = _initial_state.eval_shape(_Built(agent), key, timestep)
    return shapes


def learner_shapes(trainer: Trainer) -> LearnerState:
    """Return shapes, dtypes and places of a learner's arrays.

    They are those of ``trainer.shapes().learner``, without tracing environments and replay, which
    whoever only acts needs not; the networks were traced when the trainer was built.
    """
    agent = agent_shapes(trainer.agent, trainer.env)
    shapes = jax.eval_shape(lambda agent: init_learner(trainer.optimizer, agent), agent)
    place = NamedSharding(trainer.mesh, SHARED)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), shapes)


@tunable("agent")
@dataclasses.dataclass(frozen=True)
class _Built:
    """An agent as an argument of what is traced, whether it is a pytree or not."""

    agent: Agent


@jax.jit
def _initial_state(built: _Built, key: Array, timestep: Timestep) -> AgentState:
    """`Agent.init`, traced once for all agents that differ in numbers alone: a sweep's, say."""
    return built.agent.init(key, timestep)
