"""The agent: acting with memory, and the skeleton of the loss of one learning update.

An agent is a static, hashable description (networks and hyperparameters); `AgentState` holds
every array. All discounts are learned at once; the last one acts. What AMAGO and AMAGO-2 do
differently, how values are represented and learned, is in `amago_jax.amago` and
`amago_jax.multitask`.

Source: AMAGO (Grigsby, Fan, Zhu; ICLR 2024), section 3.
"""

import dataclasses
import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from amago_jax.losses.actor_critic import (
    masked_extremes,
    masked_mean,
    offline_actor_loss,
    online_actor_loss,
    subset_values,
)
from amago_jax.losses.advantage_filters import AdvantageFilter, BinaryFilter
from amago_jax.losses.returns import n_step_returns
from amago_jax.models.attention import MASKED
from amago_jax.models.distributions import Distribution
from amago_jax.models.layers import check_sizes
from amago_jax.models.normalization import PopArt, init_popart, popart_sigma, update_popart
from amago_jax.parallel import data_sum
from amago_jax.types import Array, Batch, Metrics, Params, Timestep

DEFAULT_GAMMAS = (0.1, 0.9, 0.95, 0.97, 0.99, 0.995, 0.999)


def learned_gammas(gammas: Sequence[float], multi_gamma: bool) -> tuple[float, ...]:
    """Return the discounts that are learned: all, or the acting one, the last, alone."""
    return tuple(float(gamma) for gamma in gammas)[0 if multi_gamma else -1 :]


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
        policy_noise: the distribution's noise for ``[K, B, L+1, G]`` actions of the policy; None,
            here and below, if no actions are sampled, because expectations are exact.
        target_noise: likewise for the target policy's actions.
        dropout: the key of dropout and augmentation.
    """

    critic_subset: Array
    policy_noise: Any
    target_noise: Any
    dropout: Array


@struct.dataclass
class Values:
    """What the critics say of one batch.

    Attributes:
        outputs: raw outputs of the critics for the buffer's actions, which their loss reads.
        taken: float32 ``[C, B, L, G]``, Q(s, a) of the buffer's actions in real units.
        policy: float32 ``[C, B, L, G]``, Q(s, a ~ pi) in real units.
        policy_normalized: likewise in normalized units, differentiable through the action alone;
            None if the online term is off.
        advantages: float32 ``[B, L, G]``, A = Q(s, a) - Q(s, a ~ pi), as the filter reads it.
    """

    outputs: Array
    taken: Array
    policy: Array
    policy_normalized: Array | None
    advantages: Array


@struct.dataclass
class Analysis:
    """What there is to know about the transitions of a batch; leaves ``[B, L, G]`` and float32.

    Values are in real units (rewards times the reward multiplier), means over the ensemble.

    Attributes:
        targets: TD targets.
        q: Q(s, a) of the buffer's actions.
        v: Q(s, a ~ pi), the value of the state.
        advantages: as the filter reads them.
        filter_weights: f(A).
        spread: standard deviation of Q(s, a) over the ensemble.
        log_probs: log pi(a|s) of the buffer's actions.
        entropy: of the policy, in nats.
        mask: bool ``[B, L]``, which transitions are valid.
    """

    targets: Array
    q: Array
    v: Array
    advantages: Array
    filter_weights: Array
    spread: Array
    log_probs: Array
    entropy: Array
    mask: Array


@dataclasses.dataclass(frozen=True)
class Agent(ABC):
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
        pessimistic_targets: the least of the drawn critics forms the target, else their mean;
            None: the least if the online term is on, which would exploit too high a value.
        popart: normalize values adaptively.
        use_target_actor: form targets with the target actor, else with the online one.
        tau: step of the target networks toward the online ones.
        action_samples: K, actions of the policy sampled per state, unless expectations are exact.
        target_action_samples: likewise of the target policy.
        advantage_filter: f, from advantages to weights of the offline term.
        action_mask_key: observation key of a bool ``[A]`` mask of allowed discrete actions, if any.
        detailed_metrics: report all that is worth watching, not losses alone.
        axis_name: mesh axis over whose devices batches are split, if any, see `masked_mean`.

    Raises:
        ValueError: if a setting is out of range, or settings do not fit each other.
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
    pessimistic_targets: bool | None = None
    popart: bool = True
    use_target_actor: bool = True
    tau: float = 0.003
    action_samples: int = 1
    target_action_samples: int = 1
    advantage_filter: AdvantageFilter = dataclasses.field(default_factory=BinaryFilter)
    action_mask_key: str | None = None
    detailed_metrics: bool = True
    axis_name: str | None = None

    def __post_init__(self) -> None:
        """Check that the settings fit each other."""
        check_sizes(
            n_step=self.n_step,
            critics_per_target=self.critics_per_target,
            action_samples=self.action_samples,
            target_action_samples=self.target_action_samples,
        )
        increasing = all(a < b for a, b in itertools.pairwise(self.gammas))
        if not self.gammas or not increasing or self.gammas[0] < 0 or self.gammas[-1] >= 1:
            raise ValueError(
                f"gammas={list(self.gammas)} must ascend, from at least 0 to below 1; the last acts"
            )
        if not 0 < self.tau <= 1:
            raise ValueError(f"tau={self.tau} must be above 0 and at most 1")
        name = type(self.distribution).__name__
        if self.online_coeff > 0 and not self.distribution.reparametrized:
            raise ValueError(
                f"online_coeff={self.online_coeff} needs actions that carry gradients, which those "
                f"of {name} do not; set online_coeff=0, or choose another distribution"
            )
        if self.action_mask_key is not None and not self.discrete:
            raise ValueError(
                f"action_mask_key={self.action_mask_key!r} needs discrete actions, not {name}"
            )

    @property
    def discrete(self) -> bool:
        """Whether actions are one of a finite number."""
        return self.distribution.kind == "discrete"

    @property
    def learns_values(self) -> bool:
        """Whether critics are trained: plain behaviour cloning needs none."""
        return self.online_coeff > 0 or self.advantage_filter.uses_advantage

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
            "critics": self.critics.init(key_critics, *self._critic_inputs(states))["params"],
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
        policy = self.policy(state.params["actor"], hidden, timestep.observation)[..., -1, :]
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
        rngs = {}
        if dropout is not None:
            rngs = {"dropout": dropout, "augmentation": jax.random.fold_in(dropout, 1)}
        timesteps = batch.timesteps
        encoded, timestep_statistics = self.timestep_encoder.apply(
            _variables(params, statistics, "timestep_encoder"),
            timesteps.observation,
            self.rl2(timesteps),
            batch.timestep_mask,
            training=training,
            mutable=["statistics"],
            rngs=rngs,
        )
        states, trajectory_statistics = self.trajectory_encoder.apply(
            _variables(params, statistics, "trajectory_encoder"),
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

    def draw(self, key: Array, batch: Batch) -> LossDraws:
        """Draw everything random that `loss` needs for a batch.

        Args:
            key: a random key.
            batch: windows of L+1 timesteps; only its shape matters.

        Returns:
            The draws, see `LossDraws` for shapes.
        """
        key_subset, key_policy, key_target, key_dropout = jax.random.split(key, 4)
        rows, length = batch.segment_ids.shape
        gammas = len(self.gammas)

        def noise(key: Array, samples: int) -> Any:
            if self.exact_expectations:
                return None
            return self.distribution.draw_noise(key, (samples, rows, length, gammas))

        subset_shape = (rows, length - 1, self.critics_per_target, gammas)
        return LossDraws(
            critic_subset=jax.random.randint(key_subset, subset_shape, 0, self.critics.critics),
            policy_noise=noise(key_policy, self.action_samples),
            target_noise=noise(key_target, self.target_action_samples),
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
        mask, axis = batch.transition_mask, self.axis_name
        observation = batch.timesteps.observation
        policy = self.policy(params["actor"], states[:, :-1], _but_last(observation))
        actions = batch.timesteps.previous_action[:, 1:]
        log_probs = self._log_probs(policy, actions)
        popart = state.popart
        metrics: Metrics = {}

        loss_critic = loss_online = jnp.zeros(())
        weights = jnp.ones_like(log_probs)
        if self.learns_values:
            targets = self._targets(params, state, states, batch, draws)
            if self.popart:
                popart = update_popart(popart, targets, mask[..., None], axis_name=axis)
            values = self._values(params, popart, states[:, :-1], policy, actions, draws)
            weights = self.advantage_filter(jax.lax.stop_gradient(values.advantages))
            loss_critic = self._critic_loss(popart, values.outputs, targets, mask)
            if values.policy_normalized is not None:
                loss_online = online_actor_loss(values.policy_normalized, mask, axis)
            if self.detailed_metrics:
                analysis = self._analysis(policy, values, targets, log_probs, weights, draws, mask)
                metrics = self._value_metrics(analysis, popart)
        if self.detailed_metrics:
            entropy = self._entropy(policy, draws)
            metrics |= self._actor_metrics(log_probs, entropy, weights, mask)
        loss_offline = offline_actor_loss(log_probs, weights, mask, axis)
        loss_actor = self.online_coeff * loss_online + self.offline_coeff * loss_offline
        total = loss_actor + self.critic_loss_weight * loss_critic
        losses = {"loss/total": total, "loss/actor": loss_actor, "loss/critic": loss_critic}
        metrics = {**data_sum(losses, axis), **metrics}
        return total, (dataclasses.replace(state, statistics=statistics, popart=popart), metrics)

    def analyze(self, state: AgentState, batch: Batch, key: Array) -> Analysis:
        """Return what the agent thinks of every transition of a batch, without dropout.

        Args:
            state: the agent's arrays; none moves.
            batch: windows of L+1 timesteps.
            key: for sampled actions and critic subsets.
        """
        draws = self.draw(key, batch)
        states, _ = self.encode(state.params, state.statistics, batch)
        observation = batch.timesteps.observation
        policy = self.policy(state.params["actor"], states[:, :-1], _but_last(observation))
        actions = batch.timesteps.previous_action[:, 1:]
        targets = self._targets(state.params, state, states, batch, draws)
        values = self._values(state.params, state.popart, states[:, :-1], policy, actions, draws)
        return self._analysis(
            policy,
            values,
            targets,
            self._log_probs(policy, actions),
            self.advantage_filter(values.advantages),
            draws,
            batch.transition_mask,
        )

    def _analysis(
        self,
        policy: Array,
        values: Values,
        targets: Array,
        log_probs: Array,
        filter_weights: Array,
        draws: LossDraws,
        mask: Array,
    ) -> Analysis:
        analysis = Analysis(
            targets=targets,
            q=values.taken.mean(0),
            v=values.policy.mean(0),
            advantages=values.advantages,
            filter_weights=filter_weights,
            spread=values.taken.std(0),
            log_probs=log_probs,
            entropy=self._entropy(policy, draws),
            mask=mask,
        )
        return jax.tree.map(jax.lax.stop_gradient, analysis)

    def _entropy(self, policy: Array, draws: LossDraws) -> Array:
        noise = jax.tree.map(lambda x: x[:, :, :-1], draws.policy_noise)
        return self.distribution.entropy(policy, noise)

    def _actor_metrics(
        self, log_probs: Array, entropy: Array, weights: Array, mask: Array
    ) -> Metrics:
        """What the paper watches of the actor, from ``[B, L, G]`` each."""
        axis = self.axis_name
        accepted = [masked_mean(weights[..., g], mask, axis) for g in range(len(self.gammas))]
        means = {
            "actor/log_prob": masked_mean(log_probs[..., -1], mask, axis),
            "actor/entropy": masked_mean(entropy[..., -1], mask, axis),
            "actor/filter_accepted": accepted[-1],
        }
        per_gamma = {f"actor/filter_accepted/{g}": accepted[i] for i, g in enumerate(self.gammas)}
        return data_sum(jax.lax.stop_gradient({**means, **per_gamma}), axis)

    def _value_metrics(self, analysis: Analysis, popart: PopArt) -> Metrics:
        """What it watches of values: of the acting discount, and per discount where that tells."""
        mask, axis = analysis.mask, self.axis_name

        def acting_mean(x: Array) -> Array:
            return masked_mean(x[..., -1], mask, axis)

        means = {
            "value/td_target": acting_mean(analysis.targets),
            "value/q": acting_mean(analysis.q),
            "value/v": acting_mean(analysis.v),
            "value/advantage": acting_mean(analysis.advantages),
            "value/ensemble_spread": acting_mean(analysis.spread),
        }
        sigma, mu = popart_sigma(popart), popart.moments.mean
        least, greatest = masked_extremes(analysis.targets[..., -1], mask, axis)
        metrics = data_sum(means, axis)
        metrics |= {"value/td_target_min": least, "value/td_target_max": greatest}
        metrics |= {f"value/popart_sigma/{g}": sigma[i] for i, g in enumerate(self.gammas)}
        metrics |= {f"value/popart_mean/{g}": mu[i] for i, g in enumerate(self.gammas)}
        return {**metrics, "value/popart_sigma": sigma[-1]}

    def _targets(
        self, params: Params, state: AgentState, states: Array, batch: Batch, draws: LossDraws
    ) -> Array:
        """TD targets ``[B, L, G]`` in real units, without gradient, from states ``[B, L+1, D]``."""
        after = jax.lax.stop_gradient(states[:, 1:])
        outcome = jax.tree.map(lambda x: x[:, 1:], batch.timesteps)
        actor = state.target_params["actor"] if self.use_target_actor else params["actor"]
        policy = self.policy(actor, after, outcome.observation)
        values = self._next_values(state, after, policy, draws)
        pessimistic = self.pessimistic_targets
        if pessimistic is None:
            pessimistic = self.online_coeff > 0
        targets = n_step_returns(
            self.reward_multiplier * outcome.previous_reward,
            outcome.terminated,
            batch.transition_mask,
            subset_values(values, draws.critic_subset, pessimistic=pessimistic),
            jnp.asarray(self.gammas),
            self.n_step,
        )
        return jax.lax.stop_gradient(targets)

    def _log_probs(self, policy: Array, actions: Array) -> Array:
        """Log-probability ``[B, L, G]`` of the buffer's actions under every discount's policy."""
        if self.discrete:
            chosen = jnp.maximum(actions, 0)[..., None]
            return self.distribution.log_prob(policy, jnp.broadcast_to(chosen, policy.shape[:-1]))
        return self.distribution.log_prob(policy, actions[:, :, None])

    def _value_samples(self, critics: Params, states: Array, policy: Array, noise: Any) -> Array:
        """Value the policy's actions, the mean over K samples, by critics that read actions.

        Args:
            critics: weights.
            states: float32 ``[B, L, D]``.
            policy: parameters of distributions ``[B, L, G, P]``.
            noise: of ``[K, B, L, G]`` samples.

        Returns:
            float32 ``[C, B, L, G]``, as `_decode` gives them.
        """
        actions = self.distribution.sample_vector(policy, noise)
        repeated = jnp.broadcast_to(states, (*actions.shape[:1], *states.shape))
        return self._decode(self.critics.apply({"params": critics}, repeated, actions)).mean(1)

    def _value_taken(self, critics: Params, states: Array, actions: Array) -> Array:
        """Return the outputs for the buffer's actions, ``[B, L, A]`` or one per discount."""
        if actions.ndim == states.ndim:
            actions = actions[:, :, None]
        shape = (*actions.shape[:2], len(self.gammas), self.action_size)
        per_gamma = jnp.broadcast_to(actions, shape)
        return self.critics.apply({"params": critics}, states, per_gamma)

    @property
    @abstractmethod
    def exact_expectations(self) -> bool:
        """Whether expectations over actions are sums, so that none is sampled."""

    @abstractmethod
    def _decode(self, outputs: Array) -> Array:
        """Return one value ``[...]`` for the outputs of a critic that reads actions."""

    @abstractmethod
    def _critic_inputs(self, states: Array) -> tuple[Array, ...]:
        """Example inputs of the critics for states ``[..., D]``."""

    @abstractmethod
    def _next_values(
        self, state: AgentState, states: Array, policy: Array, draws: LossDraws
    ) -> Array:
        """Target critics' values ``[C, B, L, G]`` in real units of the target policy's actions."""

    @abstractmethod
    def _values(
        self,
        params: Params,
        popart: PopArt,
        states: Array,
        policy: Array,
        actions: Array,
        draws: LossDraws,
    ) -> Values:
        """Value the buffer's actions, and the policy's, in states ``[B, L, D]``.

        The policy's values carry gradients through the action alone: neither the critics' weights
        nor the state they read feel them.
        """

    @abstractmethod
    def _critic_loss(self, popart: PopArt, outputs: Array, targets: Array, mask: Array) -> Array:
        """Loss ``[]`` of `Values.outputs` against targets ``[B, L, G]`` in real units."""

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


def _but_last(tree: Any) -> Any:
    return jax.tree.map(lambda x: x[:, :-1], tree)
