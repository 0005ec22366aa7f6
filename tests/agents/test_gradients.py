"""No gradient crosses where the algorithm says none does."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from amago_jax.agents.amago import build_amago_agent
from amago_jax.agents.multitask import build_multitask_agent
from amago_jax.losses.advantage_filters import ExponentialFilter
from small_agents import small_agent, start
from streams import pack, random_episode

LENGTH = 10
OFF = {"online_coeff": 0.0, "offline_coeff": 0.0, "critic_loss_weight": 0.0}


@functools.cache
def prepare(kind):
    """An agent whose loss has no term, its state, a batch and draws."""
    build, discrete = kind
    agent = small_agent(discrete=discrete, build=build, advantage_filter=ExponentialFilter(), **OFF)
    rng = np.random.default_rng(0)
    batch = pack([[random_episode(rng, 8, discrete=discrete)] for _ in range(3)], LENGTH)
    example = jax.tree.map(lambda x: x[:, 0], batch.timesteps)
    state = start(agent, example)
    return agent, state, batch, agent.draw(jax.random.key(1), batch)


@jax.jit
def slopes(agent, state, batch, draws):
    """Gradients by parameters and by the rest of the state; one program for terms that scale."""
    by_both = jax.grad(agent.loss, argnums=(0, 1), has_aux=True)
    return by_both(state.params, state, batch, draws)[0]


def gradients(kind, blind=None, **coefficients):
    """Sizes of the loss's gradients by module, and by the state, with all other terms off.

    A module that is ``blind`` ignores its input, and so passes no gradient on to what made it.
    """
    agent, state, batch, draws = prepare(kind)
    params = dict(state.params)
    if blind == "actor":
        params["actor"] = without(params["actor"], "mlp", "hidden_0", "dense", "kernel")
    if blind == "critics":
        params["critics"] = without(params["critics"], "mlp", "hidden_0", "kernel")
    state = dataclasses.replace(state, params=params)
    by_params, by_state = slopes(dataclasses.replace(agent, **coefficients), state, batch, draws)
    return {name: size(tree) for name, tree in by_params.items()}, by_state


def without(tree, name, *path):
    """A tree of dictionaries with zeros at a path."""
    changed = without(tree[name], *path) if path else np.zeros_like(tree[name])
    return {**tree, name: changed}


def size(tree):
    return max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(jax.device_get(tree)))


KINDS = pytest.mark.parametrize(
    "kind",
    [
        (build_amago_agent, True),
        (build_amago_agent, False),
        (build_multitask_agent, True),
        (build_multitask_agent, False),
    ],
    ids=["amago discrete", "amago continuous", "multitask discrete", "multitask continuous"],
)


@KINDS
def test_online_term_reaches_actor_and_encoders_but_not_critics(kind):
    found, _ = gradients(kind, online_coeff=1.0)
    assert found["critics"] == 0
    assert found["actor"] > 0
    assert found["timestep_encoder"] > 0
    assert found["trajectory_encoder"] > 0


@KINDS
def test_online_term_does_not_reach_encoders_through_the_critics_state(kind):
    found, _ = gradients(kind, blind="actor", online_coeff=1.0)
    assert found["actor"] > 0
    assert found["timestep_encoder"] == found["trajectory_encoder"] == 0


@KINDS
def test_offline_term_does_not_reach_critics_through_the_filter(kind):
    found, _ = gradients(kind, offline_coeff=1.0)
    assert found["critics"] == 0
    assert found["actor"] > 0
    assert found["trajectory_encoder"] > 0
    blind, _ = gradients(kind, blind="actor", offline_coeff=1.0)
    assert blind["timestep_encoder"] == blind["trajectory_encoder"] == 0


@KINDS
def test_critic_loss_reaches_critics_and_encoders_but_neither_actor_nor_targets(kind):
    found, state = gradients(kind, critic_loss_weight=1.0)
    assert found["actor"] == 0
    assert found["critics"] > 0
    assert found["timestep_encoder"] > 0
    assert found["trajectory_encoder"] > 0
    assert size(state.target_params) == 0


@KINDS
def test_targets_pass_no_gradient_to_the_encoders(kind):
    """Where the critics' output ignores their input, only a target could reach the encoders."""
    found, _ = gradients(kind, blind="critics", critic_loss_weight=1.0)
    assert found["critics"] > 0
    assert found["trajectory_encoder"] == 0
