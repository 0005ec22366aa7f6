"""Rulesets of XLand-MiniGrid, and attempts at them."""

import bz2
import os
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from xminigrid.benchmarks import load_benchmark_from_path
from xminigrid.core.goals import AgentHoldGoal, AgentNearGoal, TileNearGoal
from xminigrid.core.rules import AgentHoldRule, AgentNearRule, EmptyRule, TileNearRule

from amago_jax.envs import make
from amago_jax.envs.adapters.xland_rulesets import (
    AGENT_NEAR_GOAL,
    AGENT_NEAR_RULE,
    DIFFICULTIES,
    HOLD_GOAL,
    HOLD_RULE,
    NEAR_GOAL,
    NEAR_RULE,
    generate_rulesets,
    load_rulesets,
    ruleset_numbers,
    save_rulesets,
    select,
    split_rulesets,
)

ATTEMPTS, LIMIT = 3, 25
SETTINGS = {"rulesets": 40, "difficulty": "medium", "attempts": ATTEMPTS, "max_steps": LIMIT}
GOALS = {HOLD_GOAL: AgentHoldGoal, AGENT_NEAR_GOAL: AgentNearGoal, NEAR_GOAL: TileNearGoal}
RULES = {HOLD_RULE: AgentHoldRule, AGENT_NEAR_RULE: AgentNearRule, NEAR_RULE: TileNearRule}


def pairs(codes):
    """Return the tiles of a code behind its kind."""
    return [tuple(codes[i : i + 2].tolist()) for i in range(1, len(codes), 2)]


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_rules_make_what_every_generated_goal_takes(difficulty):
    settings = DIFFICULTIES[difficulty]
    rulesets = jax.tree.map(np.asarray, generate_rulesets(difficulty, 300, seed=1))
    assert len(np.unique(ruleset_numbers(rulesets), axis=0)) == 300
    deepest = 0
    for goal, rules, tiles in zip(rulesets.goals, rulesets.rules, rulesets.init_tiles, strict=True):
        at_hand = {tuple(tile) for tile in tiles.tolist()} - {(0, 0)}
        wanted = pairs(goal)[: 2 if goal[0] == NEAR_GOAL else 1]
        rounds = 0
        while not at_hand.issuperset(wanted):
            made = set()
            for rule in rules[rules[:, 0] > 0]:
                inputs = 2 if rule[0] == NEAR_RULE else 1
                if at_hand.issuperset(pairs(rule)[:inputs]):
                    made.add(pairs(rule)[inputs])
            assert made - at_hand, "no rule makes anything new, and the goal is not reached"
            at_hand |= made
            rounds += 1
        deepest = max(deepest, rounds)
        assert rounds <= settings.depth
        # Nothing lies about but what the goal or a rule may take, and distractors.
        assert (tiles.any(-1)).sum() >= settings.objects
    assert deepest == settings.depth


@pytest.mark.parametrize(
    ("kinds", "field", "empty"),
    [(GOALS, "goals", None), (RULES, "rules", EmptyRule().encode())],
)
def test_codes_are_the_suites(kinds, field, empty):
    codes = np.asarray(getattr(generate_rulesets("high", 50, seed=0), field))
    seen = set()
    for code in codes.reshape(-1, codes.shape[-1]):
        if code[0] == 0:
            np.testing.assert_array_equal(code, empty)
            continue
        again = kinds[int(code[0])].decode(jnp.asarray(code)).encode()
        np.testing.assert_array_equal(code, again)
        seen.add(int(code[0]))
    assert seen == set(kinds)


def test_the_same_seed_draws_the_same_rulesets_and_another_one_others():
    numbers = [ruleset_numbers(generate_rulesets("small", 30, seed)) for seed in (3, 3, 4)]
    np.testing.assert_array_equal(numbers[0], numbers[1])
    assert numbers[0].shape != numbers[2].shape or (numbers[0] != numbers[2]).any()


def rows(rulesets):
    return set(map(tuple, ruleset_numbers(rulesets).tolist()))


