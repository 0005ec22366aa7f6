"""The agent: the loss of one learning update, in order.

An agent is a static, hashable description (networks and hyperparameters); `AgentState` holds
every array. All discounts are learned at once; the last one acts. What AMAGO and AMAGO-2 do
differently, how values are represented and learned, is in `amago_jax.agents.amago` and
`amago_jax.agents.multitask`; how it acts, in `amago_jax.agents.networks`.

Source: AMAGO (Grigsby, Fan, Zhu; ICLR 2024), section 3.
"""

import dataclasses
from abc import abstractmethod
from typing import Annotated, Any

import jax
import jax.numpy as jnp

from amago_jax.agents.analysis import (
    Analysis,
    actor_columns,
    column_means,
    value_columns,
    value_metrics,
)
from amago_jax.agents.extra_losses import measure_terms
from amago_jax.agents.networks import Networks
from amago_jax.agents.state import AgentState, LossDraws, Values
from amago_jax.kinds import Real, Whole
from amago_jax.losses.actor_critic import (
    offline_actor_loss,
    online_actor_loss,
    subset_values,
)
from amago_jax.losses.advantage_filters import AdvantageFilter, BinaryFilter
from amago_jax.losses.returns import n_step_returns
from amago_jax.models.distributions import Discrete
from amago_jax.models.normalization import PopArt, is_saturated, update_popart
from amago_jax.parallel import data_sum
from amago_jax.settings import NotNegative, Positive, Size
from amago_jax.types import Array, Batch, Metrics, Params

# Settings that only scale, and so need no program of their own, see `amago_jax.tunable`.
NUMBERS = ("reward_multiplier", "offline_coeff", "critic_loss_weight", "tau", "extra_losses")


