"""Repeat first: name the suit of the first card, again and again, while others are dealt.

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
        first: int32 ``[]``, the first card's suit.
        card: int32 ``[]``, the last card's suit.
        left: int32 ``[4]``, cards in the deck by suit.
        time: int32 ``[]``, steps since the episode began.
    """

    first: Array
    card: Array
    left: Array
    time: Array


class RepeatFirst(CardGame[EnvState]):
    """One card matters, the first."""

    def __init__(self, decks: int):
        """Play with so many decks, to the last card."""
        super().__init__(horizon=decks * CARDS - 1, actions=SUITS, observations=SUITS)
        self.decks = decks

    def reset_env(self, key: Array, params: environment.EnvParams) -> tuple[Array, EnvState]:
        """Deal the first card."""
        card, left = draw(key, full_deck(self.decks, SUITS))
        state = EnvState(first=card, card=card, left=left, time=jnp.int32(0))
        return self.observe(state), state

    def step_env(
        self, key: Array, state: EnvState, action: Any, params: environment.EnvParams
    ) -> tuple[Array, EnvState, Array, Array, dict[Any, Any]]:
        """Name the first card's suit; the next card is dealt."""
        reward = jnp.where(action == state.first, 1.0, -1.0) / self.horizon
        card, left = draw(key, state.left)
        state = EnvState(first=state.first, card=card, left=left, time=state.time + 1)
        return self.observe(state), state, reward, self.is_terminated(state, params), {}

    def observe(self, state: EnvState) -> Array:
        """Return the last card's suit, one-hot, float32 ``[4]``."""
        return jax.nn.one_hot(state.card, SUITS)

    @property
    def name(self) -> str:
        """Environment name."""
        return f"RepeatFirst-{self.decks}"


TASKS: dict[str, Callable[[], RepeatFirst]] = {
    "RepeatFirstEasy": functools.partial(RepeatFirst, 1),
    "RepeatFirstMedium": functools.partial(RepeatFirst, 8),
    "RepeatFirstHard": functools.partial(RepeatFirst, 16),
}
