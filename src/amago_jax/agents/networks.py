"""The agent's networks: what it sees, how it acts with memory, and how it encodes windows.

Source: AMAGO (Grigsby, Fan, Zhu; ICLR 2024), section 3.
"""

import dataclasses
from abc import ABC, abstractmethod
from typing import Annotated, Any, Self

import jax
import jax.numpy as jnp

from amago_jax.agents.extra_losses import TERMS, Term, init_terms
from amago_jax.agents.state import AgentState
from amago_jax.kinds import Listed, Real
from amago_jax.models.attention import MASKED
from amago_jax.models.distributions import Distribution
from amago_jax.models.heads import FLOAT32_LAYER
from amago_jax.models.layers import cast_kernels
from amago_jax.models.normalization import init_popart
from amago_jax.settings import Name, check_fields
from amago_jax.tunable import changed
from amago_jax.types import Array, Batch, Params, Timestep

Gammas = Annotated[tuple[Annotated[float, Real(0, below=1)], ...], Listed(least=1, ascending=True)]
DEFAULT_GAMMAS = (0.1, 0.9, 0.95, 0.97, 0.99, 0.995, 0.999)


@dataclasses.dataclass(frozen=True)
class Networks(ABC):
    """The networks of an agent, static and hashable; `AgentState` holds every array.

    Attributes:
        distribution: the family of action distributions.
        timestep_encoder: module of `amago_jax.models.timestep_encoders` or its like for images,
            `amago_jax.models.convolutions`.
        trajectory_encoder: module of `amago_jax.models.transformer` and its like.
        actor: gives the parameters of one distribution per discount.
        critics: the critic ensemble.
        gammas: discounts, ascending; the last one acts.
        popart: normalize values adaptively.
        action_mask_key: observation key of a bool ``[A]`` mask of allowed discrete actions, if any.
        extra_losses: further terms of the loss, whose weights are learned beside those above.

    Raises:
        ValueError: if a setting is out of range, or settings do not fit each other.
    """

    distribution: Distribution
    # Modules, typed Any: Flax's apply returns a union that says nothing.
    timestep_encoder: Any
    trajectory_encoder: Any
    actor: Any
    critics: Any
    gammas: Gammas = DEFAULT_GAMMAS
    popart: bool = True
    action_mask_key: Name | None = None
    extra_losses: tuple[Term, ...] = ()

    def __post_init__(self) -> None:
        """Check that the settings fit each other."""
        check_fields(self)
        if self.action_mask_key is not None and not self.discrete:
            raise ValueError(
                f"action_mask_key={self.action_mask_key!r} needs discrete actions, "
                f"not {type(self.distribution).__name__}"
            )

    @property
    def discrete(self) -> bool:
        """Whether actions are one of a finite number."""
        return self.distribution.kind == "discrete"

    def init(self, key: Array, timestep: Timestep) -> AgentState:
        """Create parameters, targets and statistics.

        Args:
            key: a random key.
            timestep: an example, leaves ``[B, ...]``; only shapes and dtypes matter.

        Returns:
            The state; targets equal their originals.
        """
        key_timestep, key_trajectory, key_actor, key_critics = jax.random.split(key, 4)
        observation, rl2 = timestep.observation, self.rl2(timestep)
        mask = jnp.ones(rl2.shape[:-1], bool)
        encoded, timestep_variables = self.timestep_encoder.init_with_output(
            key_timestep, observation, rl2, mask
        )
        sequence = encoded[:, None]
        zeros = jnp.zeros(sequence.shape[:2], jnp.int32)
        states, trajectory_variables = self.trajectory_encoder.init_with_output(
            key_trajectory, sequence, zeros, zeros
        )
        params = {
            "timestep_encoder": timestep_variables.get("params", {}),
            "trajectory_encoder": trajectory_variables.get("params", {}),
            "actor": self.actor.init(key_actor, states)["params"],
            "critics": self.critics.init(key_critics, *self.critic_inputs(states))["params"],
        }
        if self.extra_losses:
            params[TERMS] = init_terms(self.extra_losses, key, states, timestep)
        return AgentState(
            params=params,
            target_params=jax.tree.map(
                jnp.copy, {"actor": params["actor"], "critics": params["critics"]}
            ),
            statistics={
                "timestep_encoder": timestep_variables.get("statistics", {}),
                "trajectory_encoder": trajectory_variables.get("statistics", {}),
            },
            popart=init_popart(len(self.gammas), 100.0 if self.popart else 1.0),
        )

    @abstractmethod
    def critic_inputs(self, states: Array) -> tuple[Array, ...]:
        """Return example inputs of the critics for states ``[..., D]``."""

    @property
    def action_size(self) -> int:
        """A: the number of discrete actions, or of continuous action dimensions."""
        return self.distribution.actions

    def rl2(self, timestep: Timestep) -> Array:
        """Return the meta-RL input, float32 ``[..., 1+A]``: previous reward, previous action."""
        action = timestep.previous_action
        if self.discrete:
            # "No action" is -1, whose one-hot is all zeros.
            action = jax.nn.one_hot(action, self.action_size)
        reward = timestep.previous_reward[..., None]
        return jnp.concatenate([reward, action], axis=-1)

    def initial_memory(self, batch_size: int) -> Any:
        """Return an empty memory for ``batch_size`` rows."""
        return self.trajectory_encoder.initial_memory(batch_size)

    def for_acting(self, state: AgentState) -> tuple[Self, AgentState]:
        """Return an agent that acts alike, with all work done that is the same at every step.

        Compilers leave the cast of a weight in the loop of a rollout, a kernel of its own.
        """
        name = "trajectory_encoder"
        encoder, params = self.trajectory_encoder.for_acting(
            state.params[name], state.statistics[name]
        )
        narrow = self.trajectory_encoder.dtype
        params = {
            **state.params,
            name: cast_kernels(params, narrow),
            "timestep_encoder": cast_kernels(
                state.params["timestep_encoder"], self.timestep_encoder.dtype
            ),
            "actor": cast_kernels(state.params["actor"], narrow, keep=FLOAT32_LAYER),
        }
        agent = changed(self, trajectory_encoder=encoder)
        return agent, dataclasses.replace(state, params=params)

    def for_whole_episodes(self, length: int) -> Self:
        """Return an agent that encodes windows of ``length`` timesteps as it acts in them."""
        encoder = self.trajectory_encoder.for_whole_episodes(length)
        return changed(self, trajectory_encoder=encoder)

    def attention_maps(self, state: AgentState, batch: Batch) -> Array:
        """Return where the memory looks in windows, see `TrajectoryEncoder.attention_maps`.

        Raises:
            ValueError: if it has no attention.
        """
        timesteps = batch.timesteps
        encoded = self.encode_timesteps(
            state.params, state.statistics, timesteps, batch.timestep_mask
        )
        maps: Array = self.trajectory_encoder.apply(
            variables_of(state.params, state.statistics, "trajectory_encoder"),
            encoded,
            timesteps.time,
            batch.segment_ids,
            method="attention_maps",
        )
        return maps

    def legal_actions(self, observation: dict[str, Array]) -> Array | None:
        """Return which discrete actions are allowed, bool ``[..., A]``; None: all, always.

        Where an observation allows none (after the last one of an episode, say), all are.

        Raises:
            ValueError: if the observation has no key `action_mask_key`.
        """
        if self.action_mask_key is None:
            return None
        if self.action_mask_key not in observation:
            raise ValueError(
                f"action_mask_key={self.action_mask_key!r} is not an observation key; "
                f"choose from {sorted(observation)}"
            )
        legal = observation[self.action_mask_key].astype(bool)
        return legal | ~legal.any(-1, keepdims=True)

    def policy(self, actor: Params, states: Array, observation: dict[str, Array]) -> Array:
        """Return the policy's parameters ``[..., G, P]`` for states ``[..., D]``."""
        params = self.actor.apply({"params": actor}, states)
        legal = self.legal_actions(observation)
        return params if legal is None else jnp.where(legal[..., None, :], params, MASKED)

    def act(
        self, state: AgentState, timestep: Timestep, memory: Any, key: Array, *, greedy: bool
    ) -> tuple[Array, Any]:
        """Choose the next action of every row, remembering what was seen.

        Args:
            state: the agent's arrays.
            timestep: leaves ``[B, ...]``; rows with ``is_first`` forget their past.
            memory: from `initial_memory` or the previous call.
            key: a random key; unused when greedy.
            greedy: take the likeliest action, else sample.

        Returns:
            Actions (int32 ``[B]`` if discrete; else float32 ``[B, A]``, continuous in [-1, 1],
            binary 0 or 1), and the new memory.
        """
        hidden, memory = self.remember(state, timestep, memory)
        policy = self.policy(state.params["actor"], hidden, timestep.observation)[..., -1, :]
        if greedy:
            return self.distribution.mode(policy), memory
        return self.distribution.sample(policy, key), memory

    def remember(self, state: AgentState, timestep: Timestep, memory: Any) -> tuple[Array, Any]:
        """Return states ``[B, D]`` of the next timestep of every row, and the memory; see `act`."""
        mask = jnp.ones(timestep.time.shape, bool)
        encoded = self.encode_timesteps(state.params, state.statistics, timestep, mask)
        hidden, memory = self.trajectory_encoder.apply(
            variables_of(state.params, state.statistics, "trajectory_encoder"),
            encoded,
            timestep.time,
            timestep.is_first,
            memory,
            method="decode",
        )
        return hidden, memory

    def encode_timesteps(
        self, params: Params, statistics: Params, timesteps: Timestep, mask: Array, **options: Any
    ) -> Any:
        """Encode timesteps one by one, ``[..., E]``; see `TimestepEncoder` for the mask.

        Args:
            params: weights by module.
            statistics: running statistics by module.
            timesteps: leaves ``[..., ...]``.
            mask: bool ``[...]``.
            options: of flax's ``apply``, whose result is returned.
        """
        return self.timestep_encoder.apply(
            variables_of(params, statistics, "timestep_encoder"),
            timesteps.observation,
            self.rl2(timesteps),
            mask,
            **options,
        )

    def encode(
        self, params: Params, statistics: Params, batch: Batch, dropout: Array | None = None
    ) -> tuple[Array, Params]:
        """Encode a batch of windows.

        Args:
            params: weights by module.
            statistics: running statistics by module.
            batch: windows of L+1 timesteps.
            dropout: the key of dropout and augmentation; training mode if given, evaluation mode
                if None.

        Returns:
            States ``[B, L+1, D]`` and the statistics, moved by this batch in training mode.
        """
        training = dropout is not None
        rngs = {}
        if dropout is not None:
            rngs = {"dropout": dropout, "augmentation": jax.random.fold_in(dropout, 1)}
        timesteps = batch.timesteps
        encoded, timestep_statistics = self.encode_timesteps(
            params,
            statistics,
            timesteps,
            batch.timestep_mask,
            training=training,
            mutable=["statistics"],
            rngs=rngs,
        )
        states, trajectory_statistics = self.trajectory_encoder.apply(
            variables_of(params, statistics, "trajectory_encoder"),
            encoded,
            timesteps.time,
            batch.segment_ids,
            training=training,
            mutable=["statistics"],
            rngs=rngs,
        )
        return states, {
            "timestep_encoder": timestep_statistics.get("statistics", {}),
            "trajectory_encoder": trajectory_statistics.get("statistics", {}),
        }


def variables_of(params: Params, statistics: Params, module: str) -> Params:
    """Return what a module is applied with."""
    return {"params": params[module], "statistics": statistics[module]}
