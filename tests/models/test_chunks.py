"""Layers in chunks: the same losses, gradients and statistics, in less memory."""

import jax
import jax.numpy as jnp
import numpy as np

from amago_jax.models.heads import ActionCritics, DiscreteCritics
from small_agents import small_agent, start
from streams import pack, random_episode

LENGTH = 10


def assert_equal(plain, chunked):
    for (path, a), b in zip(
        jax.tree.leaves_with_path(plain), jax.tree.leaves(chunked), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5, err_msg=jax.tree_util.keystr(path))


def test_losses_gradients_and_statistics_are_the_same_dropout_included(monkeypatch):
    rng = np.random.default_rng(0)
    batch = pack([[random_episode(rng, 8)] for _ in range(3)], LENGTH)
    example = jax.tree.map(lambda x: x[:, 0], batch.timesteps)
    agents = [
        small_agent(
            transformer={"dropout": 0.3, "rematerialize": rematerialize},
            rematerialize=rematerialize,
        )
        for rematerialize in (False, True)
    ]
    state = start(agents[0], example)
    draws = agents[0].draw(jax.random.key(1), batch)
    # Chunks that do not divide the rows, of which there are 27 and 30.
    monkeypatch.setattr("amago_jax.models.chunks.CHUNK", 7)
    plain, chunked = (
        jax.jit(jax.value_and_grad(agent.loss, has_aux=True))(state.params, state, batch, draws)
        for agent in agents
    )
    assert_equal(plain, chunked)
    (_, (after, _)), _ = chunked
    moved = jax.tree.map(
        lambda a, b: not np.array_equal(a, b),
        after.statistics["trajectory_encoder"],
        state.statistics["trajectory_encoder"],
    )
    assert all(jax.tree.leaves(moved))


def test_critics_that_read_actions_are_the_same(monkeypatch):
    monkeypatch.setattr("amago_jax.models.chunks.CHUNK", 7)
    key_x, key_actions = jax.random.split(jax.random.key(0))
    x = jax.random.normal(key_x, (2, 5, 4))
    actions = jax.random.normal(key_actions, (2, 5, 3, 2))
    plain, chunked = (
        ActionCritics(2, (0.1, 0.9, 0.99), 6, hidden_size=8, rematerialize=rematerialize)
        for rematerialize in (False, True)
    )
    params = plain.init(jax.random.key(1), x, actions)
    assert_equal(params, chunked.init(jax.random.key(1), x, actions))

    def both(critics):
        def loss(*arguments):
            out = critics.apply(*arguments)
            return jnp.sin(out).sum(), out

        return jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))(params, x, actions)

    assert_equal(both(plain), both(chunked))


def test_memory_for_gradients_is_a_part_of_what_it_was(monkeypatch):
    monkeypatch.setattr("amago_jax.models.chunks.CHUNK", 256)
    x = jax.ShapeDtypeStruct((4, 1024, 8), jnp.float32)

    def temporary(rematerialize):
        critics = DiscreteCritics(4, 1, 2, hidden_size=64, rematerialize=rematerialize)
        params = jax.eval_shape(critics.init, jax.random.key(0), x)
        gradient = jax.jit(jax.grad(lambda params, x: critics.apply(params, x).sum()))
        return gradient.lower(params, x).compile().memory_analysis().temp_size_in_bytes

    assert temporary(True) < 0.3 * temporary(False)
