"""Weights and statistics as one vector a module while an epoch's updates are taken.

Clipping, Adam and the averages of target networks treat every number alike. On some fifty arrays
they are some fifty times as many kernels, each waiting to be launched, and as many operations to
compile; on four vectors they are a few. The numbers are the same but for the order of sums.
Statistics, two dozen singular vectors among them, are written once an update as a vector each.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
from jax.flatten_util import ravel_pytree

from amago_jax.agents import AgentState
from amago_jax.learning.learner import LearnerState
from amago_jax.types import Array, Params


@dataclasses.dataclass(frozen=True)
class Layout:
    """How weights lie in vectors; made by `flatten`.

    Attributes:
        split: by module, makes its arrays of its vector ``[N]``; modules that are not named here
            stay as they are.
        split_statistics: likewise of statistics; names all modules.
        split_popart: makes PopArt's arrays of their vector.
    """

    split: dict[str, Callable[[Array], Any]]
    split_statistics: dict[str, Callable[[Array], Any]]
    split_popart: Callable[[Any], Any]

    def join(self, params: Params) -> Params:
        """Return each module's arrays as one vector ``[N]``."""
        return {
            name: ravel_pytree(tree)[0] if name in self.split else tree
            for name, tree in params.items()
        }

    def trees(self, vectors: Params) -> Params:
        """Return what was joined."""
        return {
            name: self.split[name](vector) if name in self.split else vector
            for name, vector in vectors.items()
        }

    def agent(self, state: AgentState) -> AgentState:
        """Return an agent's state of vectors as one of arrays."""
        return dataclasses.replace(
            state,
            params=self.trees(state.params),
            target_params=self.trees(state.target_params),
            statistics={
                name: split(state.statistics[name]) for name, split in self.split_statistics.items()
            },
            popart=self.split_popart(state.popart),
        )

    def moved(self, joined: AgentState, state: AgentState) -> AgentState:
        """Return ``joined``, a state of vectors, with what the loss moves as in one of arrays."""
        statistics = {name: ravel_pytree(tree)[0] for name, tree in state.statistics.items()}
        popart: Any = ravel_pytree(state.popart)[0]
        return dataclasses.replace(joined, statistics=statistics, popart=popart)

    def unflatten(self, state: LearnerState) -> LearnerState:
        """Return what was flattened."""
        optimizer = _map_like(self.trees, state.optimizer, state.agent.params)
        return dataclasses.replace(state, agent=self.agent(state.agent), optimizer=optimizer)


def flatten(state: LearnerState, elementwise: bool) -> tuple[LearnerState, Layout]:
    """Join weights and statistics, and whatever the optimizer holds for each weight.

    Args:
        state: as between epochs; parameters by module.
        elementwise: whether the optimizer treats every number alike; if not, statistics
            alone are joined.

    Returns:
        The same with a vector ``[N]`` for each module, and how they are split again.
    """
    params = state.agent.params
    modules = params if elementwise else {}
    layout = Layout(
        _splits(modules), _splits(state.agent.statistics), ravel_pytree(state.agent.popart)[1]
    )
    agent = dataclasses.replace(
        state.agent,
        params=layout.join(params),
        target_params=layout.join(state.agent.target_params),
    )
    agent = layout.moved(agent, state.agent)
    optimizer = _map_like(layout.join, state.optimizer, params)
    return dataclasses.replace(state, agent=agent, optimizer=optimizer), layout


def _splits(trees: Params) -> dict[str, Callable[[Array], Any]]:
    """Return what makes each module's arrays of its vector again."""
    return {name: ravel_pytree(tree)[1] for name, tree in trees.items()}


def _map_like(function: Callable[[Any], Any], tree: Any, like: Any) -> Any:
    """Apply a function to those parts of a tree that are built like another one."""
    structure: Any = jax.tree.structure(like)

    def alike(part: Any) -> bool:
        return bool(jax.tree.structure(part) == structure)

    return jax.tree.map(lambda part: function(part) if alike(part) else part, tree, is_leaf=alike)
