"""Battleship: sink hidden ships, and remember where one has fired.

The board is not shown: only whether the last shot hit. Which square that was, the last action
says.

Source: Morad et al. 2023, "POPGym" (arXiv 2303.01859), and its package, popgym 1.0.7.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments import environment, spaces

from amago_jax.types import Array


@struct.dataclass
class EnvState:
    """What is left of the fleet.

    Attributes:
        afloat: bool ``[board_size, board_size]``, squares with a part of a ship not hit yet.
        time: int32 ``[]``, steps since the episode began.
    """

    afloat: Array
    time: Array


class Battleship(environment.Environment[EnvState, environment.EnvParams]):
    """Ships on a board that is never seen; as many shots as it has squares."""

    expensive_reset = True

    def __init__(self, board_size: int, ship_sizes: Sequence[int] = (2, 3, 3, 4)):
        """Fix the shapes.

        Args:
            board_size: squares along each side.
            ship_sizes: squares of each ship, placed in this order; there must always be room.
        """
        super().__init__()
        self.board_size, self.ship_sizes = board_size, tuple(ship_sizes)
        self.horizon = board_size**2

    @property
    def default_params(self) -> environment.EnvParams:
        """One shot for each square."""
        return environment.EnvParams(max_steps_in_episode=self.horizon)

    def reset_env(self, key: Array, params: environment.EnvParams) -> tuple[Array, EnvState]:
        """Place the ships one after another."""
        board = jnp.zeros((self.board_size, self.board_size), bool)
        keys = jax.random.split(key, len(self.ship_sizes))
        ships = (keys, jnp.array(self.ship_sizes))
        board, _ = jax.lax.scan(lambda board, ship: (self._place(board, *ship), None), board, ships)
        return jax.nn.one_hot(0, 2), EnvState(afloat=board, time=jnp.int32(0))

    def _place(self, board: Array, key: Array, size: Array) -> Array:
        """Add a ship of ``size`` squares to ``board`` at any place that is free, each as likely.

        So does popgym, which draws one end and a direction until the ship fits: every place can
        be drawn in two ways, from either end.
        """
        sides = jnp.stack([board, board.T])  # Ships always lie across, half of them transposed.
        longest = max(self.ship_sizes)
        beyond = jnp.pad(sides, ((0, 0), (0, 0), (0, longest - 1)), constant_values=True)
        taken = [(i < size) & beyond[:, :, i : i + self.board_size] for i in range(longest)]
        fits = ~functools.reduce(jnp.logical_or, taken)
        # The n-th place that fits: one random number, not one for each place.
        n = jax.random.randint(key, (), 0, fits.sum())
        place = jnp.sum(jnp.cumsum(fits) <= n)
        lies_down, row, column = jnp.unravel_index(place, fits.shape)
        rows, columns = jnp.indices(board.shape)
        ship = (rows == row) & (columns >= column) & (columns < column + size)
        return board | jnp.where(lies_down, ship.T, ship)

    def step_env(
        self, key: Array, state: EnvState, action: Any, params: environment.EnvParams
    ) -> tuple[Array, EnvState, Array, Array, dict[Any, Any]]:
        """Fire at square ``action``, counted along rows. What was hit before is a miss."""
        target = (jnp.arange(self.horizon) == action).reshape(state.afloat.shape)
        hit = jnp.any(target & state.afloat)
        state = EnvState(afloat=state.afloat & ~target, time=state.time + 1)
        # Only hits earn 1, every square once earns 0.
        needed = sum(self.ship_sizes)
        reward = jnp.where(hit, 1.0 / needed, -1.0 / (self.horizon - needed))
        done = self.is_terminated(state, params)
        return jax.nn.one_hot(jnp.int32(hit), 2), state, reward, done, {}

    def is_terminated(self, state: EnvState, params: environment.EnvParams) -> Array:
        """Whether all ships are sunk."""
        return ~jnp.any(state.afloat)

    @property
    def name(self) -> str:
        """Environment name."""
        return f"Battleship-{self.board_size}"

    @property
    def num_actions(self) -> int:
        """One for each square."""
        return self.horizon

    def action_space(self, params: environment.EnvParams | None = None) -> spaces.Discrete:
        """One action for each square."""
        return spaces.Discrete(self.num_actions)

    def observation_space(self, params: environment.EnvParams) -> spaces.Box:
        """[missed, hit], float32 ``[2]``."""
        return spaces.Box(0.0, 1.0, (2,), jnp.float32)


TASKS: dict[str, Callable[[], Battleship]] = {
    "BattleshipEasy": functools.partial(Battleship, 8),
    "BattleshipMedium": functools.partial(Battleship, 10),
    "BattleshipHard": functools.partial(Battleship, 12),
}
