"""Learning: the replay buffer, one update, and one compiled epoch of rollout and updates."""

from amago_jax.learning.learner import LearnerState, make_optimizer, update
from amago_jax.learning.replay import Replay, ReplayState
from amago_jax.learning.seeds import Seeds, side_by_side
from amago_jax.learning.trainer import Trainer, TrainState

__all__ = [
    "LearnerState",
    "Replay",
    "ReplayState",
    "Seeds",
    "TrainState",
    "Trainer",
    "make_optimizer",
    "side_by_side",
    "update",
]
