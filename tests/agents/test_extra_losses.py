"""Terms that are added to the loss: what they train, and what is refused.

That they agree on packed and padded batches, on any number of devices and for seeds side by side is
tested where that is tested of the whole loss.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import amago_jax
from amago_jax.errors import ConfigError
from amago_jax.learning import side_by_side
from amago_jax.models.feedforward import Identity
from amago_jax.runs.building import build
from amago_jax.runs.changing import live, rebuilt
from amago_jax.runs.config import compose
from own_terms import EXTRA, FORECAST, Forecast
from small_agents import small_agent, start
from streams import pack, random_episode
from tiny_runs import LEAST


def prepared(**settings):
    agent = small_agent(
        trajectory_encoder=Identity(10), popart=False, detailed_metrics=True, **settings
    )
    rng = np.random.default_rng(0)
    batch = pack([[random_episode(rng, n)] for n in (4, 7)], 10, fill=7)
    return agent, batch, start(agent, jax.tree.map(lambda x: x[:, 0], batch.timesteps))


def test_a_term_trains_the_encoders_and_its_own_weights_by_its_coefficient():
    agent, batch, state = prepared(extra_losses=(FORECAST,))
    draws = agent.draw(jax.random.key(1), batch)

    # The coefficient is an argument of the program: one serves all.
    @jax.jit
    def differentiate(agent):
        return jax.value_and_grad(agent.loss, has_aux=True)(state.params, state, batch, draws)

    def weighted(coefficient):
        term = dataclasses.replace(FORECAST, coefficient=coefficient)
        (total, (_, metrics)), grads = differentiate(
            dataclasses.replace(agent, extra_losses=(term,))
        )
        return jax.device_get((total, metrics, grads))

    (none, _, without), (some, metrics, grads), (twice, _, doubled) = map(weighted, (0.0, 1.5, 3.0))
    module, params = FORECAST.module, state.params["extra_losses"]["forecast"]
    states, _ = agent.encode(state.params, state.statistics, batch, draws.dropout)
    loss, watched = module.apply({"params": params}, states, batch)
    mask = batch.transition_mask
    assert metrics["loss/forecast"] == pytest.approx(float(loss[mask].mean()), rel=1e-4)
    assert metrics["loss/forecast/error"] == pytest.approx(
        float(watched["error"][mask].mean()), rel=1e-4
    )
    assert some - none == pytest.approx(1.5 * metrics["loss/forecast"], rel=1e-3)
    assert twice - none == pytest.approx(3 * metrics["loss/forecast"], rel=1e-3)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), grads, without)
    assert min(jax.tree.leaves((moved["extra_losses"], moved["timestep_encoder"]))) > 0
    assert max(jax.tree.leaves((moved["actor"], moved["critics"]))) == 0
    assert not any(leaf.any() for leaf in jax.tree.leaves(without["extra_losses"]))
    for a, b, c in zip(*map(jax.tree.leaves, (without, grads, doubled)), strict=True):
        np.testing.assert_allclose(c - a, 2 * (b - a), rtol=1e-3, atol=1e-5)


def test_without_terms_nothing_is_added():
    agent, batch, state = prepared()
    assert {*state.params} == {"timestep_encoder", "trajectory_encoder", "actor", "critics"}
    with_term, _, its_state = prepared(extra_losses=(FORECAST,))
    timestep = jax.tree.map(lambda x: x[:, 0], batch.timesteps)
    drawn = jax.jit(with_term.init)(jax.random.key(0), timestep)
    alone = jax.jit(agent.init)(jax.random.key(0), timestep)
    # What other parts are drawn from does not move, nor does a term draw from what they do.
    del drawn.params["extra_losses"]
    jax.tree.map(np.testing.assert_array_equal, drawn.params, alone.params)
    assert "extra_losses" not in its_state.target_params


def test_a_coefficient_varies_side_by_side():
    trainers = [
        build(compose([*LEAST, *EXTRA, f"extra_losses.forecast.coefficient={c}"])) for c in (0.1, 1)
    ]
    assert sum(side_by_side(trainers).differs) == 1
    assert trainers[0].agent.extra_losses[0].module == Forecast()


def test_within_a_run_coefficients_may_change_and_terms_may_not():
    config = compose([*LEAST, *EXTRA])
    trainer = build(config)
    after = live(config, ["extra_losses.forecast.coefficient=0.25"])
    changed = rebuilt(trainer, config, after)
    assert changed.agent.extra_losses[0].coefficient == 0.25
    assert changed.programs is trainer.programs
    for item in ("extra_losses.other._target_=own_terms.Forecast", "~extra_losses.forecast"):
        with pytest.raises(ConfigError, match=r"extra_losses\..* cannot change within a run"):
            live(config, [item])
    with pytest.raises(ConfigError, match="hidden_size=8 cannot change within a run"):
        rebuilt(trainer, config, live(config, ["extra_losses.forecast.hidden_size=8"]))


def test_what_is_random_in_a_term_has_keys_of_its_own():
    class Drawing(Forecast):
        def __call__(self, states, batch):
            drawn = jax.random.normal(self.make_rng("dropout"), batch.segment_ids.shape)
            return jnp.square(drawn[:, 1:]), {}

    terms = tuple(dataclasses.replace(FORECAST, name=n, module=Drawing()) for n in ("one", "two"))
    agent, batch, state = prepared(extra_losses=terms)
    loss = jax.jit(agent.loss)
    metrics = [
        loss(state.params, state, batch, agent.draw(jax.random.key(seed), batch))[1][1]
        for seed in (0, 1)
    ]
    found = {float(m[f"loss/{name}"]) for m in metrics for name in ("one", "two")}
    assert len(found) == 4


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["extra_losses=3"], "extra_losses=3 must be"),
        (["extra_losses={a:{}}"], r"extra_losses\.a must be .* a _target_"),
        ([EXTRA[0], "extra_losses.forecast.coefficient=-1"], r"forecast\.coefficient=-1 must be"),
        (
            [EXTRA[0], "extra_losses.forecast.width=1"],
            "no setting .width.*from coefficient, hidden_size",
        ),
        ([EXTRA[0], "extra_losses.forecast.hidden_size=0"], r"forecast\.hidden_size=0 must be"),
        (["extra_losses.actor._target_=own_terms.Forecast"], "loss/actor is a metric already"),
        (
            ["extra_losses.a._target_=own_terms.OfTimesteps"],
            r"its loss .*\[2, (\d+)\], but .* 2 windows of \1 timesteps",
        ),
        (["extra_losses.a._target_=own_terms.Bare"], r"extra_losses\.a must return losses"),
        (
            ["extra_losses.a._target_=own_terms.no_such"],
            r"extra_losses\.a\._target_=.* has no .no_such",
        ),
        (["extra_losses.a._target_=pathlib.Path"], "a PosixPath, no term of the loss"),
    ],
)
def test_what_is_no_term_is_refused(given, message):
    with pytest.raises(ConfigError, match=message):
        amago_jax.make_run([*LEAST, *given])
