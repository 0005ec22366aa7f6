"""What is wrong with an environment is said in one sentence before anything compiles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments import spaces
from gymnax.environments.environment import EnvParams
from hypothesis import given, settings
from hypothesis import strategies as st

from amago_jax.acting.exploration import draw_exploration, explore
from amago_jax.envs.stream import make_stream_env
from amago_jax.errors import ConfigError
from amago_jax.hindsight import GoalProtocol
from amago_jax.models.distributions import DISTRIBUTIONS, make_distribution
from odd_worlds import World


def raising(error):
    def raise_it(self, *arguments):
        raise error

    return raise_it


def stepping(**changes):
    """Return a step that differs from the `World`'s in its observation, reward or flag."""

    def step_env(self, key, state, action, params):
        seen, state, reward, done, info = World.step_env(self, key, state, action, params)
        told = {"seen": seen, "reward": reward, "done": done} | changes
        return told["seen"], state, told["reward"], told["done"], info

    return step_env


def showing(observation):
    """Return what shows the same after resets and after steps."""
    return {
        "reset_env": lambda self, key, params: (observation, World.reset_env(self, key, params)[1]),
        "step_env": stepping(seen=observation),
    }


def acting(space):
    return {"action_space": lambda self, params: space}


def box(low, high, shape=(2,), dtype=jnp.float32):
    return acting(spaces.Box(np.asarray(low, dtype), np.asarray(high, dtype), shape, dtype))


NO_PLACE = NotImplementedError("no such\npage after page")
ODD = {
    "an error in a step": (
        {"step_env": raising(ZeroDivisionError("by 0"))},
        r"step_env raised ZeroDivisionError: by 0",
    ),
    "an error in a reset": (
        {"reset_env": raising(NO_PLACE)},
        r"reset_env raised NotImplementedError: no such",
    ),
    "an error in a time limit": (
        {"is_truncated": raising(KeyError("limit"))},
        r"is_truncated raised KeyError: 'limit'",
    ),
    "an error in what is told of episodes": (
        {"episode_metrics": raising(RuntimeError("secret"))},
        r"episode_metrics raised RuntimeError: secret",
    ),
    "a metric of two numbers": (
        {"episode_metrics": lambda self, state, params: {"luck": jnp.zeros(2)}},
        r"the metric 'luck' must be one number, not float32\[2\]",
    ),
    "an error in the actions": (
        {"action_space": raising(AttributeError("n"))},
        r"action_space raised AttributeError: n",
    ),
    "a branch on what is not known": (
        {"step_env": lambda self, key, state, action, params: 1 if state.time > 2 else 0},
        r"step_env raised TracerBoolConversionError: ",
    ),
    "four things from a step": (
        {"step_env": lambda self, *arguments: World.step_env(self, *arguments)[:4]},
        r"step_env raised ValueError: not enough values",
    ),
    "two rewards": (
        {"step_env": stepping(reward=jnp.zeros(2))},
        r"the reward must be one number, not float32\[2\]",
    ),
    "no reward": (
        {"step_env": stepping(reward=None)},
        r"reading the reward raised ValueError: None is not",
    ),
    "a complex reward": (
        {"step_env": stepping(reward=1j)},
        r"the reward must be one number, not complex64\[\]",
    ),
    "two flags": (
        {"step_env": stepping(done=jnp.zeros((2, 1)))},
        r"the flag of termination must be one number, not float32\[2, 1\]",
    ),
    "another shape after a step": (
        {"step_env": stepping(seen=jnp.zeros(3))},
        r"observation\['observation'\] has shape \(2,\) after a reset but \(3,\) after a step",
    ),
    "another shape than is stated": (
        {"observation_space": lambda self, params: spaces.Box(0.0, 1.0, (4,))},
        r"'observation' has shape \(2,\), but observation_space states \(4,\)",
    ),
    "nothing to see": (showing({}), r"an observation must be an array or a flat dict"),
    "words to see": (showing("words"), r"reading observation 'observation' raised TypeError"),
    "complex numbers to see": (
        showing(jnp.zeros(2, jnp.complex64)),
        r"observation 'observation' must hold numbers, not complex64",
    ),
    "no action": (
        acting(spaces.Discrete(0)),
        r"must be a whole number of actions, at least 1, .*0",
    ),
    "half an action": (acting(spaces.Discrete(1.5)), r"whole number of actions, at least 1, .*1.5"),
    "no dimension of actions": (box([], [], (0,)), r"at least one number, not shape \(0,\)"),
    "low above high": (box([0, 1], [1, 0]), r"the least of an action must not exceed .*low=\[0"),
    "an infinite bound": (box([0, 0], [1, np.inf]), r"actions must be bounded to be rescaled"),
    "a bound of NaN": (box([0, np.nan], [1, 1]), r"actions must be bounded to be rescaled"),
    "bounds that are too far apart": (box([-3e38] * 2, [3e38] * 2), r"actions must be bounded"),
    "bounds of another shape": (box([0] * 3, [1] * 3), r"do not fit their shape"),
}


