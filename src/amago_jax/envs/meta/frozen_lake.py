"""Meta-FrozenLake: find a way over the ice of an unknown lake, and take it again.

Source: AMAGO (Grigsby, Fan, Zhu; ICLR 2024), appendix C; gymnasium's FrozenLake.
"""

import dataclasses
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments import spaces

from amago_jax.envs.meta.meta_episode import make_meta_env
from amago_jax.envs.stream import StreamEnv
from amago_jax.kinds import Whole
from amago_jax.settings import Size, checked
from amago_jax.types import Array

# Stay, down, up, right, left: (row, column). Hard tasks may swap down and right.
MOVES = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))
SWAPPED = (0, 3, 2, 1, 4)
FROZEN = 0.8  # probability, before lakes without a way across are left out
NOISE = 0.25  # probability of a wrong position, if hard
BREAKING = 1 / 3  # probability that ice breaks behind, if hard
PENALTY = -0.1  # for a hole, if one recovers from it


@struct.dataclass
class Task:
    """A lake.

    Attributes:
        holes: bool ``[N, N]``; one starts at [0, 0] and the goal is the opposite corner.
        moves: int32 ``[5]``, which of `MOVES` each action makes.
    """

    holes: Array
    moves: Array


@struct.dataclass
class EnvState:
    """An attempt.

    Attributes:
        task: the lake as it is at the start of every attempt.
        holes: bool ``[N, N]``, as it is now.
        position: int32 ``[2]``, row and column.
        at_goal: bool ``[]``.
    """

    task: Task
    holes: Array
    position: Array
    at_goal: Array


@struct.dataclass
class EnvParams:
    """Nothing: what lakes there are is decided when the environment is made."""


class FrozenLake:
    """A lake with holes, on which the opposite corner pays 1."""

    name = "FrozenLake"

    def __init__(
        self, size: int, hard: bool = False, recover: bool = False, slippery: bool = False
    ):
        """Fix the shapes and the rules.

        Args:
            size: N, cells to a side of the lake.
            hard: swap two moves in half of the tasks, show a wrong position every fourth time,
                and break the ice behind a third of the moves.
            recover: a hole costs 0.1 and one stays where one was; else it ends the attempt.
            slippery: moves go to the left or to the right instead, a third of them each.
        """
        self.size, self.hard, self.recover, self.slippery = size, hard, recover, slippery

    def draw_task(self, key: Array, params: EnvParams) -> Task:
        """Draw a lake that can be crossed, and whether moves are swapped."""
        key_holes, key_moves = jax.random.split(key)
        in_order = jnp.arange(len(MOVES))
        swapped = self.hard & jax.random.bernoulli(key_moves)
        moves = jnp.where(swapped, jnp.array(SWAPPED), in_order)
        return Task(holes=draw_holes(key_holes, self.size), moves=moves)

    def begin_attempt(self, key: Array, task: Task, params: EnvParams) -> tuple[Array, EnvState]:
        """Go to the start, on ice that is whole again."""
        start = jnp.zeros(2, jnp.int32)
        state = EnvState(task=task, holes=task.holes, position=start, at_goal=jnp.zeros((), bool))
        return self.observe(key, state, params), state

    def step_env(
        self, key: Array, state: EnvState, action: Any, params: EnvParams
    ) -> tuple[Array, EnvState, Array, Array, dict[Any, Any]]:
        """Move within the lake, and reach the goal or fall into a hole."""
        key_slip, key_break, key_observe = jax.random.split(key, 3)
        move = jnp.array(MOVES)[state.task.moves[action]]
        if self.slippery:
            sideways = move[::-1]
            slip = jax.random.randint(key_slip, (), 0, 3)
            move = jnp.stack([move, sideways, -sideways])[slip]
        target = jnp.clip(state.position + move, 0, self.size - 1)
        holes = state.holes
        if self.hard:
            moved = (target != state.position).any()
            breaks = moved & jax.random.bernoulli(key_break, BREAKING)
            holes |= breaks & self._only(state.position)
        fell = (holes & self._only(target)).any()
        at_goal = (target == self.size - 1).all()
        if self.recover:
            # If the cell broke as one left it, one is back on a hole and pays until one moves on.
            target = jnp.where(fell, state.position, target)
        reward = jnp.where(at_goal, 1.0, fell * (PENALTY if self.recover else 0.0))
        state = dataclasses.replace(state, holes=holes, position=target, at_goal=at_goal)
        over = at_goal if self.recover else at_goal | fell
        return self.observe(key_observe, state, params), state, reward, over, {}

    def observe(self, key: Array, state: EnvState, params: EnvParams) -> Array:
        """Return [row/N, column/N], float32 ``[2]``, which if hard is wrong at times."""
        seen = state.position
        if self.hard:
            key_wrong, key_shift = jax.random.split(key)
            shift = jax.random.randint(key_shift, (2,), -1, 2)
            wrong = jnp.clip(seen + shift, 0, self.size - 1)
            seen = jnp.where(jax.random.bernoulli(key_wrong, NOISE), wrong, seen)
        return (seen / self.size).astype(jnp.float32)

    def is_truncated(self, state: EnvState, params: EnvParams) -> Array:
        """Never: the meta-episode limits attempts."""
        return jnp.zeros((), bool)

    def succeeded(self, state: EnvState, params: EnvParams) -> Array:
        """Whether the goal is reached."""
        return state.at_goal

    def draw(self, state: EnvState, params: EnvParams) -> np.ndarray:
        """Draw ice pale, holes blue, the goal green and the agent dark."""
        image = np.where(np.asarray(state.holes)[..., None], (40, 80, 180), (225, 240, 250))
        image[-1, -1] = (60, 180, 90)
        image[tuple(state.position)] = (60, 60, 60)
        return image.astype(np.uint8)

    def action_space(self, params: EnvParams) -> spaces.Discrete:
        """Stay, down, up, right and left."""
        return spaces.Discrete(len(MOVES))

    def observation_space(self, params: EnvParams) -> spaces.Box:
        """The position."""
        return spaces.Box(0.0, 1.0, (2,), jnp.float32)

    def _only(self, cell: Array) -> Array:
        """A mask of one cell, bool ``[N, N]``: cheaper in parallel than to index by it."""
        rows, columns = (jnp.arange(self.size) == at for at in cell)
        return rows[:, None] & columns[None]


