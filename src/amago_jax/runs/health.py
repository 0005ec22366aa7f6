"""What a run does about numbers that are none: it stops, with the reason, or goes on."""

import contextlib
import itertools
import math
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from omegaconf import DictConfig

from amago_jax.acting.rollout import NOT_FINITE
from amago_jax.envs import StreamEnv
from amago_jax.errors import TrainingError, first_line
from amago_jax.learning import Trainer, TrainState
from amago_jax.learning.health import HEALTH
from amago_jax.runs.divergence import LARGE_OBSERVATION, Divergence

# Rewards, times their multiplier, beyond this are likelier to be the cause than the learning rate:
# normalization scales by 1e4 at most.
LARGE_REWARD = 1e7
# Skipped updates in a row, counted in whole epochs, after which nothing is to be hoped for. Nor may
# the last epoch be such a one.
MOST_SKIPPED = 100


def skips_nan(config: DictConfig) -> bool:
    """Whether updates that are not finite are skipped; runs that had no choice stop."""
    skips: bool = config.get("on_nan", "stop") == "skip"
    return skips


def restarts_env(config: DictConfig) -> bool:
    """Whether an environment that gives a NaN or an infinity begins another episode."""
    restarts: bool = config.get("on_env_nan", "stop") == "restart"
    return restarts


def check_evaluation(trainer: Trainer, row: dict[str, float]) -> None:
    """See whether an evaluation gave a number.

    Args:
        trainer: of the run.
        row: the evaluation's metrics.

    Raises:
        TrainingError: if its return is none.
    """
    value = row["evaluation/return"]
    if math.isfinite(value):
        return
    episodes = "every episode" if trainer.restarts else "an episode"
    raise TrainingError(
        f"an evaluation's return is {value}, for env {trainer.env.name!r} gave a NaN or infinite "
        f"reward or observation in {episodes}{_remedy(trainer)}"
    )


