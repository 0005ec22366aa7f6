"""The AMAGO agent: acting with memory, and the loss of one learning update.

`Agent` is a static, hashable description (networks and hyperparameters); `AgentState` holds every
array. All discounts are learned at once; the last one acts.

Source: AMAGO (Grigsby, Fan, Zhu; ICLR 2024), section 3.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct

from amago_jax.losses.actor_critic import (
    critic_loss,
    masked_mean,
    offline_actor_loss,
    online_actor_loss,
    subset_values,
)
from amago_jax.losses.advantage_filters import binary_filter
from amago_jax.losses.returns import n_step_returns
from amago_jax.models.distributions import Discrete, Distribution, TanhGaussian
from amago_jax.models.heads import Actor, ContinuousCritics, DiscreteCritics
from amago_jax.models.normalization import (
    PopArt,
    denormalize_values,
    init_popart,
    normalize_targets,
    normalize_values,
    popart_sigma,
    update_popart,
)
from amago_jax.parallel import data_sum
from amago_jax.types import Array, Batch, Metrics, Params, Timestep

DEFAULT_GAMMAS = (0.1, 0.9, 0.95, 0.97, 0.99, 0.995, 0.999)


@struct.dataclass
class AgentState:
    """Every array of the agent.

    Attributes:
        params: trained weights, by module: timestep_encoder, trajectory_encoder, actor, critics.
        target_params: slowly following copies of actor and critics.
        statistics: running statistics of the encoders, by module; not trained.
        popart: value normalization.
    """

    params: Params
    target_params: Params
    statistics: Params
    popart: PopArt


@struct.dataclass
class LossDraws:
    """What one loss draws at random, drawn beforehand so that the loss itself is deterministic.

    Attributes:
        critic_subset: int32 ``[B, L, S, G]``, critics that form the target.
        policy_noise: float32 ``[K, B, L+1, G, A]`` standard normal, of the policy's actions;
            None, here and below, if actions are discrete: then expectations are exact.
        target_noise: likewise of the target policy's actions.
        dropout: the key of dropout and augmentation.
    """

    critic_subset: Array
    policy_noise: Any
    target_noise: Any
    dropout: Array


@dataclasses.dataclass(frozen=True)
class Agent:
    """Networks and hyperparameters.

    Attributes:
        distribution: the family of action distributions.
        timestep_encoder: module of `amago_jax.models.timestep_encoders` or its like for images,
            `amago_jax.models.convolutions`.
        trajectory_encoder: module of `amago_jax.models.transformer` and its like.
        actor: gives the parameters of one distribution per discount.
        critics: the critic ensemble.
        gammas: discounts, ascending; the last one acts.
        reward_multiplier: factor on rewards inside the loss.
        n_step: steps before bootstrapping.
        critics_per_target: S, critics drawn for each target.
        online_coeff: weight of the actor's online (policy gradient) term.
        offline_coeff: weight of the actor's offline (filtered imitation) term.
        critic_loss_weight: weight of the critic loss.
        popart: normalize values adaptively.
        use_target_actor: form targets with the target actor, else with the online one.
        tau: step of the target networks toward the online ones.
        action_samples: K, actions sampled per state if they are continuous.
        advantage_filter: f, from advantages to weights of the offline term.
        axis_name: mesh axis over whose devices batches are split, if any, see `masked_mean`.
    """

    distribution: Distribution
    # Modules, typed Any: Flax's apply returns a union that says nothing.
    timestep_encoder: Any
    trajectory_encoder: Any
    actor: Any
    critics: Any
    gammas: tuple[float, ...] = DEFAULT_GAMMAS
    reward_multiplier: float = 10.0
    n_step: int = 1
    critics_per_target: int = 2
    online_coeff: float = 1.0
    offline_coeff: float = 0.1
    critic_loss_weight: float = 10.0
    popart: bool = True
    use_target_actor: bool = True
    tau: float = 0.003
    action_samples: int = 1
    advantage_filter: Callable[[Array], Array] = binary_filter
    axis_name: str | None = None

    @property
    def discrete(self) -> bool:
        """Whether actions are one of a finite number."""
        return isinstance(self.distribution, Discrete)

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
        critic_inputs = [states]
        if not self.discrete:
            shape = (*states.shape[:-1], len(self.gammas), self.action_size)
            critic_inputs.append(jnp.zeros(shape))
        params = {
            "timestep_encoder": timestep_variables["params"],
            "trajectory_encoder": trajectory_variables["params"],
            "actor": self.actor.init(key_actor, states)["params"],
            "critics": self.critics.init(key_critics, *critic_inputs)["params"],
        }
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

    def for_acting(self, state: AgentState) -> tuple["Agent", AgentState]:
        """Return an agent that acts alike, with all work done that is the same at every step."""
        name = "trajectory_encoder"
        encoder, params = self.trajectory_encoder.for_acting(
            state.params[name], state.statistics[name]
        )
        agent = dataclasses.replace(self, trajectory_encoder=encoder)
        return agent, dataclasses.replace(state, params={**state.params, name: params})

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
            Actions (int32 ``[B]``, or float32 ``[B, A]`` in (-1, 1)), and the new memory.
        """
        encoded = self.timestep_encoder.apply(
            _variables(state.params, state.statistics, "timestep_encoder"),
            timestep.observation,
            self.rl2(timestep),
            jnp.ones(timestep.time.shape, bool),
        )
        hidden, memory = self.trajectory_encoder.apply(
            _variables(state.params, state.statistics, "trajectory_encoder"),
            encoded,
            timestep.time,
            timestep.is_first,
            memory,
            method="decode",
        )
        policy = self.actor.apply({"params": state.params["actor"]}, hidden)[..., -1, :]
        if greedy:
            return self.distribution.mode(policy), memory
        return self.distribution.sample(policy, key), memory

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
        timestep_rngs, trajectory_rngs = _encoder_rngs(dropout)
        timesteps = batch.timesteps
        encoded, timestep_statistics = self.timestep_encoder.apply(
            _variables(params, statistics, "timestep_encoder"),
            timesteps.observation,
            self.rl2(timesteps),
            batch.timestep_mask,
            training=training,
            mutable=["statistics"],
            rngs=timestep_rngs,
        )
        states, trajectory_statistics = self.trajectory_encoder.apply(
            _variables(params, statistics, "trajectory_encoder"),
            encoded,
            timesteps.time,
            batch.segment_ids,
            training=training,
            mutable=["statistics"],
            rngs=trajectory_rngs,
        )
        return states, {
            "timestep_encoder": timestep_statistics.get("statistics", {}),
            "trajectory_encoder": trajectory_statistics.get("statistics", {}),
        }

    def draw(self, key: Array, batch: Batch) -> LossDraws:
        """Draw everything random that `loss` needs for a batch."""
        key_subset, key_policy, key_target, key_dropout = jax.random.split(key, 4)
        rows, length = batch.segment_ids.shape
        gammas = len(self.gammas)
        noise_shape = (self.action_samples, rows, length, gammas, self.action_size)
        return LossDraws(
            critic_subset=jax.random.randint(
                key_subset,
                (rows, length - 1, self.critics_per_target, gammas),
                0,
                self.critics.critics,
            ),
            policy_noise=None if self.discrete else jax.random.normal(key_policy, noise_shape),
            target_noise=None if self.discrete else jax.random.normal(key_target, noise_shape),
            dropout=key_dropout,
        )

    def loss(
        self, params: Params, state: AgentState, batch: Batch, draws: LossDraws
    ) -> tuple[Array, tuple[AgentState, Metrics]]:
        """The loss of one update over every valid transition and every discount.

        Args:
            params: the weights to differentiate; ``state.params`` is not read.
            state: targets and statistics.
            batch: windows of L+1 timesteps.
            draws: from `draw`.

        Returns:
            The total loss ``[]`` (a device's share of it, if the batch is split), and (state with
            its statistics moved by this batch, metrics of the whole batch).
        """
        states, statistics = self.encode(params, state.statistics, batch, draws.dropout)
        now, after = states[:, :-1], jax.lax.stop_gradient(states[:, 1:])
        outcome = jax.tree.map(lambda x: x[:, 1:], batch.timesteps)
        mask = batch.transition_mask

        targets = self._targets(params, state, after, outcome, mask, draws)
        popart = state.popart
        if self.popart:
            popart = update_popart(popart, targets, mask[..., None], axis_name=self.axis_name)
        policy = self.actor.apply({"params": params["actor"]}, now)
        values, policy_values = self._values(params, now, policy, outcome.previous_action, draws)
        advantages = jax.lax.stop_gradient(values.mean(0) - policy_values.mean(0))
        weights = self.advantage_filter(advantages)
        log_probs = self._log_probs(policy, outcome.previous_action)

        axis = self.axis_name
        loss_critic = critic_loss(
            normalize_values(popart, values), normalize_targets(popart, targets), mask, axis
        )
        loss_online = online_actor_loss(normalize_values(popart, policy_values), mask, axis)
        loss_offline = offline_actor_loss(log_probs, weights, mask, axis)
        loss_actor = self.online_coeff * loss_online + self.offline_coeff * loss_offline
        total = loss_actor + self.critic_loss_weight * loss_critic

        def acting_mean(x: Array) -> Array:
            return masked_mean(x[..., -1], mask, axis)

        real_values = denormalize_values(popart, values)
        metrics = {
            "loss/total": total,
            "loss/actor": loss_actor,
            "loss/critic": loss_critic,
            "value/td_target": acting_mean(targets),
            "value/q": acting_mean(real_values.mean(0)),
            "value/ensemble_spread": acting_mean(real_values.std(0)),
            "actor/filter_accepted": acting_mean(weights),
            "actor/log_prob": acting_mean(log_probs),
        }
        metrics = data_sum(metrics, axis)
        metrics["value/popart_sigma"] = popart_sigma(popart)[-1]
        return total, (dataclasses.replace(state, statistics=statistics, popart=popart), metrics)

    def _targets(
        self,
        params: Params,
        state: AgentState,
        after: Array,
        outcome: Timestep,
        mask: Array,
        draws: LossDraws,
    ) -> Array:
        """TD targets ``[B, L, G]`` in real units, without gradient."""
        actor = state.target_params["actor"] if self.use_target_actor else params["actor"]
        policy = self.actor.apply({"params": actor}, after)
        critics = state.target_params["critics"]
        if isinstance(self.distribution, Discrete):
            all_values = self.critics.apply({"params": critics}, after)
            values = (all_values * self.distribution.probabilities(policy)).sum(-1)
        else:
            actions = self.distribution.sample_from_noise(policy, draws.target_noise[:, :, 1:])
            values = self._value_samples(critics, after, actions)
        next_values = subset_values(
            denormalize_values(state.popart, values),
            draws.critic_subset,
            pessimistic=self.online_coeff > 0,
        )
        targets = n_step_returns(
            self.reward_multiplier * outcome.previous_reward,
            outcome.terminated,
            mask,
            next_values,
            jnp.asarray(self.gammas),
            self.n_step,
        )
        return jax.lax.stop_gradient(targets)

    def _values(
        self, params: Params, now: Array, policy: Array, actions: Array, draws: LossDraws
    ) -> tuple[Array, Array]:
        """Values ``[C, B, L, G]`` of the buffer's actions and of the policy's.

        The policy's carry gradients through the action alone: neither the critics' weights nor the
        state they read feel them. If actions are discrete, one evaluation serves both, since it
        values every action.
        """
        critics = params["critics"]
        if isinstance(self.distribution, Discrete):
            all_values = self.critics.apply({"params": critics}, now)
            taken = self.distribution.soft_one_hot(actions)[:, :, None]
            values = (all_values * taken).sum(-1)
            probabilities = self.distribution.probabilities(policy)
            policy_values = (jax.lax.stop_gradient(all_values) * probabilities).sum(-1)
            return values, policy_values
        per_gamma = jnp.broadcast_to(
            actions[:, :, None], (*actions.shape[:2], len(self.gammas), self.action_size)
        )
        values = self.critics.apply({"params": critics}, now, per_gamma)
        sampled = self.distribution.sample_from_noise(policy, draws.policy_noise[:, :, :-1])
        frozen, fixed = jax.lax.stop_gradient((critics, now))
        return values, self._value_samples(frozen, fixed, sampled)

    def _value_samples(self, critics: Params, states: Array, actions: Array) -> Array:
        """Mean value ``[C, B, L, G]`` of K sampled actions ``[K, B, L, G, A]``."""
        repeated = jnp.broadcast_to(states, (*actions.shape[:1], *states.shape))
        return self.critics.apply({"params": critics}, repeated, actions).mean(1)

    def _log_probs(self, policy: Array, actions: Array) -> Array:
        """Log-probability ``[B, L, G]`` of the buffer's actions under every discount's policy."""
        if self.discrete:
            chosen = jnp.broadcast_to(jnp.maximum(actions, 0)[..., None], policy.shape[:-1])
            return self.distribution.log_prob(policy, chosen)
        return self.distribution.log_prob(policy, actions[:, :, None]).sum(-1)

    def update_targets(self, state: AgentState) -> AgentState:
        """Move target networks toward the online ones: target <- (1 - tau) target + tau online."""
        online = {name: state.params[name] for name in state.target_params}
        target_params = jax.tree.map(
            lambda target, new: (1 - self.tau) * target + self.tau * new,
            state.target_params,
            online,
        )
        return dataclasses.replace(state, target_params=target_params)