def make(changes=(), horizon=5, goals=None, name="odd"):
    env = type("Changed", (World,), {"__module__": World.__module__, **dict(changes)})()
    return make_stream_env(name, env, EnvParams(), horizon=horizon, goals=goals)


@pytest.mark.parametrize("odd", ODD)
def test_odd_environments_are_named(odd):
    changes, sentence = ODD[odd]
    with pytest.raises(ValueError, match=f"^odd: .*{sentence}") as caught:
        make(changes)
    assert "\n" not in str(caught.value)


def test_an_errors_place_in_the_environments_file_is_told():
    env = World()
    env.risk = "high"  # of which no chance can be drawn
    with pytest.raises(ConfigError, match=r"reset_env raised .* \(odd_worlds.py, line \d+\)"):
        make_stream_env("odd", env, EnvParams(), horizon=5)


def test_errors_inside_of_environments_are_the_users_to_mend():
    with pytest.raises(ConfigError) as caught:
        make({"step_env": raising(NO_PLACE)})
    assert caught.value.__cause__ is NO_PLACE


@pytest.mark.parametrize("limit", [0, -3, float("nan"), float("inf")])
def test_a_time_limit_of_the_parameters_is_a_number(limit):
    with pytest.raises(ValueError, match=r"^odd: horizon=.* must be at least 1"):
        make_stream_env("odd", World(), EnvParams(max_steps_in_episode=limit))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"step_env": stepping(reward=np.zeros((1,)))},
        {"step_env": stepping(reward=1)},
        {"step_env": stepping(done=jnp.zeros((1, 1), int))},
        {"observation_space": property()},  # states nothing
        acting(spaces.Discrete(1)),
        box([0, 0], [0, 1]),
    ],
)
def test_what_is_careless_but_clear_is_taken(changes):
    env = make(changes)
    state = jax.eval_shape(env.reset, jax.eval_shape(lambda: jax.random.key(0)))
    assert state.timestep.previous_reward == jax.ShapeDtypeStruct((), jnp.float32)


@pytest.mark.parametrize(
    ("reward", "expected"), [(np.iinfo(np.int32).min, np.nan), (-5, -5.0), (True, 1.0), (3, 3.0)]
)
def test_a_nan_that_was_cast_to_a_whole_number_is_one_again(reward, expected):
    env = make({"step_env": stepping(reward=jnp.asarray(reward))})
    after = env.step(jax.random.key(1), env.reset(jax.random.key(0)), jnp.zeros((), int))
    np.testing.assert_array_equal(after.timestep.previous_reward, np.float32(expected))


GOALS = {"goals": jnp.zeros((2, 3), int), "achieved": jnp.zeros((1, 3), int)}


class Unnumbered(GoalProtocol):
    def reached(self, goal, achieved):
        raise LookupError("no map")


