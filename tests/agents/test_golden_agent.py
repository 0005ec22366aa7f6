"""Three whole learning steps against the authors' numbers, which are of float32."""

import dataclasses
from unittest import mock

import jax
import numpy as np
import pytest

from amago_jax.interop.torch_names import load_state
from amago_jax.learning.learner import gradients, init_learner, update
from amago_jax.losses.advantage_filters import BinaryFilter
from golden_agents import AMAGO, MULTITASK, agent_of, batch_of, draws_of, optimizer_of
from golden_files import assert_close, assert_trees_close, load


@dataclasses.dataclass(frozen=True)
class Tolerances:
    """How far each may be off; the weights' by the norm of the module's.

    Attributes:
        gradients: of the first step, likewise by the norm of the module's.
        losses: and the gradient's norm.
        weights: after all steps.
        statistics: of what is normalized, and PopArt's.
        direction: the least cosine between a module's movement and the authors'.
    """

    gradients: float = 1e-4
    losses: float = 1e-4
    weights: float = 1e-4
    statistics: float = 1e-4
    direction: float = 0.999


# Adam moves a weight by about as much however small its gradient is, so that the signs of the
# smallest gradients decide how alike movements are.
TOLERANCES = {"float32": Tolerances(), "bfloat16": Tolerances(0.08, 0.03, 5e-3, 5e-3, 0.92)}
RECORDED = {
    "loss/total": "loss",
    "loss/actor": "actor_loss",
    "loss/critic": "critic_loss",
    "gradient/norm": "grad_norm",
}
CASES = [(name, "float32") for name in AMAGO + MULTITASK]
# Both agents, both kinds of actions; the others take as long to compile and show no more.
CASES += [("agent_discrete", "bfloat16"), ("multitask_continuous", "bfloat16")]


def accept_ties(agent):
    """Let the binary filter accept advantages that are 0 but for rounding.

    In the last step of multitask_discrete one advantage is 3e-8, where others go up to 0.1 and the
    next one is 8e-5: its sign is the processor's rounding. The authors' came out above 0.
    """
    assert agent.advantage_filter == BinaryFilter()
    return dataclasses.replace(agent, advantage_filter=BinaryFilter(threshold=-1e-6))


def cosine(moved, expected):
    """Cosine between two trees, taken as vectors."""
    a, b = (np.concatenate([x.ravel() for x in jax.tree.leaves(t)]) for t in (moved, expected))
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_three_learning_steps(name, dtype):
    golden, tolerances = load(name), TOLERANCES[dtype]
    heads = golden.meta["n_heads"]
    agent = agent_of(golden, dtype)
    if name == "multitask_discrete":
        agent = accept_ties(agent)
    batches = [batch_of(golden, step, agent.discrete) for step in range(3)]
    example = jax.tree.map(lambda x: x[:, 0], batches[0].timesteps)
    shapes = jax.eval_shape(agent.init, jax.random.key(0), example)
    state = load_state(shapes, golden.under("weights"), heads)

    optimizer = optimizer_of(golden)
    learner = init_learner(optimizer, state)

    @jax.jit
    def step_fn(learner, batch, draws):
        # Traced once: the update's own gradients are looked at.
        found = []

        def kept(*arguments):
            found.append(gradients(*arguments))
            return found[0]

        with mock.patch("amago_jax.learning.learner.gradients", kept):
            after = update(agent, optimizer, learner, batch, draws)
        return found[0][0], after

    first = load_state({"params": shapes.params}, golden.under("grads"), heads)["params"]
    for step, batch in enumerate(batches):
        grads, (learner, metrics) = step_fn(learner, batch, draws_of(golden, agent, step))
        if step == 0:
            for module, gradient in grads.items():
                assert_trees_close(gradient, first[module], tolerances.gradients)
        for metric, recorded in RECORDED.items():
            wanted = golden[f"step{step}/{recorded}"]
            assert_close(metrics[metric], wanted, tolerances.losses, metric)
    expected = load_state(shapes, golden.under("after"), heads)
    for part in ("params", "target_params"):
        for module, tree in getattr(learner.agent, part).items():
            wanted = getattr(expected, part)[module]
            assert_trees_close(tree, wanted, tolerances.weights)
            start = getattr(state, part)[module]
            moved, to_move = (jax.tree.map(np.subtract, new, start) for new in (tree, wanted))
            assert cosine(moved, to_move) >= tolerances.direction, (part, module)
    for module, tree in learner.agent.statistics.items():
        assert_trees_close(tree, expected.statistics[module], tolerances.statistics)
    for found, want in zip(
        jax.tree.leaves(learner.agent.popart), jax.tree.leaves(expected.popart), strict=True
    ):
        assert_close(found, want, tolerances.statistics, "popart")