def _variables(params: Params, statistics: Params, module: str) -> Params:
    return {"params": params[module], "statistics": statistics[module]}


def _encoder_rngs(key: Array | None) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return what the timestep and the trajectory encoder draw from, if they train."""
    if key is None:
        return {}, {}
    key_augmentation, key_dropout = jax.random.split(key)
    return {"augmentation": key_augmentation}, {"dropout": key_dropout}


def build_agent(
    *,
    actions: int,
    discrete: bool,
    timestep_encoder: nn.Module,
    trajectory_encoder: nn.Module,
    gammas: tuple[float, ...] = DEFAULT_GAMMAS,
    critics: int = 4,
    hidden_size: int = 256,
    layers: int = 2,
    activation: str = "leaky_relu",
    **settings: Any,
) -> Agent:
    """Assemble an agent for an action space from its encoders and settings.

    Args:
        actions: A, the number of discrete actions or of continuous dimensions.
        discrete: whether the actions are discrete.
        timestep_encoder: see `Agent`.
        trajectory_encoder: see `Agent`.
        gammas: discounts; the last one acts.
        critics: C, the size of the ensemble.
        hidden_size: width of the hidden layers of actor and critics.
        layers: hidden layers of actor and critics.
        activation: name of the activation of actor and critics.
        **settings: further fields of `Agent`.

    Returns:
        The agent.
    """
    head: dict[str, Any] = {"hidden_size": hidden_size, "layers": layers, "activation": activation}
    gammas = tuple(float(gamma) for gamma in gammas)
    distribution: Distribution = Discrete(actions) if discrete else TanhGaussian(actions)
    critic_ensemble: nn.Module = (
        DiscreteCritics(critics, len(gammas), actions, **head)
        if discrete
        else ContinuousCritics(critics, gammas, **head)
    )
    return Agent(
        distribution=distribution,
        timestep_encoder=timestep_encoder,
        trajectory_encoder=trajectory_encoder,
        actor=Actor(len(gammas), distribution.parameter_count, **head),
        critics=critic_ensemble,
        gammas=gammas,
        **settings,
    )
