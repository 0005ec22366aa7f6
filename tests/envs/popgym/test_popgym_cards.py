"""The card games against popgym itself: the same cards and actions give the same episodes."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import popgym.envs
import pytest
from gymnasium.spaces.utils import flatten

from amago_jax.envs.popgym.higher_lower import HIGHER, LOWER
from amago_jax.envs.popgym.tasks import TASKS

LEVELS = ("Easy", "Medium", "Hard")
# How often an episode's player takes the best action; else it takes any.
SKILLS = np.array([0.0, 0.0, 0.2, 0.5, 0.8, 0.95, 1.0, 1.0])


def best_guess(env, state):
    above = jnp.sum(state.left * (jnp.arange(13) > state.card))
    below = jnp.sum(state.left * (jnp.arange(13) < state.card))
    return jnp.where(above >= below, HIGHER, LOWER)


def best_card(env, state):
    """Turn a known partner; else a card never seen; else any that is down."""
    partner = (state.faces >= 0) & (state.faces == state.faces[state.first]) & (state.first >= 0)
    other = ~state.up & (jnp.arange(env.cards) != state.first)
    return jnp.argmax(2 * (partner & other) + (state.faces < 0) + other)


BEST = {
    "Autoencode": lambda env, state: state.cards[env.horizon - 1 - state.time],
    "Concentration": best_card,
    "CountRecall": lambda env, state: env.most - state.values_left[state.query],
    "HigherLower": best_guess,
    "RepeatFirst": lambda env, state: state.first,
    "RepeatPrevious": lambda env, state: jnp.maximum(state.recent[0], 0),
}
GAMES = [family + level for family in BEST for level in LEVELS]


def family_of(task):
    return next(family for family in BEST if task.startswith(family))


class Played(NamedTuple):
    """An episode for each skill, leaves ``[E, T, ...]``, or ``[E, T + 1, ...]`` with the reset."""

    states: Any
    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray


@functools.cache
def episodes(task):
    env = TASKS[task]()
    params = env.default_params
    best = BEST[family_of(task)]

    def play(keys, skilled, any_action):
        first = env.reset_env(keys[0], params)

        def step(state, now):
            key, skilled, action = now
            action = jnp.where(skilled, best(env, state), action)
            seen, state, reward, terminated, _ = env.step_env(key, state, action, params)
            truncated = env.is_truncated(state, params)
            return state, ((seen, state), action, reward, terminated, truncated)

        _, (after, *rest) = jax.lax.scan(step, first[1], (keys[1:], skilled, any_action))
        observations, states = jax.tree.map(
            lambda first, after: jnp.concatenate([first[None], after]), first, after
        )
        return Played(states, observations, *rest)

    # NumPy's random numbers, as compiling JAX's takes long.
    rng = np.random.default_rng(0)
    shape = (len(SKILLS), env.horizon)
    keys = rng.integers(2**32, size=(len(SKILLS), env.horizon + 1, 2), dtype=np.uint32)
    skilled = rng.random(shape) < SKILLS[:, None]
    any_action = rng.integers(env.num_actions, size=shape)
    # Often twice the same, as of many cards one is hardly ever turned twice in a row.
    any_action[:, 1::4] = any_action[:, ::4][:, : any_action[:, 1::4].shape[1]]
    play = jax.jit(jax.vmap(play))
    return jax.tree.map(np.asarray, play(jax.random.wrap_key_data(keys), skilled, any_action))


def kinds_in_order(task, states):
    """Return popgym's decks by attribute: what their cards are told apart by, from the top."""
    match family_of(task):
        case "Autoencode":
            return {"deck": ("suits_idx", states.cards[-1])}
        case "RepeatFirst":
            return {"deck": ("suits_idx", states.card)}
        case "RepeatPrevious":
            return {"deck": ("suits_idx", states.recent[:, -1])}
        case "HigherLower":
            return {"deck": ("ranks_idx", states.card)}
        case "CountRecall":
            field = {2: "colors_idx", 4: "suits_idx", 13: "ranks_idx"}[states.values_left.shape[1]]
            return {"value_deck": (field, states.value), "query_deck": (field, states.query)}
        case _:
            # Cards are taken from their places, and those never turned may lie in any order.
            left = states.left[-1]
            faces = states.faces[-1].copy()
            faces[faces < 0] = np.repeat(np.arange(left.size), left)
            return {"deck": ("ranks_idx" if left.size == 13 else "colors_idx", faces[::-1])}


