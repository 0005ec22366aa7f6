"""MineSweeper: open every square without a mine, and remember what the opened ones have told.

The board is not shown: only how many mines are around the last square. Which square that was,
the last action says.

Source: Morad et al. 2023, "POPGym" (arXiv 2303.01859), and its package, popgym 1.0.7.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments import environment, spaces

from amago_jax.types import Array


@struct.dataclass
class EnvState:
    """The board.

    Attributes:
        mines: bool ``[size, size]``, squares with a mine.
        opened: bool ``[size, size]``, squares without one that were opened.
        exploded: bool ``[]``, a mine was opened.
        time: int32 ``[]``, steps since the episode began.
    """

    mines: Array
    opened: Array
    exploded: Array
    time: Array


class MineSweeper(environment.Environment[EnvState, environment.EnvParams]):
    """Mines on a board that is never seen; as many steps as it has squares without a mine."""

    expensive_reset = True

    def __init__(self, size: int, mines: int):
        """Fix the shapes.

        Args:
            size: squares along each side.
            mines: squares with a mine.
        """
        super().__init__()
        self.size, self.mines = size, mines
        self.horizon = size**2 - mines
        # The square itself counts as well, so up to 9 mines; the first entry is for none.
        self.counts = min(mines, 9) + 1

    @property
    def default_params(self) -> environment.EnvParams:
        """One step for each square without a mine."""
        return environment.EnvParams(max_steps_in_episode=self.horizon)

    def reset_env(self, key: Array, params: environment.EnvParams) -> tuple[Array, EnvState]:
        """Draw the squares with mines."""
        lots = jax.random.uniform(key, (self.size**2,))
        places = jax.lax.top_k(lots, self.mines)[1]
        mines = jnp.any(jnp.arange(self.size**2)[None] == places[:, None], axis=0)
        state = EnvState(
            mines=mines.reshape(self.size, self.size),
            opened=jnp.zeros((self.size, self.size), bool),
            exploded=jnp.zeros((), bool),
            time=jnp.int32(0),
        )
        return jax.nn.one_hot(0, self.counts), state

    def step_env(
        self, key: Array, state: EnvState, action: Any, params: environment.EnvParams
    ) -> tuple[Array, EnvState, Array, Array, dict[Any, Any]]:
        """Open square ``action``, counted along rows."""
        rows, columns = jnp.arange(self.size)[:, None], jnp.arange(self.size)[None]
        row, column = action // self.size, action % self.size
        square = (rows == row) & (columns == column)
        around = (jnp.abs(rows - row) <= 1) & (jnp.abs(columns - column) <= 1)
        explodes = jnp.any(square & state.mines)
        # All squares without a mine earn 1; a mine costs half and what one square earns.
        won = 1.0 / self.horizon
        again = -0.5 / (self.horizon - 2)
        reward = jnp.where(jnp.any(square & state.opened), again, won)
        reward = jnp.where(explodes, -0.5 - won, reward)
        state = EnvState(
            mines=state.mines,
            opened=state.opened | (square & ~state.mines),
            exploded=state.exploded | explodes,
            time=state.time + 1,
        )
        observation = jax.nn.one_hot(jnp.sum(around & state.mines), self.counts)
        return observation, state, reward, self.is_terminated(state, params), {}

    def is_terminated(self, state: EnvState, params: environment.EnvParams) -> Array:
        """Whether a mine was opened, or everything else."""
        return state.exploded | jnp.all(state.mines | state.opened)

    def is_truncated(self, state: EnvState, params: environment.EnvParams) -> Array:
        """Whether the time is up, unless the last step has won or lost."""
        return super().is_truncated(state, params) & ~self.is_terminated(state, params)

    @property
    def name(self) -> str:
        """Environment name."""
        return f"MineSweeper-{self.size}-{self.mines}"

    @property
    def num_actions(self) -> int:
        """One for each square."""
        return self.size**2

    def action_space(self, params: environment.EnvParams | None = None) -> spaces.Discrete:
        """One action for each square."""
        return spaces.Discrete(self.num_actions)

    def observation_space(self, params: environment.EnvParams) -> spaces.Box:
        """Mines in and around the square, one-hot, float32 ``[counts]``."""
        return spaces.Box(0.0, 1.0, (self.counts,), jnp.float32)


TASKS: dict[str, Callable[[], MineSweeper]] = {
    "MineSweeperEasy": functools.partial(MineSweeper, 4, 2),
    "MineSweeperMedium": functools.partial(MineSweeper, 6, 6),
    "MineSweeperHard": functools.partial(MineSweeper, 8, 10),
}
