"""Recurrent PPO: rollout, advantages, and epochs of minibatches in one compiled call.

Minibatches are over environments, so that windows stay whole. Log-probabilities and values of
before are those of one pass over all windows, by the weights that acted.

Source: Schulman et al. 2017, "Proximal Policy Optimization Algorithms", arXiv 1707.06347; details:
Huang et al. 2022, "The 37 Implementation Details of Proximal Policy Optimization".
"""

import dataclasses
import functools
from typing import Annotated, Any, get_type_hints

import jax
import jax.numpy as jnp
import optax
from flax import struct

from amago_jax.acting.evaluation import evaluate, evaluation_metrics
from amago_jax.acting.exploration import Plain
from amago_jax.acting.rollout import RolloutState, init_rollout, rollout
from amago_jax.agents.state import AgentState
from amago_jax.baselines.agent import Judgement, PPOAgent, Window
from amago_jax.baselines.losses import (
    clipped_policy_loss,
    generalized_advantages,
    normalized,
    value_loss,
)
from amago_jax.envs import StreamEnv
from amago_jax.errors import ConfigError
from amago_jax.kinds import Real
from amago_jax.losses.actor_critic import masked_mean
from amago_jax.settings import NotNegative, Positive, Share, Size, check_fields
from amago_jax.types import Array, Batch, Metrics, Params, Timestep

ON_POLICY = Plain(anneal_steps=1, start=(0.0, 0.0), randomize=False)


@dataclasses.dataclass(frozen=True)
class PPOSettings:
    """What PPO is told.

    Attributes:
        reward_multiplier: factor on rewards before anything is learned of them.
        gamma: discount.
        gae_lambda: weight of later TD errors, see `generalized_advantages`.
        clip: how far from 1 a ratio of probabilities may gain by.
        value_clip: likewise of values, from what they were; None: however far.
        value_coeff: weight of the value's loss.
        entropy_coeff: weight of the entropy bonus.
        update_epochs: times that every window is learned from.
        minibatches: into which the environments are split, each time anew.
        learning_rate: of Adam.
        anneal: let the rate fall to 0, in a line, by the last epoch.
        clip_norm: the global norm gradients are clipped to.

    Raises:
        ValueError: if a setting is not what its annotation says.
    """

    reward_multiplier: Positive = 1.0
    gamma: Annotated[float, Real(0, below=1)] = 0.99
    gae_lambda: Share = 0.95
    clip: Positive = 0.2
    value_clip: Positive | None = None
    value_coeff: NotNegative = 0.5
    entropy_coeff: NotNegative = 0.01
    update_epochs: Size = 4
    minibatches: Size = 4
    learning_rate: Positive = 3e-4
    anneal: bool = False
    clip_norm: Positive = 0.5

    def __post_init__(self) -> None:
        """Check the settings."""
        check_fields(self)


SETTINGS = get_type_hints(PPOSettings, include_extras=True)  # what each may be, by name


@struct.dataclass
class PPOState:
    """All that an epoch changes.

    Attributes:
        agent: the agent's arrays.
        optimizer: optax state.
        rollout: environments and the memory of them.
        past: the last P timesteps before that, leaves ``[E, P, ...]``.
        transitions: int32 ``[]``, made so far by all environments.
        updates: int32 ``[]``, minibatches so far.
        key: a random key.
    """

    agent: AgentState
    optimizer: optax.OptState
    rollout: RolloutState
    past: Timestep
    transitions: Array
    updates: Array
    key: Array


@struct.dataclass
class Collected:
    """Windows to learn from, leaves ``[E, ...]`` but for the memory.

    Attributes:
        window: what was seen.
        before: what the agent thought of it when it acted.
        advantages: float32 ``[E, T]``.
    """

    window: Window
    before: Judgement
    advantages: Array


@struct.dataclass
class _Learner:
    params: Params
    optimizer: optax.OptState


