"""Count recall: say how many cards of a kind were dealt so far.

Source: Morad et al. 2023, "POPGym" (arXiv 2303.01859), and its package, popgym 1.0.7.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments import environment

from amago_jax.envs.popgym.deck import CARDS, COLORS, RANKS, SUITS, CardGame, draw, full_deck
from amago_jax.types import Array


@struct.dataclass
class EnvState:
    """What was dealt, and what is asked for. K is the number of kinds.

    Attributes:
        value: int32 ``[]``, the last card's kind.
        query: int32 ``[]``, the kind asked for.
        values_left: int32 ``[K]``, cards in the deck by kind.
        queries_left: int32 ``[K]``, questions to come by kind: a deck of their own.
        time: int32 ``[]``, steps since the episode began.
    """

    value: Array
    query: Array
    values_left: Array
    queries_left: Array
    time: Array


class CountRecall(CardGame[EnvState]):
    """A deck of cards to count, and a deck of questions."""

    def __init__(self, decks: int, kinds: int):
        """Fix the shapes.

        Args:
            decks: cards to play with, to the last one.
            kinds: K, what cards are told apart by: `COLORS`, `SUITS` or `RANKS`.
        """
        self.decks, self.kinds = decks, kinds
        self.most = decks * CARDS // kinds
        super().__init__(horizon=decks * CARDS - 1, actions=self.most + 1, observations=2 * kinds)

    def reset_env(self, key: Array, params: environment.EnvParams) -> tuple[Array, EnvState]:
        """Deal the first card and the first question."""
        deck = full_deck(self.decks, self.kinds)
        state = self._deal(key, deck, deck, jnp.int32(0))
        return self.observe(state), state

    def step_env(
        self, key: Array, state: EnvState, action: Any, params: environment.EnvParams
    ) -> tuple[Array, EnvState, Array, Array, dict[Any, Any]]:
        """Say how many cards of the kind in question were dealt; the next ones are dealt."""
        count = self.most - state.values_left[state.query]
        reward = jnp.where(action == count, 1.0, -1.0) / self.horizon
        state = self._deal(key, state.values_left, state.queries_left, state.time + 1)
        return self.observe(state), state, reward, self.is_terminated(state, params), {}

    def _deal(self, key: Array, values_left: Array, queries_left: Array, time: Array) -> EnvState:
        key_value, key_query = jax.random.split(key)
        value, values_left = draw(key_value, values_left)
        query, queries_left = draw(key_query, queries_left)
        return EnvState(value, query, values_left, queries_left, time)

    def observe(self, state: EnvState) -> Array:
        """Return the last card's kind and the one in question, one-hot, float32 ``[2K]``."""
        return jax.nn.one_hot(jnp.stack([state.value, state.query]), self.kinds).reshape(-1)

    @property
    def name(self) -> str:
        """Environment name."""
        return f"CountRecall-{self.decks}-{self.kinds}"


TASKS: dict[str, Callable[[], CountRecall]] = {
    "CountRecallEasy": functools.partial(CountRecall, 1, COLORS),
    "CountRecallMedium": functools.partial(CountRecall, 2, SUITS),
    "CountRecallHard": functools.partial(CountRecall, 4, RANKS),
}
