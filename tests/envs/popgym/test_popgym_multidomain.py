"""Multi-domain POPGym: which tasks, and that each is played twice for pay once."""

import collections
import functools
from typing import NamedTuple

import jax
import numpy as np
import popgym.envs
import pytest
from gymnasium.spaces import Discrete, MultiDiscrete
from gymnasium.spaces.utils import flatdim

from amago_jax import envs
from amago_jax.envs.popgym.multidomain import ACTIONS, OBSERVATIONS, MultiDomain
from amago_jax.envs.popgym.tasks import TASKS
from amago_jax.envs.stream import make_stream_env

LEVELS = ("Easy", "Medium", "Hard")
PUBLISHED = {
    *(f"Autoencode{level}" for level in LEVELS),
    *(f"RepeatPrevious{level}" for level in LEVELS),
    *(f"RepeatFirst{level}" for level in LEVELS),
    *(f"CountRecall{level}" for level in LEVELS),
    *(f"PositionOnlyCartPole{level}" for level in LEVELS),
    *(f"VelocityOnlyCartPole{level}" for level in LEVELS),
    *(f"NoisyPositionOnlyCartPole{level}" for level in LEVELS),
    *(f"HigherLower{level}" for level in LEVELS),
    "MultiarmedBanditEasy",
    "MultiarmedBanditMedium",
    "MineSweeperEasy",
}
# One that shows and pays much, one whose episodes end early, and one of many actions.
SOME = ("RepeatPreviousEasy", "MineSweeperEasy", "CountRecallEasy")
TIME, ATTEMPT, VALID, REWARD = range(OBSERVATIONS, OBSERVATIONS + 4)


@functools.cache
def multidomain():
    return envs.make("popgym/multidomain")


def test_these_are_the_27_published_tasks():
    assert set(multidomain().env.tasks) == PUBLISHED
    assert len(PUBLISHED) == 27
    # As popgym has it, these and only these are small enough, but for one action of two tasks.
    sizes = {}
    for cls in popgym.envs.ALL:
        env = cls()
        actions = {
            Discrete: lambda space: int(space.n),
            MultiDiscrete: lambda space: int(np.prod(space.nvec)),
        }.get(type(env.action_space), lambda space: np.inf)(env.action_space)
        if flatdim(env.observation_space) <= OBSERVATIONS:
            sizes[cls.__name__] = actions
    assert {task for task, size in sizes.items() if size <= ACTIONS + 1} == PUBLISHED
    larger = {task for task in PUBLISHED if sizes[task] > ACTIONS}
    assert larger == {"CountRecallEasy", "CountRecallMedium"}


def test_shapes_hold_the_longest_task_twice():
    env = multidomain()
    assert env.horizon == 2 * 831 + 1
    assert env.action_space == envs.DiscreteActions(26)
    assert env.observation_shapes["observation"].shape == (30,)


class Episode(NamedTuple):
    """An episode that was played at random, to its end or as far as it was played.

    Attributes:
        task: its name.
        seen: observations, with the first one ``[T + 1, 30]``.
        actions: that were asked for ``[T]``.
        paid: rewards ``[T]``.
        over: whether it was played to its end.
        metrics: what the environment says at last.
    """

    task: str
    seen: np.ndarray
    actions: np.ndarray
    paid: np.ndarray
    over: bool
    metrics: dict[str, float]


@functools.cache
def play(whole):
    """Play with all tasks for a while, or with some long enough; return episodes."""
    if whole:
        env, count, steps = multidomain(), 1024, 40
    else:
        some = MultiDomain({task: TASKS[task]() for task in SOME})
        env = make_stream_env("some", some, some.default_params)
        count, steps = 48, some.horizon + 1
    rng = np.random.default_rng(0)
    keys = rng.integers(2**32, size=(count, steps + 1, 2), dtype=np.uint32)
    actions = rng.integers(ACTIONS, size=(count, steps))

    def summarize(state):
        return state.timestep, state.env_state.task, env.episode_metrics(state)

    @jax.jit
    @jax.vmap
    def play_all(keys, actions):
        def step(state, now):
            state = env.transition(now[0], state, now[1])
            return state, summarize(state)

        first = env.reset(keys[0])
        return summarize(first), jax.lax.scan(step, first, (keys[1:], actions))[1]

    first, after = play_all(jax.random.wrap_key_data(keys), actions)
    timesteps, tasks, metrics = jax.tree.map(
        lambda first, after: np.concatenate([first[:, None], after], axis=1), first, after
    )
    seen = timesteps.observation["observation"]
    episodes = []
    for e in range(count):
        # What comes after an episode's end is no part of it.
        ends = np.flatnonzero(timesteps.is_last[e])
        end = ends[0] if ends.size else steps
        assert timesteps.terminated[e, end] == bool(ends.size)
        assert (tasks[e, : end + 1] == tasks[e, 0]).all()
        episodes.append(
            Episode(
                task=list(env.env.tasks)[tasks[e, 0]],
                seen=seen[e, : end + 1],
                actions=actions[e, :end],
                paid=timesteps.previous_reward[e, 1 : end + 1],
                over=bool(ends.size),
                metrics={name: x[e, end] for name, x in metrics.items()},
            )
        )
    return episodes