def stack(deck, field, kinds):
    """Make ``deck.reset`` lay cards of these kinds, the first one on top, instead of shuffling."""
    assert len(kinds) == deck.num_cards
    cards = {kind: list(np.flatnonzero(getattr(deck, field) == kind)) for kind in set(kinds)}
    # popgym deals from the end. This fails if a kind comes more often than there are cards of it.
    order = np.array([cards[kind].pop() for kind in kinds][::-1])
    reset = deck.reset

    def reset_and_stack(rng):
        reset(shuffle=False)
        deck.idx = order

    deck.reset = reset_and_stack


def in_popgym(task):
    return next(cls for cls in popgym.envs.ALL if cls.__name__ == task)()


@pytest.mark.parametrize("task", GAMES)
def test_every_step_agrees_with_popgym(task):
    for played in (jax.tree.map(lambda x: x[e], episodes(task)) for e in range(len(SKILLS))):  # noqa: B023
        env = in_popgym(task)
        for deck, (field, kinds) in kinds_in_order(task, played.states).items():
            stack(getattr(env, deck), field, kinds)
        seen = [env.reset()[0]]
        rest = []
        for action in played.actions:
            observation, *outcome, _ = env.step(int(action))
            seen.append(observation)
            rest.append(outcome)
            if outcome[1] or outcome[2]:
                break
        steps = len(rest)
        rewards, terminated, truncated = zip(*rest, strict=True)
        assert terminated[-1] or truncated[-1]
        flat = [flatten(env.observation_space, observation) for observation in seen]
        np.testing.assert_array_equal(played.observations[: steps + 1], flat)
        np.testing.assert_allclose(played.rewards[:steps], rewards, rtol=1e-6)
        np.testing.assert_array_equal(played.terminated[:steps], terminated)
        np.testing.assert_array_equal(played.truncated[:steps], truncated)


def returns(task):
    played = episodes(task)
    over = np.cumsum(played.terminated | played.truncated, axis=1)
    before_end = np.pad(over, ((0, 0), (1, 0)))[:, :-1] == 0
    return np.where(before_end, played.rewards, 0.0).sum(1)


@pytest.mark.parametrize("task", GAMES)
def test_the_players_see_all_there_is(task):
    """Which rewards and ends the comparison with popgym covers."""
    env, played = TASKS[task](), episodes(task)
    unit = 1 / env.horizon
    kinds = {round(float(r), 6) for r in np.unique(played.rewards)}
    if "Concentration" in task:
        expected = {0.0, 2 / env.cards, -unit, -2 * unit}
        assert played.terminated[-1].any()
        assert not played.terminated[0].any()
        assert played.truncated[0, -1]
    else:
        unit = {
            "Autoencode": lambda: 1 / env.cards,
            "HigherLower": lambda: 1 / (env.horizon + 1),
            "RepeatPrevious": lambda: 1 / (env.horizon + 1 - env.k),
        }.get(family_of(task), lambda: unit)()
        never = set() if family_of(task) in ("RepeatFirst", "CountRecall") else {0.0}
        expected = {unit, -unit} | never
    assert kinds == {round(x, 6) for x in expected}


@pytest.mark.parametrize("task", [g for g in GAMES if g[:4] not in ("Conc", "High")])
def test_memory_returns_one_and_guessing_far_less(task):
    skilled = returns(task)[SKILLS == 1.0]
    np.testing.assert_allclose(skilled, 1.0, rtol=1e-5)
    assert (returns(task)[SKILLS == 0.0] < 0.0).all()


@pytest.mark.parametrize("task", [g for g in GAMES if g[:4] in ("Conc", "High")])
def test_counting_pays(task):
    assert returns(task)[SKILLS == 1.0].min() > returns(task)[SKILLS == 0.0].max() + 0.2
