"""How much memory a run takes on each device: what it holds, what it works with, what it took.

The first is known from shapes, the second is the compiler's own figure. A run small enough can be
tried, too, which tells what both are worth.
"""

import math
import time
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from amago_jax.errors import ConfigError
from amago_jax.learning import Seeds, Trainer, TrainState
from amago_jax.parallel import SEED_AXIS
from amago_jax.runs.memory import give_back_freed_memory, size_of

_PROCESS = Path("/proc/self")


def held(state: TrainState, mesh: Mesh) -> dict[str, float]:
    """Return what each device holds from epoch to epoch, in bytes by name.

    Args:
        state: from `Trainer.shapes`, or of several seeds.
        mesh: the devices that share it.

    Returns:
        "learner" (the agent, its targets and its optimizer), "environments" (with the policy's
        memory of them) and "replay".
    """
    experience = state.experience
    return {
        # Leaves of what is split hold all devices' parts, and those of all seeds.
        "learner": size_of(state.learner) / mesh.shape[SEED_AXIS],
        "environments": size_of((experience.rollout, experience.goals)) / mesh.size,
        "replay": size_of(experience.replay) / mesh.size,
    }


def work(compiled: Any) -> float:
    """Return what a program takes besides its arguments, in bytes on each device.

    Args:
        compiled: a `jax.stages.Compiled`.

    Raises:
        ConfigError: if the compiler does not tell.
    """
    found = compiled.memory_analysis()
    if found is None:
        raise ConfigError("the compiler for this target does not tell what memory a program takes")
    # Temporary arrays, and what of the results does not take the place of arguments.
    return float(found.temp_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes)


def measure_memory(trainer: Trainer | Seeds, epoch: Any) -> float:
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
    jax.block_until_ready(trainer.init(trainer.example_key))  # compiles
    before = 0.0
    if stats is None:
        before = _given_back()
        (_PROCESS / "clear_refs").write_text("5")
    state = trainer.init(trainer.example_key)
    for _ in range(2):
        state, _ = epoch(trainer, state)
    jax.block_until_ready(state)
    stats = jax.devices()[0].memory_stats()
    return _resident("VmHWM") - before if stats is None else float(stats["peak_bytes_in_use"])


def _given_back() -> float:
    """Give back what is free, which would be used again and count as nothing; return what is left.

    JAX frees arrays in the background: it is waited for.
    """
    before, now = math.inf, _resident("VmRSS")
    while now < before:
        time.sleep(0.2)
        give_back_freed_memory()
        before, now = now, _resident("VmRSS")
    return now


def _resident(field: str) -> float:
    """Return this process's resident memory, now or at most since its peak was reset, in bytes."""
    lines = (_PROCESS / "status").read_text().splitlines()
    return 1024.0 * next(int(line.split()[1]) for line in lines if line.startswith(field))