@pytest.mark.parametrize(
    ("goals", "shown", "sentence"),
    [
        (
            GoalProtocol(goals_key="goal"),
            GOALS,
            r"goals_key='goal' is not an .*'achieved', 'goals'",
        ),
        (GoalProtocol(achieved_key="x"), GOALS, r"achieved_key='x' is not an observation key"),
        (GoalProtocol(), GOALS | {"goals": jnp.zeros(3, int)}, r"must be goals .* not int32\[3\]"),
        (GoalProtocol(), GOALS | {"goals": jnp.zeros((2, 4), int)}, r"must be goals \[k, g\]"),
        (
            GoalProtocol(),
            GOALS | {"goals": jnp.zeros((2, 3))},
            r"of one dtype, not float32\[2, 3\]",
        ),
        (GoalProtocol(completed=0.5), GOALS, r"completed=0.5 must be a number of .* int32"),
        (GoalProtocol(completed=float("nan")), GOALS, r"completed=nan must be a number"),
        (GoalProtocol(reward=float("inf")), GOALS, r"reward=inf of a goal must be finite"),
        (GoalProtocol(goal_count=0), GOALS, r"goal_count=0 must be a whole number of at least 1"),
        (GoalProtocol(goal_count=4), GOALS, r"its goals' protocol raised NotImplementedError"),
        (Unnumbered(), GOALS, r"its goals' protocol raised LookupError: no map"),
    ],
)
def test_goals_that_cannot_be_followed_are_named(goals, shown, sentence):
    changes = showing(shown) | {"observation_space": property()}
    with pytest.raises(ValueError, match=f"^odd: .*{sentence}"):
        make(changes, goals=goals)


def test_goals_that_can_be_followed_are_taken():
    changes = showing(GOALS) | {"observation_space": property()}
    assert make(changes, goals=GoalProtocol()).goals == GoalProtocol()


NUMBERS = st.floats(-1e6, 1e6, width=32)


class Echo(World):
    """Shows the action that it was given."""

    def __init__(self, low, high):
        self.bounds = low, high

    def action_space(self, params):
        return spaces.Box(*self.bounds, (2,))

    def reset_env(self, key, params):
        return jnp.zeros(2), None

    def step_env(self, key, state, action, params):
        return action, None, 0.0, False, {}


@settings(max_examples=25, deadline=None)
@given(ends=st.tuples(NUMBERS, NUMBERS), action=st.tuples(*[st.floats(-1, 1, width=32)] * 2))
def test_the_environments_action_is_within_its_bounds(ends, action):
    low, high = sorted(ends)
    env = make_stream_env("echo", Echo(low, high), EnvParams(), horizon=5)
    state = env.reset(jax.random.key(0))
    after = env.transition(jax.random.key(1), state, jnp.asarray(action, jnp.float32))
    seen = after.timestep.observation["observation"]
    assert (np.float32(low) <= seen).all()
    assert (seen <= np.float32(high)).all()


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**31 - 1),
    scale=st.sampled_from([0.0, 1.0, 1e3, 1e8]),
    epsilon=st.floats(0, 1),
)
def test_what_a_policy_sends_is_an_action(name, seed, scale, epsilon):
    kind = DISTRIBUTIONS[name].kind
    distribution = make_distribution(name, actions=3, kind=kind)
    rng = np.random.default_rng(seed)
    params = jnp.asarray(scale * rng.normal(size=(64, distribution.parameter_count)), jnp.float32)
    keys = jax.random.split(jax.random.key(seed))
    draws = draw_exploration(keys[0], (64,), 3, kind=kind)
    chosen = (distribution.mode(params), distribution.sample(params, keys[1]))
    for actions in (*chosen, *(explore(x, jnp.full(64, epsilon), draws) for x in chosen)):
        x = np.asarray(actions)
        assert x.shape == ((64,) if kind == "discrete" else (64, 3))
        if kind == "continuous":
            assert (abs(x) <= 1).all()
        else:
            assert np.isin(x, [0, 1, 2] if kind == "discrete" else [0, 1]).all()
