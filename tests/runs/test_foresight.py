"""What a run says before it compiles, and what it refuses to begin with."""

import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest
from gymnax.environments import spaces
from omegaconf import open_dict

from amago_jax import ConfigError
from amago_jax.models.convolutions import GridworldEncoder
from amago_jax.runs.building import build
from amago_jax.runs.config import compose
from amago_jax.runs.foresight import describe
from amago_jax.runs.run import Run
from tiny_runs import TINY, WITHOUT_MEMORY, WITHOUT_MEMORY_ANYWHERE

LAKE = [
    *WITHOUT_MEMORY_ANYWHERE,
    "env=gymnax/FrozenLake-misc",
    "context_length=8",
    "rollout_steps=12",
]


def said(*settings):
    config = compose(settings)
    return describe(build(config), config.context_length)


def test_of_real_numbers_and_short_episodes_there_is_nothing_to_say():
    assert said(*WITHOUT_MEMORY) == []


def test_how_whole_numbers_are_read_is_said():
    assert said(*LAKE) == ["whole numbers: observation one-hot, 16 codes"]
    plainly = said(*LAKE, "timestep_encoder.one_hot=false")
    assert plainly[0] == "whole numbers: observation as numbers"
    assert "observation holds codes, which mean nothing as numbers" in plainly[1]


def test_a_run_saved_before_there_were_codes_is_what_it_was():
    config = compose(LAKE)
    with open_dict(config):
        del config.timestep_encoder["one_hot"]
    assert describe(build(config), 8)[0] == "whole numbers: observation as numbers"


def test_small_numbers_are_not_scaled_as_pixels_without_a_word():
    shapes = {"observation": jax.ShapeDtypeStruct((7, 7, 2), jnp.uint8)}
    agent = SimpleNamespace(timestep_encoder=GridworldEncoder())
    for greatest, words in ((12, 2), (255, 1)):
        space = spaces.Box(0, greatest, (7, 7, 2), jnp.uint8)
        inner = SimpleNamespace(observation_space=lambda params, space=space: space)
        env = SimpleNamespace(env=inner, params=None, observation_shapes=shapes)
        lines = describe(SimpleNamespace(env=env, agent=agent), context_length=8)
        assert lines[0] == "whole numbers: observation as pixels"
        assert len(lines) == words


def test_what_an_epoch_takes_is_said_where_nobody_chose_a_long_context():
    long = [*WITHOUT_MEMORY, "env.corridor_length=1500", "replay.capacity=2000"]
    (line,) = said(*long)
    # 3 batches of 4 windows.
    assert f"learns from {3 * 4 * 1502:,} timesteps" in line
    assert "12 times" not in line
    assert "acts 48 times" in line
    assert said(*long, "context_length=1400") == []


def test_a_table_of_positions_is_as_long_as_the_longest_episode():
    settings = [*TINY, "env.corridor_length=10", "trajectory_encoder.position=learnable"]
    with pytest.raises(
        ConfigError, match=r"max_time=11 is too small .* 12 timesteps: set max_time=12"
    ):
        build(compose([*settings, "trajectory_encoder.max_time=11"]))
    build(compose([*settings, "trajectory_encoder.max_time=12"]))


def test_how_many_of_the_episodes_begun_have_ended_is_counted(tmp_path):
    run = Run(compose([*WITHOUT_MEMORY, f"run_dir={tmp_path}"]))
    rows = []
    for episodes in (0.0, 2.0, 5.0):
        row = {
            "epoch": 1.0,
            "epochs": 9.0,
            "env_steps": 4.0,
            "updates": 1.0,
            "train/episodes": episodes,
        }
        rows.append(run.record(row, training=1.0, whole=1.0))
    assert [row["train/episodes_ended"] for row in rows] == [0, 2, 7]
    assert [row["train/episodes_begun"] for row in rows] == [4, 6, 11]
    assert all(math.isfinite(x) for row in rows for x in row.values())
