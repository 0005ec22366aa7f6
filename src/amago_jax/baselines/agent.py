"""An agent for PPO: the networks of our own, with one value in place of the critics.

It sees what AMAGO's agent sees, by the same encoders, and acts by the same code.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from amago_jax.agents.networks import Networks, variables_of
from amago_jax.agents.state import AgentState
from amago_jax.models.distributions import Distribution
from amago_jax.models.heads import Actor
from amago_jax.types import Array, Batch, Params, Timestep


@struct.dataclass
class Window:
    """What was collected in one rollout of T steps, and what must be known of before.

    A recurrent memory goes on from its hidden state at the window's start. An attending one has no
    state but the past itself: of it, the last P timesteps come before the rollout's.

    Attributes:
        batch: P + T + 1 timesteps, the last of which the next rollout begins with.
        memory: the hidden state before the first timestep; None if P > 0.
    """

    batch: Batch
    memory: Any

    def transitions(self, past: int) -> tuple[Timestep, Array]:
        """Return what the rollout's transitions led to, ``[B, T, ...]``, and which are valid."""
        after = jax.tree.map(lambda x: x[:, past + 1 :], self.batch.timesteps)
        return after, ~after.is_first


@struct.dataclass
class Judgement:
    """What an agent thinks of a window.

    Attributes:
        policy: float32 ``[B, T, P]``, parameters of the distributions that actions are drawn from.
        log_probs: float32 ``[B, T]``, of the actions that were taken.
        values: float32 ``[B, T+1]``.
    """

    policy: Array
    log_probs: Array
    values: Array


@dataclasses.dataclass(frozen=True)
class PPOAgent(Networks):
    """An actor and a value, on top of a memory; see `Networks`, whose ``critics`` are the value.

    Attributes:
        past: P, timesteps before a rollout that its windows begin with; 0: the memory goes on from
            its hidden state.
    """

    past: int = 0

    def init(self, key: Array, timestep: Timestep) -> AgentState:
        """See `Networks`; there are no targets."""
        return dataclasses.replace(super().init(key, timestep), target_params={})

    def critic_inputs(self, states: Array) -> tuple[Array, ...]:
        """See `Networks`."""
        return (states,)

    def judge(self, params: Params, statistics: Params, window: Window) -> Judgement:
        """Return what the agent thinks of a window, without dropout, as it acts.

        Args:
            params: weights by module.
            statistics: running statistics by module; they do not move.
            window: of B rows.
        """
        timesteps = window.batch.timesteps
        if self.past:
            states, _ = self.encode(params, statistics, window.batch)
            states = states[:, self.past :]
        else:
            states = self._unrolled(params, statistics, window)
        observation = jax.tree.map(lambda x: x[:, self.past :], timesteps.observation)
        policy = self.policy(params["actor"], states, observation)[:, :-1, -1]
        values = self.critics.apply({"params": params["critics"]}, states)[..., 0, 0]
        actions = timesteps.previous_action[:, self.past + 1 :]
        if self.discrete:
            actions = jnp.maximum(actions, 0)  # -1 where an episode begins
        return Judgement(policy, self.distribution.log_prob(policy, actions), values)

    def _unrolled(self, params: Params, statistics: Params, window: Window) -> Array:
        """Go on from a hidden state, timestep by timestep; return states ``[B, T+1, D]``."""
        timesteps = window.batch.timesteps
        encoded = self.encode_timesteps(params, statistics, timesteps, window.batch.timestep_mask)
        variables = variables_of(params, statistics, "trajectory_encoder")

        def step(memory: Any, now: tuple[Array, Array, Array]) -> tuple[Any, Array]:
            state, memory = self.trajectory_encoder.apply(variables, *now, memory, method="decode")
            return memory, state

        over_time = jax.tree.map(
            lambda x: jnp.swapaxes(x, 0, 1), (encoded, timesteps.time, timesteps.is_first)
        )
        _, states = jax.lax.scan(step, window.memory, over_time)
        return jnp.swapaxes(states, 0, 1)


def make_ppo_agent(
    *,
    distribution: Distribution,
    timestep_encoder: Any,
    trajectory_encoder: Any,
    actor: Any,
    gamma: float,
    past: int,
    action_mask_key: str | None = None,
) -> PPOAgent:
    """Put the networks together; the value is an MLP like the actor's.

    Args:
        distribution: see `Networks`, as are the encoders.
        timestep_encoder: see there.
        trajectory_encoder: see there.
        actor: for one discount, see `amago_jax.models.heads.Actor`.
        gamma: the discount.
        past: see `PPOAgent`.
        action_mask_key: see `Networks`.
    """
    sizes = {
        name: getattr(actor, name)
        for name in ("hidden_size", "layers", "activation")
        if hasattr(actor, name)
    }
    return PPOAgent(
        distribution=distribution,
        timestep_encoder=timestep_encoder,
        trajectory_encoder=trajectory_encoder,
        actor=actor,
        critics=Actor(gammas=1, parameter_count=1, **sizes),
        gammas=(gamma,),
        popart=False,
        action_mask_key=action_mask_key,
        past=past,
    )