@contextlib.contextmanager
def failures_named(env: StreamEnv) -> Iterator[None]:
    """Say in a sentence why a program failed, where that is known.

    Args:
        env: the environment in the program.

    Raises:
        TrainingError: if the device's memory was full, or code of the environment's that runs
            outside of the program (a callback) raised an error.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        text = str(error).strip()
        if "RESOURCE_EXHAUSTED" in text:
            raise TrainingError(
                f"the device's memory is full: {first_line(error)}; make envs, replay.capacity or "
                "batch_size smaller (scripts/estimate.py tells what a run takes)"
            ) from error
        if "callback" not in text.lower():
            raise
        # What the callback raised ends the traceback that the message quotes.
        last = text.splitlines()[-1].strip()
        raise TrainingError(f"env {env.name!r} raised an error in a callback: {last}") from error


class Health:
    """Judges a run's epochs, and remembers what may explain a later failure."""

    def __init__(self, trainer: Trainer, learning_rate: float | None) -> None:
        """Begin with nothing seen.

        Args:
            trainer: the run's.
            learning_rate: the optimizer's, if it has one.
        """
        self._trainer, self._learning_rate = trainer, learning_rate
        self._observation = self._reward = 0.0
        self._skipped_in_a_row = self._env_steps = 0.0
        self._divergence = Divergence(trainer)

    def check_start(self, state: TrainState) -> None:
        """See whether what environments show before the first step are numbers.

        Raises:
            TrainingError: naming the observation that is not.
        """
        timestep = state.experience.rollout.stream.timestep
        for key, x in timestep.observation.items():
            # Of several processes, none sees all; the first epoch tells them.
            known = x.is_fully_addressable and jnp.issubdtype(x.dtype, jnp.floating)
            bad = int((~np.isfinite(jax.device_get(x))).sum()) if known else 0
            if bad:
                raise TrainingError(
                    self._not_finite({f"observation {key!r}": bad}, "the first reset")
                )

    def follow(self, trainer: Trainer, learning_rate: float | None) -> None:
        """Judge what another trainer does from now on, see `__init__`."""
        self._trainer, self._learning_rate = trainer, learning_rate
        self._divergence.follow(trainer)

    def remember(self, rows: Sequence[dict[str, float]], *, learned_before: bool = False) -> None:
        """See `Divergence.remember`."""
        self._divergence.remember(rows, learned_before=learned_before)

    def check(self, row: dict[str, float]) -> None:
        """Take what is for health alone out of an epoch's row, and see whether the run may go on.

        Args:
            row: metrics of an epoch, all of them.

        Raises:
            TrainingError: if it may not, with the reason.
        """
        health, bad = _taken(row, HEALTH), _taken(row, NOT_FINITE)
        self._observation = max(self._observation, health["largest_observation"])
        self._reward = max(self._reward, health["largest_reward"])
        where = f"epoch {row['epoch']:.0f}"
        if any(bad.values()):
            raise TrainingError(self._not_finite(bad, where))
        self._check_restarts(row, where)
        skipped = row["updates/skipped"]
        whole_epoch = skipped >= self._trainer.updates
        self._skipped_in_a_row = self._skipped_in_a_row + skipped if whole_epoch else 0.0
        last = whole_epoch and row["epoch"] >= row["epochs"]
        if skipped and not self._trainer.skip_not_finite:
            failure = f"{_failure(health)}, in update {health['first'] + 1:.0f} of {where}"
            raise TrainingError(f"{failure} ({self._statistics(health)}); {self._advice()}")
        if last or self._skipped_in_a_row >= MOST_SKIPPED:
            raise TrainingError(
                f"{_failure(health)} ({self._statistics(health)}); the last "
                f"{self._skipped_in_a_row:.0f} updates, until {where}, were skipped for such; "
                f"{self._advice()}"
            )
        if health["weights"]:
            raise TrainingError(f"weights became NaN or infinite in {where}; {self._advice()}")
        self._divergence.watch(row, health)

    def _check_restarts(self, row: dict[str, float], where: str) -> None:
        """See whether the environments' faults leave anything to learn from."""
        nothing = row["env_steps"] <= self._env_steps
        self._env_steps = row["env_steps"]
        if row.get("env/restarts") and nothing:
            raise TrainingError(
                f"env {self._trainer.env.name!r} gave a NaN or infinite reward or observation at "
                f"every step of {where}: on_env_nan=restart has nothing to go on with"
            )

    def _not_finite(self, counts: dict[str, float], where: str) -> str:
        bad = " and ".join(f"{name} ({n:.0f} numbers)" for name, n in counts.items() if n)
        return (
            f"env {self._trainer.env.name!r} gave a NaN or infinite {bad} in {where}"
            f"{_remedy(self._trainer)}"
        )

    def _statistics(self, health: dict[str, float]) -> str:
        """Say what is known of the batch, and of all that was seen."""
        told = {
            "TD targets from {:.3g} to {:.3g}": ("value/td_target_min", "value/td_target_max"),
            "values of {:.3g}": ("value/q",),
            "losses of {:.3g} of the actor and {:.3g} of the critics": (
                "loss/actor",
                "loss/critic",
            ),
        }
        batch = {name: health.get(f"batch/{name}") for name in itertools.chain(*told.values())}
        known = [
            words.format(*(batch[name] for name in names))
            for words, names in told.items()
            if all(batch[name] is not None for name in names)
        ]
        return (
            f"its batch had {', '.join(known)}; rewards so far reached {self._reward:.3g}, "
            f"observations {self._observation:.3g}"
        )

    def _advice(self) -> str:
        factor = self._trainer.agent.reward_multiplier
        if self._observation > LARGE_OBSERVATION:
            cause = f"observations reached {self._observation:.2g}"
        elif self._reward * factor > LARGE_REWARD:
            cause = f"rewards reached {self._reward:.2g}, times agent.reward_multiplier={factor:g}"
        else:
            return f"try a smaller optimizer.learning_rate than {self._learning_rate}"
        return f"{cause}: scale them down, for no optimizer.learning_rate makes up for it"


def _remedy(trainer: Trainer) -> str:
    if trainer.restarts:
        return ""
    return "; on_env_nan=restart ends such episodes, and goes on"


def _taken(row: dict[str, float], prefix: str) -> dict[str, float]:
    """Take out of a row what begins with a prefix, and leave that off."""
    names = [name for name in row if name.startswith(prefix)]
    return {name.removeprefix(prefix): row.pop(name) for name in names}


def _failure(health: dict[str, float]) -> str:
    """Say what was not finite in the first update that had such a thing."""
    prefix = "gradient/"
    modules = [
        name.removeprefix(prefix)
        for name, value in health.items()
        if name.startswith(prefix) and not math.isfinite(value)
    ]
    of_modules = f"the gradients of {', '.join(modules)}" if modules else "the gradients' norm"
    if math.isfinite(health["loss"]):
        return f"{of_modules} became NaN or infinite at a loss of {health['loss']:.3g}"
    also = f", and {of_modules} NaN or infinite" if modules else ""
    return f"the loss became {health['loss']}{also}"
