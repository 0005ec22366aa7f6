"""Gradients of each loss against finite differences, in float64 on tiny networks."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amago_jax.agents.amago import build_amago_agent
from amago_jax.agents.multitask import build_multitask_agent
from amago_jax.losses.advantage_filters import NoFilter
from small_agents import small_agent, start
from streams import pack, random_episode

LENGTH, STEP = 6, 1e-6
AMAGO = {"build": build_amago_agent}
MULTITASK = {"build": build_multitask_agent, "bins": 9, "min_return": -10.0, "max_return": 10.0}
# A loss holds some things constant, and so must its differences. Each term is therefore tried in
# the modules through which nothing constant moves: targets depend on the encoders unless the
# discount is 0, the frozen critics read a state that the online term holds fixed.
CRITIC = {
    "terms": {"critic_loss_weight": 1.0, "gammas": (0.0,)},
    "modules": ["critics", "trajectory_encoder", "timestep_encoder"],
}
ONLINE = {"terms": {"online_coeff": 1.0}, "modules": ["actor"]}
OFFLINE = {
    "terms": {"offline_coeff": 1.0, "advantage_filter": NoFilter()},
    "modules": ["actor", "trajectory_encoder", "timestep_encoder"],
}
CASES = {
    "critic, discrete": (CRITIC, True, AMAGO),
    "critic, continuous": (CRITIC, False, AMAGO),
    "critic, two-hot bins": (CRITIC, True, MULTITASK),
    "critic, Gaussian bins": (CRITIC, False, MULTITASK | {"labels": "hl_gauss"}),
    "online, discrete": (ONLINE, True, AMAGO),
    "online, continuous": (ONLINE, False, AMAGO),
    "online, bins": (ONLINE, False, MULTITASK),
    "offline, discrete": (OFFLINE, True, AMAGO),
    "offline, tanh-Gaussian": (OFFLINE, False, AMAGO),
    "offline, Beta": (OFFLINE, False, AMAGO | {"distribution": "beta"}),
    "offline, tanh mixture": (OFFLINE, False, MULTITASK | {"distribution": "tanh_mixture"}),
}
OFF = {"online_coeff": 0.0, "offline_coeff": 0.0, "critic_loss_weight": 0.0}


def double(tree):
    def widen(x):
        floating = jnp.issubdtype(x.dtype, jnp.floating)
        return jax.device_put(np.asarray(x, np.float64)) if floating else x

    return jax.tree.map(widen, tree)


@pytest.mark.parametrize("case", CASES)
def test_loss_changes_as_its_gradient_says(case):
    term, discrete, settings = CASES[case]
    # Smooth activations, whose differences have no kinks to step over.
    agent = small_agent(
        discrete=discrete,
        transformer={"width": 8, "activation": "gelu"},
        activation="tanh",
        **(OFF | term["terms"] | settings),
    )
    encoder = dataclasses.replace(agent.timestep_encoder, activation="tanh")
    agent = dataclasses.replace(agent, timestep_encoder=encoder)
    rng = np.random.default_rng(0)
    batch = pack([[random_episode(rng, 4, discrete=discrete)] for _ in range(2)], LENGTH)
    state = start(agent, jax.tree.map(lambda x: x[:, 0], batch.timesteps))
    encoders = {
        name: getattr(agent, name).clone(dtype="float64")
        for name in ("timestep_encoder", "trajectory_encoder")
    }
    agent = dataclasses.replace(agent, **encoders)
    with jax.enable_x64():
        state, batch, draws = double((state, batch, agent.draw(jax.random.key(1), batch)))
        loss = jax.jit(jax.value_and_grad(lambda p: agent.loss(p, state, batch, draws)[0]))
        _, grads = loss(state.params)
        for module in term["modules"]:
            direction = jax.tree.map(lambda x: rng.normal(size=x.shape), state.params[module])

            def moved(step, module=module, direction=direction):
                tree = jax.tree.map(lambda x, d: x + step * d, state.params[module], direction)
                return float(loss({**state.params, module: tree})[0])

            difference = (moved(STEP) - moved(-STEP)) / (2 * STEP)
            products = jax.tree.map(
                lambda g, d: (np.asarray(g) * d).sum(), grads[module], direction
            )
            slope = float(sum(jax.tree.leaves(products)))
            assert abs(slope) > 1e-6, module
            np.testing.assert_allclose(difference, slope, rtol=1e-6, err_msg=module)
