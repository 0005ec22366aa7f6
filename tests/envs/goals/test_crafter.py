"""Crafter with instructions against Craftax-Classic itself, and its goals."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from craftax.craftax_classic.constants import BlockType
from craftax.craftax_classic.envs.craftax_state import StaticEnvParams
from craftax.craftax_classic.game_logic import craftax_step

from amago_jax.envs import make
from amago_jax.envs.goals import crafter

STEPS, ENVS = 100, 16


@pytest.fixture(scope="module")
def episodes():
    """Random play with much hitting: our states ``[E, T]``, and Craftax's worlds and rewards."""
    # Here, for every process of the tests reads this file, and one runs it.
    env = make("goals/crafter", directed=False)

    def play(key):
        key_reset, key_steps = jax.random.split(key)

        def step(carry, key):
            state, world = carry
            key_choice, key_action, key_step = jax.random.split(key, 3)
            action = jax.random.randint(key_action, (), 0, 17)
            action = jnp.where(jax.random.bernoulli(key_choice, 0.4), 5, action)
            after = env.transition(key_step, state, action)
            world, reward = craftax_step(key_step, world, action, env.params, StaticEnvParams())
            return (after, world), (after, world, reward)

        first = env.reset(key_reset)
        # A sapling and materials, or chance would not make anything.
        inventory = first.env_state.world.inventory.replace(sapling=2, wood=9, stone=9, coal=2)
        world = first.env_state.world.replace(inventory=inventory)
        first = first.replace(env_state=first.env_state.replace(world=world))
        _, seen = jax.lax.scan(step, (first, world), jax.random.split(key_steps, STEPS))
        achieved = jax.vmap(env.env.achieved)(seen[0].env_state.world)
        return *seen, achieved

    keys = jax.random.split(jax.random.key(0), ENVS)
    states, worlds, rewards, achieved = jax.jit(jax.vmap(play))(keys)
    # Dead players play on, which is no matter.
    hidden = {"state_rng": 0}
    states = states.replace(
        env_state=states.env_state.replace(world=states.env_state.world.replace(**hidden))
    )
    return jax.tree.map(np.asarray, (states, worlds.replace(**hidden), rewards, achieved))


def test_the_world_and_crafters_own_rewards_are_craftaxs(episodes):
    states, worlds, rewards, _ = episodes
    ours = states.env_state.world
    for field in ("map", "player_position", "player_health", "player_drink", "light_level"):
        np.testing.assert_array_equal(getattr(ours, field), getattr(worlds, field), err_msg=field)
    np.testing.assert_allclose(states.timestep.previous_reward, rewards, atol=1e-6)
    np.testing.assert_array_equal(states.env_state.unlocked, worlds.achievements)
    assert worlds.achievements[:, -1].any(0).sum() >= 6


def test_what_is_achieved_is_achieved_every_time_anew(episodes):
    states, worlds, _, achieved = episodes
    now, ever = states.env_state.world.achievements, worlds.achievements
    first_time = np.diff(ever.astype(int), axis=1) > 0
    assert now[:, 1:][first_time].all()
    assert (now <= ever).all()
    stone = crafter.ACHIEVEMENTS.index("place stone")
    assert now[..., stone].sum() > ever[:, -1, stone].sum()
    for row, step in zip(*np.nonzero(now.any(-1)), strict=True):
        named = {crafter.goal_words(goal) for goal in achieved[row, step, :2].tolist()} - {""}
        assert named == {crafter.ACHIEVEMENTS[i] for i in np.flatnonzero(now[row, step])}


def test_places_are_reached_within_two_cells(episodes):
    states, _, _, achieved = episodes
    there = 0
    for position, goal in zip(
        states.env_state.world.player_position.reshape(-1, 2),
        achieved[:, :, 2].reshape(-1, 3),
        strict=True,
    ):
        near = [
            f"travel {row} {column}"
            for row in range(0, 61, 5)
            for column in range(0, 61, 5)
            if np.hypot(row - position[0], column - position[1]) < 2
        ]
        assert [crafter.goal_words(goal.tolist())] == (near or [""])
        there += bool(near)
    assert 0 < there < STEPS * ENVS


