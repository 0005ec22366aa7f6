"""No gradient crosses where the algorithm says none does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amago_jax.amago import build_amago_agent
from amago_jax.losses.advantage_filters import ExponentialFilter
from amago_jax.multitask import build_multitask_agent
from small_agents import small_agent
from streams import pack, random_episode

LENGTH = 10
OFF = {"online_coeff": 0.0, "offline_coeff": 0.0, "critic_loss_weight": 0.0}


def gradients(kind, blind_actor=False, **coefficients):
    """Gradients of the loss by module, and with respect to the state, with other terms off."""
    build, discrete = kind
    agent = small_agent(discrete=discrete, build=build, **(OFF | coefficients))
    rng = np.random.default_rng(0)
    batch = pack([[random_episode(rng, 8, discrete=discrete)] for _ in range(3)], LENGTH)
    example = jax.tree.map(lambda x: x[:, 0], batch.timesteps)
    state = jax.jit(agent.init)(jax.random.key(0), example)
    if blind_actor:
        # An actor that ignores its input passes no gradient on to the encoders.
        first = state.params["actor"]["mlp"]["hidden_0"]["dense"]
        first["kernel"] = jnp.zeros_like(first["kernel"])
    draws = agent.draw(jax.random.key(1), batch)
    loss = jax.jit(jax.grad(agent.loss, argnums=(0, 1), has_aux=True))
    (params, rest), _ = loss(state.params, state, batch, draws)
    return {name: size(tree) for name, tree in params.items()}, rest


def size(tree):
    return max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(tree))


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
    found, _ = gradients(kind, blind_actor=True, online_coeff=1.0)
    assert found["actor"] > 0
    assert found["timestep_encoder"] == found["trajectory_encoder"] == 0


@KINDS
def test_offline_term_does_not_reach_critics_through_the_filter(kind):
    found, _ = gradients(kind, offline_coeff=1.0, advantage_filter=ExponentialFilter())
    assert found["critics"] == 0
    assert found["actor"] > 0
    assert found["trajectory_encoder"] > 0
    blind, _ = gradients(
        kind, blind_actor=True, offline_coeff=1.0, advantage_filter=ExponentialFilter()
    )
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
    """With one critic whose output ignores its input, only a target could reach the encoders."""
    build, discrete = kind
    agent = small_agent(discrete=discrete, build=build, **(OFF | {"critic_loss_weight": 1.0}))
    rng = np.random.default_rng(0)
    batch = pack([[random_episode(rng, 8, discrete=discrete)]], LENGTH)
    state = jax.jit(agent.init)(jax.random.key(0), jax.tree.map(lambda x: x[:, 0], batch.timesteps))
    first = state.params["critics"]["mlp"]["hidden_0"]
    first["kernel"] = jnp.zeros_like(first["kernel"])
    draws = agent.draw(jax.random.key(1), batch)
    grads, _ = jax.jit(jax.grad(agent.loss, has_aux=True))(state.params, state, batch, draws)
    assert size(grads["critics"]) > 0
    assert size(grads["trajectory_encoder"]) == 0
