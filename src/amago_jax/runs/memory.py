"""Sizes against memory: a run that cannot fit is refused before anything is made.

What a run holds is worked out from the sizes of one environment, without tracing anything as large
as the run. What its programs work with besides is known when they are compiled, see
`amago_jax.measure`: a run that passes here may still be too large.
"""

import contextlib
import ctypes
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from amago_jax.envs import DiscreteActions, StreamEnv
from amago_jax.errors import ConfigError
from amago_jax.learning import Trainer
from amago_jax.runs.shapes import agent_shapes

CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
SHARE = 0.9  # of the memory, for what is held: programs need some, too
UPDATE_BYTES = 200  # keys and metrics, which there are of all updates of an epoch at once
ADAM = 3  # arrays like the weights: two moments, and the gradients
# The settings that a part is as large as, the one that is best made smaller first.
SIZED_BY: dict[str, tuple[str, ...]] = {
    "replay": ("replay.capacity", "envs"),
    "rollout": ("rollout_steps", "envs"),
    "environments": ("envs",),
    "evaluation": ("evaluation.episodes",),
    "batch": ("batch_size",),
    "metrics of updates": ("updates",),
    "networks and their optimizer": (),
}


def check_memory(
    trainer: Trainer, seeds: int = 1, *, in_lanes: bool = False, evaluating: bool = False
) -> None:
    """Check that what a run holds fits the devices, as far as their memory is known.

    Args:
        trainer: of one seed.
        seeds: runs side by side.
        in_lanes: whether sizes follow from the setting ``lanes``.
        evaluating: whether a learner that was loaded is evaluated, and nothing else.

    Raises:
        ConfigError: naming the largest part, the setting that sizes it and a value that would fit.
    """
    devices = trainer.mesh.local_devices
    memory = memory_of(devices)
    if memory is None:
        return
    # Devices of a processor share its memory; seeds side by side, the devices.
    shared = len(devices) if devices[0].platform == "cpu" else 1
    times = shared * seeds * trainer.devices / trainer.mesh.size
    parts = {name: times * size for name, size in needs(trainer, evaluating).items()}
    total, allowed = sum(parts.values()), SHARE * memory
    if total <= allowed:
        return
    largest = max(parts, key=parts.__getitem__)
    sized_by = SIZED_BY
    if in_lanes:
        follow = {name: ("lanes",) for name, settings in SIZED_BY.items() if "envs" in settings}
        sized_by = SIZED_BY | follow
    values = " and ".join(f"{name}={_value(trainer, name)}" for name in sized_by[largest])
    raise ConfigError(
        f"{values or 'the run'} would need {_gigabytes(parts[largest])} for the {largest}"
        f"{f' of {seeds} seeds' if seeds > 1 else ''}, and {_gigabytes(total)} in all, where there "
        f"are {_gigabytes(memory)} of memory; {_advice(trainer, parts, sized_by, largest, allowed)}"
    )


def needs(trainer: Trainer, evaluating: bool = False) -> dict[str, float]:
    """Return what a run of one seed has at once on each device, at least, in bytes by part.

    Args:
        trainer: of the run.
        evaluating: of its evaluation alone.
    """
    agent, env = trainer.agent, trainer.env
    envs = trainer.envs / trainer.devices
    timestep = _timestep_bytes(env)
    memory = size_of(jax.eval_shape(lambda: agent.initial_memory(1)))
    world = timestep + size_of(env.state_shapes) + memory + 8  # its return, and scale of epsilon
    hindsight = trainer.hindsight
    counted = hindsight is not None and hindsight.choice == "rarity"
    goals = (hindsight.protocol.goal_count or 0) if counted and hindsight is not None else 0
    shapes = agent_shapes(agent, env)
    evaluation = {"evaluation": trainer.evaluation_episodes / trainer.devices * world}
    if evaluating:
        return {"networks and their optimizer": size_of(shapes)} | evaluation
    found = {
        "networks and their optimizer": size_of(shapes) + ADAM * size_of(shapes.params),
        "environments": envs * (world + goals),
        "replay": envs * trainer.replay.capacity * (timestep + 8),  # and where episodes lie
    }
    batch = trainer.batch_size / trainer.devices * trainer.replay.window * timestep
    epoch = {
        "rollout": envs * trainer.rollout_steps * timestep,
        "batch": batch,
        "metrics of updates": trainer.updates * UPDATE_BYTES,
    }
    return found | max(epoch, evaluation, key=lambda parts: sum(parts.values()))


