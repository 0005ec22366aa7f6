"""The half-cheetah, a step at a time, against gymnasium's on MuJoCo; and its hidden speeds."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amago_jax.envs import make
from amago_jax.envs.meta.half_cheetah_velocity import EnvParams, EnvState

STATES = 40


@pytest.fixture(scope="module")
def env():
    return make("meta/half_cheetah_velocity")


@pytest.fixture(scope="module")
def their_steps(tmp_path_factory):
    """Random play in gymnasium's HalfCheetah-v5: state, action, observation and speed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("log"))  # where MuJoCo writes its warnings
        theirs = gymnasium.make("HalfCheetah-v5").unwrapped
    rng = np.random.default_rng(0)
    steps = []
    theirs.reset(seed=0)
    for _ in range(STATES):
        action = rng.uniform(-1, 1, 6)
        before = theirs.data.qpos.copy(), theirs.data.qvel.copy()
        observation, reward, _, _, info = theirs.step(action)
        assert reward == pytest.approx(info["x_velocity"] - 0.1 * (action**2).sum())
        steps.append((*before, action, observation, info["x_velocity"]))
    return [np.array(column) for column in zip(*steps, strict=True)], theirs.model


@pytest.fixture(scope="module")
def our_steps(env, their_steps):
    """Our steps from gymnasium's states, rewarded for a speed of 1 m/s."""
    (positions, velocities, actions, *_), _ = their_steps
    cheetah = env.env.env

    @jax.jit
    def step(position, velocity, action):
        state = EnvState(position, velocity, jnp.float32(1.0), jnp.float32(0.0))
        return cheetah.step_env(jax.random.key(0), state, action, EnvParams())

    steps = [
        step(*map(jnp.float32, now)) for now in zip(positions, velocities, actions, strict=True)
    ]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *steps)


def test_dynamics_are_gymnasiums(their_steps, our_steps):
    (*_, observations, speeds), _ = their_steps
    seen, state, _, terminated, _ = our_steps
    # Single precision through 5 steps of stiff contacts; measured are 3e-6, 3e-4 and 7e-6.
    np.testing.assert_allclose(seen[:, :8], observations[:, :8], atol=5e-5)
    np.testing.assert_allclose(seen[:, 8:], observations[:, 8:], atol=5e-3)
    np.testing.assert_allclose(state.speed, speeds, atol=1e-4)
    assert np.abs(observations[:, 8:]).max() > 5
    assert np.abs(speeds).max() > 0.5
    assert not terminated.any()


def test_the_model_is_gymnasiums(env, their_steps):
    _, theirs = their_steps
    ours = env.env.env.model
    for name in ("body_mass", "body_inertia", "dof_armature", "geom_size", "actuator_gear"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), err_msg=name)
    assert ours.opt.timestep == theirs.opt.timestep == 0.01
    assert env.env.env.model.body_mass.sum() == pytest.approx(14)


def test_rewards_are_for_the_hidden_speed_with_half_the_control_cost(their_steps, our_steps):
    (_, _, actions, _, speeds), _ = their_steps
    _, _, rewards, _, _ = our_steps
    expected = -np.abs(speeds - 1.0) - 0.5 * 0.1 * (actions**2).sum(1)
    np.testing.assert_allclose(rewards, expected, atol=1e-4)


def test_hidden_speeds_are_uniform_and_attempts_begin_like_gymnasiums(env):
    cheetah, params = env.env.env, EnvParams()
    keys = jax.random.split(jax.random.key(0), 2000)
    speeds = np.asarray(jax.vmap(lambda key: cheetah.draw_task(key, params))(keys))
    # Quantiles of 2000 draws from [0, 3], within 5 standard errors at the middle.
    np.testing.assert_allclose(
        np.quantile(speeds, [0, 0.25, 0.5, 0.75, 1]),
        [0, 0.75, 1.5, 2.25, 3],
        atol=5 * 3 * 0.5 / 2000**0.5,
    )
    seen, state = jax.vmap(lambda key: cheetah.begin_attempt(key, jnp.float32(2), params))(keys)
    np.testing.assert_array_equal(seen, np.concatenate([state.position[:, 1:], state.velocity], 1))
    assert (np.abs(state.position) <= 0.1).all()
    assert np.asarray(state.position).std() == pytest.approx(0.1 / 3**0.5, rel=0.05)
    assert np.asarray(state.velocity).std() == pytest.approx(0.1, rel=0.05)
    np.testing.assert_array_equal(state.target, 2)


def test_it_is_one_attempt_of_200_steps_with_six_torques(env):
    assert env.horizon == 200
    assert env.action_space.size == 6
    assert env.action_space.kind == "continuous"
    assert env.observation_shapes["observation"].shape == (17,)
    assert make("meta/half_cheetah_velocity", attempts=3, attempt_limit=50).horizon == 150
    assert make("meta/half_cheetah_velocity", attempts=None, budget=70).horizon == 70


def test_success_is_the_right_speed_at_the_end(env):
    cheetah, params = env.env.env, EnvParams(tolerance=0.5)
    zero = jnp.zeros(9)
    for speed, success in ((1.6, True), (2.4, True), (1.4, False), (2.6, False)):
        state = EnvState(zero, zero, jnp.float32(2), jnp.float32(speed))
        assert bool(cheetah.succeeded(state, params)) == success


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"slowest": 4.0}, "slowest=4.0 must be at most fastest=3.0"),
        ({"attempts": 0}, "attempts=0 must be a whole number"),
        ({"attempt_limit": 0}, "attempt_limit=0 must be a whole number"),
    ],
)
def test_wrong_settings_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        make("meta/half_cheetah_velocity", **wrong)