def test_symbols_are_what_the_map_holds(episodes):
    states, _, _, _ = episodes
    world, seen = states.env_state.world, states.timestep.observation
    mobs_in_view = 0
    for row, step in zip(range(ENVS), range(0, STEPS, 6), strict=False):
        position = world.player_position[row, step]
        padded = np.pad(world.map[row, step], 8, constant_values=BlockType.OUT_OF_BOUNDS.value)
        y, x = position + 8
        expected = padded[y - 3 : y + 4, x - 4 : x + 5].astype(int)
        for kind, mobs in enumerate((world.zombies, world.cows, world.skeletons, world.arrows)):
            drawn = np.zeros(expected.shape, bool)
            # Every place in Craftax's list is drawn over what was drawn before, the empty ones and
            # those out of view as nothing, also where their negative cells count from the end.
            for mob, alive in enumerate(mobs.mask[row, step]):
                y, x = mobs.position[row, step, mob] - position + [3, 4]
                if -7 <= y < 7 and -9 <= x < 9:
                    drawn[y, x] = alive and y >= 0 and x >= 0
            expected = np.where(drawn, np.maximum(expected, 17 + kind), expected)
            mobs_in_view += drawn.sum()
        np.testing.assert_array_equal(seen["map"][row, step], expected)
        np.testing.assert_allclose(seen["status"][row, step, -2:], position / 64)
    assert mobs_in_view > 0


def test_every_goal_has_a_number_and_a_share():
    goals, shares = crafter.GOALS, crafter.GOAL_SHARES
    assert crafter.TokenGoals().index(jnp.asarray(goals)).tolist() == list(range(len(goals)))
    assert len(goals) == 22 + 13 * 13
    words = [crafter.goal_words(goal) for goal in goals.tolist()]
    assert len(set(words)) == len(goals)
    np.testing.assert_allclose(shares.sum(), 1)
    never = {word for word, share in zip(words, shares, strict=True) if share == 0}
    assert {word for word in never if not word.startswith("travel")} == {"wake up"}
    by_verb = {
        verb: sum(s for w, s in zip(words, shares, strict=True) if w.startswith(verb))
        for verb in crafter.KINDS
    }
    np.testing.assert_allclose(list(by_verb.values()), list(crafter.KINDS.values()))
    # One is sent to near places more often than to far ones.
    share = dict(zip(words, shares, strict=True))
    assert share["travel 30 30"] > share["travel 30 50"] > share["travel 0 30"]


def test_instructions_have_all_lengths_and_end_episodes():
    env = make("goals/crafter", goals=3)
    state = jax.eval_shape(env.reset, jax.random.key(0))
    assert state.timestep.observation == env.observation_shapes
    goals = jnp.asarray([[0, 0, 0], crafter.GOALS[0], crafter.GOALS[21]], jnp.int32)
    assert crafter.goal_words(goals[1].tolist()) == "collect wood"
    drawn = jax.vmap(lambda key: env.env.draw_instruction(key))(
        jax.random.split(jax.random.key(0), 300)
    )
    assert np.bincount(drawn.unused, minlength=3).min() > 60


def test_pixels_are_seen_and_drawn():
    env = make("goals/crafter_pixels", goals=2)
    state = jax.jit(env.reset)(jax.random.key(0))
    assert {k: v.shape for k, v in state.timestep.observation.items()} == {
        "image": (63, 63, 3),
        "position": (2,),
        "goals": (2, 3),
        "achieved": (3, 3),
    }
    assert 20 < np.asarray(state.timestep.observation["image"]).std() < 120
    drawn = env.env.draw(jax.device_get(state.env_state), env.params)
    assert drawn.shape == (576, 576, 3)
    assert drawn.dtype == np.uint8
    assert " of " in env.env.describe(state.env_state, env.params)


def test_the_extra_is_named_if_craftax_is_missing(monkeypatch):
    monkeypatch.delitem(sys.modules, "amago_jax.envs.goals.crafter")
    monkeypatch.setitem(sys.modules, "craftax.craftax_classic.constants", None)
    with pytest.raises(
        ValueError, match=r"goals/crafter needs the extra 'craftax' .*'amago_jax\[craftax\]'"
    ):
        make("goals/crafter")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"goals": 2, "least_goals": 3}, "least_goals=3 must be at most goals=2"),
        ({"limit": 0}, "limit=0 must be a whole number of at least 1"),
        ({"lives": 3}, "no setting 'lives'"),
    ],
)
def test_wrong_settings_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        make("goals/crafter", **wrong)
