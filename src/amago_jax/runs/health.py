"""What a run does about numbers that are none, and about those too large to learn from."""

import math
import warnings

from omegaconf import DictConfig

from amago_jax.errors import TrainingError
from amago_jax.learning import Trainer
from amago_jax.learning.health import HEALTH, NOT_FINITE

# Rewards, times their multiplier, and observations beyond these are likelier to be the cause than
# the learning rate: normalization scales by 1e4 and 1e6 at most.
LARGE_REWARD, LARGE_OBSERVATION = 1e7, 1e9
# Skipped updates in a row, counted in whole epochs, after which nothing is to be hoped for. Nor may
# the last epoch be such a one.
MOST_SKIPPED = 100


def skips_nan(config: DictConfig) -> bool:
    """Whether updates that are not finite are skipped; runs that had no choice stop."""
    skips: bool = config.get("on_nan", "stop") == "skip"
    return skips


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
        self._skipped_in_a_row = 0.0
        self._warned = False

    def follow(self, trainer: Trainer, learning_rate: float | None) -> None:
        """Judge what another trainer does from now on, see `__init__`."""
        self._trainer, self._learning_rate = trainer, learning_rate

    def check(self, row: dict[str, float]) -> None:
        """Take what is for health alone out of an epoch's row, and see whether the run may go on.

        Args:
            row: metrics of an epoch, all of them.

        Raises:
            TrainingError: if it may not, with the reason.
        """
        told = {name: row.pop(name) for name in [*row] if name.startswith(HEALTH)}
        health = {name.removeprefix(HEALTH): value for name, value in told.items()}
        self._observation = max(self._observation, health["largest_observation"])
        self._reward = max(self._reward, health["largest_reward"])
        where = f"epoch {row['epoch']:.0f}"
        if row.pop(NOT_FINITE):
            raise TrainingError(
                f"env {self._trainer.env.name!r} gave a NaN or infinite reward or observation "
                f"in {where}"
            )
        skipped = row["updates/skipped"]
        whole_epoch = skipped >= self._trainer.updates
        self._skipped_in_a_row = self._skipped_in_a_row + skipped if whole_epoch else 0.0
        last = whole_epoch and row["epoch"] >= row["epochs"]
        if skipped and not self._trainer.skip_not_finite:
            failure = f"{_failure(health)}, in update {health['first'] + 1:.0f} of {where}"
            raise TrainingError(f"{failure}; {self._advice()}")
        if last or self._skipped_in_a_row >= MOST_SKIPPED:
            raise TrainingError(
                f"{_failure(health)}; the last {self._skipped_in_a_row:.0f} updates, until "
                f"{where}, were skipped for such; {self._advice()}"
            )
        if health["weights"]:
            raise TrainingError(f"weights became NaN or infinite in {where}; {self._advice()}")
        self._warn(where, health["saturated"] > 0)

    def _warn(self, where: str, saturated: bool) -> None:
        """Tell once of numbers that normalization does not make small."""
        sentences = [self._saturation(where)] if saturated else []
        if self._observation > LARGE_OBSERVATION:
            sentences.append(
                f"in {where}, observations reached {self._observation:.2g}, more than "
                "normalization can scale: little is learned from them; scale them down"
            )
        if sentences and not self._warned:
            self._warned = True
            warnings.warn("; ".join(sentences), stacklevel=4)

    def _advice(self) -> str:
        factor = self._trainer.agent.reward_multiplier
        if self._observation > LARGE_OBSERVATION:
            cause = f"observations reached {self._observation:.2g}"
        elif self._reward * factor > LARGE_REWARD:
            cause = f"rewards reached {self._reward:.2g}, times agent.reward_multiplier={factor:g}"
        else:
            return f"try a smaller optimizer.learning_rate than {self._learning_rate}"
        return f"{cause}: scale them down, for no optimizer.learning_rate makes up for it"

    def _saturation(self, where: str) -> str:
        factor = self._trainer.agent.reward_multiplier
        return (
            f"in {where}, TD targets deviate by more than 1e4, the most that PopArt scales by "
            f"(rewards reached {self._reward:.2g}, times agent.reward_multiplier={factor:g}): "
            "critics learn badly; scale rewards down, or set a smaller agent.reward_multiplier"
        )


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
