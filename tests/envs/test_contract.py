"""What holds for every environment that has an id.

`make test` checks the structure of all of ours and gymnax's, streams of one of each family, and
trains in those of them that are ours or gymnax's; `make test-envs` checks everything for all.
"""

import itertools
import math

import chex
import jax
import numpy as np
import pytest
from flax import struct
from gymnax.environments import spaces

from amago_jax import envs, make_run
from amago_jax.envs.codes import codes_of
from amago_jax.envs.registry import SUITES
from compilations import compiled_programs

COPIES, STEPS, BY_HAND = 3, 256, 1
ROUNDING = 1e-6  # of real numbers at the end of their space
LATE = COPIES - 1  # this copy begins shortly before the horizon

NEEDS_A_DOWNLOAD = {"gymnax/MNISTBandit-bsuite"}
IDS = [env_id for env_id in envs.list_ids() if env_id not in NEEDS_A_DOWNLOAD]

# What of each family compiles soonest. Craftax takes minutes, Brax most of one.
SMALLEST = {
    "goals": "goals/package_delivery",
    "gymnax": "gymnax/MemoryChain-bsuite",
    "jumanji": "jumanji/Snake-v1",
    "meta": "meta/dark_key_door",
    "navix": "navix/Navix-Empty-5x5-v0",
    "popgym": "popgym/RepeatPreviousEasy",
    "tmaze": "tmaze/passive",
    "xminigrid": "xminigrid/MiniGrid-Empty-5x5",
}


def parameters(always):
    return [pytest.param(i, marks=() if always(i) else pytest.mark.environments) for i in IDS]


OUTLINED = parameters(lambda i: i in SMALLEST.values() or i.partition("/")[0] not in SUITES)
WHOLE = parameters(lambda i: i in SMALLEST.values())
OWN = [env_id for family, env_id in SMALLEST.items() if family not in SUITES]
TRAINED = parameters(lambda i: i in OWN)

# Whatever the keys are, the same actions lead to the same.
NOT_RANDOM = {
    "gymnax/DeepSea-bsuite",
    "gymnax/DiscountingChain-bsuite",
    "gymnax/Pong-misc",
    "gymnax/SpaceInvaders-MinAtar",
    "navix/Navix-DistShift1-v0",
    "navix/Navix-DistShift2-v0",
    *(f"navix/Navix-Empty-{size}-v0" for size in ("5x5", "6x6", "8x8", "16x16")),
    *(f"xminigrid/MiniGrid-Empty-{size}" for size in ("5x5", "6x6", "8x8", "16x16")),
    "xminigrid/MiniGrid-MemoryS128",  # a corridor so long that its middle is all they see
}
# What gymnax or Jumanji says of their observations is not so.
OTHER_SPACES = {
    "gymnax/Catch-bsuite",  # numbers are said to be integers
    "gymnax/FourRooms-misc",  # integers are said to be real
    "gymnax/GaussianBandit-misc",  # rewards, of any size, are said to be from 0 to 1
    "gymnax/MemoryChain-bsuite",  # the context, -1 or 1, is said to be from 0 on
    "gymnax/MetaMaze-misc",  # the last reward, of 10, is said to be at most 1
    "jumanji/TSP-v1",  # the city one is in, -1 before the first, is said to be from 0 on
}


# Whole numbers that are amounts: counts, times, sizes, places. All others are codes, which
# encoders look up or make one-hot, or bytes of a picture.
AMOUNTS = {
    "goals/maze_runner": "achieved goals",
    "goals/package_delivery": "achieved goals",
    "gymnax/FourRooms-misc": "observation",
    "jumanji/Cleaner-v0": "agents_locations step_count",
    "jumanji/Game2048-v1": "board",  # the powers of two
    "jumanji/Maze-v0": (
        "agent_position.col agent_position.row step_count target_position.col target_position.row"
    ),
    "jumanji/Minesweeper-v0": "num_mines step_count",
    "jumanji/PacMan-v1": (
        "frightened_state_time ghost_locations grid pellet_locations player_locations.x "
        "player_locations.y power_up_locations score"
    ),
    "jumanji/RobotWarehouse-v0": "agents_view step_count",
    "jumanji/RubiksCube-partly-scrambled-v0": "step_count",
    "jumanji/RubiksCube-v0": "step_count",
    "jumanji/SlidingTilePuzzle-v0": "empty_tile_position step_count",
    "jumanji/Snake-v1": "step_count",
    "jumanji/Tetris-v0": "grid step_count tetromino",  # cells are free or not
}
PICTURES = {
    "craftax/Craftax-Classic-Pixels-v1": "observation",
    "craftax/Craftax-Pixels-v1": "observation",
    "goals/crafter_pixels": "image",
}


# What looks like an image is cells of numbered things, and is read as the environment's file says.
NO_IMAGE = {"meta/xland_minigrid"}


