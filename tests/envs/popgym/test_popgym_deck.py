"""Decks: cards drawn without replacement come in the order of a deck shuffled uniformly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amago_jax.envs.popgym.concentration import Concentration
from amago_jax.envs.popgym.deck import CARDS, COLORS, RANKS, SUITS, draw, full_deck

SAMPLES = 4096
DRAW = jax.jit(draw)


@settings(deadline=None)
@given(
    left=st.lists(st.integers(0, 64), min_size=SUITS, max_size=SUITS),
    seed=st.integers(0, 2**31 - 1),
)
def test_a_card_drawn_was_in_the_deck_and_is_no_more(left, seed):
    card, after = DRAW(jax.random.key(seed), jnp.array(left, jnp.int32))
    taken = np.array(left) - after
    if sum(left) == 0:
        assert card == SUITS
        assert not taken.any()
    else:
        np.testing.assert_array_equal(taken, np.arange(SUITS) == card)
        assert left[int(card)] > 0


def deal_all(keys, left):
    def deal(left, key):
        card, left = draw(key, left)
        return left, card

    return jax.lax.scan(deal, left, keys)[1]


def within_five_errors(frequency, chance):
    """Allow five standard errors of a frequency among `SAMPLES`: one miss in 10^6."""
    chance = np.asarray(chance)
    error = np.sqrt(chance * (1 - chance) / SAMPLES)
    np.testing.assert_array_less(np.abs(frequency - chance), 5 * error)


@pytest.mark.parametrize("kinds", [COLORS, SUITS, RANKS])
def test_decks_are_shuffled_uniformly(kinds):
    """Every kind is as likely in every place, and any two places match as often as they should."""
    keys = jax.random.split(jax.random.key(0), (SAMPLES, CARDS))
    cards = np.asarray(jax.jit(jax.vmap(deal_all, (0, None)))(keys, full_deck(1, kinds)))
    each = CARDS // kinds
    for kind in range(kinds):
        assert ((cards == kind).sum(1) == each).all()
        within_five_errors((cards == kind).mean(0), 1 / kinds)
    match = (each - 1) / (CARDS - 1)
    for distance in (1, 2, CARDS // 2, CARDS - 1):
        within_five_errors((cards[:, distance:] == cards[:, :-distance]).mean(0), match)


def test_cards_on_a_table_are_shuffled_uniformly():
    """In whatever order they are turned."""
    env = Concentration(1, RANKS)
    places = (17, 0, 51, 17, 8)

    def turn(key):
        keys = jax.random.split(key, len(places))
        _, state = env.reset_env(key, env.default_params)
        for key_step, place in zip(keys, places, strict=True):
            _, state, *_ = env.step_env(key_step, state, place, env.default_params)
        return state.faces

    faces = np.asarray(jax.jit(jax.vmap(turn))(jax.random.split(jax.random.key(0), SAMPLES)))
    seen = sorted(set(places))
    assert (faces[:, seen] >= 0).all()
    assert (np.delete(faces, seen, axis=1) == -1).all()
    for kind in range(RANKS):
        within_five_errors((faces[:, seen] == kind).mean(0), 1 / RANKS)
    for a, b in ((17, 0), (0, 51), (17, 51), (51, 8)):
        within_five_errors((faces[:, a] == faces[:, b]).mean(), 3 / 51)


def test_a_full_deck_has_as_many_cards_of_each_kind():
    np.testing.assert_array_equal(full_deck(3, SUITS), [39] * 4)
    np.testing.assert_array_equal(full_deck(1, COLORS), [26] * 2)
