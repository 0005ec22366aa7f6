"""A packed batch and the same episodes padded give the same loss and gradients."""

import jax
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from amago_jax.agents import LossDraws
from amago_jax.agents.amago import build_amago_agent
from amago_jax.agents.multitask import build_multitask_agent
from amago_jax.losses.advantage_filters import ExponentialFilter
from own_terms import FORECAST
from small_agents import small_agent, start
from streams import pack, random_episode

LENGTH, EPISODES = 16, 4


def one_per_row(rows):
    return [[episode] for row in rows for episode in row]


def spread(x, rows, fill=0):
    """Cut ``x [R, LENGTH - 1 or LENGTH, ...]``, laid out as rows, into one episode per row."""
    out = np.full((EPISODES, *x.shape[1:]), fill, x.dtype)
    index = 0
    for row, episodes in enumerate(rows):
        at = 0
        for episode in episodes:
            n = min(len(episode.time), x.shape[1] - at)
            out[index, :n] = x[row, at : at + n]
            index, at = index + 1, at + len(episode.time)
    return out


def compiled(discrete, build):
    # A filter without a threshold, at which the two roundings could fall to different sides.
    agent = small_agent(
        discrete=discrete,
        build=build,
        n_step=2,
        advantage_filter=ExponentialFilter(),
        extra_losses=(FORECAST,),
    )
    timesteps = jax.tree.map(lambda x: x[:, 0], random_batch(0, discrete)[1].timesteps)
    state = start(agent, timesteps)
    return agent, state, jax.jit(jax.value_and_grad(agent.loss, has_aux=True))


def random_batch(seed, discrete, fill=0):
    rng = np.random.default_rng(seed)
    cut = rng.integers(1, LENGTH - 4, size=2)
    lengths = [[c, rng.integers(1, LENGTH - 1 - c)] for c in cut]
    rows = [
        [random_episode(rng, n, discrete=discrete, terminated=bool(rng.integers(2))) for n in row]
        for row in lengths
    ]
    return rows, pack(rows, LENGTH, fill), pack(one_per_row(rows), LENGTH, fill)


KINDS = {
    "amago discrete": (True, build_amago_agent),
    "amago continuous": (False, build_amago_agent),
    "multitask discrete": (True, build_multitask_agent),
}


@pytest.fixture(scope="module", params=KINDS)
def setup(request):
    discrete, build = KINDS[request.param]
    return discrete, *compiled(discrete, build)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
@example(seed=1569)  # one advantage of the discrete AMAGO-2 agent is 0 but for rounding
def test_packed_and_padded_batches_agree(setup, seed):
    discrete, agent, state, loss = setup
    # Padding of both is filled with garbage that must not be felt.
    rows, packed, padded = random_batch(seed, discrete, fill=7)
    draws = agent.draw(jax.random.key(seed), packed)
    spread_noise = jax.tree.map(
        lambda noise: np.stack([spread(sample, rows) for sample in np.asarray(noise)]),
        (draws.policy_noise, draws.target_noise),
    )
    spread_draws = LossDraws(
        critic_subset=spread(np.asarray(draws.critic_subset), rows),
        policy_noise=spread_noise[0],
        target_noise=spread_noise[1],
        dropout=draws.dropout,
    )
    (loss_packed, (state_packed, _)), grads_packed = loss(state.params, state, packed, draws)
    (loss_padded, (state_padded, _)), grads_padded = loss(state.params, state, padded, spread_draws)
    np.testing.assert_allclose(loss_packed, loss_padded, rtol=2e-5)
    norm = np.linalg.norm([np.linalg.norm(np.ravel(g)) for g in jax.tree.leaves(grads_packed)])
    for a, b in zip(jax.tree.leaves(grads_packed), jax.tree.leaves(grads_padded), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5 * norm)
    for a, b in zip(jax.tree.leaves(state_packed), jax.tree.leaves(state_padded), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_an_episode_does_not_see_its_neighbour(setup):
    discrete, agent, state, _ = setup
    rng = np.random.default_rng(0)
    first, other, second = (random_episode(rng, 6, discrete=discrete) for _ in range(3))
    encode = jax.jit(agent.encode)
    states = [
        encode(state.params, state.statistics, pack([[neighbour, second]], LENGTH))[0]
        for neighbour in (first, other)
    ]
    np.testing.assert_array_equal(states[0][:, 7:14], states[1][:, 7:14])
    assert not np.allclose(states[0][:, :7], states[1][:, :7])