def draw_holes(key: Array, size: int) -> Array:
    """Draw a lake as gymnasium does: cells are holes at random, and there is a way across.

    One loop floods the ice from the start, a cell further in every turn, until it is at the goal;
    when it gets no further, it draws another lake and begins anew. So lakes are accepted exactly
    if they can be crossed, and over half of all are, whatever their size.

    Args:
        key: a random key.
        size: N, cells to a side.

    Returns:
        The holes, bool ``[N, N]``.
    """
    start = jnp.zeros((size, size), bool).at[0, 0].set(True)

    def draw(key: Array) -> _Flood:
        key, key_ice = jax.random.split(key)
        ice = jax.random.bernoulli(key_ice, FROZEN, (size, size))
        return _Flood(key=key, ice=ice.at[0, 0].set(True).at[-1, -1].set(True), flooded=start)

    def spread(flood: _Flood) -> _Flood:
        wide = jnp.pad(flood.flooded, 1)
        near = wide[:-2, 1:-1] | wide[2:, 1:-1] | wide[1:-1, :-2] | wide[1:-1, 2:]
        flooded = flood.flooded | (near & flood.ice)
        stuck = (flooded == flood.flooded).all()
        further = dataclasses.replace(flood, flooded=flooded)
        return jax.tree.map(lambda a, b: jnp.where(stuck, a, b), draw(flood.key), further)

    return ~jax.lax.while_loop(lambda flood: ~flood.flooded[-1, -1], spread, draw(key)).ice


@struct.dataclass
class _Flood:
    """How far one gets on a lake: ice and flooded, bool ``[N, N]``."""

    key: Array
    ice: Array
    flooded: Array


@checked
def make_frozen_lake(
    *,
    size: Annotated[int, Whole(2, 1000)] = 5,
    hard: bool = False,
    recover: bool = False,
    slippery: bool = False,
    attempts: Size | None = 10,
    budget: Size | None = None,
    attempt_limit: Size | None = None,
) -> StreamEnv:
    """Make meta-episodes of FrozenLake.

    Observed are ``observation``, the position over N, and ``attempt``, whether an attempt begins
    and the share of attempts finished. The authors' code, if hard, also breaks the ice under who
    stands still in some places, by a slip of the pen; here it breaks only behind who moves.

    Args:
        size: N, cells to a side of the lake.
        hard: swap two moves in half of the tasks, show a wrong position every fourth time, and
            break the ice behind a third of the moves.
        recover: a hole costs 0.1 and one stays where one was; else it ends the attempt.
        slippery: moves go to the left or to the right instead, a third of them each.
        attempts: k, after which a meta-episode ends; or
        budget: steps, after which a meta-episode ends.
        attempt_limit: steps after which an attempt ends; None for N^2, or 2 N^2 if hard.

    Raises:
        ValueError: if a setting is out of range.
    """
    if attempt_limit is None:
        attempt_limit = size**2 * (2 if hard else 1)
    return make_meta_env(
        "meta/frozen_lake",
        FrozenLake(size, hard, recover, slippery),
        EnvParams(),
        attempts=attempts,
        budget=budget,
        attempt_limit=attempt_limit,
        expensive_reset=True,
    )
