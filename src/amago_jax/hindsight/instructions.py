"""Instructions: sequences of goals to reach in order, and what a task must say about its goals.

Environments and hindsight relabelling share this logic, so that a relabelled instruction pays what
the environment itself would have paid.

Source: AMAGO (Grigsby, Fan, Zhu; ICLR 2024), section 3.3.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import struct

from amago_jax.axes import align
from amago_jax.types import Array


@dataclasses.dataclass(frozen=True)
class GoalProtocol:
    """What hindsight must know of a task. Goals are vectors ``[g]`` of one dtype.

    An observation holds two keys: the instruction as the policy sees it, ``[k, g]``, in which
    completed goals are shown as a fixed value, and the goals achieved at this timestep,
    ``[m, g]``, padded with the same value, which the policy does not see. An instruction of fewer
    than k goals begins with entries that are completed from the start.

    Override `same` if goals may be equal without being identical, and give `goal_count` and
    `index` if goals shall be drawn by rarity.

    Attributes:
        completed: every number of a completed goal, and of no goal; no real goal is all of it.
        reward: of completing a goal.
        goals_key: observation key of the instruction.
        achieved_key: observation key of the goals achieved.
        goal_count: N, how many different goals there are; None: unknown.
    """

    completed: float = -1
    reward: float = 1.0
    goals_key: str = "goals"
    achieved_key: str = "achieved"
    goal_count: int | None = None

    def same(self, a: Array, b: Array) -> Array:
        """Whether goals ``[..., g]`` are equal, bool ``[...]``."""
        return (a == b).all(-1)

    def is_goal(self, goals: Array) -> Array:
        """Whether ``goals [..., g]`` are goals, not completed or padding; bool ``[...]``."""
        return (goals != self.completed).any(-1)

    def index(self, goals: Array) -> Array:
        """Number goals ``[..., g]`` from 0 to N - 1, int32 ``[...]``."""
        raise NotImplementedError(f"{type(self).__name__} does not number its goals")

    def reached(self, goal: Array, achieved: Array) -> Array:
        """Whether a goal ``[..., g]`` is among those achieved ``[..., m, g]``; bool ``[...]``."""
        equal = self.same(goal[..., None, :], achieved) & self.is_goal(achieved)
        return equal.any(-1) & self.is_goal(goal)

    def show(self, goals: Array, progress: Array) -> Array:
        """Show the first ``progress [...]`` entries of ``goals [..., k, g]`` as completed."""
        hidden = align(jnp.arange(goals.shape[-2]), goals[..., 0]) < progress[..., None]
        return jnp.where(hidden[..., None], jnp.asarray(self.completed, goals.dtype), goals)


@struct.dataclass
class Instruction:
    """An instruction that an environment follows.

    Attributes:
        goals: ``[k, g]``, first the unused entries, which count as completed.
        unused: int32 ``[]``, how many these are.
        progress: int32 ``[]``, entries completed, the unused ones included.
    """

    goals: Array
    unused: Array
    progress: Array

    @property
    def finished(self) -> Array:
        """Whether the last goal is reached, bool ``[]``."""
        return self.progress == self.goals.shape[0]

    def describe(self, words: Callable[[list[Any]], str] | None = None) -> str:
        """Say how far it was followed; arrays must be concrete.

        Args:
            words: name a goal, given as a list of its numbers; None: write the numbers.
        """
        progress, unused = int(self.progress), int(self.unused)
        given = self.goals.shape[0] - unused
        words = words or (lambda goal: " ".join(map(str, goal)))
        left = [words(goal) for goal in np.asarray(self.goals)[progress:].tolist()]
        return f"{progress - unused} of {given} goals" + (
            f", next {'; '.join(left)}" if left else ""
        )

    def metrics(self) -> dict[str, Array]:
        """Success so far: of the whole, of its goals on average, of each if it has so many."""
        slots = self.goals.shape[0]
        given, reached = slots - self.unused, self.progress - self.unused
        metrics = {
            "success/instruction": self.finished.astype(jnp.float32),
            "success/goals": reached / given,
        }
        for number in range(1, slots + 1):
            success = (reached >= number).astype(jnp.float32)
            metrics[f"success/goal_{number}"] = jnp.where(number <= given, success, jnp.nan)
        return metrics


def begin(protocol: GoalProtocol, goals: Array, count: Array) -> Instruction:
    """Make an instruction of the last ``count`` of ``goals [k, g]``."""
    unused = (goals.shape[0] - count).astype(jnp.int32)
    return Instruction(goals=protocol.show(goals, unused), unused=unused, progress=unused)


def advance(
    protocol: GoalProtocol, instruction: Instruction, achieved: Array
) -> tuple[Instruction, Array]:
    """Check the goals achieved ``[m, g]`` by a step against the next goal of an instruction.

    Returns:
        The instruction after, and the step's reward, float32 ``[]``.
    """
    slots = instruction.goals.shape[0]
    goal = instruction.goals[jnp.minimum(instruction.progress, slots - 1)]
    completed = ~instruction.finished & protocol.reached(goal, achieved)
    progress = instruction.progress + completed
    reward = jnp.where(completed, protocol.reward, 0.0)
    return dataclasses.replace(instruction, progress=progress), reward