def test_no_ruleset_is_in_train_and_test():
    train, test = (
        make("meta/xland_minigrid", **SETTINGS, split=split).env.env.rulesets
        for split in ("train", "test")
    )
    assert (len(train.goals), len(test.goals)) == (32, 8)
    assert len(rows(train)) == 32
    assert not rows(train) & rows(test)


def test_two_tiles_to_put_together_are_the_same_either_way():
    rulesets = generate_rulesets("trivial", 500, seed=0)
    near = np.asarray(rulesets.goals)[:, 0] == NEAR_GOAL
    mirrored = np.asarray(rulesets.goals)[:, [0, 3, 4, 1, 2]]
    goals = np.where(near[:, None], mirrored, rulesets.goals)
    assert near.sum() > 100
    swapped = select(rulesets, np.arange(500)).replace(goals=goals)
    np.testing.assert_array_equal(ruleset_numbers(swapped), ruleset_numbers(rulesets))
    assert len(np.unique(ruleset_numbers(rulesets), axis=0)) == 500


def test_files_of_the_suite_are_loaded_without_duplicates(tmp_path):
    path = str(tmp_path / "rulesets")
    drawn = generate_rulesets("small", 20, seed=5)
    save_rulesets(select(drawn, np.array([*range(20), 3, 3, 7])), path)
    assert load_benchmark_from_path(path).num_rulesets() == 23
    loaded = load_rulesets(path)
    np.testing.assert_array_equal(ruleset_numbers(loaded), ruleset_numbers(drawn))
    split = split_rulesets(loaded, 0.2, seed=0)
    env = make("meta/xland_minigrid", **{**SETTINGS, "rulesets": path})
    assert rows(env.env.env.rulesets) == rows(split["train"])
    assert not rows(split["train"]) & rows(split["test"])


@pytest.fixture(scope="module")
def played():
    """Random play of whole meta-episodes, and the suite's own steps from the same states."""
    env = make("meta/xland_minigrid", **SETTINGS)
    suite = env.env.env.env.suite

    def play(key):
        key_reset, key_actions, key_steps = jax.random.split(key, 3)

        def step(state, now):
            key, action = now
            after = env.transition(key, state, action)
            theirs = suite.step(env.params, state.env_state.inner, action)
            return after, (after, theirs)

        now = (
            jax.random.split(key_steps, env.horizon),
            jax.random.randint(key_actions, (env.horizon,), 0, 6),
        )
        first = env.reset(key_reset)
        return first, jax.lax.scan(step, first, now)[1]

    keys = jax.random.split(jax.random.key(0), 6)
    states = jax.jit(lambda keys: jax.lax.map(play, keys))(keys)
    hide = {"key": 0}
    first, (after, theirs) = states

    def hidden(timestep):
        return timestep.replace(state=timestep.state.replace(**hide))

    first = first.replace(env_state=first.env_state.replace(inner=hidden(first.env_state.inner)))
    after = after.replace(env_state=after.env_state.replace(inner=hidden(after.env_state.inner)))
    return env, *jax.tree.map(np.asarray, (first, after, hidden(theirs)))


def test_the_ruleset_stays_and_its_objects_move(played):
    env, first, after, _ = played
    assert env.horizon == ATTEMPTS * LIMIT
    task, inner = after.env_state.task, after.env_state.inner.state
    for row in range(6):
        for kept, begun in zip(
            jax.tree.leaves(task), jax.tree.leaves(first.env_state.task), strict=True
        ):
            assert (kept[row] == begun[row]).all()
        assert (inner.goal_encoding[row] == task.goal[row]).all()
        assert (inner.rule_encoding[row] == task.rules[row]).all()
        begins = after.timestep.observation["attempt"][row, :, 0] > 0
        assert begins.sum() == ATTEMPTS - 1
        tiles = task.init_tiles[row, 0]
        tiles = tiles[tiles.any(-1)].tolist()
        grids = [first.env_state.inner.state.grid[row], *inner.grid[row][begins]]
        for grid in grids:
            lying = [tile for tile in grid.reshape(-1, 2).tolist() if tile[0] >= 3]
            assert sorted(lying) == sorted(tiles)
        assert not np.array_equal(grids[0], grids[1])
    # Tasks differ between meta-episodes.
    assert len(np.unique(first.env_state.task.goal, axis=0)) > 1


