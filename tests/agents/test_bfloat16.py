"""With bfloat16 networks: what of a learning step is bfloat16, and what must not be.

Source: Björck et al. 2021, arXiv 2102.13565, on what fails in half precision.
"""

import collections
import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from amago_jax.agents.amago import build_amago_agent
from amago_jax.agents.multitask import build_multitask_agent
from amago_jax.learning.learner import init_learner, make_optimizer, update
from amago_jax.models.gru import GRU
from amago_jax.models.heads import ResidualActor
from amago_jax.models.mamba import Mamba
from small_agents import small_agent, small_transformer
from streams import pack, random_episode

GAMMAS, LENGTH = 2, 10
# Wide enough that what is small beside a layer's work is told from it; nothing is compiled.
WIDTH = 64
TRANSFORMER = {"width": WIDTH, "feedforward_width": 2 * WIDTH, "dropout": 0.05}
MEMORIES = {
    "transformer": small_transformer(LENGTH, **TRANSFORMER, position="learnable"),
    "rotary": small_transformer(LENGTH, **TRANSFORMER, position="rope", window=4, sink=1),
    "gru": GRU(LENGTH, hidden_size=WIDTH, output_width=WIDTH),
    "mamba": Mamba(LENGTH, width=WIDTH),
}
MULTITASK = {"build": build_multitask_agent, "bins": 8}
CASES = {
    "transformer": {},
    "rotary": {"discrete": False},
    "gru": {"discrete": False, **MULTITASK},
    "mamba": {**MULTITASK, "actor": ResidualActor(GAMMAS, 3, width=WIDTH)},
}
# What spreads or swallows small differences: softmaxes, log-probabilities, norms, long sums.
FLOAT32_ALONE = {"exp", "log", "log1p", "expm1", "rsqrt", "sqrt", "cumsum", "argmax", "reduce_max"}
FLOAT32_ALONE |= {"scatter-add", "pow", "erf", "digamma", "lgamma"}


def prepare(name, dtype="bfloat16"):
    """An agent, the shapes of a learner, of a batch and of draws."""
    settings = {"discrete": True, "build": build_amago_agent} | CASES[name]
    memory = MEMORIES[name].clone(dtype=dtype)
    agent = small_agent(
        trajectory_encoder=memory, hidden_size=WIDTH, layers=2, detailed_metrics=True, **settings
    )
    timestep_encoder = agent.timestep_encoder.clone(
        dtype=dtype, hidden_size=WIDTH, output_size=WIDTH
    )
    agent = dataclasses.replace(agent, timestep_encoder=timestep_encoder)
    rng, discrete = np.random.default_rng(0), settings["discrete"]
    batch = pack([[random_episode(rng, 8, discrete=discrete)] for _ in range(24)], LENGTH)
    example = jax.tree.map(lambda x: x[:, 0], batch.timesteps)
    state = jax.eval_shape(agent.init, jax.random.key(0), example)
    learner = jax.eval_shape(lambda state: init_learner(make_optimizer(), state), state)
    return agent, learner, batch, jax.eval_shape(agent.draw, jax.random.key(0), batch)


def step(agent):
    return lambda learner, batch, draws: update(agent, make_optimizer(), learner, batch, draws)


def equations(jaxpr):
    """Of branches by platform, those of an accelerator: a processor has no bfloat16 of its own."""
    for equation in jaxpr.eqns:
        yield equation
        inner = list(jaxprs_in_params(equation.params))
        platforms = equation.params.get("branches_platforms") or [None] * len(inner)
        for taken in itertools.compress(inner, [names is None for names in platforms]):
            yield from equations(taken)


@pytest.fixture(scope="module", params=CASES)
def traced(request):
    agent, *arguments = prepare(request.param)
    jaxpr, out = jax.make_jaxpr(step(agent), return_shape=True)(*arguments)
    return arguments[0], list(equations(jaxpr.jaxpr)), out


def dtypes(tree):
    return {str(x.dtype) for x in jax.tree.leaves(tree)}


def narrow(avals):
    return any(getattr(aval, "dtype", None) == jnp.bfloat16 for aval in avals)


