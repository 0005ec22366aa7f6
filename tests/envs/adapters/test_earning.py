"""Tasks of grids and puzzles can be won: random players earn something in one of each family.

What chance does not solve is listed with the reason. Played by `make test-envs`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jumanji.environments.logic.rubiks_cube.generator import ScramblingGenerator

from amago_jax import envs

PLAYERS, STEPS = 1024, 300
SUITES = ("jumanji", "navix", "xminigrid/MiniGrid")

# How ids of a family begin, the one that is played, and its settings.
FAMILIES: list[tuple[str, str, dict[str, Any]]] = [
    ("jumanji/BinPack", "-v2", {}),
    ("jumanji/CVRP", "-v1", {}),
    ("jumanji/Cleaner", "-v0", {}),
    ("jumanji/Game2048", "-v1", {}),
    ("jumanji/GraphColoring", "-v1", {}),
    ("jumanji/Knapsack", "-v1", {}),
    ("jumanji/Maze", "-v0", {}),
    ("jumanji/Minesweeper", "-v0", {}),
    ("jumanji/PacMan", "-v1", {}),
    ("jumanji/RobotWarehouse", "-v0", {}),
    ("jumanji/RubiksCube", "-v0", {"kwargs": {"generator": ScramblingGenerator(3, 1)}}),
    ("jumanji/SlidingTilePuzzle", "-v0", {}),
    ("jumanji/Snake", "-v1", {}),
    ("jumanji/TSP", "-v1", {}),
    ("jumanji/Tetris", "-v0", {}),
    ("navix/Navix-DistShift", "1-v0", {}),
    ("navix/Navix-DoorKey", "-5x5-v0", {}),
    ("navix/Navix-DoorKey-Random", "-5x5-v0", {}),
    ("navix/Navix-Dynamic-Obstacles", "-5x5-v0", {}),
    ("navix/Navix-Empty", "-5x5-v0", {}),
    ("navix/Navix-Empty-Random", "-5x5-v0", {}),
    ("navix/Navix-FourRooms", "-v0", {}),
    ("navix/Navix-GoToDoor", "-5x5-v0", {}),
    ("navix/Navix-LavaGap", "S5-v0", {}),
    ("navix/Navix-SimpleCrossing", "S9N1-v0", {"max_steps": STEPS}),
    ("xminigrid/MiniGrid-BlockedUnlockPickUp", "", {}),
    ("xminigrid/MiniGrid-DoorKey", "-5x5", {}),
    ("xminigrid/MiniGrid-Empty", "-5x5", {}),
    ("xminigrid/MiniGrid-EmptyRandom", "-5x5", {}),
    ("xminigrid/MiniGrid-FourRooms", "", {}),
    ("xminigrid/MiniGrid-Memory", "S8", {}),
    ("xminigrid/MiniGrid-Unlock", "", {}),
    ("xminigrid/MiniGrid-UnlockPickUp", "", {}),
]
COSTS = ("jumanji/CVRP", "jumanji/GraphColoring", "jumanji/TSP")  # the least are wanted
NOT_BY_CHANCE = {
    "jumanji/Sudoku": "nothing is paid before every cell is right",
    "xminigrid/MiniGrid-LockedRoom": "of six rooms, one has a key, and another one needs it",
}


def test_every_task_is_of_a_family_that_is_played_or_has_a_reason():
    known = (*(begin for begin, _, _ in FAMILIES), *NOT_BY_CHANCE)
    tasks = [env_id for env_id in envs.list_ids() if env_id.startswith(SUITES)]
    assert len(tasks) > 60
    assert [env_id for env_id in tasks if not env_id.startswith(known)] == []


@pytest.mark.environments
@pytest.mark.parametrize(
    ("begin", "env_id", "settings"),
    [pytest.param(a, a + end, changes, id=a + end) for a, end, changes in FAMILIES],
)
def test_something_can_be_earned(begin, env_id, settings):
    rewards = play_at_random(envs.make(env_id, **settings))
    if begin in COSTS:
        assert rewards.min() < 0
    else:
        assert rewards.max() > 0


def play_at_random(env):
    """Return the rewards of first episodes, float32 ``[STEPS, PLAYERS]``, 0 after their ends."""

    everything = jnp.ones((PLAYERS, env.action_space.count), bool)

    def step(carry, key):
        state, over = carry
        keys = jax.random.split(key, PLAYERS)
        legal = state.timestep.observation.get("action_mask", everything)
        actions = jax.random.categorical(key, jnp.where(legal, 0.0, -jnp.inf))
        state = jax.vmap(env.transition)(keys, state, actions)
        reward = jnp.where(over, 0.0, state.timestep.previous_reward)
        return (state, over | state.timestep.is_last), reward

    @jax.jit
    def play(key):
        state = jax.vmap(env.reset)(jax.random.split(key, PLAYERS))
        keys = jax.random.split(key, min(env.horizon, STEPS))
        return jax.lax.scan(step, (state, state.timestep.is_last), keys)[1]

    return np.asarray(play(jax.random.key(0)))
