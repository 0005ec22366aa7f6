"""Agents small enough to compile in a second or two."""

import chex
import jax
import numpy as np

from amago_jax.agents import AgentState
from amago_jax.agents.amago import build_amago_agent
from amago_jax.models.distributions import make_distribution
from amago_jax.models.normalization import RunningMoments, init_moments, init_popart
from amago_jax.models.timestep_encoders import FeedForwardTimestepEncoder
from amago_jax.models.transformer import Transformer


def small_transformer(context_length, **settings):
    defaults = {"width": 16, "heads": 2, "feedforward_width": 32, "layers": 2, "dropout": 0.0}
    return Transformer(context_length=context_length, **(defaults | settings))


def small_agent(
    actions=3,
    discrete=True,
    context_length=32,
    transformer=None,
    trajectory_encoder=None,
    build=build_amago_agent,
    distribution="natural",
    **settings,
):
    defaults = {
        "gammas": (0.9, 0.99),
        "critics": 3,
        "hidden_size": 16,
        "layers": 1,
        "detailed_metrics": False,
    }
    kind = "discrete" if discrete else "continuous"
    return build(
        distribution=make_distribution(distribution, actions=actions, kind=kind),
        timestep_encoder=FeedForwardTimestepEncoder(16, 1, 16),
        trajectory_encoder=trajectory_encoder
        or small_transformer(context_length, **({"layers": 1} | (transformer or {}))),
        **(defaults | settings),
    )


def start(agent, example, seed=0):
    """Return a state like `agent.init`'s, drawn by NumPy: there is nothing to compile.

    Args:
        agent: without statistics but those of sigma and of normalization.
        example: a timestep, leaves ``[B, ...]``.
        seed: of the weights.
    """
    shapes = jax.eval_shape(agent.init, jax.random.key(0), example)
    params = _weights(shapes.params, seed)
    state = AgentState(
        params=params,
        target_params={name: params[name] for name in shapes.target_params},
        statistics=_statistics(shapes.statistics, params),
        popart=init_popart(len(agent.gammas), 100.0 if agent.popart else 1.0),
    )
    chex.assert_trees_all_equal_shapes_and_dtypes(state, shapes)
    return jax.device_put(state)  # which compiles nothing either, as `jnp.asarray` does


def variables_of(module, *arguments, seed=0):
    """Return variables like those of a Flax module's `init`, drawn as `start` does."""
    shapes = dict(jax.eval_shape(module.init, jax.random.key(0), *arguments))
    drawn = {"params": _weights(shapes["params"], seed)} if "params" in shapes else {}
    if "statistics" in shapes:
        drawn["statistics"] = _statistics(shapes["statistics"], drawn["params"])
    chex.assert_trees_all_equal_shapes_and_dtypes(drawn, shapes)
    return jax.device_put(drawn)


def _weights(shapes, seed):
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        if path[-1].key in ("scale", "gamma", "head_scale"):
            return np.ones(leaf.shape, leaf.dtype)
        # The kernels of convolutions have four axes, of which all but the last are summed over.
        inputs = np.prod(leaf.shape[:-1]) if len(leaf.shape) == 4 else leaf.shape[-2:][0]
        return rng.uniform(-(inputs**-0.5), inputs**-0.5, leaf.shape).astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def _statistics(shapes, params):
    if isinstance(shapes, RunningMoments):
        return init_moments(*shapes.mean.shape)
    if "u" in shapes:
        left, _, right = np.linalg.svd(params["kernel"], full_matrices=False)
        return {"u": right[0], "v": left[:, 0]}
    return {name: _statistics(shapes[name], params.get(name, {})) for name in shapes}