def test_one_environment_of_each_family_is_always_checked_whole():
    assert {*SMALLEST, "brax", "craftax"} == {env_id.partition("/")[0] for env_id in IDS}
    assert set(SMALLEST.values()) <= set(IDS)


@pytest.mark.parametrize("env_id", OUTLINED)
def test_structure(env_id):
    env = envs.make(env_id)
    key = jax.eval_shape(lambda: jax.random.key(0))
    first = jax.eval_shape(env.reset, key)
    after = jax.eval_shape(env.step, key, first, first.timestep.previous_action, first)
    # Leaf by leaf: some packages' states compare themselves in ways of their own.
    assert jax.tree.structure(first) == jax.tree.structure(after)
    assert jax.tree.leaves(first) == jax.tree.leaves(after)
    assert first.timestep.observation == env.observation_shapes
    assert env.name == env_id
    assert env_id in OTHER_SPACES or stated_shapes(env) == env.observation_shapes
    integers = {k for k, x in env.observation_shapes.items() if np.issubdtype(x.dtype, np.integer)}
    others = {*AMOUNTS.get(env_id, "").split(), *PICTURES.get(env_id, "").split()}
    assert integers - set(codes_of(env)) == others


@pytest.mark.usefixtures("forget_after_each_test")
@pytest.mark.parametrize("env_id", WHOLE)
def test_streams(env_id):
    env = envs.make(env_id)
    play, actions = make_player(env), draw_actions(env)
    with compiled_programs() as programs:
        stream = play(draw_keys(0), actions)
        compiled = len(programs)
        again, other = play(draw_keys(0), actions), play(draw_keys(1), actions)
        assert compiled > 0, "the counter counts nothing"
        assert programs[compiled:] == []
    assert identical(stream, again), "the same keys give another stream"
    assert identical(stream, other) == (env_id in NOT_RANDOM)

    first, timesteps = jax.tree.map(np.asarray, stream)
    check_types(env, timesteps)
    check_episodes(env, first, timesteps, np.asarray(actions))
    if env_id not in OTHER_SPACES:
        check_spaces(env, timesteps)
    check_one_by_one(env, timesteps, draw_keys(0), actions)


@pytest.mark.usefixtures("forget_after_each_test")
@pytest.mark.parametrize("env_id", TRAINED)
def test_trains_for_two_epochs(env_id, tmp_path):
    run = make_run([f"env={env_id}", *tiny_settings(envs.make(env_id))], run_dir=tmp_path)
    with compiled_programs() as programs:
        rows, counts = [], []
        for row in itertools.islice(run.epochs(), 2):
            rows.append(row)
            counts.append(len(programs))
    assert counts[0] > 0, "the counter counts nothing"
    assert programs[counts[0] :] == []
    assert [row["updates"] for row in rows] == [1, 2]
    assert all(math.isfinite(x) for row in rows for name, x in row.items() if "loss" in name)


# What is checked, on timesteps `[STEPS, COPIES, ...]` as NumPy arrays.


def check_types(env, timesteps):
    discrete = isinstance(env.action_space, envs.DiscreteActions)
    assert timesteps.previous_action.dtype == (np.int32 if discrete else np.float32)
    assert timesteps.previous_reward.dtype == np.float32
    assert timesteps.time.dtype == np.int32
    for flag in (timesteps.is_first, timesteps.is_last, timesteps.terminated):
        assert flag.dtype == bool
    for leaf in jax.tree.leaves(timesteps):
        assert leaf.shape[:2] == (STEPS, COPIES)
        assert np.isfinite(leaf).all()
    found = {key: (x.shape[2:], x.dtype) for key, x in timesteps.observation.items()}
    assert found == {key: (x.shape, x.dtype) for key, x in env.observation_shapes.items()}


def check_episodes(env, first, timesteps, actions):
    ts, none = timesteps, -1 if isinstance(env.action_space, envs.DiscreteActions) else 0.0
    assert ts.is_first[0].all()
    np.testing.assert_array_equal(ts.is_first[1:], ts.is_last[:-1])
    np.testing.assert_array_equal(ts.time[1:], np.where(ts.is_first[1:], 0, ts.time[:-1] + 1))
    assert (ts.previous_reward[ts.is_first] == 0).all()
    assert (ts.previous_action[ts.is_first] == none).all()
    later = ~ts.is_first[1:]
    np.testing.assert_array_equal(ts.previous_action[1:][later], actions[:-1][later])
    for key, x in ts.observation.items():
        for copy in range(COPIES):
            begun = x[1:, copy][ts.is_first[1:, copy]]
            np.testing.assert_array_equal(begun, np.broadcast_to(first[key][copy], begun.shape))

    assert (ts.time <= env.horizon).all()
    assert ts.is_last[:, LATE].any()
    in_time = ts.time == env.horizon
    assert ts.is_last[in_time].all()
    assert not (ts.terminated & ~ts.is_last).any()
    if env.terminate_on_truncation:
        assert ts.terminated[in_time].all()
    elif env.horizon > STEPS // 2 and in_time[: STEPS // 2 + 1, LATE].any():
        # The environment's own clock, if it has one, was not put forward.
        over = in_time[:, LATE].argmax()
        assert not ts.terminated[over, LATE], "a time limit, or by chance the end"


