"""Acting: parallel environments stepped by a policy with memory, with exploration or without."""

from amago_jax.acting.evaluation import evaluate
from amago_jax.acting.exploration import Schedule
from amago_jax.acting.policy import Policy
from amago_jax.acting.recording import record_episode
from amago_jax.acting.rollout import RolloutState, init_rollout, rollout
from amago_jax.acting.trajectories import Trajectories

__all__ = [
    "Policy",
    "RolloutState",
    "Schedule",
    "Trajectories",
    "evaluate",
    "init_rollout",
    "record_episode",
    "rollout",
]
