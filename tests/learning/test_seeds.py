"""Seeds side by side: each as it is alone, whatever the others do."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amago_jax.learning import side_by_side
from amago_jax.models.attention.cache import attend_to_cache, cache_step, part_sizes
from amago_jax.parallel import arrange, make_mesh
from amago_jax.runs.building import build
from amago_jax.runs.config import compose
from own_terms import EXTRA
from tiny_runs import LEAST, RARITY, TINY

KINDS = {
    "memory": TINY,
    "goals counted": RARITY,
}
EPOCHS = 2


def assert_close(found, expected):
    """Assert that trees agree to rounding."""
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(expected), strict=True
    ):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        scale = 1 + np.abs(np.nan_to_num(b)).max(initial=0)
        np.testing.assert_allclose(a, b, atol=1e-5 * scale, rtol=1e-5, err_msg=str(path))


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_among_others_is_as_it_is_alone(kind):
    trainer = build(compose(KINDS[kind]))
    rates = (1e-3, 2e-3, 5e-4)
    trainers = [
        dataclasses.replace(
            trainer, optimizer=dataclasses.replace(trainer.optimizer, learning_rate=rate)
        )
        for rate in rates
    ]
    all_of_them, keys = side_by_side(trainers), jax.random.split(jax.random.key(1), len(rates))
    state = all_of_them.init(keys)
    alone = [trainer.init(key) for trainer, key in zip(trainers, keys, strict=True)]
    for epoch in range(EPOCHS):
        state, metrics = all_of_them.train_epoch(state)
        folded = jax.vmap(jax.random.fold_in, (0, None))(keys, epoch)
        played = all_of_them.evaluate(state.learner.agent, folded)
        for number, one in enumerate(trainers):
            alone[number], expected = one.train_epoch(alone[number])
            expected |= one.evaluate(alone[number].learner.agent, folded[number])
            found = {name: x[number] for name, x in (metrics | played).items()}
            assert_close(found, expected)
    for number, expected in enumerate(alone):
        assert_close(jax.tree.map(lambda x, n=number: x[n], state), expected)
    assert len(np.unique(jax.device_get(metrics["loss/total"]))) == len(rates)


def test_numbers_that_do_not_differ_are_shared():
    trainer = build(compose(LEAST))
    same, other = side_by_side([trainer, trainer]), build(compose([*LEAST, "agent.tau=0.5"]))
    assert not any(same.differs)
    assert sum(side_by_side([trainer, other]).differs) == 1
    assert same.programs is side_by_side([other, other]).programs
    with pytest.raises(ValueError, match="numbers alone"):
        side_by_side([trainer, build(compose([*LEAST, "updates=4"]))])


def test_one_choice_of_branches_serves_all_seeds():
    """Else both branches would be computed, and the cache read as a whole, at every step."""
    rng, window = np.random.default_rng(0), 600
    keys = rng.normal(size=(3, 2, 1, window, 4)).astype(np.float32)
    query, cursor = keys[:, :, :, :1], np.full(3, 299, np.int32)
    lengths = np.array([[5, 9], [20, 300], [1, 1]], np.int32)

    def attend(query, keys, cursor, lengths):
        step = cache_step(cursor, lengths, window=window, sink=0)
        return attend_to_cache(query, keys, keys, step)

    traced = jax.make_jaxpr(jax.vmap(attend))(query, keys, cursor, lengths)
    (choice,) = (eqn for eqn in traced.eqns if eqn.primitive.name == "cond")
    assert len(choice.params["branches"]) == len(part_sizes(window))
    found = jax.vmap(attend)(query, keys, cursor, lengths)
    for number in range(3):
        arguments = query[number], keys[number], cursor[number], lengths[number]
        np.testing.assert_allclose(found[number], attend(*arguments), rtol=1e-5, atol=1e-6)


@given(devices=st.integers(1, 64), seeds=st.integers(1, 64))
def test_devices_are_divided_among_seeds(devices, seeds):
    mesh = arrange(list(range(devices)), seeds)
    assert mesh.size == devices
    assert seeds % mesh.shape["seed"] == 0
    # What is left of the devices is no more than must be.
    for share in range(mesh.shape["seed"] + 1, seeds + 1):
        assert seeds % share or devices % share


def check_devices():
    """Check that a seed whose work is split over two of four devices is as on two alone."""
    overrides = [*LEAST, *EXTRA, "agent.detailed_metrics=false"]
    config = compose(overrides)
    keys = jax.random.split(jax.random.key(1), 2)
    both = side_by_side([build(config, make_mesh(4, seeds=2))] * 2)
    assert dict(both.mesh.shape) == {"seed": 2, "data": 2}
    state, metrics = both.train_epoch(both.init(keys))
    evaluations = both.evaluate(state.learner.agent, keys)
    alone = build(config, make_mesh(2))
    for number, key in enumerate(keys):
        expected, expected_metrics = alone.train_epoch(alone.init(key))
        expected_metrics |= alone.evaluate(expected.learner.agent, key)
        found = {name: x[number] for name, x in (metrics | evaluations).items()}
        assert_close(found, expected_metrics)
        assert_close(jax.tree.map(lambda x, n=number: x[n], state), expected)
