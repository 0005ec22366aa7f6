"""Whole episodes kept step by step, and what a policy thinks of them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amago_jax import ConfigError, envs
from amago_jax.acting import Policy
from amago_jax.acting.recording import frames
from amago_jax.models.gru import GRU
from amago_jax.reports import animate, draw_attention, draw_values, film_strip
from amago_jax.reports.rendering import GAP
from small_agents import small_agent, start

EPISODES = 3


def policy_in(env, **settings):
    agent = small_agent(actions=env.action_space.size, **settings)
    example = jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.key(0), 2)).timestep
    return Policy(agent, start(agent, example))


@pytest.fixture(scope="module")
def maze():
    return envs.make("tmaze/passive", corridor_length=6)


@pytest.fixture(scope="module")
def policy(maze):
    return policy_in(maze, transformer={"layers": 2, "window": 4, "sink": 1, "logit_clip": 5.0})


@pytest.fixture(scope="module")
def played(maze, policy):
    return policy.rollout(maze, EPISODES, key=jax.random.key(1))


def test_episodes_are_whole_and_their_numbers_belong_together(maze, policy, played):
    steps = maze.horizon
    assert played.timesteps.time.shape == (EPISODES, steps + 1)
    assert (played.lengths == steps).all()
    assert played.mask.all()
    assert played.actions.shape == played.rewards.shape == (EPISODES, steps)
    np.testing.assert_allclose(played.returns, played.timesteps.previous_reward.sum(1))
    again = policy.rollout(maze, EPISODES, key=jax.random.key(1))
    np.testing.assert_array_equal(played.actions, again.actions)


def test_the_seed_is_of_the_episodes_and_the_key_of_the_actions(maze, policy, played):
    greedy = [policy.rollout(maze, EPISODES, seed=seed) for seed in (0, 0, 4)]
    shown = [x.timesteps.observation["observation"][:, 0] for x in (*greedy, played)]
    np.testing.assert_array_equal(shown[0], shown[3])
    np.testing.assert_array_equal(greedy[0].actions, greedy[1].actions)
    assert (shown[0] != shown[2]).any()
    assert (greedy[0].actions != played.actions).any()


def test_episodes_that_end_early_are_cut_there():
    env = envs.make("goals/package_delivery", length=12, limit=5)
    policy = policy_in(env)
    played = policy.rollout(env, EPISODES, max_steps=8)
    assert played.timesteps.time.shape == (EPISODES, 9)
    assert (played.lengths <= 5).all()
    np.testing.assert_array_equal(played.mask.sum(1), played.lengths)
    for episode, length in enumerate(played.lengths):
        states = played.states(episode)
        assert len(states) == length + 1
        assert [bool(state.timestep.is_last) for state in states] == [False] * length + [True]
    pictures = list(frames(env, played.states()))
    assert len(pictures) == played.lengths[0] + 1
    html = animate(pictures)._repr_html_()
    assert html.startswith('<img alt="an episode" src="data:image/gif;base64,R0lGOD')
    strip, one = film_strip(pictures, count=4, columns=2), film_strip(pictures, count=1)
    assert strip.size == (2 * one.width + GAP, 2 * one.height)
    assert policy.analyze(played).v.shape == (played.lengths[0], 2)


def test_cut_off_episodes_are_as_long_as_was_asked(maze, policy, played):
    cut = policy.rollout(maze, EPISODES, max_steps=3)
    assert (cut.lengths == 3).all()
    assert not cut.timesteps.is_last.any()


@pytest.mark.parametrize("asked", [{"episodes": 0}, {"episodes": 2, "max_steps": 0}])
def test_nothing_to_play_is_named(maze, policy, asked):
    name = list(asked)[-1]
    with pytest.raises(ConfigError, match=f"{name}=0 must be at least 1"):
        policy.rollout(maze, **asked)


@pytest.mark.parametrize("episode", [EPISODES, -EPISODES - 1])
def test_an_episode_that_was_not_played_is_named(policy, played, episode):
    for look in (policy.analyze, policy.attention_maps, lambda played, n: played.states(n)):
        words = f"episode={episode} is none of the {EPISODES} .* from 0 to {EPISODES - 1}"
        with pytest.raises(ConfigError, match=words):
            look(played, episode)


def test_attention_is_causal_and_within_sight(maze, policy, played):
    maps = policy.attention_maps(played, episode=1)
    timesteps = maze.horizon + 1
    assert maps.shape == (2, 2, timesteps, timesteps)
    np.testing.assert_allclose(maps.sum(-1), 1.0, atol=1e-6)
    rows, columns = np.indices((timesteps, timesteps))
    seen = (columns <= rows) & ((rows - columns < 4) | (columns < 1))
    assert (maps[..., ~seen] == 0).all()
    assert (maps[..., seen] > 0).all()


def test_attention_maps_are_what_the_encoder_weighs_values_by(policy, played):
    """The encoder's answer is that of a pass that attends by the very maps, and no other."""
    encoder, state = policy.agent.trajectory_encoder, policy.state
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 7, 16)), jnp.float32)
    time, segments = jnp.tile(jnp.arange(7), (2, 1)), jnp.ones((2, 7), jnp.int32)
    variables = {
        "params": state.params["trajectory_encoder"],
        "statistics": state.statistics["trajectory_encoder"],
    }
    maps = encoder.apply(variables, x, time, segments, method="attention_maps")

    def by_maps(encoder, x, time, other):
        left = iter(range(encoder.layers))

        def attend(query, key, value):
            return jnp.einsum("bhlm,bhme->bhle", other[:, next(left)], value)

        return encoder._encode(x, time, attend, False)

    plain = encoder.apply(variables, x, time, segments)
    same = encoder.apply(variables, x, time, maps, method=by_maps)
    np.testing.assert_allclose(plain, same, atol=1e-5)
    swapped = encoder.apply(variables, x, time, maps[:, ::-1], method=by_maps)
    assert abs(plain - swapped).max() > 1e-4


