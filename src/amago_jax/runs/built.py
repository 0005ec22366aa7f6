"""What a run is before it trains: built in a folder, compiled, evaluated and looked at."""

import dataclasses
import time

import jax
import jax.numpy as jnp
from omegaconf import DictConfig

from amago_jax.acting.policy import Policy
from amago_jax.errors import ConfigError
from amago_jax.learning import LearnerState, Trainer, TrainState
from amago_jax.learning.metrics import floats
from amago_jax.learning.programs import Programs
from amago_jax.runs.building import build
from amago_jax.runs.compilation_cache import use_compilation_cache
from amago_jax.runs.directories import make_directory
from amago_jax.runs.frozen import freeze, thaw
from amago_jax.runs.health import failures_named
from amago_jax.runs.lanes import in_lanes
from amago_jax.runs.members import is_side_by_side
from amago_jax.runs.memory import check_memory
from amago_jax.settings import Size, check
from amago_jax.types import Array, Batch

Row = dict[str, float]
SAMPLE = 1  # folded into a state's key, of which an epoch's keys are split


class BuiltRun:
    """A trainer with its state, in a folder; of epochs it knows nothing, see `amago_jax.Run`.

    Attributes:
        trainer: what it describes.
        directory: the run's folder.
        in_lanes: whether it follows from ``lanes``.
        compile_seconds: how long `compile` took; None before.
    """

    def __init__(self, config: DictConfig, trainer: Trainer | None = None) -> None:
        """Build the run and its folder, and choose where programs are kept; compiles nothing.

        Args:
            config: a training configuration.
            trainer: what `build` makes of it, where that is there already.

        Raises:
            ConfigError: if a setting is unknown, malformed or impossible.
        """
        if is_side_by_side(config):
            raise ConfigError(
                f"seeds={config.seeds} and grid={config.grid} make several runs, "
                "which amago_jax.make_runs builds"
            )
        self.trainer = build(config) if trainer is None else trainer
        # Runs saved before there was a cache have no such settings.
        use_compilation_cache(**config.get("compilation_cache", {}))
        wide = thaw(in_lanes(config, self.trainer.replay.window))
        self.in_lanes = config.get("lanes") is not None
        self.directory = make_directory(wide, f"seed{config.seed}")
        self._config = freeze(wide)
        self.init_key, self._evaluation_key = jax.random.split(jax.random.key(config.seed))
        self._state: TrainState | None = None
        self._loaded: LearnerState | None = None
        self.compile_seconds: float | None = None
        self._compiled: Programs | None = None

    @property
    def config(self) -> DictConfig:
        """The configuration, of lanes what follows from them; `change` changes what can be."""
        return self._config

    @property
    def state(self) -> TrainState:
        """The training state, made when first asked for."""
        if self._state is None:
            check_memory(self.trainer, in_lanes=self.in_lanes)
            with failures_named(self.trainer.env):
                self._state = jax.block_until_ready(self.trainer.init(self.init_key))
            if self._loaded is not None:
                self._state = dataclasses.replace(self._state, learner=self._loaded)
        return self._state

    @state.setter
    def state(self, state: TrainState) -> None:
        self._state = state

    @property
    def only_learner(self) -> bool:
        """Whether it was loaded, and has not trained since."""
        return self._state is None and self._loaded is not None

    @property
    def learner(self) -> LearnerState:
        """The agent and its optimizer: of a loaded run, they are there before the state is."""
        if self._state is None and self._loaded is not None:
            return self._loaded
        return self.state.learner

    @property
    def is_compiled(self) -> bool:
        """Whether `compile` has nothing to do."""
        return self._compiled is self.trainer.programs

    def compile(self) -> float:
        """Compile what training needs, unless that is done; return the seconds it took so far.

        Raises:
            ConfigError: if the run cannot fit the memory there is.
        """
        if not self.is_compiled:
            check_memory(self.trainer, in_lanes=self.in_lanes)
            started = time.perf_counter()
            self.trainer.compile()
            self._compiled = self.trainer.programs
            took = time.perf_counter() - started
            self.compile_seconds = (self.compile_seconds or 0.0) + took
        return self.compile_seconds or 0.0

    def evaluate(self, fold: int = 0, episodes: int | None = None) -> Row:
        """Evaluate the agent as it stands, and return metrics under ``evaluation/``.

        Args:
            fold: evaluations of different folds draw different episodes.
            episodes: how many, for which a program is compiled the first time; None:
                ``evaluation.episodes``.

        Raises:
            ConfigError: if ``episodes`` is no number of episodes.
        """
        trainer = self.trainer
        if episodes is not None:
            check("episodes", episodes, Size)
            trainer = dataclasses.replace(trainer, evaluation_episodes=episodes)
        if self.only_learner or trainer is not self.trainer:
            check_memory(trainer, evaluating=self.only_learner)
        with failures_named(trainer.env):
            return floats(trainer.evaluate(self.learner.agent, self.evaluation_key(fold)))

    def evaluation_key(self, fold: int) -> Array:
        """Return the key of an evaluation, see `evaluate`."""
        return jax.random.fold_in(self._evaluation_key, fold)

    def sample_batch(self, batch_size: int | None = None, key: Array | None = None) -> Batch:
        """Draw windows from the replay as an update does, relabelled in hindsight if it does that.

        Args:
            batch_size: B; None: as configured.
            key: a random key; None: the same windows until the next epoch is trained.

        Returns:
            Windows ``[B, W, ...]``, W timesteps each.

        Raises:
            ConfigError: if ``batch_size`` is no size of a batch, or nothing is stored yet.
        """
        trainer = self.trainer
        size = trainer.batch_size if batch_size is None else batch_size
        check("batch_size", size, Size)
        if size % trainer.devices:
            raise ConfigError(f"batch_size={size} must be a multiple of devices={trainer.devices}")
        if self.only_learner or not self.state.transitions:
            raise ConfigError(
                f"the replay of the run in {self.directory} is empty: train an epoch first, or go "
                "on with a run by Run.resume, which has its replay"
            )
        state = self.state
        if key is None:
            key = jax.random.fold_in(state.key, SAMPLE)
        return trainer.sample(state.experience, key, size)

    @property
    def policy(self) -> Policy:
        """The policy as it stands, its arrays copied: later epochs do not change it."""
        return Policy(self.trainer.agent, jax.tree.map(jnp.copy, self.learner.agent))
