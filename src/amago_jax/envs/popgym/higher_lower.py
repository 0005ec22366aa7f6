"""Higher or lower: guess whether the next card's rank is above or below this one's.

Who counts cards knows what is left, and guesses better.

Source: Morad et al. 2023, "POPGym" (arXiv 2303.01859), and its package, popgym 1.0.7.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments import environment

from amago_jax.envs.popgym.deck import CARDS, RANKS, CardGame, draw, full_deck
from amago_jax.types import Array

HIGHER, LOWER = range(2)


@struct.dataclass
class EnvState:
    """What was dealt.

    Attributes:
        card: int32 ``[]``, the last card's rank.
        left: int32 ``[13]``, cards in the deck by rank.
        time: int32 ``[]``, steps since the episode began.
    """

    card: Array
    left: Array
    time: Array


class HigherLower(CardGame[EnvState]):
    """A guess at each card of a deck but the first."""

    def __init__(self, decks: int):
        """Play with so many decks, to the last card."""
        super().__init__(horizon=decks * CARDS - 1, actions=2, observations=RANKS)
        self.decks = decks

    def reset_env(self, key: Array, params: environment.EnvParams) -> tuple[Array, EnvState]:
        """Deal the first card."""
        card, left = draw(key, full_deck(self.decks, RANKS))
        state = EnvState(card=card, left=left, time=jnp.int32(0))
        return self.observe(state), state

    def step_env(
        self, key: Array, state: EnvState, action: Any, params: environment.EnvParams
    ) -> tuple[Array, EnvState, Array, Array, dict[Any, Any]]:
        """Guess `HIGHER` or `LOWER`; the next card is dealt. The same rank pays nothing."""
        card, left = draw(key, state.left)
        right = (card > state.card) == (action == HIGHER)
        reward = jnp.where(right, 1.0, -1.0) / (self.decks * CARDS)
        reward = jnp.where(card == state.card, 0.0, reward)
        state = EnvState(card=card, left=left, time=state.time + 1)
        return self.observe(state), state, reward, self.is_terminated(state, params), {}

    def observe(self, state: EnvState) -> Array:
        """Return the last card's rank, one-hot, float32 ``[13]``."""
        return jax.nn.one_hot(state.card, RANKS)

    @property
    def name(self) -> str:
        """Environment name."""
        return f"HigherLower-{self.decks}"


TASKS: dict[str, Callable[[], HigherLower]] = {
    "HigherLowerEasy": functools.partial(HigherLower, 1),
    "HigherLowerMedium": functools.partial(HigherLower, 2),
    "HigherLowerHard": functools.partial(HigherLower, 3),
}
