"""PPO: its advantages, its first step, and that it learns."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amago_jax import envs
from amago_jax.baselines import PPO, PPOSettings, generalized_advantages, make_ppo_agent
from amago_jax.baselines.losses import clipped_policy_loss, value_loss
from amago_jax.errors import ConfigError
from amago_jax.models.distributions import make_distribution
from amago_jax.models.gru import GRU
from amago_jax.models.heads import Actor
from amago_jax.models.timestep_encoders import FeedForwardTimestepEncoder
from small_agents import small_transformer

CORRIDOR, STEPS = 3, 11  # an episode is of 5 timesteps: rollouts begin and end inside of one
EPOCHS = 35


@functools.cache
def ppo(memory, envs_count=4, **own):
    """PPO on a short corridor."""
    env = envs.make("tmaze/passive", corridor_length=CORRIDOR)
    space = env.action_space
    sure = {"clip_low": 1e-6, "clip_high": 1.0}
    distribution = make_distribution("natural", actions=space.size, kind=space.kind, discrete=sure)
    if memory == "gru":
        encoder = GRU(context_length=env.horizon, layers=1, hidden_size=16, output_width=16)
    else:
        encoder = small_transformer(env.horizon + 1, layers=1)
    agent = make_ppo_agent(
        distribution=distribution,
        timestep_encoder=FeedForwardTimestepEncoder(16, 1, 16),
        trajectory_encoder=encoder,
        actor=Actor(1, distribution.parameter_count, hidden_size=16, layers=1),
        gamma=0.9,
        past=0 if memory == "gru" else env.horizon + 1,
    )
    return PPO(agent, env, PPOSettings(gamma=0.9, **own), envs_count, STEPS, EPOCHS, 8)


@functools.cache
def second_rollout(memory):
    """Two rollouts by other weights: episodes go on from one to the next."""
    trainer = ppo(memory)
    collect, state = jax.jit(trainer.collect), trainer.init(jax.random.key(0))
    _, state, _ = collect(state, jax.random.key(1))
    params = jax.tree.map(lambda x: 1.5 * x, state.agent.params)
    state = dataclasses.replace(state, agent=dataclasses.replace(state.agent, params=params))
    collected, _, _ = collect(state, jax.random.key(2))
    return trainer, state, collected


def advantages_by_hand(rewards, values, terminated, is_last, valid, gamma, gae_lambda):
    found = np.zeros_like(rewards)
    for b in range(rewards.shape[0]):
        for t in range(rewards.shape[1]):
            weight = 1.0
            for k in range(t, rewards.shape[1]):
                if not valid[b, k]:
                    break
                after = 0.0 if terminated[b, k] else values[b, k + 1]
                found[b, t] += weight * (rewards[b, k] + gamma * after - values[b, k])
                weight *= gamma * gae_lambda
                if is_last[b, k]:
                    break
    return found


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**16), st.sampled_from([0.0, 0.5, 0.95, 1.0]), st.floats(0, 0.99))
def test_advantages_are_those_of_a_loop(seed, gae_lambda, gamma):
    rng = np.random.default_rng(seed)
    is_last = rng.random((3, 9)) < 0.3
    terminated = is_last & (rng.random((3, 9)) < 0.5)
    before = np.concatenate([rng.random((3, 1)) < 0.3, is_last[:, :-1]], axis=1)
    is_last, terminated = is_last & ~before, terminated & ~before
    valid = ~np.concatenate([before[:, :1], is_last[:, :-1]], axis=1)
    rewards = rng.normal(size=(3, 9)).astype(np.float32)
    values = rng.normal(size=(3, 10)).astype(np.float32)
    given_arrays = (rewards, values, terminated, is_last, valid)
    found = generalized_advantages(
        *map(jnp.asarray, given_arrays), gamma=gamma, gae_lambda=gae_lambda
    )
    expected = advantages_by_hand(*given_arrays, gamma, gae_lambda)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("memory", ["gru", "transformer"])
def test_windows_are_judged_as_they_were_acted_in(memory):
    trainer, state, collected = second_rollout(memory)
    agent, past = trainer.agent, trainer.agent.past
    timesteps = jax.tree.map(lambda x: x[:, past:-1], collected.window.batch.timesteps)
    assert timesteps.is_first[:, 1:].any()
    assert not timesteps.is_first[:, 0].all()

    @jax.jit
    def replay(state):
        """Decode as the rollout does, and score what it did."""
        acting, agent_state = agent.for_acting(state.agent)

        def step(memory, timestep):
            hidden, memory = acting.remember(agent_state, timestep, memory)
            actor = agent_state.params["actor"]
            return memory, acting.policy(actor, hidden, timestep.observation)[:, -1]

        over_time = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), timesteps)
        policy = jax.lax.scan(step, trainer.remembered(state).memory, over_time)[1]
        return jnp.swapaxes(policy, 0, 1)

    after, valid = collected.window.transitions(past)
    expected = agent.distribution.log_prob(replay(state), jnp.maximum(after.previous_action, 0))
    found = collected.before.log_probs
    np.testing.assert_allclose(found[valid], expected[valid], atol=1e-5)


@pytest.mark.parametrize("memory", ["gru", "transformer"])
def test_the_first_gradient_is_that_of_the_policy(memory):
    trainer, state, collected = second_rollout(memory)
    rows = trainer.rows(collected, jnp.asarray([2, 0]))
    agent, statistics = trainer.learning_agent, state.agent.statistics
    own = dataclasses.replace(trainer.settings, value_coeff=0.0, entropy_coeff=0.0)
    alone = dataclasses.replace(trainer, settings=own)

    def plain(params):
        _, valid = rows.window.transitions(agent.past)
        log_probs = agent.judge(params, statistics, rows.window).log_probs
        mean = rows.advantages.mean(where=valid)
        advantages = (rows.advantages - mean) / (rows.advantages.std(where=valid) + 1e-8)
        return -(log_probs * advantages).mean(where=valid)

    @jax.jit
    def gradients(params):
        key = jax.random.key(0)
        grads, metrics = jax.grad(alone.loss, has_aux=True)(params, statistics, rows, key)
        return grads, jax.grad(plain)(params), metrics

    grads, expected, metrics = gradients(state.agent.params)
    assert metrics["ppo/kl"] < 1e-8
    assert metrics["ppo/clipped"] == 0
    for a, b in zip(jax.tree.leaves(grads), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


def test_a_corridor_is_learned():
    trainer = ppo("gru", 32, learning_rate=3e-3, anneal=True)
    state = trainer.init(jax.random.key(0))
    for _ in range(EPOCHS):
        state, metrics = trainer.train_epoch(state)
    # Chance returns half of that.
    assert trainer.evaluate(state.agent, jax.random.key(1))["evaluation/return"] == 1.0
    assert metrics["updates"] == EPOCHS * 16
    assert 0 <= metrics["ppo/clipped"] <= 1


def test_losses_gain_nothing_beyond_the_clips():
    ratios, advantages = jnp.asarray([[1.5, 0.5, 1.5, 9.0]]), jnp.asarray([[1.0, -1.0, -1.0, 9.0]])
    valid = jnp.asarray([[True, True, True, False]])
    loss = clipped_policy_loss(ratios, advantages, valid, 0.2)
    np.testing.assert_allclose(loss, -(1.2 - 0.8 - 1.5) / 3, rtol=1e-4)
    values, zeros = jnp.asarray([[1.0, -1.0, 0.1, 9.0]]), jnp.zeros((1, 4))
    targets = jnp.asarray([[2.0, 1.0, 1.0, 0.0]])
    loss = value_loss(values, zeros, targets, valid, 0.2)
    np.testing.assert_allclose(loss, 0.5 * (1.8**2 + 2.0**2 + 0.9**2) / 3, rtol=1e-4)
    loss = value_loss(values, zeros, targets, valid, None)
    np.testing.assert_allclose(loss, 0.5 * (1.0 + 2.0**2 + 0.9**2) / 3, rtol=1e-4)


def test_minibatches_must_divide_the_environments():
    with pytest.raises(ConfigError, match=r"ppo.minibatches=3 does not divide envs=4.*\[1, 2, 4\]"):
        ppo("gru", minibatches=3)
