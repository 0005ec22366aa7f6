"""One run of several side by side: its numbers are its own, its training is that of all."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from omegaconf import DictConfig

from amago_jax.learning import LearnerState, Trainer, TrainState
from amago_jax.reports.rows import Frame
from amago_jax.runs.checkpoints import open_step
from amago_jax.runs.run import Row, Run
from amago_jax.runs.snapshots import rows_of


class MemberRun(Run):
    """One of several runs: its numbers are its own, its epochs those of all."""

    def __init__(
        self, config: DictConfig, trainer: Trainer, own: Callable[[Callable[[Any], Any]], Any]
    ) -> None:
        """See `Run`.

        Args:
            config: its configuration.
            trainer: what trains it alone.
            own: returns its part of what a function picks from the training state of all.
        """
        super().__init__(config, trainer)
        self._own = own
        self._end: LearnerState | None = None

    @property
    def state(self) -> TrainState:
        """Its training state, copied; of one that has ended, as all have trained on."""
        found: TrainState = self._own(lambda state: state)
        return found

    @state.setter
    def state(self, state: TrainState) -> None:
        raise RuntimeError("this run is trained side by side with others: its state is theirs")

    @property
    def learner(self) -> LearnerState:
        """Its agent and optimizer; of one that has ended, as they were then."""
        if self._end is not None:
            return self._end
        found: LearnerState = self._own(lambda state: state.learner)
        return found

    def end(self) -> None:
        """Keep the learner as it is now."""
        self._end = self.learner

    def restore_end(self, step: int) -> bool:
        """Take rows and learner from the checkpoint that was saved when it ended; return True."""
        checkpoint = open_step(self.directory / "checkpoints", step)
        self.rows = rows_of(self, checkpoint)
        self._end = checkpoint.restore(self.trainer.shapes().learner)
        self.changes.restore(checkpoint, self.config, self.next_epoch - 1)
        return True

    def go_on(self) -> None:
        """Train again with the others."""
        self._end = None

    def train(self, epochs: int | None = None, *, progress: bool = True) -> Frame:
        """Refuse, for it is trained by `Runs.train`."""
        raise RuntimeError("this run is trained side by side with others, see Runs.train")

    def epochs(self, *, write: bool = True) -> Iterator[Row]:
        """Refuse, for its epochs are trained by `Runs.epochs`."""
        raise RuntimeError("this run is trained side by side with others, see Runs.epochs")

    def change(self, overrides: Sequence[str]) -> None:
        """Refuse, for what trains it trains all: see `Runs.change`."""
        raise RuntimeError("this run is trained side by side with others, see Runs.change")
