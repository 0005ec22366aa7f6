"""All tasks of POPGym: their names, shapes, limits and AMAGO's settings of them."""

import dataclasses

import jax
import numpy as np
import popgym.envs
import pytest
from gymnasium import spaces
from gymnasium.spaces.utils import flatdim

from amago_jax import envs
from amago_jax.envs.popgym.tasks import TASKS, make_popgym

# Labyrinths are there if another package is; no paper reports on them.
CLASSES = {cls.__name__: cls for cls in popgym.envs.ALL if not cls.__name__.startswith("Labyrinth")}


def test_these_are_popgyms_42_tasks():
    assert set(TASKS) == set(CLASSES)
    assert len(TASKS) == 42
    assert {f"popgym/{task}" for task in TASKS} < set(envs.list_ids())


@pytest.mark.parametrize("task", TASKS)
def test_spaces_are_popgyms(task):
    theirs, ours = CLASSES[task](), make_popgym(task, append_time=False)
    size = flatdim(theirs.observation_space)
    expected = {"observation": jax.ShapeDtypeStruct((size,), np.float32)}
    assert ours.observation_shapes == expected
    assert ours.env.observation_space(ours.params).shape == (size,)
    if isinstance(theirs.action_space, spaces.Box):
        assert ours.action_space == envs.ContinuousActions(theirs.action_space.shape[0])
    else:
        count = flatdim(theirs.action_space)
        if isinstance(theirs.action_space, spaces.MultiDiscrete):
            count = int(np.prod(theirs.action_space.nvec))
        assert ours.action_space == envs.DiscreteActions(count)
    limit = getattr(theirs, "episode_length", None) or getattr(theirs, "max_episode_length", None)
    assert ours.horizon == (limit or theirs.deck_size - 1)


def test_time_is_appended_unless_it_is_not_wanted():
    env = envs.make("popgym/MultiarmedBanditEasy")
    state = env.reset(jax.random.key(0))
    for step in range(3):
        np.testing.assert_allclose(
            state.timestep.observation["observation"][2:], [np.float32(step / 1000)]
        )
        state = env.step(jax.random.key(step), state, 0)
    space = env.env.observation_space(env.params)
    np.testing.assert_array_equal(space.low, [0, 0, 0])
    np.testing.assert_array_equal(space.high, [1, 1, np.inf])
    without = envs.make("popgym/MultiarmedBanditEasy", append_time=False)
    assert without.observation_shapes["observation"].shape == (2,)


@pytest.mark.parametrize("terminate", [True, False])
def test_being_out_of_time_is_termination_unless_it_is_not_wanted(terminate):
    env = envs.make("popgym/ConcentrationEasy", terminate_on_truncation=terminate)
    state = env.reset(jax.random.key(0))
    late = dataclasses.replace(state.env_state, time=state.env_state.time + 103)
    state = env.step(jax.random.key(0), dataclasses.replace(state, env_state=late), 0)
    assert state.timestep.is_last
    assert state.timestep.terminated == terminate


def test_resets_that_cost_much_are_paid_once_per_rollout():
    assert make_popgym("BattleshipEasy").expensive_reset
    assert not make_popgym("RepeatFirstHard").expensive_reset


def test_unknown_tasks_are_named():
    with pytest.raises(ValueError, match="no task 'RepeatFirst': did you mean RepeatFirst"):
        make_popgym("RepeatFirst")
