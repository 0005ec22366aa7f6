"""Other packages' environments, step by step, against these packages' own."""

import subprocess
import sys
from types import SimpleNamespace

import brax.envs
import jax
import jax.numpy as jnp
import jumanji
import navix
import numpy as np
import pytest
import xminigrid
from craftax.craftax_classic.constants import BlockType

from amago_jax import envs
from amago_jax.envs.adapters.craftax import Craftax
from amago_jax.envs.adapters.jumanji import EnvState as JumanjiState
from amago_jax.envs.registry import SUITES
from amago_jax.errors import ConfigError
from amago_jax.runs.building import build
from amago_jax.runs.cli import environments
from amago_jax.runs.config import compose

EPISODES = 24


@pytest.fixture(autouse=True)
def their_rules():
    """The packages mix arrays of unlike ranks."""
    with jax.numpy_rank_promotion("allow"):
        yield


# A reference is made of (id, settings) and gives two functions:
#   reset(key) -> (observation by key, the suite's state)
#   step(key, state, action) -> (observation by key, state, reward, terminated, truncated)


def xminigrid_reference(env_id, params):
    suite, suite_params = xminigrid.make(env_id, **params)

    def reset(key):
        timestep = suite.reset(suite_params, key)
        return {"observation": timestep.observation}, timestep

    def step(key, timestep, action):
        timestep = suite.step(suite_params, timestep, action)
        over = timestep.discount == 0, timestep.last() & (timestep.discount == 1)
        return {"observation": timestep.observation}, timestep, timestep.reward, *over

    return reset, step


def navix_reference(env_id, max_steps, view="symbolic"):
    suite = navix.make(
        env_id, max_steps=max_steps, observation_fn=getattr(navix.observations, view)
    )

    def show(timestep):
        shown = {"observation": timestep.observation}
        mission = timestep.state.mission
        # What is no part of our state: the observation itself, and tiles to draw it with.
        timestep = timestep.replace(observation=(), state=timestep.state.replace(cache=()))
        return (shown if mission is None else {**shown, "mission": mission.colour[None]}), timestep

    def reset(key):
        return show(suite.reset(key))

    def step(key, timestep, action):
        timestep = timestep.replace(state=timestep.state.replace(key=key))
        timestep = suite._step(timestep, action)
        over = timestep.step_type == 2, timestep.step_type == 1
        return *show(timestep), timestep.reward, *over

    return reset, step


def snake(observation):
    return {key: getattr(observation, key) for key in ("grid", "step_count", "action_mask")}


def cleaner(observation):
    one, two, three = observation.action_mask
    joint = one[:, None, None] & two[:, None] & three
    fields = ("grid", "agents_locations", "step_count")
    return {
        **{key: getattr(observation, key) for key in fields},
        "action_mask": joint.reshape(64),
    }