@dataclasses.dataclass(frozen=True, eq=False)
class PPO:
    """PPO in E environments.

    Attributes:
        agent: the networks.
        env: the environment.
        settings: of learning.
        envs: E, which ``settings.minibatches`` divide.
        rollout_steps: T.
        epochs: over which the learning rate falls, if it does.
        evaluation_episodes: episodes per evaluation.
        greedy_evaluation: evaluate the likeliest actions, else sampled ones.

    Raises:
        ConfigError: if the minibatches do not divide the environments.
    """

    agent: PPOAgent
    env: StreamEnv
    settings: PPOSettings
    envs: int
    rollout_steps: int
    epochs: int
    evaluation_episodes: int
    greedy_evaluation: bool = True

    def __post_init__(self) -> None:
        """Check that the settings fit each other."""
        minibatches = self.settings.minibatches
        if self.envs % minibatches:
            fitting = [n for n in range(1, self.envs + 1) if self.envs % n == 0]
            raise ConfigError(
                f"ppo.minibatches={minibatches} does not divide envs={self.envs}, over which "
                f"minibatches are drawn; choose from {fitting}"
            )

    @property
    def learning_agent(self) -> PPOAgent:
        """The agent, to judge windows with: it sees as far as when it acts, and no further."""
        return self.agent.for_whole_episodes(self.agent.past + self.rollout_steps + 1)

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """Adam with clipped gradients."""
        own = self.settings
        rate: Any = own.learning_rate
        if own.anneal:
            updates = self.epochs * own.update_epochs * own.minibatches
            rate = optax.linear_schedule(own.learning_rate, 0.0, updates)
        return optax.chain(optax.clip_by_global_norm(own.clip_norm), optax.adam(rate, eps=1e-5))

    @functools.partial(jax.jit, static_argnums=0)
    def init(self, key: Array) -> PPOState:
        """Return the state before the first epoch."""
        key_rollout, key_agent, key = jax.random.split(key, 3)
        state = init_rollout(self.agent, self.env, key_rollout, self.envs)
        timestep = state.stream.timestep
        agent = self.agent.init(key_agent, timestep)
        past = self.agent.past
        return PPOState(
            agent=agent,
            optimizer=self.optimizer.init(agent.params),
            rollout=state,
            past=jax.tree.map(lambda x: jnp.repeat(x[:, None], past, axis=1), timestep),
            transitions=jnp.zeros((), jnp.int32),
            updates=jnp.zeros((), jnp.int32),
            key=key,
        )

    @functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
    def train_epoch(self, state: PPOState) -> tuple[PPOState, Metrics]:
        """Roll out, then learn from it; the state is donated.

        Returns:
            The state after, and metrics, ``[]`` each.
        """
        key_rollout, key_updates, key_statistics, key = jax.random.split(state.key, 4)
        collected, after, totals = self.collect(state, key_rollout)
        learner, metrics = self._learn(state.agent, state.optimizer, collected, key_updates)
        state = PPOState(
            agent=self._with_statistics(state.agent, learner.params, collected, key_statistics),
            optimizer=learner.optimizer,
            rollout=after.rollout,
            past=after.past,
            transitions=state.transitions + totals.transitions,
            updates=state.updates + self.settings.update_epochs * self.settings.minibatches,
            key=key,
        )
        counts = {"env_steps": state.transitions, "updates": state.updates}
        return state, metrics | totals.metrics() | counts

    @functools.partial(jax.jit, static_argnums=0)
    def evaluate(self, agent_state: AgentState, key: Array) -> Metrics:
        """Play whole episodes, see `amago_jax.acting.evaluation.evaluate`."""
        return evaluation_metrics(
            evaluate(
                self.agent,
                self.env,
                agent_state,
                key,
                episodes=self.evaluation_episodes,
                greedy=self.greedy_evaluation,
            )
        )

    def collect(self, state: PPOState, key: Array) -> tuple[Collected, PPOState, Any]:
        """Roll out and judge what was seen.

        Returns:
            The windows; the state with what the rollout changed; totals over episodes.
        """
        before, past = self.remembered(state), self.agent.past
        rollout_state, timesteps, totals = rollout(
            self.agent,
            self.env,
            ON_POLICY,
            state.agent,
            before,
            key,
            steps=self.rollout_steps,
            greedy=False,
        )
        now = jax.tree.map(lambda x: x[:, None], rollout_state.stream.timestep)
        timesteps = jax.tree.map(
            lambda *parts: jnp.concatenate(parts, axis=1), state.past, timesteps, now
        )
        # What stands before the first timestep of all is no past.
        real = jnp.arange(timesteps.time.shape[1]) >= past - before.steps
        segments = 1 + jnp.cumsum(timesteps.is_first, axis=1)
        batch = Batch(timesteps, jnp.where(real[None], segments, 0).astype(jnp.int32))
        window = Window(batch, None if past else before.memory)
        first = self.rollout_steps
        kept = jax.tree.map(lambda x: x[:, first : first + past], timesteps)
        state = dataclasses.replace(state, rollout=rollout_state, past=kept)
        return self._judged(state.agent, window), state, totals

    def remembered(self, state: PPOState) -> RolloutState:
        """Return where the environments stand, with a memory of the past by the present weights.

        The keys and values that an attending memory holds are those of older weights, which no
        pass over a window sees. A hidden state is part of the window, and stays as it is.
        """
        if not self.agent.past:
            return state.rollout
        agent, agent_state = self.agent.for_acting(state.agent)

        def step(memory: Any, timestep: Timestep) -> tuple[Any, None]:
            return agent.remember(agent_state, timestep, memory)[1], None

        over_time = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), state.past)
        memory, _ = jax.lax.scan(step, agent.initial_memory(self.envs), over_time)
        return dataclasses.replace(state.rollout, memory=memory)

    def _judged(self, agent_state: AgentState, window: Window) -> Collected:
        agent, own = self.learning_agent, self.settings
        judgement = agent.judge(agent_state.params, agent_state.statistics, window)
        after, valid = window.transitions(agent.past)
        advantages = generalized_advantages(
            own.reward_multiplier * after.previous_reward,
            judgement.values,
            after.terminated,
            after.is_last,
            valid,
            gamma=own.gamma,
            gae_lambda=own.gae_lambda,
        )
        return Collected(window, judgement, advantages)

    def loss(
        self, params: Params, statistics: Params, collected: Collected, key: Array
    ) -> tuple[Array, Metrics]:
        """Return PPO's loss of a minibatch ``[]``, and metrics.

        Args:
            params: weights by module.
            statistics: running statistics by module.
            collected: rows of what was collected.
            key: for an entropy that must be estimated.
        """
        own, agent, before = self.settings, self.learning_agent, collected.before
        _, valid = collected.window.transitions(agent.past)
        now = agent.judge(params, statistics, collected.window)
        log_ratios = jnp.where(valid, now.log_probs - before.log_probs, 0.0)
        ratios = jnp.exp(log_ratios)
        advantages = normalized(collected.advantages, valid)
        policy = clipped_policy_loss(ratios, advantages, valid, own.clip)
        old = before.values[:, :-1]
        targets = old + collected.advantages
        value = value_loss(now.values[:, :-1], old, targets, valid, own.value_clip)
        noise = agent.distribution.draw_noise(key, (1, *now.log_probs.shape))
        entropy = masked_mean(agent.distribution.entropy(now.policy, noise), valid)
        beyond = (jnp.abs(ratios - 1.0) > own.clip).astype(jnp.float32)
        total = policy + own.value_coeff * value - own.entropy_coeff * entropy
        return total, {
            "loss/total": total,
            "loss/actor": policy,
            "loss/critic": value,
            "policy/entropy": entropy,
            "ppo/kl": masked_mean(ratios - 1.0 - log_ratios, valid),
            "ppo/clipped": masked_mean(beyond, valid),
        }

    def rows(self, collected: Collected, index: Array) -> Collected:
        """Return some environments' rows; of a memory, by whichever axis they lie along."""
        window = collected.window
        memory = window.memory
        if memory is not None:
            shapes = [jax.eval_shape(lambda n=n: self.agent.initial_memory(n)) for n in (1, 2)]
            memory = jax.tree.map(functools.partial(_take, index=index), memory, *shapes)
        rest = Collected(Window(window.batch, None), collected.before, collected.advantages)
        found: Collected = jax.tree.map(lambda x: x[index], rest)
        return dataclasses.replace(found, window=Window(found.window.batch, memory))

    def _learn(
        self, agent: AgentState, optimizer: optax.OptState, collected: Collected, key: Array
    ) -> tuple[_Learner, Metrics]:
        """Learn from all windows, ``update_epochs`` times."""
        own = self.settings
        key_order, key_loss = jax.random.split(key)
        orders = jax.vmap(lambda key: jax.random.permutation(key, self.envs))(
            jax.random.split(key_order, own.update_epochs)
        )
        count = own.update_epochs * own.minibatches

        def step(learner: _Learner, now: tuple[Array, Array]) -> tuple[_Learner, Metrics]:
            index, key = now
            grads, metrics = jax.grad(self.loss, has_aux=True)(
                learner.params, agent.statistics, self.rows(collected, index), key
            )
            updates, state = self.optimizer.update(grads, learner.optimizer, learner.params)
            metrics["gradient/norm"] = optax.tree.norm(grads)
            return _Learner(optax.apply_updates(learner.params, updates), state), metrics

        learner, metrics = jax.lax.scan(
            step,
            _Learner(agent.params, optimizer),
            (orders.reshape(count, -1), jax.random.split(key_loss, count)),
        )
        return learner, jax.tree.map(jnp.mean, metrics)

    def _with_statistics(
        self, agent: AgentState, params: Params, collected: Collected, key: Array
    ) -> AgentState:
        """Return the agent with new weights, and running statistics moved by one minibatch.

        They stay as they are while an epoch is learned from, or ratios would not begin at 1.
        """
        key_rows, key_dropout = jax.random.split(key)
        size = self.envs // self.settings.minibatches
        index = jax.random.permutation(key_rows, self.envs)[:size]
        batch = jax.tree.map(lambda x: x[index], collected.window.batch)
        _, statistics = self.agent.encode(params, agent.statistics, batch, key_dropout)
        return dataclasses.replace(agent, params=params, statistics=statistics)


def _take(x: Array, one: Any, two: Any, *, index: Array) -> Array:
    """Take rows of an array of a memory, whose shapes for one row and for two are given."""
    axes = [axis for axis, n in enumerate(one.shape) if n != two.shape[axis]]
    return jnp.take(x, index, axis=axes[0]) if axes else x
