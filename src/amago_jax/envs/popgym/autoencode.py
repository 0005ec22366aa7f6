"""Autoencode: watch a deck of cards, then name their suits, the last one first.

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
    """What was dealt. N is the number of cards.

    Attributes:
        cards: int8 ``[N]``, suits in the order dealt; 0 where there is no card yet.
        left: int32 ``[4]``, cards in the deck by suit.
        time: int32 ``[]``, steps since the episode began.
    """

    cards: Array
    left: Array
    time: Array


class Autoencode(CardGame[EnvState]):
    """First watch, then play."""

    def __init__(self, decks: int):
        """Play with so many decks."""
        self.decks, self.cards = decks, decks * CARDS
        super().__init__(horizon=2 * self.cards - 1, actions=SUITS, observations=2 + SUITS)

    def reset_env(self, key: Array, params: environment.EnvParams) -> tuple[Array, EnvState]:
        """Deal the first card."""
        card, left = draw(key, full_deck(self.decks, SUITS))
        cards = jnp.zeros(self.cards, jnp.int8).at[0].set(card.astype(jnp.int8))
        state = EnvState(cards=cards, left=left, time=jnp.int32(0))
        return self.observe(state), state

    def step_env(
        self, key: Array, state: EnvState, action: Any, params: environment.EnvParams
    ) -> tuple[Array, EnvState, Array, Array, dict[Any, Any]]:
        """Wait for the next card, or once all are dealt name the last one not named yet."""
        asked = state.cards[self.horizon - 1 - state.time]
        reward = jnp.where(action == asked, 1.0, -1.0) / self.cards
        reward = jnp.where(self._playing(state), reward, 0.0)
        card, left = draw(key, state.left)
        time = state.time + 1
        cards = jnp.where(jnp.arange(self.cards) == time, card.astype(jnp.int8), state.cards)
        state = EnvState(cards=cards, left=left, time=time)
        return self.observe(state), state, reward, self.is_terminated(state, params), {}

    def observe(self, state: EnvState) -> Array:
        """Return [play, watch] and the last card's suit, both one-hot, float32 ``[6]``.

        While cards are named, popgym shows suit 0.
        """
        suit = jnp.where(state.time < self.cards, state.cards[state.time], 0)
        mode = jax.nn.one_hot(jnp.where(self._playing(state), 0, 1), 2)
        return jnp.concatenate([mode, jax.nn.one_hot(suit, SUITS)])

    def _playing(self, state: EnvState) -> Array:
        return state.time >= self.cards - 1

    @property
    def name(self) -> str:
        """Environment name."""
        return f"Autoencode-{self.decks}"


TASKS: dict[str, Callable[[], Autoencode]] = {
    "AutoencodeEasy": functools.partial(Autoencode, 1),
    "AutoencodeMedium": functools.partial(Autoencode, 2),
    "AutoencodeHard": functools.partial(Autoencode, 3),
}