JUMANJI = {
    "Snake-v1": (snake, lambda action: action),
    "Cleaner-v0": (
        cleaner,
        lambda action: jnp.array([action // 16, action // 4 % 4, action % 4]),
    ),
}


def jumanji_reference(env_id, kwargs):
    """Given a step more, Jumanji ends an episode in time only for good."""
    limit = kwargs["time_limit"]
    suite = jumanji.make(env_id, **{**kwargs, "time_limit": limit + 1})
    show, choose = JUMANJI[env_id]

    def reset(key):
        state, timestep = suite.reset(key)
        return show(timestep.observation), state

    def step(key, state, action):
        state, timestep = suite.step(state.replace(key=key), choose(action))
        over = timestep.last(), state.step_count >= limit
        return show(timestep.observation), state, timestep.reward, *over

    return reset, step


REFERENCES = {
    "jumanji": jumanji_reference,
    "navix": navix_reference,
    "xminigrid": xminigrid_reference,
}


def suite_state(env_state):
    """Return what a suite calls its state, of one of ours."""
    if isinstance(env_state, JumanjiState):
        return env_state.inner
    if isinstance(env_state, navix.Timestep):
        return env_state.replace(observation=(), state=env_state.state.replace(cache=()))
    return env_state


def alike(ours, theirs):
    """Whether two states are the same; random keys compared as numbers."""
    numbers = [
        jax.random.key_data(x) if jnp.issubdtype(jnp.result_type(x), jax.dtypes.prng_key) else x
        for x in [*jax.tree.leaves(ours), *jax.tree.leaves(theirs)]
    ]
    half = len(numbers) // 2
    pairs = zip(numbers[:half], numbers[half:], strict=True)
    return jnp.array([jnp.allclose(a, b, atol=1e-5) for a, b in pairs]).all()


def random_actions(env, key, steps):
    space = env.action_space
    if space.kind == "discrete":
        return jax.random.randint(key, (steps,), 0, space.count)
    return jax.random.uniform(key, (steps, space.size), minval=-1.0)


@pytest.mark.parametrize(
    ("env_id", "settings", "ends"),
    [
        ("xminigrid/MiniGrid-EmptyRandom-5x5", {"params": {"max_steps": 40}}, {"good", "time"}),
        ("navix/Navix-Dynamic-Obstacles-5x5-v0", {"max_steps": 12}, {"good", "time"}),
        ("jumanji/Snake-v1", {"kwargs": {"time_limit": 6}}, {"good", "time"}),
        ("jumanji/Cleaner-v0", {"kwargs": {"time_limit": 20}}, {"good"}),
    ],
)
def test_episodes_are_the_suites_own(env_id, settings, ends):
    """The suite's steps are taken from our states, and must lead to the same states.

    So both programs are nearly one, and compile in little more than the time of one.
    """
    suite, _, suite_id = env_id.partition("/")
    env = envs.make(env_id, **settings)
    reset, step = REFERENCES[suite](suite_id, **settings)

    def play(key):
        key_reset, key_actions, key_steps = jax.random.split(key, 3)
        first, (seen, begun) = env.reset(key_reset), reset(key_reset)

        def both(state, now):
            key, action = now
            after = env.transition(key, state, action)
            seen, theirs, *outcome = step(key, suite_state(state.env_state), action)
            same = alike(suite_state(after.env_state), theirs)
            return after, (after.timestep, seen, outcome, same)

        now = (
            jax.random.split(key_steps, env.horizon),
            random_actions(env, key_actions, env.horizon),
        )
        same = alike(suite_state(first.env_state), begun)
        return (first.timestep, seen, same), jax.lax.scan(both, first, now)[1]

    keys = jax.random.split(jax.random.key(1), EPISODES)
    begun, played = jax.tree.map(np.asarray, jax.jit(lambda keys: jax.lax.map(play, keys))(keys))
    first, seen, same = begun
    assert same.all()
    assert set(first.observation) == set(seen)
    for key, value in seen.items():
        np.testing.assert_allclose(first.observation[key], value, atol=1e-6, err_msg=key)
    ours, seen, (rewards, terminated, truncated), same = played
    truncated = truncated | (np.arange(env.horizon) == env.horizon - 1)
    found = set()
    for row in range(EPISODES):
        over = terminated[row] | truncated[row]
        steps = int(over.argmax()) + 1
        assert same[row, :steps].all()
        for key, value in seen.items():
            mine = ours.observation[key][row, :steps]
            np.testing.assert_allclose(mine, value[row, :steps], atol=1e-5, err_msg=key)
        paid = ours.previous_reward[row, :steps]
        np.testing.assert_allclose(paid, rewards[row, :steps], atol=1e-5)
        np.testing.assert_array_equal(ours.is_last[row, :steps], over[:steps])
        np.testing.assert_array_equal(ours.terminated[row, :steps], terminated[row, :steps])
        found.add("good" if terminated[row, steps - 1] else "time")
    assert found == ends


def test_episodes_of_brax_are_its_own():
    """Its programs take long to compile: what its step returned is compared, not a second step."""
    env = envs.make("brax/inverted_pendulum", horizon=8)
    suite_step, calls = env.env.suite.step, []

    def remember(before, forces):
        after = suite_step(before, forces)
        calls.append((before, forces, after))
        return after

    env.env.suite.step = remember

    def play(key):
        key_reset, key_actions = jax.random.split(key)

        def step(state, action):
            calls.clear()
            after = env.transition(key, state, action)
            ((before, forces, theirs),) = calls
            same = alike((before, forces), (state.env_state, action))
            same &= alike(after.env_state, theirs)
            return after, (after.timestep, (theirs.obs, theirs.reward, theirs.done > 0), same)

        actions = random_actions(env, key_actions, env.horizon)
        return jax.lax.scan(step, env.reset(key_reset), actions)[1]

    program = jax.jit(lambda keys: jax.lax.map(play, keys))
    keys = jax.random.split(jax.random.key(0), EPISODES)
    ours, theirs, same = jax.tree.map(np.asarray, program(keys))
    observations, rewards, ended = theirs
    assert same.all()
    np.testing.assert_array_equal(ours.observation["observation"], observations)
    np.testing.assert_array_equal(ours.previous_reward, rewards)
    np.testing.assert_array_equal(ours.terminated, ended)
    out_of_time = np.arange(env.horizon) == env.horizon - 1
    np.testing.assert_array_equal(ours.is_last, ended | out_of_time)
    assert ended.any(1).any()
    assert not ended.any(1).all()


def test_steps_of_craftax_are_handed_through():
    """Traced alone, as Craftax compiles for long: the very values it returned come back."""
    env = Craftax("Craftax-Classic-Symbolic-v1")
    suite_step, calls = env.suite.step_env, []

    def remember(*arguments):
        calls.append((arguments, suite_step(*arguments)))
        return calls[-1][1]

    env.suite.step_env = remember
    params = env.default_params

    def step(key, state, action):
        observation, after, reward, _, _ = env.step_env(key, state, action, params)
        ((arguments, result),) = calls
        given = (key, state, action, params)
        assert all(mine is theirs for mine, theirs in zip(given, arguments, strict=True))
        assert observation is result[0]
        assert after is result[1]
        assert reward is result[2]

    key = jax.eval_shape(lambda: jax.random.key(0))
    _, state = jax.eval_shape(lambda key: env.reset_env(key, params), key)
    jax.eval_shape(step, key, state, jax.ShapeDtypeStruct((), jnp.int32))
    assert len(calls) == 1


@pytest.mark.parametrize("time", [59, 60])
@pytest.mark.parametrize("health", [0, 3])
@pytest.mark.parametrize("below", [BlockType.GRASS.value, BlockType.LAVA.value])
def test_the_end_of_the_time_is_not_the_players(time, health, below):
    env = Craftax("Craftax-Classic-Symbolic-v1")
    params = env.default_params.replace(max_timesteps=60)
    state = SimpleNamespace(
        timestep=jnp.int32(time),
        player_health=jnp.int32(health),
        player_position=jnp.array([1, 1]),
        map=jnp.full((3, 3), below),
        achievements=jnp.zeros(22, bool).at[3].set(True),
    )
    env.suite.step_env = lambda *arguments: (None, state, 0.0, True, {})
    _, _, _, terminated, _ = env.step_env(None, state, None, params)
    assert bool(terminated) == (health == 0 or below == BlockType.LAVA.value)
    assert bool(env.is_truncated(state, params)) == (time == 60)
    assert env.episode_metrics(state, params)["achievements"] == 1


def test_several_choices_are_one_action_row_by_row():
    env = envs.make("jumanji/Minesweeper-v0")
    assert env.action_space.count == 100
    np.testing.assert_array_equal(env.env._choices(jnp.int32(23)), [2, 3])
    mask = np.zeros((10, 10), bool)
    mask[2, 3] = True
    assert np.flatnonzero(env.env._mask(jnp.asarray(mask))).tolist() == [23]
    cleaner = envs.make("jumanji/Cleaner-v0").env
    # Each of three agents may go some of four ways.
    ways = jnp.array([[0, 1, 0, 0], [1, 0, 0, 1], [0, 0, 1, 1]], bool)
    allowed = [16 * 1 + 4 * b + c for b in (0, 3) for c in (2, 3)]
    assert np.flatnonzero(cleaner._mask(ways)).tolist() == allowed
    np.testing.assert_array_equal(cleaner._choices(jnp.int32(allowed[-1])), [1, 3, 3])


def test_the_mission_of_navix_is_shown():
    env = envs.make("navix/Navix-GoToDoor-5x5-v0")
    observation, state = jax.jit(env.env.reset_env)(jax.random.key(3), None)
    assert observation["mission"].shape == (1,)
    mission = state.state.mission
    row, column = np.asarray(mission.position)
    # Triples of object, colour and state.
    assert observation["observation"][row, column, 1] == observation["mission"][0]


def test_nested_observations_have_dotted_names():
    env = envs.make("jumanji/Maze-v0")
    assert {key: (x.shape, str(x.dtype)) for key, x in env.observation_shapes.items()} == {
        "action_mask": ((4,), "bool"),
        "agent_position.col": ((), "int32"),
        "agent_position.row": ((), "int32"),
        "step_count": ((), "int32"),
        "target_position.col": ((), "int32"),
        "target_position.row": ((), "int32"),
        "walls": ((10, 10), "bool"),
    }


def test_pixels_of_craftax_are_kept_as_whole_numbers():
    env = envs.make("craftax/Craftax-Classic-Pixels-v1")
    assert env.observation_shapes["observation"] == jax.ShapeDtypeStruct((63, 63, 3), jnp.uint8)
    shown = jnp.arange(256, dtype=jnp.float32) / 255
    np.testing.assert_array_equal(env.env._seen(shown), np.arange(256))


def test_one_state_goes_on_differently_under_different_keys():
    """Episodes may begin with copies of a state; its own chain of keys would copy their luck."""
    env = envs.make("jumanji/Game2048-v1")
    state = env.reset(jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), 16)
    step = jax.jit(env.transition)
    boards = {
        tuple(step(key, state, action).timestep.observation["board"].ravel().tolist())
        for key in keys
        for action in (0, 1)
    }
    assert len(boards) > 4


def test_every_id_of_a_suite_is_listed_or_refused_with_a_reason():
    ids = set(envs.list_ids())
    registered = {
        "brax": set(brax.envs._envs),
        "jumanji": jumanji.registered_environments(),
        "navix": set(navix.registry()),
        "xminigrid": set(xminigrid.registered_environments()),
    }
    refused = set()
    for suite, names in registered.items():
        refused |= {f"{suite}/{name}" for name in names} - ids
    assert refused == {
        "brax/fast",
        "brax/swimmer",
        "jumanji/Connector-v3",
        "jumanji/FlatPack-v0",
        "jumanji/JobShop-v0",
        "jumanji/LevelBasedForaging-v0",
        "jumanji/MMST-v0",
        "jumanji/MultiCVRP-v0",
        "jumanji/SearchAndRescue-v0",
        "jumanji/Sokoban-v0",
        "xminigrid/MiniGrid-Playground",
        *(
            f"navix/Navix-KeyCorridorS{size}-v0"
            for size in ("3R1", "3R2", "3R3", "4R3", "5R3", "6R3")
        ),
    }
    assert sum(env_id.startswith("craftax/") for env_id in ids) == 4


@pytest.mark.parametrize(
    ("env_id", "reason"),
    [
        ("brax/fast", "stub for Brax's own tests"),
        ("jumanji/FlatPack-v0", r"\[25, 4, 9, 9\], make 8100 actions .* at most 4096"),
        ("jumanji/LevelBasedForaging-v0", "rewards each of 2 agents"),
        ("jumanji/MultiCVRP-v0", "actions must be discrete, not BoundedArray"),
        ("jumanji/Sokoban-v0", "levels from the network"),
        ("navix/Navix-KeyCorridorS3R1-v0", "cannot be won in Navix 0.7"),
        ("xminigrid/MiniGrid-Playground", "it has no goal"),
        ("navix/Navix-Empty-5x6-v0", "'Navix-Empty-5x6-v0': did you mean Navix-Empty-"),
        ("xminigrid/MiniGrid-Empty-5x6", "'MiniGrid-Empty-5x6': did you mean MiniGrid-Empty-"),
        ("craftax/Craftax-v1", "'Craftax-v1': did you mean Craftax-"),
        ("brax/half_cheetah", "'half_cheetah': did you mean halfcheetah"),
        ("jumanji/Snake-v0", "'Snake-v0': did you mean Snake-v1"),
    ],
)
def test_what_cannot_be_streamed_is_refused(env_id, reason):
    with pytest.raises(ValueError, match=reason):
        envs.make(env_id)


@pytest.mark.parametrize(
    ("env_id", "settings", "sentence"),
    [
        ("navix/Navix-Empty-5x5-v0", {"view": "sonar"}, "view='sonar' must be one of symbolic"),
        ("xminigrid/MiniGrid-Empty-5x5", {"params": {"size": 9}}, r"no parameter 'size' \(=9\)"),
        (
            "xminigrid/MiniGrid-Empty-5x5",
            {"params": {"view_size": 4}},
            "view_size=4 must be an odd",
        ),
        ("brax/ant", {"kwargs": {"backend": "mars"}}, "brax/ant: kwargs=.*mars"),
        ("jumanji/Snake-v1", {"kwargs": {"speed": 2}}, "jumanji/Snake-v1: kwargs=.*speed"),
        ("craftax/Craftax-Classic-Symbolic-v1", {"limit": 0}, "limit=0"),
    ],
)
def test_wrong_settings_are_named(env_id, settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        envs.make(env_id, **settings)


MISSING = {
    "brax/ant": ("brax", "brax"),
    "craftax/Craftax-Symbolic-v1": ("craftax", "craftax"),
    "jumanji/Snake-v1": ("jumanji", "jumanji"),
    "navix/anything": ("navix", "navix"),
    "xminigrid/anything": ("xminigrid", "xminigrid"),
    "meta/xland_minigrid": ("xminigrid", "xminigrid"),
    "meta/half_cheetah_velocity": ("mjx", "mujoco"),
}


def uninstall(monkeypatch, package):
    """Make imports of a package fail, also by those of our modules that are loaded already."""
    ours = [name for name in sys.modules if name.startswith("amago_jax.envs.")]
    for name in ours:
        if ".adapters." in name or ".meta.xland" in name or ".meta.half_cheetah" in name:
            monkeypatch.delitem(sys.modules, name)
    for name in [package, *(n for n in sys.modules if n.startswith(f"{package}."))]:
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.parametrize("env_id", MISSING)
def test_the_extra_is_named_if_a_suite_is_missing(monkeypatch, env_id):
    extra, package = MISSING[env_id]
    uninstall(monkeypatch, package)
    with pytest.raises(
        ValueError, match=rf"{env_id} needs the extra '{extra}' .*amago_jax\[{extra}\]"
    ):
        envs.make(env_id)


def test_a_missing_suite_is_not_listed_but_said_to_be_missing(monkeypatch):
    uninstall(monkeypatch, "xminigrid")
    assert envs.missing_suites() == ["xminigrid"]
    ids = envs.list_ids()
    assert not [env_id for env_id in ids if env_id.startswith("xminigrid/")]
    assert "jumanji/Snake-v1" in ids
    lines = environments().splitlines()
    assert "xminigrid/... (pip install 'amago_jax[xminigrid]')" in lines
    assert {"tmaze/passive", "goals/crafter_pixels", "jumanji/Snake-v1"} < set(lines)
    # Groups are told apart by an empty line.
    assert lines[lines.index("tmaze/active") - 1] == ""


OTHERS = ("mujoco", "matplotlib", "seaborn", "pandas", "scipy.stats", "orbax")


def test_nothing_is_imported_that_is_not_asked_for():
    program = (
        "import sys; from amago_jax import envs; from amago_jax.runs.config import compose; "
        "compose(['experiment=tmaze_baseline']); envs.make('tmaze/passive'); "
        f"print([name for name in {(*SUITES, *OTHERS)} if name in sys.modules]); "
        # And what was put off is there for others.
        "import matplotlib.pyplot; print(matplotlib.pyplot.figure.__name__)"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == ["[]", "figure"]


def test_environments_of_suites_are_chosen_by_id():
    small = ["rollout_steps=8", "context_length=8", "envs=2", "batch_size=2"]
    trainer = build(compose(["env=navix/Navix-Empty-5x5-v0", "env.view=categorical", *small]))
    assert trainer.env.observation_shapes["observation"].shape == (5, 5)
    with pytest.raises(ConfigError, match="'Navix-Empty-5x6-v0': did you mean Navix-Empty"):
        build(compose(["env=navix/Navix-Empty-5x6-v0", *small]))
