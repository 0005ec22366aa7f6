"""Training: rollout, replay and learning as one compiled call per epoch."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import struct
from jax.sharding import Mesh

from amago_jax.acting.evaluation import Played, evaluate, evaluation_metrics
from amago_jax.acting.exploration import Schedule
from amago_jax.acting.rollout import EpisodeTotals, init_rollout, rollout
from amago_jax.agents import Agent, AgentState
from amago_jax.draws import draw_together
from amago_jax.envs import StreamEnv
from amago_jax.hindsight import GoalCounts, Hindsight, count_goals
from amago_jax.hindsight.rarity import GoalTotals
from amago_jax.learning.batches import draw_batch
from amago_jax.learning.experience import Experience
from amago_jax.learning.health import end_epoch, largest, module_norms, skip_if_not_finite
from amago_jax.learning.learner import (
    LearnerState,
    Optimizer,
    apply_gradients,
    gradients,
    init_learner,
)
from amago_jax.learning.metrics import JoinedMetrics, join, summarize
from amago_jax.learning.programs import Programs, programs_of
from amago_jax.learning.replay import Replay, ReplayState
from amago_jax.learning.vectors import flatten
from amago_jax.learning.waiting import learn_if
from amago_jax.parallel import (
    DATA_AXIS,
    SHARED,
    SPLIT,
    as_part,
    device_key,
    own_part,
    per_device,
)
from amago_jax.tunable import tunable
from amago_jax.types import Array, Batch, Metrics, Params, Timestep

LEARNING = "learning"  # what the loop over updates is called in a compiled program


@struct.dataclass
class TrainState:
    """Everything that training changes.

    Attributes:
        learner: the agent and its optimizer, the same on every device.
        experience: split over the devices.
        transitions: int32 ``[]``, transitions made so far, all environments together.
        key: the key of all that is random from here on.
    """

    learner: LearnerState
    experience: Experience
    transitions: Array
    key: Array


@struct.dataclass
class _Collected:
    """A rollout on one device: experience after it, its timesteps ``[E, T, ...]``, its totals."""

    experience: Experience
    timesteps: Timestep
    totals: EpisodeTotals


@struct.dataclass
class _Accumulated:
    """The agent, and the sum of gradients, in the middle of an update of several batches."""

    agent: AgentState
    grads: Params


@tunable("agent", "schedule", "optimizer")
@dataclasses.dataclass(frozen=True)
class Trainer:
    """A description of training.

    Trainers that differ only in numbers, such as the learning rate, share what is compiled, see
    `amago_jax.tunable` and `amago_jax.learning.programs`.

    Attributes:
        agent: what learns; batches are split over its axis "data".
        env: where it learns.
        schedule: of exploration.
        replay: the ring buffer.
        optimizer: from `amago_jax.learning.learner.make_optimizer`, or any of optax.
        mesh: the devices, from `amago_jax.parallel.make_mesh`.
        envs: E, parallel environments, all devices together.
        rollout_steps: timesteps per environment and epoch.
        updates: learning updates per epoch.
        batch_size: B, windows per batch, all devices together.
        batches_per_update: batches whose gradients are averaged for one update.
        hindsight: how instructions are relabelled; None: not at all.
        evaluation_episodes: episodes per evaluation, rounded up to a multiple of the devices.
        greedy_rollouts: explore around the likeliest actions, else around sampled ones.
        greedy_evaluation: likewise in evaluations, without exploration.
        skip_not_finite: an update whose loss or gradients are NaN or infinite changes nothing;
            else an epoch with one leaves the learner as it was before the epoch.
        learning_starts: transitions, all environments together, that are collected before updates
            begin: an epoch that ends with fewer has none. Seeds side by side compute its updates
            nevertheless, and drop them.
        restarts: an episode ends before a step of the environment that is NaN or infinite, and
            another begins, see `amago_jax.acting.restarts`.

    Raises:
        ValueError: if the devices do not divide environments and batch.
    """

    agent: Agent
    env: StreamEnv
    schedule: Schedule
    replay: Replay
    optimizer: Optimizer
    mesh: Mesh
    envs: int
    rollout_steps: int
    updates: int
    batch_size: int
    evaluation_episodes: int
    batches_per_update: int = 1
    hindsight: Hindsight | None = None
    greedy_rollouts: bool = False
    greedy_evaluation: bool = True
    skip_not_finite: bool = False
    restarts: bool = False
    learning_starts: int = 0

    def __post_init__(self) -> None:
        """Check that the work can be split."""
        if self.envs % self.devices or self.batch_size % self.devices:
            raise ValueError(
                f"devices={self.devices} must divide envs={self.envs} "
                f"and batch_size={self.batch_size}"
            )

    @property
    def devices(self) -> int:
        """The number of devices that share the work of one seed."""
        return self.mesh.shape[DATA_AXIS]

    @property
    def specs(self) -> TrainState:
        """How the parts of the state lie on the mesh."""
        return TrainState(SHARED, SPLIT, SHARED, SHARED)  # type: ignore[arg-type]

    @property
    def example_key(self) -> Array:
        """A key such as `init` and `evaluate` take."""
        return jax.random.key(0)

    @functools.cached_property
    def programs(self) -> Programs:
        """What is compiled, shared with all trainers of this kind."""
        return programs_of(self)

    def init(self, key: Array) -> TrainState:
        """Return the state before the first epoch, placed on the mesh."""
        return self.programs.init(self, key)

    def train_epoch(self, state: TrainState) -> tuple[TrainState, Metrics]:
        """Roll out, store, and learn.

        Args:
            state: where the last epoch stopped; its buffers are given up.

        Returns:
            The state after, and metrics (``[]`` each): means over the epoch.
        """
        return self.programs.train_epoch(self, state)

    def fill(self, state: TrainState) -> TrainState:
        """Roll out and store as `train_epoch` does, but learn nothing."""
        return self.programs.fill(self, state)

    def evaluate(self, agent_state: AgentState, key: Array) -> Metrics:
        """Evaluate the agent as it stands, see `amago_jax.acting.evaluation.evaluate`."""
        return self.programs.evaluate(self, agent_state, key)

    def sample(self, experience: Experience, key: Array, batch_size: int) -> Batch:
        """Draw a batch as updates do, hindsight included.

        Args:
            experience: of the training state, after at least one rollout.
            key: a random key.
            batch_size: B, a multiple of the devices.

        Returns:
            Windows ``[B, W, ...]``.
        """
        return self.programs.sample(self, experience, key, batch_size)

    def shapes(self) -> TrainState:
        """Return shapes, dtypes and places of all arrays of the state."""
        return self.programs.shapes(self)

    def compile(self) -> None:
        """Compile all three side by side, so that their first calls start at once."""
        self.programs.compile(self)

    # What the programs do, to be traced.

    def traced_init(self, key: Array) -> TrainState:
        """See `init`."""
        key_rollout, key_agent, key = jax.random.split(key, 3)

        def init_experience(key: Array) -> Experience:
            envs = self.envs // self.devices
            state = init_rollout(self.agent, self.env, key, envs, restarts=self.restarts)
            goals = None if self.hindsight is None else self.hindsight.init_counts(envs)
            return Experience(state, self.replay.init(state.stream.timestep), goals)

        experience = jax.vmap(init_experience)(jax.random.split(key_rollout, self.devices))
        timestep = own_part(experience.rollout.stream.timestep)
        learner = init_learner(self.optimizer, draw_together(self.agent.init)(key_agent, timestep))
        return TrainState(learner, experience, jnp.zeros((), jnp.int32), key)

    def traced_epoch(self, state: TrainState) -> tuple[TrainState, Metrics]:
        """See `train_epoch`."""
        split = per_device(
            Trainer.epoch_part, self.mesh, (SHARED, self.specs), (self.specs, SHARED)
        )
        return split(self, state)

    def epoch_part(self, state: TrainState) -> tuple[TrainState, Metrics]:
        """One device's part of an epoch."""
        key_epoch, key = jax.random.split(state.key)
        key_rollout, key_updates = jax.random.split(device_key(key_epoch))
        collected = self._collect(state, key_rollout)
        experience = collected.experience
        learner, metrics = self._learn_when_due(state, collected, key_updates)
        totals = jax.lax.psum(collected.totals, DATA_AXIS)
        state = TrainState(
            learner=learner,
            experience=as_part(experience),
            transitions=state.transitions + totals.transitions,
            key=key,
        )
        return state, {
            **metrics,
            **totals.metrics(),
            **largest(collected.timesteps, DATA_AXIS),
            "env_steps": state.transitions,
            "updates": learner.updates,
        }

    def _learn_when_due(
        self, state: TrainState, collected: _Collected, key: Array
    ) -> tuple[LearnerState, Metrics]:
        """`learn` on one device, if enough is collected."""
        experience = collected.experience

        def learn(learner: LearnerState) -> tuple[LearnerState, Metrics]:
            return self.learn(learner, experience.replay, key, experience.goals)

        if self.learning_starts == 0:
            return learn(state.learner)
        made = jax.lax.psum(collected.totals.transitions, DATA_AXIS)
        due = state.transitions + made >= self.learning_starts
        return learn_if(due, learn, state.learner)

    def traced_fill(self, state: TrainState) -> TrainState:
        """See `fill`."""
        split = per_device(Trainer.fill_part, self.mesh, (SHARED, self.specs), self.specs)
        return split(self, state)

    def fill_part(self, state: TrainState) -> TrainState:
        """One device's part of an epoch without updates."""
        key_epoch, key = jax.random.split(state.key)
        collected = self._collect(state, device_key(key_epoch))
        made = jax.lax.psum(collected.totals.transitions, DATA_AXIS)
        experience = as_part(collected.experience)
        return TrainState(state.learner, experience, transitions=state.transitions + made, key=key)

    def _collect(self, state: TrainState, key: Array) -> _Collected:
        """Roll out and store on one device."""
        experience = own_part(state.experience)
        rollout_state, timesteps, totals = rollout(
            self.agent,
            self.env,
            self.schedule,
            state.learner.agent,
            experience.rollout,
            key,
            steps=self.rollout_steps,
            greedy=self.greedy_rollouts,
            restarts=self.restarts,
        )
        replay = self.replay.add(experience.replay, timesteps)
        goals = experience.goals
        if goals is not None and self.hindsight is not None:
            goals = count_goals(self.hindsight.protocol, goals, timesteps)
        return _Collected(Experience(rollout_state, replay, goals), timesteps, totals)

    def learn(
        self,
        learner: LearnerState,
        replay: ReplayState,
        key: Array,
        goals: GoalCounts | None = None,
    ) -> tuple[LearnerState, Metrics]:
        """Take an epoch's updates on one device's part of every batch.

        Args:
            learner: the learner, the same on every device.
            replay: this device's buffer.
            key: this device's key.
            goals: this device's counts of goals, if hindsight weighs by rarity.

        Returns:
            The learner after, and the updates' metrics, see `end_epoch`.
        """
        totals = None if goals is None else jax.lax.psum(goals.totals, DATA_AXIS)
        differentiate = self._one_batch if self.batches_per_update == 1 else self._batches
        before = learner
        learner, layout = flatten(learner, getattr(self.optimizer, "elementwise", False))

        def step(learner: LearnerState, keys: Array) -> tuple[LearnerState, JoinedMetrics]:
            weights = layout.agent(learner.agent)
            agent, (grads, metrics) = differentiate(weights, keys, replay, totals)
            # The loss moves statistics; the weights are as they were, joined.
            agent = layout.moved(learner.agent, agent)
            moved, grads = dataclasses.replace(learner, agent=agent), layout.join(grads)
            moved, metrics = apply_gradients(self.agent, self.optimizer, moved, grads, metrics)
            metrics = module_norms(grads) | metrics
            if self.skip_not_finite:
                moved = skip_if_not_finite(learner, moved, metrics)
            return moved, join(metrics)

        keys = jax.random.split(key, self.updates)
        if self.batches_per_update == 1:
            keys = _batch_keys(keys)
        with jax.named_scope(LEARNING):
            learner, metrics = jax.lax.scan(step, learner, keys)
        after = layout.unflatten(learner)
        return end_epoch(self.agent, before, after, metrics, skips=self.skip_not_finite)

    def _one_batch(
        self, agent: AgentState, keys: Array, replay: ReplayState, totals: GoalTotals | None
    ) -> tuple[AgentState, tuple[Params, Metrics]]:
        """Draw a batch with its keys ``[3]`` and differentiate its loss."""
        key_batch, key_draws, key_hindsight = keys
        size = self.batch_size // self.devices
        batch = draw_batch(self, replay, (key_batch, key_hindsight), totals, size)
        draws = self.agent.draw(key_draws, batch)
        grads, agent, metrics = gradients(self.agent, agent, batch, draws)
        return agent, (grads, metrics)

    def _batches(
        self, agent: AgentState, key: Array, replay: ReplayState, totals: GoalTotals | None
    ) -> tuple[AgentState, tuple[Params, Metrics]]:
        """Average the gradients of several batches."""

        def add(carry: _Accumulated, keys: Array) -> tuple[_Accumulated, JoinedMetrics]:
            agent, (grads, metrics) = self._one_batch(carry.agent, keys, replay, totals)
            return _Accumulated(agent, jax.tree.map(jnp.add, carry.grads, grads)), join(metrics)

        start = _Accumulated(agent, jax.tree.map(jnp.zeros_like, agent.params))
        keys = _batch_keys(jax.random.split(key, self.batches_per_update))
        end, metrics = jax.lax.scan(add, start, keys)
        grads = jax.tree.map(lambda g: g / self.batches_per_update, end.grads)
        return end.agent, (grads, summarize(metrics))

    def traced_evaluation(self, agent_state: AgentState, key: Array) -> Metrics:
        """See `evaluate`."""
        split = per_device(Trainer.play_part, self.mesh, (SHARED, SHARED, SHARED), SPLIT)
        return evaluation_metrics(split(self, agent_state, key), self.restarts)

    def play_part(self, agent_state: AgentState, key: Array) -> Played:
        """One device's part of an evaluation, with a leading axis of 1."""
        played = evaluate(
            self.agent,
            self.env,
            agent_state,
            device_key(key),
            episodes=-(-self.evaluation_episodes // self.devices),
            greedy=self.greedy_evaluation,
            restarts=self.restarts,
        )
        return as_part(played)


def _batch_keys(keys: Array) -> Array:
    """Split keys ``[N]`` into those of N batches ``[N, 3]``, ahead of the loop over them."""
    return jax.vmap(lambda key: jax.random.split(key, 3))(keys)
