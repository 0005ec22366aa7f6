"""How much memory a run takes on each device, found without running it.

An epoch is compiled for this machine's kind of device; what it works with at once is the
compiler's own figure, so estimates for a GPU are best made on one. A run small enough can be tried,
too, which tells what the estimate is worth.
"""

import ctypes
from pathlib import Path
from typing import Any

import jax
import numpy as np
from omegaconf import DictConfig

from amago_jax.errors import ConfigError
from amago_jax.learning.trainer import Trainer
from amago_jax.runs.building import build

_PROCESS = Path("/proc/self")


def estimate_memory(config: DictConfig) -> dict[str, float]:
    """Print and return what each device holds, in bytes by name.

    Args:
        config: a training configuration; ``measure`` on: two epochs are run.

    Returns:
        "learner" (the agent, its targets and its optimizer), "environments" (with the policy's
        memory of them), "replay", "work" (what an epoch takes besides), and "total"; and
        "measured", the most that two epochs took, if they were run.

    Raises:
        RuntimeError: if the compiler does not tell.
    """
    trainer = build(config)
    state = trainer.shapes()
    kind = jax.devices()[0].device_kind
    epoch = trainer.programs.train_epoch.lower(trainer, state).compile()
    compiled = epoch.memory_analysis()
    if compiled is None:
        raise RuntimeError(f"the compiler for {kind} does not tell what memory a program takes")
    experience = state.experience
    found = {
        "learner": _bytes(state.learner),
        # Leaves of what is split hold all devices' parts.
        "environments": _bytes((experience.rollout, experience.goals)) / trainer.devices,
        "replay": _bytes(experience.replay) / trainer.devices,
        # Temporary arrays, and what of the new state does not take the place of the old.
        "work": float(
            compiled.temp_size_in_bytes
            + compiled.output_size_in_bytes
            - compiled.alias_size_in_bytes
        ),
    }
    found["total"] = sum(found.values())
    for name, size in found.items():
        print(f"{name:>12} {size / 1e9:9.3f} GB")
    print(f"on each of {trainer.devices} devices, compiled for {kind}")
    if config.get("measure", False):
        found["measured"] = measure_memory(trainer, epoch)
        print(f"{'measured':>12} {found['measured'] / 1e9:9.3f} GB, the most that two epochs took")
    return found


def measure_memory(trainer: Trainer, epoch: Any) -> float:
    """Run two epochs and return the most bytes they took, on the first device or in this process.

    Args:
        trainer: what to run.
        epoch: its `Trainer.train_epoch`, compiled.

    Returns:
        Of a GPU, the most that was ever in use. Of a CPU, the most resident memory of the process
        beyond what it held once everything was compiled.
    """
    stats = jax.devices()[0].memory_stats()
    if stats is None and not _PROCESS.exists():
        raise ConfigError("measure=true needs an accelerator or Linux, which tell what was in use")
    jax.block_until_ready(trainer.init(jax.random.key(0)))  # compiles
    before = 0.0
    if stats is None:
        # What the compiler freed would be used again, and count as nothing.
        ctypes.CDLL(None).malloc_trim(0)
        (_PROCESS / "clear_refs").write_text("5")
        before = _resident("VmRSS")
    state = trainer.init(jax.random.key(0))
    for _ in range(2):
        state, _ = epoch(trainer, state)
    jax.block_until_ready(state)
    stats = jax.devices()[0].memory_stats()
    return _resident("VmHWM") - before if stats is None else float(stats["peak_bytes_in_use"])


def _resident(field: str) -> float:
    """Return this process's resident memory, now or at most since its peak was reset, in bytes."""
    lines = (_PROCESS / "status").read_text().splitlines()
    return 1024.0 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def _bytes(tree: Any) -> float:
    def size(x: Any) -> float:
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            x = jax.eval_shape(jax.random.key_data, x)
        return float(np.prod(x.shape, dtype=float) * x.dtype.itemsize)

    return sum(size(x) for x in jax.tree.leaves(tree))
