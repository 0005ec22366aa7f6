"""What settings of an agent change, and what it says about a batch."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amago_jax.acting.exploration import draw_exploration, explore
from amago_jax.agents.amago import build_amago_agent
from amago_jax.agents.multitask import build_multitask_agent
from amago_jax.learning.learner import init_learner, make_optimizer, update
from amago_jax.losses.advantage_filters import NoFilter
from small_agents import small_agent, start
from streams import pack, random_episode

LENGTH = 10
BUILDERS = [build_amago_agent, build_multitask_agent]
KINDS = pytest.mark.parametrize("discrete", [True, False], ids=["discrete", "continuous"])
AGENTS = pytest.mark.parametrize("build", BUILDERS, ids=["amago", "multitask"])


def prepare(agent, seed=0):
    rng = np.random.default_rng(seed)
    episodes = [[random_episode(rng, 7, discrete=agent.discrete)] for _ in range(3)]
    batch = pack(episodes, LENGTH, fill=7)
    state = start(agent, jax.tree.map(lambda x: x[:, 0], batch.timesteps))
    return batch, state


@AGENTS
@KINDS
def test_behaviour_cloning_moves_no_critic(build, discrete):
    agent = small_agent(
        discrete=discrete,
        build=build,
        online_coeff=0.0,
        offline_coeff=1.0,
        advantage_filter=NoFilter(),
        detailed_metrics=True,
    )
    batch, state = prepare(agent)
    grads, (after, metrics) = jax.jit(jax.grad(agent.loss, has_aux=True))(
        state.params, state, batch, agent.draw(jax.random.key(1), batch)
    )
    grads = jax.device_get(grads)
    assert not agent.learns_values
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(grads["critics"]))
    assert any((leaf != 0).any() for leaf in jax.tree.leaves(grads["actor"]))
    assert metrics["loss/critic"] == 0
    assert metrics["actor/filter_accepted"] == pytest.approx(1, abs=1e-4)
    assert np.isfinite([metrics["actor/log_prob"], metrics["actor/entropy"]]).all()
    jax.tree.map(np.testing.assert_array_equal, after.popart, state.popart)


@AGENTS
@KINDS
def test_analysis_agrees_with_the_metrics(build, discrete):
    agent = small_agent(discrete=discrete, build=build, detailed_metrics=True)
    # Dropout is off and sigma starts exact, so training and evaluation differ by input statistics
    # alone, which one batch moves; normalization off makes both passes one.
    encoder = dataclasses.replace(agent.timestep_encoder, normalize_inputs=False)
    agent = dataclasses.replace(agent, timestep_encoder=encoder, popart=False)
    batch, state = prepare(agent)
    key = jax.random.key(1)
    analysis = jax.jit(agent.analyze)(state, batch, key)
    _, (_, metrics) = jax.jit(agent.loss)(state.params, state, batch, agent.draw(key, batch))
    mask = np.asarray(analysis.mask)
    assert mask.sum() == 21
    pairs = {
        "value/td_target": analysis.targets,
        "value/q": analysis.q,
        "value/v": analysis.v,
        "value/advantage": analysis.advantages,
        "value/ensemble_spread": analysis.spread,
        "actor/filter_accepted": analysis.filter_weights,
        "actor/filter_accepted/0.99": analysis.filter_weights,
        "actor/log_prob": analysis.log_probs,
        "actor/entropy": analysis.entropy,
    }
    for name, array in pairs.items():
        assert array.shape == (3, LENGTH - 1, 2)
        mean = np.asarray(array)[mask][:, -1].mean()
        np.testing.assert_allclose(metrics[name], mean, rtol=2e-3, atol=2e-4, err_msg=name)
    acting = np.asarray(analysis.targets)[mask][:, -1]
    np.testing.assert_allclose(metrics["value/td_target_min"], acting.min(), rtol=1e-3)
    np.testing.assert_allclose(metrics["value/td_target_max"], acting.max(), rtol=1e-3)


def test_metrics_can_be_left_out_and_change_nothing():
    agent = small_agent()
    batch, state = prepare(agent)
    optimizer = make_optimizer()
    results = []
    for detailed in (True, False):
        variant = dataclasses.replace(agent, detailed_metrics=detailed)
        learner = init_learner(optimizer, state)
        draws = variant.draw(jax.random.key(1), batch)
        results.append(
            jax.jit(update, static_argnums=(0, 1))(variant, optimizer, learner, batch, draws)
        )
    (first, many), (second, few) = results
    assert {"gradient/actor", "gradient/critics", "value/popart_sigma/0.9"} < set(many)
    assert set(few) == {"loss/total", "loss/actor", "loss/critic", "gradient/norm"}
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


@AGENTS
def test_masked_actions_are_neither_taken_nor_valued(build):
    agent = small_agent(build=build, action_mask_key="legal")
    rng = np.random.default_rng(0)
    legal = rng.random((3, 8, 3)) < 0.5
    legal[..., 0] = True
    episodes = [[random_episode(rng, 7)] for _ in range(3)]
    for row, (episode,) in enumerate(episodes):
        episode.observation["legal"] = legal[row]
    batch = pack(episodes, LENGTH)
    example = jax.tree.map(lambda x: x[:, 0], batch.timesteps)
    state = start(agent, example)
    memory = agent.initial_memory(3)
    for greedy in (True, False):
        act = jax.jit(functools.partial(agent.act, greedy=greedy))
        actions, _ = act(state, example, memory, jax.random.key(1))
        assert legal[np.arange(3), 0, np.asarray(actions)].all()
    loss, _ = jax.jit(agent.loss)(state.params, state, batch, agent.draw(jax.random.key(1), batch))
    assert np.isfinite(loss)
    # Where the mask allows one action alone, the value of the state is that action's value.
    analysis = jax.jit(agent.analyze)(state, batch, jax.random.key(2))
    alone = legal[:, :-1].sum(-1) == 1
    assert alone.any()
    entropy = np.asarray(analysis.entropy)[:, : alone.shape[1]]
    np.testing.assert_allclose(entropy[alone], 0.0, atol=1e-5)
    assert (entropy[~alone] > 0.01).all()


def test_an_unknown_mask_key_is_named():
    with pytest.raises(ValueError, match=r"'legal' is not an .* choose from \['observation'\]"):
        small_agent(action_mask_key="legal").legal_actions({"observation": jnp.zeros(3)})


def test_masked_exploration_is_uniform_over_what_is_legal():
    n = 20_000
    legal = jnp.array([True, False, True, True, False])
    draws = draw_exploration(jax.random.key(0), (n,), 5, kind="discrete", masked=True)
    actions = explore(jnp.zeros(n, jnp.int32), jnp.ones(n), draws, jnp.broadcast_to(legal, (n, 5)))
    shares = np.bincount(actions, minlength=5) / n
    np.testing.assert_allclose(shares, [1 / 3, 0, 1 / 3, 1 / 3, 0], atol=0.015)


def test_binary_exploration_flips_coins():
    n = 20_000
    draws = draw_exploration(jax.random.key(0), (n,), 2, kind="binary")
    actions = explore(jnp.ones((n, 2)), jnp.full(n, 0.4), draws)
    np.testing.assert_allclose(actions.mean(0), [0.8, 0.8], atol=0.015)
    assert set(np.unique(actions)) == {0.0, 1.0}


def test_combinations_that_cannot_learn_are_refused():
    with pytest.raises(ValueError, match=r"online_coeff=1.0 needs .* TanhMixture .* another"):
        small_agent(discrete=False, distribution="tanh_mixture")
    with pytest.raises(ValueError, match="needs discrete actions"):
        small_agent(discrete=False, action_mask_key="legal")


def test_pessimistic_targets_are_lower():
    targets = {}
    for pessimistic in (True, False, None):
        agent = small_agent(pessimistic_targets=pessimistic)
        batch, state = prepare(agent)
        analysis = jax.jit(agent.analyze)(state, batch, jax.random.key(0))
        targets[pessimistic] = np.asarray(analysis.targets)
    assert (targets[True] <= targets[False] + 1e-6).all()
    assert (targets[True] < targets[False] - 1e-4).any()
    np.testing.assert_array_equal(targets[None], targets[True])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_step": 0}, "n_step=0"),
        ({"critics_per_target": 0}, "critics_per_target=0"),
        ({"tau": 5.0}, "tau=5.0 must be a number above 0 and at most 1"),
        (
            {"gammas": (0.99, 0.5)},
            r"gammas=\[0.99, 0.5\] must be .* each greater than the one",
        ),
        ({"gammas": ()}, r"gammas=\[\]"),
        ({"gammas": (0.9, 1.0)}, r"gammas=\[0.9, 1.0\]"),
    ],
)
def test_settings_out_of_range_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        small_agent(**wrong)


def test_online_gradients_skip_the_action_that_was_sampled():
    """One-hot actions lie outside the critics' ±0.999, in the authors' code as in ours."""
    agent = small_agent(discrete=True, build=build_multitask_agent, online_coeff=1.0)
    batch, state = prepare(agent)
    states = jnp.ones((2, agent.trajectory_encoder.width))
    one_hot = jnp.broadcast_to(jax.nn.one_hot(1, agent.action_size), (2, len(agent.gammas), 3))

    def value(actions):
        return agent.critics.apply({"params": state.params["critics"]}, states, actions).sum()

    gradient = np.asarray(jax.jit(jax.grad(value))(one_hot))
    assert (gradient[..., 1] == 0).all()
    assert (gradient[..., [0, 2]] != 0).all()
    grads, _ = jax.jit(jax.grad(agent.loss, has_aux=True))(
        state.params, state, batch, agent.draw(jax.random.key(1), batch)
    )
    grads = jax.device_get(grads)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
    assert any((leaf != 0).any() for leaf in jax.tree.leaves(grads["actor"]))
