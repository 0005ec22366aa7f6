"""What is compiled for a trainer: one program each for the initial state, an epoch, an evaluation.

A trainer is one run's, or of several side by side, see `amago_jax.learning.seeds`. Trainers that
differ in numbers alone share their programs, and the last of them takes the programs with it: a
process that trains many runs holds those of the last few.
"""

import weakref
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import jax
from jax.sharding import NamedSharding

from amago_jax.learning import batches
from amago_jax.parallel import SHARED

if TYPE_CHECKING:
    from amago_jax.learning.seeds import Seeds
    from amago_jax.learning.trainer import Trainer

# Options of XLA for what runs over and over, by platform, and for what runs once. On a processor,
# half of the time of compiling is spent on making the program fast.
OPTIONS: dict[str, dict[str, Any]] = {}
OPTIONS_ONCE: dict[str, dict[str, Any]] = {"cpu": {"xla_backend_optimization_level": 0}}
KEPT = 2  # programs that are kept for a next run of the same kind, though no trainer is left


class Programs:
    """The compiled methods of all trainers of one kind; each is called with the trainer first.

    Attributes:
        init: `Trainer.init`.
        train_epoch: `Trainer.train_epoch`.
        fill: `Trainer.fill`; compiled when it is called, for few runs need it.
        evaluate: `Trainer.evaluate`.
        sample: `Trainer.sample`; compiled when it is called.
    """

    def __init__(self, trainer: "Trainer | Seeds") -> None:
        """Prepare the programs; they are compiled by `compile`, or when first called."""

        # Functions of their own, for JAX keeps what it compiles by function: with these, their
        # programs go. They must not hold the trainer, whose numbers others do not share.
        def init(trainer, key):
            return trainer.traced_init(key)

        def train_epoch(trainer, state):
            return trainer.traced_epoch(state)

        def fill(trainer, state):
            return trainer.traced_fill(state)

        def evaluate(trainer, agent_state, key):
            return trainer.traced_evaluation(agent_state, key)

        def sample(trainer, experience, key, batch_size):
            return batches.sample(trainer, experience, key, batch_size)

        shardings = jax.tree.map(lambda spec: NamedSharding(trainer.mesh, spec), trainer.specs)
        self._shardings = shardings
        platform = trainer.mesh.devices.flat[0].platform
        options, once = OPTIONS.get(platform), OPTIONS_ONCE.get(platform)
        self.init = jax.jit(init, out_shardings=shardings, compiler_options=once)
        # Every process of a run reads all metrics.
        shared = NamedSharding(trainer.mesh, SHARED)
        self.train_epoch = jax.jit(
            train_epoch,
            donate_argnums=1,
            out_shardings=(shardings, shared),
            compiler_options=options,
        )
        self.fill = jax.jit(
            fill, donate_argnums=1, out_shardings=shardings, compiler_options=options
        )
        self.evaluate = jax.jit(evaluate, out_shardings=shared, compiler_options=options)
        self.sample = jax.jit(sample, static_argnums=3, out_shardings=shared, compiler_options=once)

    def compile(self, trainer: "Trainer | Seeds") -> None:
        """Compile all programs side by side: each takes one core for most of its time."""
        key, state = trainer.example_key, self.shapes(trainer)
        agent_state = state.learner.agent
        with ThreadPoolExecutor() as pool:
            # The largest first; while one is compiled, the next is traced.
            jobs = [
                pool.submit(self.train_epoch.lower(trainer, state).compile),
                pool.submit(self.init.lower(trainer, key).compile),
                pool.submit(self.evaluate.lower(trainer, agent_state, key).compile),
            ]
            for job in jobs:
                job.result()

    def shapes(self, trainer: "Trainer | Seeds") -> Any:
        """Return shapes, dtypes and places of the state's arrays."""
        shapes = self.init.eval_shape(trainer, trainer.example_key)
        return jax.tree.map(_placed, self._shardings, shapes)


_LIVING: weakref.WeakValueDictionary[jax.tree_util.PyTreeDef, Programs] = (
    weakref.WeakValueDictionary()
)
_RECENT: deque[Programs] = deque(maxlen=KEPT)


def programs_of(trainer: "Trainer | Seeds") -> Programs:
    """Return the programs of a trainer's kind, new ones if there are none."""
    kind = jax.tree.structure(trainer)
    programs = _LIVING.get(kind)
    if programs is None:
        programs = _LIVING[kind] = Programs(trainer)
    if programs in _RECENT:
        _RECENT.remove(programs)
    _RECENT.append(programs)
    return programs


def _placed(sharding: NamedSharding, shapes: Any) -> Any:
    """Give all shapes of a tree their place."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes)
