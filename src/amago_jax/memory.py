"""How much memory a run takes on each device, found without running it.

An epoch is compiled for this machine's kind of device; what it works with at once is the
compiler's own figure, so estimates for a GPU are best made on one.
"""

from typing import Any

import jax
import numpy as np
from omegaconf import DictConfig

from amago_jax.config import build
from amago_jax.training import Trainer


def estimate_memory(config: DictConfig) -> dict[str, float]:
    """Print and return what each device holds, in bytes by name.

    Args:
        config: a training configuration.

    Returns:
        "learner" (the agent, its targets and its optimizer), "environments" (with the policy's
        memory of them), "replay", "work" (everything temporary within an epoch), and "total".

    Raises:
        RuntimeError: if the compiler does not tell.
    """
    trainer = build(config)
    state = jax.eval_shape(trainer.init, jax.random.key(0))
    kind = jax.devices()[0].device_kind
    compiled = Trainer.train_epoch.lower(trainer, state).compile().memory_analysis()
    if compiled is None:
        raise RuntimeError(f"the compiler for {kind} does not tell what memory a program takes")
    experience = state.experience
    found = {
        "learner": _bytes(state.learner),
        # Leaves of what is split hold all devices' parts.
        "environments": _bytes((experience.rollout, experience.goals)) / trainer.devices,
        "replay": _bytes(experience.replay) / trainer.devices,
        "work": float(compiled.temp_size_in_bytes),
    }
    found["total"] = sum(found.values())
    for name, size in found.items():
        print(f"{name:>12} {size / 1e9:9.3f} GB")
    print(f"on each of {trainer.devices} devices, compiled for {kind}")
    return found


def _bytes(tree: Any) -> float:
    def size(x: Any) -> float:
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            x = jax.eval_shape(jax.random.key_data, x)
        return float(np.prod(x.shape, dtype=float) * x.dtype.itemsize)

    return sum(size(x) for x in jax.tree.leaves(tree))
