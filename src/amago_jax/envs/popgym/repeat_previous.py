"""Repeat previous: name the suit of the card seen some steps ago.

Source: Morad et al. 2023, "POPGym" (arXiv 2303.01859), and its package, popgym 1.0.7.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments import environment

from amago_jax.envs.popgym.deck import CARDS, SUITS, CardGame, draw, full_deck
from amago_jax.types import Array


@struct.dataclass
class EnvState:
    """What was dealt.

    Attributes:
        recent: int8 ``[k]``, suits of the last k cards, the oldest first; -1 where there was none.
        left: int32 ``[4]``, cards in the deck by suit.
        time: int32 ``[]``, steps since the episode began.
    """

    recent: Array
    left: Array
    time: Array


class RepeatPrevious(CardGame[EnvState]):
    """Every card matters, for k steps."""

    def __init__(self, decks: int, k: int):
        """Fix the shapes.

        Args:
            decks: cards to play with, to the last one.
            k: which card to name: 1 is the one in sight.
        """
        super().__init__(horizon=decks * CARDS - 1, actions=SUITS, observations=SUITS)
        self.decks, self.k = decks, k

    def reset_env(self, key: Array, params: environment.EnvParams) -> tuple[Array, EnvState]:
        """Deal the first card."""
        card, left = draw(key, full_deck(self.decks, SUITS))
        recent = jnp.full(self.k, -1, jnp.int8).at[-1].set(card.astype(jnp.int8))
        state = EnvState(recent=recent, left=left, time=jnp.int32(0))
        return self.observe(state), state

    def step_env(
        self, key: Array, state: EnvState, action: Any, params: environment.EnvParams
    ) -> tuple[Array, EnvState, Array, Array, dict[Any, Any]]:
        """Name the oldest of the last k cards, once there are k; the next card is dealt."""
        asked = state.recent[0]
        reward = jnp.where(action == asked, 1.0, -1.0) / (self.decks * CARDS - self.k)
        card, left = draw(key, state.left)
        recent = jnp.append(state.recent[1:], card.astype(jnp.int8))
        state = EnvState(recent=recent, left=left, time=state.time + 1)
        done = self.is_terminated(state, params)
        return self.observe(state), state, jnp.where(asked >= 0, reward, 0.0), done, {}

    def observe(self, state: EnvState) -> Array:
        """Return the last card's suit, one-hot, float32 ``[4]``."""
        return jax.nn.one_hot(state.recent[-1], SUITS)

    @property
    def name(self) -> str:
        """Environment name."""
        return f"RepeatPrevious-{self.decks}-k{self.k}"


TASKS: dict[str, Callable[[], RepeatPrevious]] = {
    "RepeatPreviousEasy": functools.partial(RepeatPrevious, 1, 4),
    "RepeatPreviousMedium": functools.partial(RepeatPrevious, 2, 32),
    "RepeatPreviousHard": functools.partial(RepeatPrevious, 3, 64),
}