@dataclasses.dataclass(frozen=True)
class Agent(Networks):
    """Networks and what their learning takes; see `Networks` for the former.

    Attributes:
        reward_multiplier: factor on rewards inside the loss.
        n_step: steps before bootstrapping.
        critics_per_target: S, critics drawn for each target.
        online_coeff: weight of the actor's online (policy gradient) term.
        offline_coeff: weight of the actor's offline (filtered imitation) term.
        critic_loss_weight: weight of the critic loss.
        pessimistic_targets: the least of the drawn critics forms the target, else their mean;
            None: the least if the online term is on, which would exploit too high a value.
        use_target_actor: form targets with the target actor, else with the online one.
        tau: step of the target networks toward the online ones.
        action_samples: K, actions of the policy sampled per state, unless expectations are exact.
        target_action_samples: likewise of the target policy.
        advantage_filter: f, from advantages to weights of the offline term.
        detailed_metrics: report all that is worth watching, not losses alone.
        axis_name: mesh axis over whose devices batches are split, if any, see `masked_mean`.

    Raises:
        ValueError: if a setting is out of range, or settings do not fit each other.
    """

    reward_multiplier: Positive = 10.0
    n_step: Annotated[int, Whole(1, 1000)] = 1
    critics_per_target: Size = 2
    online_coeff: NotNegative = 1.0
    offline_coeff: NotNegative = 0.1
    critic_loss_weight: NotNegative = 10.0
    pessimistic_targets: bool | None = None
    use_target_actor: bool = True
    tau: Annotated[float, Real(above=0, high=1)] = 0.003
    action_samples: Size = 1
    target_action_samples: Size = 1
    advantage_filter: AdvantageFilter = dataclasses.field(default_factory=BinaryFilter)
    detailed_metrics: bool = True
    axis_name: str | None = None

    def __post_init__(self) -> None:
        """Check that the settings fit each other."""
        super().__post_init__()
        if self.online_coeff > 0 and not self.distribution.reparametrized:
            raise ValueError(
                f"online_coeff={self.online_coeff} needs actions that carry gradients, which those "
                f"of {type(self.distribution).__name__} do not; set online_coeff=0, or choose "
                "another distribution"
            )

    @property
    def learns_values(self) -> bool:
        """Whether critics are trained: plain behaviour cloning needs none."""
        return self.online_coeff > 0 or self.advantage_filter.uses_advantage

    @property
    def exact_expectations(self) -> bool:
        """Whether expectations over actions are sums, so that none is sampled."""
        return False

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
        extra = measure_terms(self.extra_losses, params, states, batch, draws.dropout, axis)
        metrics: Metrics = {}
        columns: Metrics = {}

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
                metrics = value_metrics(analysis, popart, self.gammas, axis)
                columns = value_columns(analysis)
        if self.detailed_metrics:
            entropy = self._entropy(policy, draws)
            columns |= actor_columns(log_probs, entropy, weights, self.gammas)
            metrics |= column_means(columns | extra.columns, mask, axis)
        loss_offline = offline_actor_loss(log_probs, weights, mask, axis)
        loss_actor = self.online_coeff * loss_online + self.offline_coeff * loss_offline
        total = loss_actor + self.critic_loss_weight * loss_critic
        for term in self.extra_losses:
            total += term.coefficient * extra.losses[term.name]
        losses = {"total": total, "actor": loss_actor, "critic": loss_critic} | extra.losses
        summed = data_sum({f"loss/{name}": loss for name, loss in losses.items()}, axis)
        metrics = {**summed, **metrics}
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

    # Valuing by critics that read one action at a time; AMAGO's discrete ones value all at once.

    def critic_inputs(self, states: Array) -> tuple[Array, ...]:
        """See `Networks`."""
        return states, jnp.zeros((*states.shape[:-1], len(self.gammas), self.action_size))

    def _next_values(
        self, state: AgentState, states: Array, policy: Array, draws: LossDraws
    ) -> Array:
        """Target critics' values ``[C, B, L, G]`` in real units of the target policy's actions."""
        noise = jax.tree.map(lambda x: x[:, :, 1:], draws.target_noise)
        values = self._value_samples(state.target_params["critics"], states, policy, noise)
        return self._to_real(state.popart, values)

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
        outputs, policy_values = self._evaluate(params["critics"], states, policy, actions, draws)
        taken = self._decode(outputs)
        online = self.online_coeff > 0
        return Values(
            outputs=outputs,
            taken=self._to_real(popart, taken),
            policy=self._to_real(popart, policy_values),
            policy_normalized=self._to_normalized(popart, policy_values) if online else None,
            advantages=taken.mean(0) - policy_values.mean(0),
        )

    def _evaluate(
        self, critics: Params, states: Array, policy: Array, actions: Array, draws: LossDraws
    ) -> tuple[Array, Array]:
        """Return the critics' outputs for the buffer's actions, and decoded, for the policy's."""
        outputs = self._value_taken(critics, states, policy, actions)
        noise = jax.tree.map(lambda x: x[:, :, :-1], draws.policy_noise)
        frozen, fixed = jax.lax.stop_gradient((critics, states))
        return outputs, self._value_samples(frozen, fixed, policy, noise)

    def _value_taken(self, critics: Params, states: Array, policy: Array, actions: Array) -> Array:
        """Return the outputs for the buffer's actions: int32 ``[B, L]``, or float ``[B, L, A]``."""
        per_gamma = actions[:, :, None]
        if isinstance(self.distribution, Discrete):
            per_gamma = self.distribution.soft_one_hot(per_gamma, policy)
        shape = (*states.shape[:2], len(self.gammas), self.action_size)
        return self.critics.apply({"params": critics}, states, jnp.broadcast_to(per_gamma, shape))

    def _value_samples(self, critics: Params, states: Array, policy: Array, noise: Any) -> Array:
        """Value the policy's actions, the mean over K samples.

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

    # How values are represented and learned.

    @abstractmethod
    def _decode(self, outputs: Array) -> Array:
        """Return one value ``[...]`` for each output of a critic, as the filter reads them."""

    @abstractmethod
    def _to_real(self, popart: PopArt, values: Array) -> Array:
        """Map decoded values ``[..., G]`` to real units."""

    @abstractmethod
    def _to_normalized(self, popart: PopArt, values: Array) -> Array:
        """Map decoded values ``[..., G]`` to normalized units."""

    @abstractmethod
    def _critic_loss(self, popart: PopArt, outputs: Array, targets: Array, mask: Array) -> Array:
        """Loss ``[]`` of `Values.outputs` against targets ``[B, L, G]`` in real units."""

    def saturated(self, state: AgentState) -> Array:
        """Return for which discounts targets vary by more than PopArt can scale, bool ``[G]``."""
        return is_saturated(state.popart) & (self.popart and self.learns_values)

    def update_targets(self, state: AgentState) -> AgentState:
        """Move target networks toward the online ones: target <- (1 - tau) target + tau online."""
        online = {name: state.params[name] for name in state.target_params}
        target_params = jax.tree.map(
            lambda target, new: (1 - self.tau) * target + self.tau * new,
            state.target_params,
            online,
        )
        return dataclasses.replace(state, target_params=target_params)


def _but_last(tree: Any) -> Any:
    return jax.tree.map(lambda x: x[:, :-1], tree)