@pytest.mark.parametrize("whole", [True, False])
def test_the_extras_and_the_pay_are_what_they_should_be(whole):
    episodes = play(whole)
    assert {episode.task for episode in episodes} == (PUBLISHED if whole else set(SOME))
    for episode in episodes:
        task = TASKS[episode.task]()
        seen = episode.seen
        assert np.isfinite(seen).all()
        size = task.observation_space(task.default_params).shape[0]
        assert not seen[:, size:OBSERVATIONS].any()
        np.testing.assert_allclose(seen[:, TIME], np.arange(len(seen)) / 1000, rtol=1e-6)
        valid = episode.actions < task.num_actions
        np.testing.assert_array_equal(seen[:, VALID], [1, *valid])
        # The step that begins the second attempt pays nothing.
        attempts = split(episode)
        assert len(attempts) == 2 or not episode.over
        assert all(attempt.rewards[0] == 0.0 for attempt in attempts)
        assert all(len(attempt.rewards) <= task.horizon + 1 for attempt in attempts)
        counted = seen[:, ATTEMPT] == 1
        np.testing.assert_array_equal(episode.paid, np.where(counted, seen[:, REWARD], 0.0)[1:])
        for name, value in episode.metrics.items():
            if name == f"return/{episode.task}":
                np.testing.assert_allclose(value, episode.paid.sum(), rtol=1e-4, atol=1e-6)
            else:
                assert np.isnan(value)


class Attempt(NamedTuple):
    """Leaves ``[T + 1, ...]``; the first reward is none, the first action ignored."""

    seen: np.ndarray
    rewards: np.ndarray
    actions: np.ndarray


def split(episode):
    numbers = episode.seen[:, ATTEMPT]
    assert set(numbers) <= {0.0, 1.0}
    assert (np.diff(numbers) >= 0).all()
    actions = np.append(-1, episode.actions)
    leaves = (episode.seen, episode.seen[:, REWARD], actions)
    return [Attempt(*(x[numbers == number] for x in leaves)) for number in sorted(set(numbers))]


def some_attempts(task):
    episodes = [episode for episode in play(False) if episode.task == task]
    assert all(episode.over for episode in episodes)
    return [attempt for episode in episodes for attempt in split(episode)]


def test_both_attempts_are_whole_games_with_decks_of_their_own():
    """And what is no action of the game is as good as a guess."""
    decks, guesses = set(), []
    for attempt in some_attempts("RepeatPreviousEasy"):
        suits = attempt.seen[:, :4].argmax(1)
        np.testing.assert_array_equal(np.bincount(suits), [13] * 4)
        decks.add(tuple(suits))
        np.testing.assert_array_equal(attempt.rewards[:4], 0.0)
        rewards, actions, asked = attempt.rewards[4:], attempt.actions[4:], suits[:-4]
        np.testing.assert_allclose(np.abs(rewards), 1 / 48, rtol=1e-6)
        valid = actions < 4
        np.testing.assert_array_equal((rewards > 0)[valid], (actions == asked)[valid])
        guesses += list(rewards[~valid] > 0)
    assert len(decks) == len(some_attempts("RepeatPreviousEasy"))
    assert abs(np.mean(guesses) - 1 / 4) < 5 * np.sqrt(3 / 16 / len(guesses))


def test_all_26_actions_can_answer_count_recall():
    for attempt in some_attempts("CountRecallEasy"):
        values, queries = attempt.seen[:, :2].argmax(1), attempt.seen[:, 2:4].argmax(1)
        counts = np.array([(values[: t + 1] == queries[t]).sum() for t in range(len(values))])
        right = attempt.actions[1:] == counts[:-1]
        np.testing.assert_array_equal(attempt.rewards[1:] > 0, right)


def test_an_attempt_ends_with_its_task():
    lengths = {len(attempt.rewards) - 1 for attempt in some_attempts("MineSweeperEasy")}
    assert min(lengths) == 1
    assert 2 < max(lengths) <= 14


def test_every_task_is_as_likely():
    played = collections.Counter(episode.task for episode in play(True))
    count = played.total()
    error = np.sqrt(1 / 27 * 26 / 27 / count)
    for task in PUBLISHED:
        assert abs(played[task] / count - 1 / 27) < 5 * error  # one miss in 10^5
