"""How episodes end in every suite: out of time is a truncation, an end by the rules a termination.

Random players, many side by side, meet both where the time is short. `make test` plays what
compiles soon; some more is in test_suites.py, step by step against the suites' own.
"""

from typing import Any

import jax
import numpy as np
import pytest
from jumanji.environments.logic.rubiks_cube.generator import ScramblingGenerator
from jumanji.environments.logic.sliding_tile_puzzle.generator import RandomWalkGenerator
from jumanji.environments.routing.cleaner.generator import RandomGenerator as ToBeCleaned
from jumanji.environments.routing.maze.generator import RandomGenerator

from amago_jax import envs
from amago_jax.envs.registry import SUITES

PLAYERS = 64

# An environment, settings in which time is short, and whether `make test` plays it.
ENDS: list[tuple[str, dict[str, Any], bool]] = [
    ("gymnax/CartPole-v1", {"params": {"max_steps_in_episode": 12}}, True),
    ("jumanji/Maze-v0", {"kwargs": {"generator": RandomGenerator(4, 4), "time_limit": 8}}, True),
    ("brax/hopper", {"horizon": 12}, False),
    ("craftax/Craftax-Classic-Symbolic-v1", {"limit": 200}, False),
    (
        "jumanji/Cleaner-v0",
        {"kwargs": {"generator": ToBeCleaned(5, 5, 1), "time_limit": 2}},
        False,
    ),
    ("jumanji/PacMan-v1", {"kwargs": {"time_limit": 60}}, False),
    ("jumanji/RobotWarehouse-v0", {"kwargs": {"time_limit": 20}}, False),
    (
        "jumanji/RubiksCube-v0",
        {"kwargs": {"generator": ScramblingGenerator(2, 1), "time_limit": 4}},
        False,
    ),
    (
        "jumanji/SlidingTilePuzzle-v0",
        {"kwargs": {"generator": RandomWalkGenerator(3, 2), "time_limit": 8}},
        False,
    ),
    ("jumanji/Snake-v1", {"kwargs": {"time_limit": 6}}, False),
    ("jumanji/Tetris-v0", {"kwargs": {"time_limit": 2}}, False),
    ("navix/Navix-Dynamic-Obstacles-5x5-v0", {"max_steps": 12}, False),
    ("xminigrid/MiniGrid-EmptyRandom-5x5", {"params": {"max_steps": 40}}, False),
]


def test_there_is_an_environment_of_every_suite():
    assert {env_id.partition("/")[0] for env_id, _, _ in ENDS} == {"gymnax", *SUITES}


@pytest.mark.parametrize(
    ("env_id", "settings"),
    [
        pytest.param(id_, changes, marks=() if always else pytest.mark.environments, id=id_)
        for id_, changes, always in ENDS
    ],
)
def test_out_of_time_is_truncated_and_over_is_terminated(env_id, settings):
    env = envs.make(env_id, **settings)
    is_last, terminated = play_at_random(env)
    ends = is_last.argmax(0)  # 0: after one transition
    assert is_last.any(0).all(), "an episode went on past the horizon"
    early = ends < env.horizon - 1
    assert early.any(), "no episode was over early"
    assert not early.all(), "no episode ran out of time"
    for_good = terminated[ends, np.arange(PLAYERS)]
    assert for_good[early].all()
    # By chance some are over in the last step, for good.
    assert not for_good[~early].all()


def test_an_episode_of_jumanji_is_no_longer_than_its_time_limit():
    short = {"time_limit": 6}
    assert envs.make("jumanji/Snake-v1", kwargs=short).horizon == 6
    assert envs.make("jumanji/Snake-v1", kwargs=short, horizon=9).horizon == 6
    assert envs.make("jumanji/Snake-v1", kwargs=short, horizon=4).horizon == 4


def play_at_random(env):
    """Return ``is_last`` and ``terminated`` after each transition, bool ``[horizon, PLAYERS]``."""
    space = env.action_space

    def act(key):
        if isinstance(space, envs.DiscreteActions):
            return jax.random.randint(key, (), 0, space.count)
        return jax.random.uniform(key, (space.size,), minval=-1.0)

    def step(state, key):
        keys = jax.random.split(key, PLAYERS)
        after = jax.vmap(env.transition)(keys, state, jax.vmap(act)(keys))
        return after, (after.timestep.is_last, after.timestep.terminated)

    @jax.jit
    def play(key):
        start = jax.vmap(env.reset)(jax.random.split(key, PLAYERS))
        return jax.lax.scan(step, start, jax.random.split(key, env.horizon))[1]

    return jax.tree.map(np.asarray, play(jax.random.key(0)))
