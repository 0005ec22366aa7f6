"""Concentration: find pairs among cards that lie face down.

A card's face is drawn when it is first turned: until then it can be any that is left.

Source: Morad et al. 2023, "POPGym" (arXiv 2303.01859), and its package, popgym 1.0.7.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments import environment, spaces

from amago_jax.envs.popgym.deck import CARDS, COLORS, RANKS, draw, full_deck
from amago_jax.types import Array


@struct.dataclass
class EnvState:
    """Cards on a table. N is their number, K that of kinds.

    Attributes:
        faces: int8 ``[N]``, kinds of the cards; -1 where one was never turned.
        left: int32 ``[K]``, by kind, how many of the cards never turned.
        up: bool ``[N]``, cards of pairs that were found, which stay face up.
        first: int32 ``[]``, the first card turned of a pair; -1 if the next one is.
        time: int32 ``[]``, steps since the episode began.
    """

    faces: Array
    left: Array
    up: Array
    first: Array
    time: Array


class Concentration(environment.Environment[EnvState, environment.EnvParams]):
    """Turn one card, then another: if they are of a kind, they stay face up."""

    def __init__(self, decks: int, kinds: int):
        """Fix the shapes.

        Args:
            decks: cards to play with.
            kinds: K, what cards are told apart by: `COLORS` or `RANKS`.
        """
        super().__init__()
        self.decks, self.kinds, self.cards = decks, kinds, decks * CARDS
        self.horizon = math.ceil(2 * self.cards - self.cards / (2 * self.cards - 1))

    @property
    def default_params(self) -> environment.EnvParams:
        """popgym's time limit, about two steps for each card."""
        return environment.EnvParams(max_steps_in_episode=self.horizon)

    def reset_env(self, key: Array, params: environment.EnvParams) -> tuple[Array, EnvState]:
        """Lay all cards face down."""
        state = EnvState(
            faces=jnp.full(self.cards, -1, jnp.int8),
            left=full_deck(self.decks, self.kinds),
            up=jnp.zeros(self.cards, bool),
            first=jnp.int32(-1),
            time=jnp.int32(0),
        )
        return self._show(state.faces, state.up), state

    def step_env(
        self, key: Array, state: EnvState, action: Any, params: environment.EnvParams
    ) -> tuple[Array, EnvState, Array, Array, dict[Any, Any]]:
        """Turn a card. Of two that are no pair, both cost; so does one that is already up."""
        drawn, left = draw(key, state.left)
        known = state.faces[action]
        face = jnp.where(known < 0, drawn.astype(jnp.int8), known)
        place = jnp.arange(self.cards)
        turned = (place == action) | (place == state.first)
        faces = jnp.where(place == action, face, state.faces)
        wasted, is_second = state.up[action], state.first >= 0
        # popgym lets one turn a card with itself, but that is no pair.
        same = (faces[state.first] == face) & (state.first != action)
        found = is_second & same & ~wasted
        cost = jnp.where(wasted | is_second, 1 + is_second, 0) / self.horizon
        reward = jnp.where(found, 2 / self.cards, -cost)
        observation = self._show(faces, state.up | turned)
        state = EnvState(
            faces=faces,
            left=jnp.where(known < 0, left, state.left),
            up=state.up | (turned & found),
            first=jnp.where(wasted | is_second, -1, action).astype(jnp.int32),
            time=state.time + 1,
        )
        return observation, state, reward, self.is_terminated(state, params), {}

    def _show(self, faces: Array, visible: Array) -> Array:
        """Return every card's kind, one-hot, with one more for face down: ``[N * (K + 1)]``."""
        return jax.nn.one_hot(jnp.where(visible, faces, self.kinds), self.kinds + 1).reshape(-1)

    def is_terminated(self, state: EnvState, params: environment.EnvParams) -> Array:
        """Whether all pairs are found."""
        return jnp.all(state.up)

    @property
    def name(self) -> str:
        """Environment name."""
        return f"Concentration-{self.decks}-{self.kinds}"

    @property
    def num_actions(self) -> int:
        """One for each card."""
        return self.cards

    def action_space(self, params: environment.EnvParams | None = None) -> spaces.Discrete:
        """One action for each card."""
        return spaces.Discrete(self.cards)

    def observation_space(self, params: environment.EnvParams) -> spaces.Box:
        """Every card's kind, or that it lies face down."""
        return spaces.Box(0.0, 1.0, (self.cards * (self.kinds + 1),), jnp.float32)


TASKS: dict[str, Callable[[], Concentration]] = {
    "ConcentrationEasy": functools.partial(Concentration, 1, COLORS),
    "ConcentrationMedium": functools.partial(Concentration, 2, COLORS),
    "ConcentrationHard": functools.partial(Concentration, 1, RANKS),
}