def test_steps_are_the_suites_and_the_goal_is_shown(played):
    _, first, after, theirs = played
    seen = after.timestep.observation
    np.testing.assert_allclose(after.timestep.previous_reward, theirs.reward)
    over = after.timestep.is_last
    begins = seen["attempt"][..., 0] > 0
    np.testing.assert_array_equal((theirs.step_type == 2)[~over], begins[~over])
    goes_on = ~begins
    np.testing.assert_array_equal(seen["grid"][goes_on], theirs.observation[goes_on])
    directions = theirs.state.agent.direction[goes_on]
    np.testing.assert_array_equal(seen["direction"][goes_on].argmax(-1), directions)
    np.testing.assert_array_equal(seen["direction"].sum(-1), 1)
    np.testing.assert_array_equal(
        seen["goal"], np.broadcast_to(first.env_state.task.goal[:, None], seen["goal"].shape)
    )
    hidden = make("meta/xland_minigrid", **SETTINGS, show_goal=False)
    assert set(hidden.observation_shapes) == {"attempt", "direction", "grid"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"layout": "MiniGrid-Empty-5x5"}, "layout='MiniGrid-Empty-5x5' must be an XLand"),
        ({"layout": "XLand-MiniGrid-R1-8x8"}, "'XLand-MiniGrid-R1-8x8': did you mean XLand"),
        ({"split": "validation"}, "split='validation' must be one of train, test"),
        ({"rulesets": 4}, "rulesets=4 must be a whole number of at least 5, or a text"),
        ({"rulesets": "/nowhere"}, "rulesets='/nowhere' is no file"),
        ({"difficulty": "hard"}, "difficulty='hard' must be one of trivial, small"),
        ({"difficulty": "trivial", "rulesets": 2000}, "only .* different trivial rulesets"),
        ({"attempts": 0}, "attempts=0"),
        ({"budget": 100}, "and budget=100: give one of them"),
    ],
)
def test_wrong_settings_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        make("meta/xland_minigrid", **{**SETTINGS, **wrong})


def test_files_that_are_no_benchmark_are_refused(tmp_path):
    path = tmp_path / "text"
    path.write_text("no rules")
    with pytest.raises(ValueError, match="is no benchmark of XLand-MiniGrid"):
        load_rulesets(str(path))
    with bz2.open(path, "wb") as file:
        pickle.dump({"goals": np.zeros((2, 5))}, file)
    with pytest.raises(ValueError, match=r"is no benchmark .*\(KeyError: 'rules'"):
        load_rulesets(str(path))


def test_a_benchmark_file_calls_nothing_and_may_hold_arrays_of_any_kind(tmp_path):
    path, mark = tmp_path / "file", tmp_path / "mark"
    drawn = generate_rulesets("trivial", 4, 0)

    class Command:
        def __reduce__(self):
            return os.system, (f"touch {mark}",)

    arrays = {
        "goals": drawn.goals,
        "rules": drawn.rules,
        "init_tiles": drawn.init_tiles,
        "num_rules": drawn.num_rules,
    }
    with bz2.open(path, "wb") as file:
        pickle.dump({**arrays, "generation_config": Command()}, file)
    with pytest.raises(ValueError, match=r"refers to posix\.system"):
        load_rulesets(str(path))
    assert not mark.exists()
    for kind in (jnp.asarray, np.asarray):
        with bz2.open(path, "wb") as file:
            pickle.dump({name: kind(array) for name, array in arrays.items()}, file)
        assert len(load_rulesets(str(path)).goals) == 4