def test_what_fell_out_of_the_cache_is_out_of_sight(maze, played):
    policy = policy_in(maze, context_length=3)
    maps = policy.attention_maps(played)
    rows, columns = np.indices(maps.shape[-2:])
    assert (maps[..., rows - columns >= 3] == 0).all()
    assert (maps[..., (rows >= columns) & (rows - columns < 3)] > 0).all()


def test_values_are_in_units_of_the_rewards(policy, played):
    found = policy.analyze(played, episode=2)
    assert found.v.shape == found.q.shape == (played.lengths[2], 2)
    assert found.mask.all()
    raw = policy.agent.analyze(policy.state, played.batch(2), jax.random.key(0))
    np.testing.assert_allclose(found.v * policy.agent.reward_multiplier, raw.v[0], rtol=1e-4)
    # The last target is the last reward: nothing follows a termination.
    np.testing.assert_allclose(found.targets[-1], played.rewards[2, -1], atol=1e-6)


def test_a_memory_without_attention_has_values_but_no_maps(maze, played):
    policy = policy_in(
        maze, trajectory_encoder=GRU(context_length=32, hidden_size=16, output_width=16, layers=1)
    )
    assert np.isfinite(policy.analyze(played).v).all()
    with pytest.raises(ConfigError, match=r"need trajectory_encoder=transformer .* GRU"):
        policy.attention_maps(played)


def test_states_are_kept_where_they_can_be_drawn(maze, played):
    without = dataclasses.replace(played, env_states=None)
    with pytest.raises(ValueError, match="no method draw"):
        without.states()
    images = [image for image, _ in frames(maze, played.states())]
    assert images[0].shape == (3, 7, 3)
    dark = [tuple(np.argwhere((image == 60).all(-1))[0]) for image in images]
    states = played.states()
    assert dark == [(1 - int(s.env_state.y), int(s.env_state.x)) for s in states]


def test_pictures_show_every_discount_head_and_layer():
    values = np.zeros((5, 2))
    figure = draw_values(values, (0.9, 0.99), spread=values + 1, rewards=np.ones(5), title="one")
    (axes,) = figure.axes
    assert [line.get_label() for line in axes.lines] == ["discount 0.9", "discount 0.99, acts"]
    with pytest.raises(ValueError, match=r"gammas=\(0.9,\) must be 2"):
        draw_values(values, (0.9,))
    figure = draw_attention(np.full((3, 2, 4, 4), 0.25))
    titles = [axes.get_title() for axes in figure.axes if axes.images and axes.get_title()]
    assert len(titles) == 6
    assert titles[0] == "layer 1, head 1"
    assert titles[-1] == "layer 3, head 2"


def test_greedy_actions_are_those_of_the_policy_in_the_timesteps_seen(maze, policy):
    played = policy.rollout(maze, EPISODES, seed=5)
    memory = policy.initial_memory(EPISODES)
    for step in range(maze.horizon):
        timestep = jax.tree.map(lambda x, step=step: x[:, step], played.timesteps)
        actions, memory = policy.act(timestep, memory)
        np.testing.assert_array_equal(actions, played.actions[:, step])