def size_of(tree: Any) -> float:
    """Return the bytes of all arrays of a tree, or of their shapes."""

    def size(x: Any) -> float:
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            x = jax.eval_shape(jax.random.key_data, x)
        return float(np.prod(x.shape, dtype=float) * x.dtype.itemsize)

    return sum(size(x) for x in jax.tree.leaves(tree))


def memory_of(devices: Sequence[Any]) -> float | None:
    """Return the bytes that each device has, or all of a processor's; None if that is not known."""
    if devices[0].platform == "cpu":
        return _host_memory()
    limits = [(device.memory_stats() or {}).get("bytes_limit") for device in devices]
    known = [float(limit) for limit in limits if limit]
    return min(known, default=None)


def _host_memory() -> float | None:
    try:
        found = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (ValueError, OSError):  # no such name on this system
        return None
    for path in map(Path, CGROUP_LIMITS):
        text = path.read_text().strip() if path.is_file() else "max"
        found = min(found, float(text) if text.isdigit() else math.inf)
    return found


def _timestep_bytes(env: StreamEnv) -> float:
    """Return the bytes of one `amago_jax.types.Timestep`."""
    space = env.action_space
    action = 4 if isinstance(space, DiscreteActions) else 4 * space.size
    return size_of(env.observation_shapes) + action + 4 + 4 + 3  # reward, time, flags


def _value(trainer: Trainer, name: str) -> int:
    """Return a setting's value, as it is known to the trainer."""
    if name == "replay.capacity":
        return trainer.replay.capacity
    attribute = {"lanes": "envs"}.get(name, name.replace(".", "_"))
    return int(getattr(trainer, attribute))


def _advice(
    trainer: Trainer,
    parts: dict[str, float],
    sized_by: dict[str, tuple[str, ...]],
    largest: str,
    allowed: float,
) -> str:
    """Say what would fit into the bytes that are allowed."""
    least = {"replay.capacity": max(trainer.replay.window, trainer.rollout_steps)}
    divided = dict.fromkeys(("envs", "lanes", "batch_size"), trainer.devices)
    for name in sized_by[largest]:
        sized = [part for part in parts if name in sized_by[part]]
        rest = sum(size for part, size in parts.items() if part not in sized)
        share = (allowed - rest) / sum(parts[part] for part in sized)
        value = _round(_value(trainer, name) * share, least.get(name, 1), divided.get(name, 1))
        if value is not None:
            return f"{name}={value} would fit"
    if not sized_by[largest]:
        return "choose smaller networks, such as by trajectory_encoder.width or agent.hidden_size"
    return f"make {' and '.join(sized_by[largest])} smaller, and what else is large"


def _round(value: float, least: int, divisor: int) -> int | None:
    """Round down to two digits and a multiple, or to ``least``; None if even that is more."""
    least = max(least, divisor)
    if value < least:
        return None
    digits = 10 ** max(math.floor(math.log10(value)) - 1, 0)
    return max(math.floor(value / digits) * digits // divisor * divisor, least)


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:,.0f} GB" if size >= 1e10 else f"{size / 1e9:.2g} GB"


def give_back_freed_memory() -> None:
    """Return to the system what this process has freed, which the C library would keep."""
    # Other C libraries than GNU's have no such function, and Windows none to look it up in.
    with contextlib.suppress(AttributeError, TypeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
