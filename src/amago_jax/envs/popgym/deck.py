"""Decks of cards, and what POPGym's card games have in common.

A shuffled deck is nothing but cards drawn without replacement. So only how many cards of each kind
are left is kept, and chance decides when a card is drawn: no deck is ever shuffled, and a reset
costs next to nothing.
"""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from gymnax.environments import environment, spaces

from amago_jax.types import Array

CARDS = 52  # of one deck
# What a game tells cards apart by, as how many kinds that makes.
COLORS, SUITS, RANKS = 2, 4, 13

State = TypeVar("State")


def full_deck(decks: int, kinds: int) -> Array:
    """Return how many cards there are of each kind, int32 ``[kinds]``."""
    return jnp.full(kinds, decks * CARDS // kinds, jnp.int32)


def draw(key: Array, left: Array) -> tuple[Array, Array]:
    """Draw a card, each one that is left being as likely.

    Args:
        key: a random key.
        left: int32 ``[K]``, how many cards are left of each kind.

    Returns:
        The card's kind, int32 ``[]``, K if no card is left; and what is left then.
    """
    # Half the work of jax.random.randint; with so few cards, even but for one part in a million.
    number = jax.random.bits(key, dtype=jnp.uint32) % jnp.maximum(left.sum(), 1).astype(jnp.uint32)
    card = jnp.sum(jnp.cumsum(left) <= number.astype(jnp.int32))
    return card, left - (jnp.arange(left.size) == card)


class CardGame(environment.Environment[State, environment.EnvParams]):
    """A game with as many steps in every episode; its states have a field ``time``."""

    def __init__(self, horizon: int, actions: int, observations: int):
        """Fix the shapes.

        Args:
            horizon: steps of every episode.
            actions: how many there are.
            observations: numbers in an observation, each 0 or 1.
        """
        super().__init__()
        self.horizon, self.actions, self.observations = horizon, actions, observations

    @property
    def default_params(self) -> environment.EnvParams:
        """The steps of every episode."""
        return environment.EnvParams(max_steps_in_episode=self.horizon)

    def is_terminated(self, state: Any, params: environment.EnvParams) -> Array:
        """Whether all cards are dealt, which is part of the game."""
        return state.time >= self.horizon

    def is_truncated(self, state: Any, params: environment.EnvParams) -> Array:
        """Never: there is no time limit but the game's own."""
        return jnp.zeros((), bool)

    @property
    def num_actions(self) -> int:
        """How many actions there are."""
        return self.actions

    def action_space(self, params: environment.EnvParams | None = None) -> spaces.Discrete:
        """See `step_env`."""
        return spaces.Discrete(self.actions)

    def observation_space(self, params: environment.EnvParams) -> spaces.Box:
        """See `observe`."""
        return spaces.Box(0.0, 1.0, (self.observations,), jnp.float32)