def test_what_is_learned_and_reported_is_float32(traced):
    before, _, (after, metrics) = traced
    assert dtypes(before) == dtypes(after) == {"float32", "int32"}
    assert dtypes(metrics) == {"float32"}


def test_what_half_precision_spoils_is_float32(traced):
    _, found, _ = traced
    spoiled = collections.Counter(
        equation.primitive.name
        for equation in found
        if narrow(x.aval for x in equation.invars) and equation.primitive.name in FLOAT32_ALONE
    )
    assert not spoiled


def test_long_sums_are_of_float32(traced):
    """Above all the gradients of biases and scales, sums over every timestep of a batch."""
    _, found, _ = traced
    for equation in found:
        if equation.primitive.name == "reduce_sum" and narrow(x.aval for x in equation.invars):
            terms = equation.invars[0].aval.size // equation.outvars[0].aval.size
            assert terms <= GAMMAS, f"{equation.invars[0].aval} sums {terms} numbers"
        if equation.primitive.name == "scan":
            carried = equation.invars[equation.params["num_consts"] :]
            carried = carried[: equation.params["num_carry"]]
            assert not narrow(x.aval for x in carried), [x.aval for x in carried]


def test_wide_products_are_of_bfloat16(traced):
    _, found, _ = traced
    flops: collections.Counter = collections.Counter()
    for equation in found:
        if equation.primitive.name == "dot_general":
            left, right = (x.aval for x in equation.invars)
            ((contracted, _), _) = equation.params["dimension_numbers"]
            depth = np.prod([left.shape[axis] for axis in contracted])
            flops[{left.dtype, right.dtype} == {jnp.dtype("bfloat16")}] += (
                2 * depth * equation.outvars[0].aval.size
            )
    # The rest: output layers, sigma's power iterations, the softmax's gradient.
    assert flops[True] / sum(flops.values()) > 0.9


@pytest.mark.parametrize("name", CASES)
def test_what_is_made_of_outputs_is_float32(name):
    agent, learner, batch, _ = prepare(name)
    state = learner.agent
    states, _ = jax.eval_shape(agent.encode, state.params, state.statistics, batch)
    assert states.dtype == jnp.bfloat16
    observation = batch.timesteps.observation
    policy = jax.eval_shape(agent.policy, state.params["actor"], states, observation)
    outputs = jax.eval_shape(
        lambda params, states: agent.critics.apply(
            {"params": params}, *agent.critic_inputs(states)
        ),
        state.params["critics"],
        states,
    )
    analysis = jax.eval_shape(agent.analyze, state, batch, jax.random.key(0))
    analysis = dataclasses.replace(analysis, mask=analysis.targets)
    assert dtypes((policy, outputs, analysis)) == {"float32"}


@pytest.mark.parametrize("name", CASES)
def test_weights_are_cast_before_a_rollout_not_at_every_step(name):
    agent, learner, batch, _ = prepare(name)
    rows = len(batch.segment_ids)
    timestep = jax.tree.map(lambda x: x[:, 0], batch.timesteps)
    acting = []

    def ahead(state):
        agent_after, state = agent.for_acting(state)
        acting.append(agent_after)
        return state

    state = jax.eval_shape(ahead, learner.agent)
    memory = agent.initial_memory(rows)
    jaxpr = jax.make_jaxpr(lambda *args: acting[0].act(*args, greedy=True))(
        state, timestep, memory, jax.random.key(0)
    )
    cast = {
        equation.invars[0].aval.shape
        for equation in equations(jaxpr.jaxpr)
        if equation.primitive.name == "convert_element_type"
        and narrow(x.aval for x in equation.outvars)
    }
    assert cast
    assert {shape[:1] for shape in cast} <= {(rows,), ()}, "not of weights"


@pytest.mark.parametrize("name", CASES)
def test_in_float32_there_is_no_bfloat16(name):
    agent, *arguments = prepare(name, "float32")
    jaxpr = jax.make_jaxpr(step(agent))(*arguments)
    for equation in equations(jaxpr.jaxpr):
        assert not narrow(x.aval for x in (*equation.invars, *equation.outvars)), equation