def check_spaces(env, timesteps):
    for key, space in stated_spaces(env).items():
        x = timesteps.observation[key]
        discrete = isinstance(space, spaces.Discrete)
        low, high = (0, space.n - 1) if discrete else map(np.asarray, (space.low, space.high))
        below, above = np.argwhere(x < low - ROUNDING), np.argwhere(x > high + ROUNDING)
        for place in (*below[:1], *above[:1]):
            pytest.fail(
                f"{key} at [time, copy, ...] = {place} is {x[tuple(place)]}, not in {space}"
            )


def check_one_by_one(env, timesteps, keys, actions):
    """One copy without jit and vmap takes the steps that it takes among others in a program."""
    state, first = (env.reset(keys.reset[place, 0]) for place in (0, 1))
    for time in range(BY_HAND + 1):
        expected = jax.tree.map(lambda x, t=time: x[t, 0], timesteps)
        chex.assert_trees_all_close(state.timestep, expected, rtol=1e-4, atol=1e-5)
        state = env.step(keys.step[time, 0], state, actions[time, 0], first)


# How it is played.


@struct.dataclass
class Keys:
    """Random keys: of first states ``[2, COPIES]`` and steps ``[STEPS, COPIES]``."""

    reset: jax.Array
    step: jax.Array


def draw_keys(seed):
    key_reset, key_step = jax.random.split(jax.random.key(seed))
    return Keys(
        reset=jax.random.split(key_reset, (2, COPIES)),
        step=jax.random.split(key_step, (STEPS, COPIES)),
    )


def draw_actions(env):
    """Draw actions ``[STEPS, COPIES]``; the last copy takes all of them, or the most extreme."""
    space, rng = env.action_space, np.random.default_rng(0)
    if isinstance(space, envs.DiscreteActions):
        actions = rng.integers(space.count, size=(STEPS, COPIES), dtype=np.int32)
        actions[:, LATE] = np.arange(STEPS) % space.count
    elif isinstance(space, envs.BinaryActions):
        actions = rng.integers(2, size=(STEPS, COPIES, space.size)).astype(np.float32)
    else:
        actions = rng.uniform(-1, 1, (STEPS, COPIES, space.size)).astype(np.float32)
        actions[:, LATE] = np.sign(actions[:, LATE])
    return jax.device_put(actions)


def make_player(env):
    """Compile streams of several copies, whose later episodes all begin alike.

    The last copy begins late, so that its horizon comes, however far away that is.
    """
    late = max(0, env.horizon - STEPS // 2)

    @jax.jit
    def play(keys, actions):
        start, first = (
            jax.tree.map(lambda x, n=n: x[n], jax.vmap(jax.vmap(env.reset))(keys.reset))
            for n in (0, 1)
        )
        time = start.timestep.time.at[LATE].set(late)
        start = start.replace(timestep=start.timestep.replace(time=time))

        def step(state, now):
            keys, action = now
            return jax.vmap(env.step)(keys, state, action, first), state.timestep

        return first.timestep.observation, jax.lax.scan(step, start, (keys.step, actions))[1]

    return play


def identical(a, b):
    return all(map(np.array_equal, jax.tree.leaves(a), jax.tree.leaves(b)))


def stated_spaces(env):
    """Return what the environment says of its observations, by key."""
    space = env.env.observation_space(env.params)
    return dict(space.spaces) if isinstance(space, spaces.Dict) else {"observation": space}


def stated_shapes(env):
    return {
        key: jax.ShapeDtypeStruct(space.shape, space.dtype)
        for key, space in stated_spaces(env).items()
    }


def tiny_settings(env):
    shapes = [x.shape for x in env.observation_shapes.values()]
    # Smaller ones, the faces of a cube, no convolution looks at.
    images = [shape for shape in shapes if len(shape) == 3 and min(shape[:2]) > 3]
    settings = [
        "trajectory_encoder=identity",
        "timestep_encoder.output_size=8",
        "agent.hidden_size=8",
        "agent.layers=1",
        "agent.critics=2",
        "agent.gammas=[0.9,0.99]",
        "agent.detailed_metrics=false",
        "envs=2",
        "batch_size=2",
        "rollout_steps=8",
        f"context_length={min(env.horizon, 8)}",
        "replay.capacity=24",
        "updates=1",
        "epochs=3",
        "evaluation.every=3",
    ]
    if not images or env.name in NO_IMAGE:
        return [*settings, "timestep_encoder.hidden_size=8"]
    encoder = "gridworld" if min(images[0][:2]) < 36 else "nature"
    return [
        *settings,
        f"timestep_encoder={encoder}",
        "timestep_encoder.channels=[4,4,4]",
        "timestep_encoder.image_features=8",
    ]
