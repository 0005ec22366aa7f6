"""Ids, settings, and the sentences that say what is wrong with them."""

from collections.abc import Callable

import gymnax
import pytest

from amago_jax import envs
from amago_jax.envs import registry
from amago_jax.envs.adapters import gymnax as adapter


def test_ids_name_ours_and_all_of_gymnax():
    ids = envs.list_ids()
    assert {"tmaze/passive", "tmaze/active"} < set(ids)
    assert {f"gymnax/{i}" for i in gymnax.registered_envs} < set(ids)
    assert ids == sorted(ids)


def test_settings_reach_the_environment():
    env = envs.make(
        "gymnax/MemoryChain-bsuite",
        params={"memory_length": 9},
        kwargs={"num_bits": 2},
        terminate_on_truncation=True,
    )
    assert env.params.memory_length == 9
    assert env.horizon == 10
    assert env.observation_shapes["observation"].shape == (4,)
    assert env.terminate_on_truncation
    assert envs.make("gymnax/CartPole-v1", params={"max_steps_in_episode": 7}).horizon == 7
    assert envs.make("gymnax/CartPole-v1", horizon=8).horizon == 8
    assert envs.make("tmaze/passive", penalty=-1).params.penalty == -1
    short = {"memory_length": 9, "max_steps_in_episode": 4}
    assert envs.make("gymnax/MemoryChain-bsuite", params=short).horizon == 4


def test_registered_factories_are_made(monkeypatch):
    monkeypatch.setattr(registry, "_FACTORIES", dict(registry._FACTORIES))
    envs.register("mine", lambda length=3: envs.make("tmaze/passive", corridor_length=length))
    assert "mine" in envs.list_ids()
    assert envs.make("mine", length=4).horizon == 5
    for taken in ("mine", "gymnax/CartPole-v1"):
        with pytest.raises(ValueError, match=taken):
            envs.register(taken, lambda: None)


def test_factories_with_open_settings_take_all(monkeypatch):
    monkeypatch.setattr(registry, "_FACTORIES", dict(registry._FACTORIES))
    envs.register("open", lambda **settings: envs.make("tmaze/active", **settings))
    assert envs.make("open", corridor_length=2).horizon == 5


def test_settings_that_are_not_plain_are_the_factorys_business(monkeypatch):
    def factory(lengths: list[int], note: str = "", after: Callable[[int], int] | None = None):
        return envs.make("tmaze/passive", corridor_length=sum(lengths))

    monkeypatch.setattr(registry, "_FACTORIES", dict(registry._FACTORIES))
    envs.register("mine", factory)
    assert envs.make("mine", lengths=[1, 3], note="mine", after=abs).horizon == 5


@pytest.mark.parametrize(
    ("env_id", "settings", "sentence"),
    [
        ("tmaze/pasive", {}, "'tmaze/pasive': did you mean tmaze/passive.* choose from brax/"),
        ("gymnax/CartPole", {}, "'gymnax/CartPole': did you mean gymnax/CartPole-v1"),
        (
            "tmaze/active",
            {"length": 3},
            r"tmaze/active has no setting 'length' \(=3\).* "
            "corridor_length, corridor_lengths, penalty",
        ),
        ("tmaze/active", {"active": False}, "no setting 'active'"),
        ("tmaze/passive", {"corridor_lengths": ()}, r"corridor_lengths=\[\] must be a list "),
        (
            "gymnax/CartPole-v1",
            {"params": {"gravty": 1}},
            r"no parameter 'gravty' \(=1\): did you mean gravity",
        ),
        ("gymnax/CartPole-v1", {"kwargs": {"bits": 1}}, "CartPole-v1: kwargs={'bits': 1}"),
        (
            "gymnax/CartPole-v1",
            {"horizon": 0},
            "horizon=0 must be a whole number of at least 1, or",
        ),
        (
            "gymnax/CartPole-v1",
            {"horizon": "9"},
            "horizon='9' must be a whole number .*, or null",
        ),
        ("goals/maze_runner", {"limit": None}, "limit=None must be a whole number of at least 1$"),
        ("goals/maze_runner", {"side": 9.0}, "side=9.0 must be a whole number of at least 1$"),
        ("goals/maze_runner", {"goals": True}, "goals=True must be a whole number of at least 1$"),
        ("goals/maze_runner", {"rewired": 5}, "rewired=5 must be true or false$"),
        ("meta/wind", {"goal_radius": "wide"}, "goal_radius='wide' must be a number above 0$"),
    ],
)
def test_mistakes_are_named(env_id, settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        envs.make(env_id, **settings)


def test_adapter_names_unknown_ids():
    with pytest.raises(ValueError, match="'CartPole-v2': did you mean CartPole-v1"):
        adapter.make("CartPole-v2")
