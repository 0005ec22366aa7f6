"""Seeds side by side: several trainers as one program, under `jax.vmap`.

A small network leaves an accelerator idle: eight of them, launched as one, take little longer than
one. Whatever is a number to a program, a learning rate for instance, may differ between them as
their seeds do; nothing passes from one to another.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from amago_jax.acting.evaluation import evaluation_metrics
from amago_jax.agents import AgentState
from amago_jax.learning.programs import Programs, programs_of
from amago_jax.learning.trainer import Trainer, TrainState
from amago_jax.parallel import PER_SEED, PER_SEED_SPLIT, SEED_AXIS, per_device
from amago_jax.tunable import tunable
from amago_jax.types import Array, Metrics


@tunable("trainer")
@dataclasses.dataclass(frozen=True)
class Seeds:
    """S trainers that differ in numbers alone; made by `side_by_side`.

    What it takes and returns is what a `Trainer` does, with a leading axis of S.

    Attributes:
        trainer: all of them: a number in which they differ is an array ``[S, ...]``.
        count: S.
        differs: whether they differ in it, for each of the trainer's leaves.
    """

    trainer: Trainer
    count: int
    differs: tuple[bool, ...]

    @property
    def mesh(self) -> Mesh:
        """The devices."""
        return self.trainer.mesh

    @property
    def specs(self) -> TrainState:
        """How the parts of the state lie on the mesh."""
        return TrainState(PER_SEED, PER_SEED_SPLIT, PER_SEED, PER_SEED)  # type: ignore[arg-type]

    @property
    def example_key(self) -> Array:
        """Keys ``[S]`` such as `init` and `evaluate` take."""
        return jax.random.split(jax.random.key(0), self.count)

    @functools.cached_property
    def programs(self) -> Programs:
        """What is compiled, shared with all of this kind."""
        return programs_of(self)

    def init(self, keys: Array) -> TrainState:
        """Return the state before the first epoch, from a key for each ``[S]``."""
        return self.programs.init(self, keys)

    def train_epoch(self, state: TrainState) -> tuple[TrainState, Metrics]:
        """See `Trainer.train_epoch`."""
        return self.programs.train_epoch(self, state)

    def fill(self, state: TrainState) -> TrainState:
        """See `Trainer.fill`."""
        return self.programs.fill(self, state)

    def evaluate(self, agent_state: AgentState, keys: Array) -> Metrics:
        """See `Trainer.evaluate`; ``keys [S]`` are one for each."""
        return self.programs.evaluate(self, agent_state, keys)

    def shapes(self) -> TrainState:
        """Return shapes, dtypes and places of all arrays of the state."""
        return self.programs.shapes(self)

    def compile(self) -> None:
        """Compile all three side by side."""
        self.programs.compile(self)

    # What the programs do, to be traced.

    def traced_init(self, keys: Array) -> TrainState:
        """See `init`."""
        leaves, tree = _flat(self.trainer)

        def init(leaves: list[Any], key: Array) -> TrainState:
            return tree.unflatten(leaves).traced_init(key)

        return jax.vmap(init, in_axes=(self._axes, 0))(leaves, keys)

    def traced_epoch(self, state: TrainState) -> tuple[TrainState, Metrics]:
        """See `train_epoch`."""
        return self._split(Trainer.epoch_part, (self.specs,), (self.specs, PER_SEED))(state)

    def traced_fill(self, state: TrainState) -> TrainState:
        """See `fill`."""
        return self._split(Trainer.fill_part, (self.specs,), self.specs)(state)

    def traced_evaluation(self, agent_state: AgentState, keys: Array) -> Metrics:
        """See `evaluate`."""
        play = self._split(Trainer.play_part, (PER_SEED, PER_SEED), PER_SEED_SPLIT)
        restarts = self.trainer.restarts
        return jax.vmap(lambda played: evaluation_metrics(played, restarts))(
            play(agent_state, keys)
        )

    @property
    def _axes(self) -> list[int | None]:
        return [0 if differs else None for differs in self.differs]

    def _split(self, method: Any, in_specs: tuple[Any, ...], out_specs: Any) -> Any:
        """Return a method of `Trainer` as a function for all of them, run on every device."""
        leaves, tree = _flat(self.trainer)
        leaf_specs = [P(SEED_AXIS) if differs else P() for differs in self.differs]

        def one(leaves: list[Any], *arguments: Any) -> Any:
            return method(tree.unflatten(leaves), *arguments)

        some = jax.vmap(one, in_axes=(self._axes, *(0 for _ in in_specs)))
        split = per_device(some, self.mesh, (leaf_specs, *in_specs), out_specs)
        return functools.partial(split, leaves)


def side_by_side(trainers: Sequence[Trainer]) -> Seeds:
    """Return trainers as one.

    Args:
        trainers: S of them, on one mesh from `amago_jax.parallel.make_mesh` for S seeds.

    Raises:
        ValueError: if they differ in more than numbers, so that one program cannot serve all.
    """
    flat = [_flat(trainer) for trainer in trainers]
    tree = flat[0][1]
    if any(other != tree for _, other in flat):
        raise ValueError("trainers side by side may differ in numbers alone")
    columns = list(zip(*(leaves for leaves, _ in flat), strict=True))
    differs = tuple(any(x != column[0] for x in column) for column in columns)
    leaves = [
        np.asarray(column) if differ else column[0]
        for column, differ in zip(columns, differs, strict=True)
    ]
    return Seeds(tree.unflatten(leaves), len(trainers), differs)


def _flat(trainer: Trainer) -> tuple[list[Any], Any]:
    """Return a trainer's numbers, and what makes a trainer of such again."""
    return jax.tree.flatten(trainer)
