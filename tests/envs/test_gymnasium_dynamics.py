"""Cart-pole and pendulum, gymnax's and those of POPGym's tasks, against gymnasium's."""

import dataclasses

import gymnasium
import jax
import numpy as np
import pytest
from scipy import stats

from amago_jax import envs
from amago_jax.envs.popgym import cart_pole, pendulum
from amago_jax.envs.stream import make_stream_env

STATES = 600
TOLERANCE = 1e-5  # of one step in single precision
CART_POLE, PENDULUM = ("x", "x_dot", "theta", "theta_dot"), ("theta", "theta_dot")
# Twice what ends an episode, and the fastest; angles go around.
WIDTHS = {CART_POLE: (4.8, 3.0, 0.42, 3.0), PENDULUM: (10.0, 8.0)}


def of_popgym(name):
    env = {**cart_pole.TASKS, **pendulum.TASKS}[name]()
    return make_stream_env(name, env, env.default_params, horizon=env.horizon)


STREAMS = {
    "gymnax/CartPole-v1": envs.make,
    "gymnax/Pendulum-v1": envs.make,
    "PositionOnlyCartPoleEasy": of_popgym,
    "PositionOnlyPendulumEasy": of_popgym,
}


def numbers(state, names):
    """As gymnasium has the state, in double precision."""
    return np.stack([getattr(state, name) for name in names], axis=-1).astype(np.float64)


@pytest.mark.parametrize("name", STREAMS)
def test_same_steps(name):
    """From any state, the last step before the time limit among them."""
    stream = STREAMS[name](name)
    names, theirs_id = CART_POLE, "CartPole-v1"
    if "Pendulum" in name:
        names, theirs_id = PENDULUM, "Pendulum-v1"
    theirs = gymnasium.make(theirs_id, disable_env_checker=True)
    rng = np.random.default_rng(0)
    keys = rng.integers(2**32, size=(STATES, 2), dtype=np.uint32)
    first = jax.tree.map(np.asarray, jax.jit(jax.vmap(stream.reset))(keys))

    wide = rng.uniform(-1, 1, (STATES, len(names))) * WIDTHS[names]
    wide = wide.astype(np.float32)
    time = np.where(rng.random(STATES) < 0.1, stream.horizon - 1, 5).astype(np.int32)
    parts = dict(zip(names, wide.T, strict=True))
    state = dataclasses.replace(
        first,
        env_state=dataclasses.replace(first.env_state, time=time, **parts),
        timestep=dataclasses.replace(first.timestep, time=time),
    )
    if "Pendulum" in name:
        actions = rng.uniform(-1, 1, (STATES, 1)).astype(np.float32)
        theirs_actions = 2 * actions
    else:
        actions = theirs_actions = rng.integers(2, size=STATES)
    after = jax.tree.map(np.asarray, jax.jit(jax.vmap(stream.transition))(keys, state, actions))

    expected = []
    for one in range(STATES):
        theirs.reset(seed=one)
        theirs.unwrapped.state = wide[one].astype(np.float64)
        late = time[one] == stream.horizon - 1
        theirs._elapsed_steps = theirs.spec.max_episode_steps - 1 if late else 5
        step = theirs.step(theirs_actions[one])
        expected.append((theirs.unwrapped.state, *step[:4]))
    states, observations, rewards, terminated, truncated = map(
        np.array, zip(*expected, strict=True)
    )

    near = {"rtol": TOLERANCE, "atol": TOLERANCE}
    np.testing.assert_allclose(numbers(after.env_state, names), states, **near)
    np.testing.assert_array_equal(after.timestep.terminated, terminated)
    np.testing.assert_array_equal(after.timestep.is_last, terminated | truncated)
    assert truncated.any()
    if name.startswith("gymnax"):
        assert stream.horizon == theirs.spec.max_episode_steps
        np.testing.assert_allclose(after.timestep.observation["observation"], observations, **near)
        # Of the states that had ended before, gymnax pays nothing; gymnasium does not look.
        running = ~ended(wide) if names == CART_POLE else np.ones(STATES, bool)
        ours = after.timestep.previous_reward
        np.testing.assert_allclose(ours[running], rewards[running], **near)
        # Beginnings: Kolmogorov-Smirnov at the level 1e-3.
        begun = numbers(first.env_state, names)
        rest = [
            (theirs.reset(seed=None if i else 0), theirs.unwrapped.state)[1] for i in range(STATES)
        ]
        for some, others in zip(begun.T, np.stack(rest).T, strict=True):
            assert stats.ks_2samp(some, others).pvalue > 1e-3


def ended(states):
    x, theta = states[:, 0], states[:, 2]
    return (np.abs(x) > 2.4) | (np.abs(theta) > 12 * np.pi / 180)
