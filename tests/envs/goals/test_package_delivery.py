"""Package delivery against a plain-Python courier, and what a perfect one earns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import experts
from amago_jax.envs import make

LENGTH, LIMIT = 12, 60
ENV = make("goals/package_delivery", length=LENGTH, packages=3, least_packages=1, limit=LIMIT)


@jax.jit
def play(key, knows):
    """One episode under random actions; who knows the road takes the right one half the time."""
    key_reset, key_steps = jax.random.split(key)

    def step(state, key):
        key_choice, key_action = jax.random.split(key)
        right = experts.package_delivery(state)
        random = jax.random.randint(key_action, (), 0, 8)
        action = jnp.where(jax.random.bernoulli(key_choice, knows), right, random)
        after = ENV.transition(key, state, action)
        return after, (after, action)

    first = ENV.reset(key_reset)
    return first, *jax.lax.scan(step, first, jax.random.split(key_steps, LIMIT))[1]


class Courier:
    """The rules, one branch at a time."""

    def __init__(self, state):
        self.forks = {i: int(state.turn[i]) for i in np.flatnonzero(state.is_fork).tolist()}
        self.drop, self.left = int(state.drop), int(state.packages)
        self.orders = [g for g in state.instruction.goals[:, 0].tolist() if g >= 0]
        self.place, self.delivered = 0, 0

    def step(self, action):
        achieved, reward = -1, 0.0
        if self.place in self.forks:
            if action in (1, 2):
                self.place = self.place + 1 if action == self.forks[self.place] else 0
        elif action == 0:
            self.place += 1
        elif 3 <= action <= 6:
            if action == self.drop and self.left > 0 and self.place > 0:
                achieved, self.left = self.place, self.left - 1
                if self.delivered < len(self.orders) and self.place == self.orders[self.delivered]:
                    self.delivered, reward = self.delivered + 1, 1.0
            else:
                self.place = 0
        self.place %= LENGTH
        return achieved, reward, self.delivered == len(self.orders)


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 2**31), knows=st.sampled_from([0.0, 0.5, 0.9]))
def test_steps_are_those_of_plain_python(seed, knows):
    first, after, actions = jax.tree.map(np.asarray, play(jax.random.key(seed), knows))
    courier = Courier(first.env_state)
    for t, action in enumerate(actions.tolist()):
        achieved, reward, done = courier.step(action)
        now = jax.tree.map(lambda x, t=t: x[t], after.timestep)
        fork = courier.place in courier.forks
        assert now.observation["observation"].tolist() == [courier.place, courier.left, fork]
        assert now.observation["achieved"].tolist() == [[achieved]]
        assert now.previous_reward == reward
        assert now.terminated == done
        assert now.is_last == (done or t == LIMIT - 1)
        shown = now.observation["goals"][:, 0].tolist()
        assert (
            shown
            == [-1] * (3 - len(courier.orders) + courier.delivered)
            + courier.orders[courier.delivered :]
        )
        if done:
            break


def test_who_knows_the_road_delivers_everything():
    keys = jax.random.split(jax.random.key(0), 100)
    _, after, _ = jax.vmap(lambda key: play(key, 1.0))(keys)
    assert (np.asarray(after.timestep.terminated).any(1)).all()


def test_roads_are_random():
    states = jax.vmap(ENV.reset)(jax.random.split(jax.random.key(0), 600)).env_state
    forks, orders = np.asarray(states.is_fork), np.asarray(states.instruction.goals)[..., 0]
    assert set(forks.sum(1).tolist()) == {1, 2}
    assert not forks[:, 0].any()
    assert (forks[:, 1:].mean(0) > 0.05).all()
    assert set(np.asarray(states.drop).tolist()) == {3, 4, 5, 6}
    assert np.bincount((orders >= 0).sum(1))[1:].min() > 120
    for row, fork in zip(orders.tolist(), forks, strict=True):
        given = [g for g in row if g >= 0]
        assert given == sorted(set(given))
        assert not fork[given].any()
        assert 0 not in given


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"packages": 1, "least_packages": 2}, "least_packages=2 must be at most packages=1"),
        ({"length": 3, "packages": 4}, "length=3 must be at least"),
        ({"limit": 0}, "limit=0 must be a whole number of at least 1"),
    ],
)
def test_wrong_settings_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        make("goals/package_delivery", **wrong)
