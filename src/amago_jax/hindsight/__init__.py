"""Hindsight relabelling of instructions, and what a task must say about its goals for it."""

from amago_jax.hindsight.instructions import GoalProtocol, Instruction, advance, begin
from amago_jax.hindsight.rarity import GoalCounts, count_goals
from amago_jax.hindsight.relabel import Hindsight, build_hindsight

__all__ = [
    "GoalCounts",
    "GoalProtocol",
    "Hindsight",
    "Instruction",
    "advance",
    "begin",
    "build_hindsight",
    "count_goals",
]
