"""Training: rollout, replay and learning as one compiled call per epoch."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import optax
from flax import struct

from amago_jax.agent import Agent
from amago_jax.envs import StreamEnv
from amago_jax.evaluation import evaluate
from amago_jax.exploration import Schedule
from amago_jax.learner import LearnerState, init_learner, update
from amago_jax.replay import Replay, ReplayState
from amago_jax.rollout import RolloutState, init_rollout, rollout
from amago_jax.types import Array, Metrics


@struct.dataclass
class TrainState:
    """Everything that training changes.

    Attributes:
        learner: the agent and its optimizer.
        rollout: environments and the policy's memory of them.
        replay: the ring buffer.
        transitions: int32 ``[]``, transitions made so far, all environments together.
        key: the key of all that is random from here on.
    """

    learner: LearnerState
    rollout: RolloutState
    replay: ReplayState
    transitions: Array
    key: Array


@dataclasses.dataclass(frozen=True, eq=False)
class Trainer:
    """A static description of training; its methods are compiled once each.

    Attributes:
        agent: what learns.
        env: where it learns.
        schedule: of exploration.
        replay: the ring buffer.
        optimizer: from `amago_jax.learner.make_optimizer`.
        envs: E, parallel environments.
        rollout_steps: timesteps per environment and epoch.
        updates: learning updates per epoch.
        batch_size: B, windows per update.
        evaluation_episodes: episodes per evaluation.
        greedy_rollouts: explore around the likeliest actions, else around sampled ones.
        greedy_evaluation: likewise in evaluations, without exploration.
    """

    agent: Agent
    env: StreamEnv
    schedule: Schedule
    replay: Replay
    optimizer: optax.GradientTransformation
    envs: int
    rollout_steps: int
    updates: int
    batch_size: int
    evaluation_episodes: int
    greedy_rollouts: bool = False
    greedy_evaluation: bool = True

    @functools.partial(jax.jit, static_argnames="self")
    def init(self, key: Array) -> TrainState:
        """Return the state before the first epoch."""
        key_rollout, key_agent, key = jax.random.split(key, 3)
        rollout_state = init_rollout(self.agent, self.env, key_rollout, self.envs)
        timestep = rollout_state.stream.timestep
        agent_state = self.agent.init(key_agent, timestep)
        return TrainState(
            learner=init_learner(self.optimizer, agent_state),
            rollout=rollout_state,
            replay=self.replay.init(timestep),
            transitions=jnp.zeros((), jnp.int32),
            key=key,
        )

    @functools.partial(jax.jit, static_argnames="self", donate_argnames="state")
    def train_epoch(self, state: TrainState) -> tuple[TrainState, Metrics]:
        """Roll out, store, and learn.

        Args:
            state: where the last epoch stopped; its buffers are given up.

        Returns:
            The state after, and metrics (float32 ``[]`` each): means over the epoch.
        """
        key_rollout, key_updates, key = jax.random.split(state.key, 3)
        rollout_state, timesteps, totals = rollout(
            self.agent,
            self.env,
            self.schedule,
            state.learner.agent,
            state.rollout,
            key_rollout,
            steps=self.rollout_steps,
            greedy=self.greedy_rollouts,
        )
        replay_state = self.replay.add(state.replay, timesteps)
        learner, metrics = self.learn(state.learner, replay_state, key_updates)
        state = TrainState(
            learner=learner,
            rollout=rollout_state,
            replay=replay_state,
            transitions=state.transitions + totals.transitions,
            key=key,
        )
        epsilon = self.schedule.epsilon(rollout_state.steps, jnp.zeros((), jnp.int32))
        return state, {
            **metrics,
            **totals.metrics(),
            "train/epsilon": epsilon,
            "train/finite": totals.finite.astype(jnp.float32),
            "env_steps": state.transitions,
            "updates": learner.updates,
        }

    def learn(
        self, learner: LearnerState, replay: ReplayState, key: Array
    ) -> tuple[LearnerState, Metrics]:
        """Take an epoch's updates; return the learner after, and the means of their metrics."""

        def step(learner: LearnerState, key: Array) -> tuple[LearnerState, Metrics]:
            key_batch, key_draws = jax.random.split(key)
            batch = self.replay.sample(replay, key_batch, self.batch_size)
            draws = self.agent.draw(key_draws, batch)
            return update(self.agent, self.optimizer, learner, batch, draws)

        learner, metrics = jax.lax.scan(step, learner, jax.random.split(key, self.updates))
        return learner, jax.tree.map(jnp.mean, metrics)

    @functools.partial(jax.jit, static_argnames="self")
    def evaluate(self, state: TrainState, key: Array) -> Metrics:
        """Evaluate the agent as it stands, see `amago_jax.evaluation.evaluate`."""
        return evaluate(
            self.agent,
            self.env,
            state.learner.agent,
            key,
            episodes=self.evaluation_episodes,
            greedy=self.greedy_evaluation,
        )
