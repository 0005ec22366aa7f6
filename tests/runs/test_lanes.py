"""More environments at once, and everything else as it was published."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amago_jax import make_run
from amago_jax.errors import ConfigError
from amago_jax.runs.building import build
from amago_jax.runs.config import choices, compose
from amago_jax.runs.lanes import WINDOWS, in_lanes
from tiny_runs import LEAST

RECIPES = [name for name in choices("experiment") if name != "encoder_speed"]


def timesteps(config):
    """Of an epoch, of all environments together."""
    return config.envs * config.rollout_steps


def agree(found, published, rounded):
    """Whether two counts agree but for the rounding of ``rounded`` to a whole number."""
    return found == pytest.approx(published, rel=0.5 / rounded + 1e-9)


@pytest.mark.parametrize("recipe", RECIPES)
def test_what_was_published_is_kept(recipe):
    config = compose([f"experiment={recipe}"])
    for lanes in (24, 100, 1024, 4096):
        narrow = config.copy()
        narrow.lanes = lanes
        wide = in_lanes(narrow, window=2)
        assert wide.envs == lanes
        ratio = config.updates / timesteps(config)
        assert agree(wide.updates / timesteps(wide), ratio, wide.updates)
        total = config.epochs * timesteps(config)
        assert agree(wide.epochs * timesteps(wide), total, wide.epochs)
        annealed = wide.exploration.anneal_steps
        assert agree(lanes * annealed, config.envs * config.exploration.anneal_steps, annealed)
        stored = wide.replay.capacity
        assert agree(lanes * stored, config.envs * config.replay.capacity, stored)
        assert wide.batch_size == config.batch_size


@settings(max_examples=30, deadline=None)
@given(lanes=st.integers(1, 5000), window=st.integers(2, 400), steps=st.integers(1, 500))
def test_it_can_be_run_and_read_again(config, lanes, window, steps):
    narrow = config.copy()
    narrow.rollout_steps, narrow.lanes = steps, lanes
    wide = in_lanes(narrow, window)
    assert wide.replay.capacity >= wide.rollout_steps >= 1
    assert wide.replay.capacity >= WINDOWS * window
    assert min(wide.updates, wide.epochs, wide.exploration.anneal_steps) >= 1
    assert in_lanes(wide, window) == wide
    assert (wide.lanes, narrow.lanes, narrow.envs) == (None, lanes, 24)


@pytest.fixture(scope="module")
def config():
    return compose()


def test_nothing_follows_from_no_lanes(config):
    assert in_lanes(config, 9) == config


@pytest.mark.parametrize("lanes", ["0", "many", "true", "2.5"])
def test_wrong_numbers_are_named(lanes):
    with pytest.raises(ConfigError, match=r"lanes=.* must be a whole number of at least 1"):
        build(compose([f"lanes={lanes}"]))


def test_a_run_trains_in_its_lanes(tmp_path):
    run = make_run([*LEAST, "updates=3", "lanes=12", "replay.capacity=60"], run_dir=tmp_path)
    assert (run.trainer.envs, run.trainer.rollout_steps, run.trainer.updates) == (12, 4, 3)
    assert (run.config.envs, run.config.lanes) == (12, None)
    first, second = (row for row, _ in zip(run.epochs(), range(2), strict=False))
    assert second["updates"] == 6
    assert second["env_steps"] > first["env_steps"] > 0
