"""Environments made alike are equal, and others are not."""

import functools
from collections.abc import Mapping

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amago_jax import envs
from amago_jax.envs.equality import same
from amago_jax.envs.stream import make_stream_env

ALIKE = [
    ("tmaze/passive", {"corridor_length": 5}),
    ("tmaze/active", {"corridor_length": 5}),
    ("gymnax/CartPole-v1", {}),
    ("gymnax/CartPole-v1", {"params": {"gravity": 3.0}}),
    ("goals/maze_runner", {"side": 7, "goals": 2}),
    ("goals/package_delivery", {}),
    ("meta/dark_key_door", {"size": 5}),
    ("meta/frozen_lake", {}),
    ("meta/gymnax", {"name": "CartPole-v1"}),
    ("meta/wind", {}),
    ("popgym/RepeatPreviousEasy", {}),
    ("popgym/NoisyPositionOnlyPendulumHard", {}),
    ("popgym/multidomain", {}),
    ("meta/half_cheetah_velocity", {}),
    ("meta/xland_minigrid", {}),
    ("goals/crafter", {}),
    ("craftax/Craftax-Classic-Symbolic-v1", {}),
    ("jumanji/Snake-v1", {}),
    ("navix/Navix-Empty-5x5-v0", {}),
    ("xminigrid/MiniGrid-Empty-5x5", {}),
]


@pytest.mark.parametrize(("env_id", "settings"), ALIKE)
def test_made_twice_is_one(env_id, settings):
    one, two = envs.make(env_id, **settings), envs.make(env_id, **settings)
    assert one is not two
    assert one == two
    assert hash(one) == hash(two)


@pytest.mark.parametrize(
    ("env_id", "settings", "others"),
    [
        ("tmaze/passive", {"corridor_length": 5}, {"corridor_length": 6}),
        ("gymnax/CartPole-v1", {}, {"params": {"gravity": 3.0}}),
        ("goals/maze_runner", {"goals": 2}, {"goals": 3}),
        ("meta/dark_key_door", {"size": 5}, {"size": 6}),
        ("meta/gymnax", {"name": "CartPole-v1"}, {"name": "CartPole-v1", "attempts": 2}),
    ],
)
def test_other_settings_are_another(env_id, settings, others):
    assert envs.make(env_id, **settings) != envs.make(env_id, **others)


def test_environments_differ_by_name_class_and_what_surrounds_them():
    env, params = gymnax.make("CartPole-v1")
    cart = functools.partial(make_stream_env, env=env, params=params)
    assert cart("a") == cart("a")
    assert cart("a") != cart("b")
    assert cart("a") != cart("a", horizon=9)
    assert cart("a") != cart("a", terminate_on_truncation=True)
    assert cart("a") != 1


class Plain:
    def __init__(self, **attributes):
        self.__dict__.update(attributes)

    def method(self):
        pass


class Other(Plain):
    pass


class Slotted:
    __slots__ = ("value",)

    def __init__(self, value):
        self.value = value


class HalfSlotted(Slotted):
    """Has attributes besides."""


class Fresh(Mapping):
    """Makes its values anew whenever asked, so that their ids are soon another one's."""

    def __init__(self, *values):
        self.values_ = values

    def __getitem__(self, index):
        return Plain(inner=Plain(value=self.values_[index]))

    def __iter__(self):
        return iter(range(len(self.values_)))

    def __len__(self):
        return len(self.values_)


def first(*_, **__):
    return 1


def second(*_, **__):
    return 1


def closing_over(value, default=0):
    return lambda x=default: (x, value)


KEY = jax.random.key(0)
SAME = [
    (1, 1),
    ("a", "a"),
    (np.arange(3), np.arange(3)),
    (jnp.arange(3), jnp.arange(3)),
    (KEY, jax.random.key(0)),
    ([1, (2, {"a": 3})], [1, (2, {"a": 3})]),
    (Plain(a=1, b=np.ones(2)), Plain(a=1, b=np.ones(2))),
    (functools.partial(first, 1, b=2), functools.partial(first, 1, b=2)),
    (Plain(a=1).method, Plain(a=1).method),
    (jax.eval_shape(lambda: 1), jax.eval_shape(lambda: 1)),
    (float("inf"), float("inf")),
    (closing_over([1]), closing_over([1])),
    (Fresh(*range(99)), Fresh(*range(99))),
]
DIFFERENT = [
    (1, 1.0),
    (True, 1),
    (np.arange(3), np.arange(4)),
    (np.arange(3), np.arange(3.0)),
    (np.zeros(2), np.array([0.0, 1.0])),
    (np.array([np.nan]), np.array([np.nan])),
    (KEY, jax.random.key(1)),
    ([1], (1,)),
    ([1, 2], [1]),
    ({"a": 1}, {"b": 1}),
    (Plain(a=1), Plain(a=2)),
    (Plain(a=1), Other(a=1)),
    (first, second),
    (functools.partial(first, 1), functools.partial(second, 1)),
    (functools.partial(first, 1), functools.partial(first, 2)),
    (jax.jit(first), jax.jit(second)),
    (Plain(a=lambda: 1), Plain(a=lambda: 1)),
    (Slotted(1), Slotted(1)),
    (closing_over([1]), closing_over([2])),
    (closing_over(1, 2), closing_over(1, 3)),
    (HalfSlotted(1), HalfSlotted(2)),
    (Fresh(*range(99)), Fresh(*range(98), 0)),
    (object(), object()),
]


@pytest.mark.parametrize(("a", "b"), SAME)
def test_equal_values_are_the_same(a, b):
    assert same(a, b)


@pytest.mark.parametrize(("a", "b"), DIFFERENT)
def test_others_are_not(a, b):
    assert not same(a, b)
    assert same(a, a)


def test_a_circle_ends():
    one, two = Plain(a=1), Plain(a=1)
    one.me, two.me = one, two
    assert same(one, two)
    two.b = 2
    assert not same(one, two)
