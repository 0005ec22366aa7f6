"""Estimating a run for a device that need not be here.

An epoch and an evaluation are compiled for the device as they would be to run, and what the
compiler made is read: the memory it needs, and what one update and one step of acting do.
"""

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from amago_jax.acting.first_states import DRAWING
from amago_jax.acting.rollout import ACTING
from amago_jax.errors import ConfigError
from amago_jax.learning import Seeds, Trainer
from amago_jax.learning.trainer import LEARNING
from amago_jax.measure.compiled import Program, loop_work, read
from amago_jax.measure.estimates import Estimate, Turn, make_turn
from amago_jax.measure.memory import held, measure_memory, work
from amago_jax.measure.operations import loop_operations
from amago_jax.measure.speed import settings_of
from amago_jax.measure.targets import HERE, Target, find_target, make_target_mesh
from amago_jax.runs.building import build
from amago_jax.runs.members import count_members, is_side_by_side
from amago_jax.runs.side_by_side import build_members


def describe_only(arguments: Sequence[str]) -> None:
    """Have JAX start on the processor alone where a device is only described.

    It would look for accelerators whose compilers are installed. JAX must not have started.

    Args:
        arguments: of the command line, in which ``target=`` names devices, here by default.

    Raises:
        ConfigError: if devices here and elsewhere are asked for in one sweep.
    """
    given = [argument.partition("=") for argument in arguments]
    targets = {name for key, _, value in given if key == "target" for name in value.split(",")}
    if targets - {HERE}:
        if HERE in targets:
            raise ConfigError("target=here cannot be swept over with others: estimate it by itself")
        jax.config.update("jax_platforms", "cpu")


def print_estimate(config: DictConfig) -> Estimate:
    """Estimate as `conf/estimate.yaml` describes; print it, and append it to a file if asked to.

    Args:
        config: a training configuration with ``target``, ``measure`` and ``output``.
    """
    found = estimate(config, config.target)
    print(found)
    if config.output:
        given = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
        arguments = [argument for argument in given if not argument.startswith("output=")]
        with Path(config.output).open("a") as file:
            file.write(json.dumps({"arguments": arguments, **found.row()}) + "\n")
    return found


def estimate(config: DictConfig, target: str = HERE) -> Estimate:
    """Compile a run for a device, and return what it takes.

    Args:
        config: a training configuration; ``devices`` null: all that are here and divide the work,
            of any other target one. If it has ``measure``, and that is on, two epochs are run.
        target: a name of `amago_jax.measure.targets`.

    Raises:
        ConfigError: if the configuration is wrong, the target unknown, or its compiler missing.
    """
    device, trainer = prepare(config, target)
    state = trainer.shapes()
    traced = trainer.programs.train_epoch.trace(trainer, state)
    key, agent_state = trainer.example_key, state.learner.agent
    evaluation = trainer.programs.evaluate.trace(trainer, agent_state, key)
    epoch, played = (_compile(program, device) for program in (traced, evaluation))
    memory, working = (
        held(state, trainer.mesh),
        {"epoch": work(epoch), "evaluation": work(played)},
    )
    program = read(epoch.as_text())
    one, seeds = (trainer.trainer, trainer.count) if isinstance(trainer, Seeds) else (trainer, 1)
    return Estimate(
        settings=settings_of(one),
        target=device,
        devices=trainer.mesh.size,
        seeds=seeds,
        envs=one.envs,
        memory=memory | working | {"total": sum(memory.values()) + max(working.values())},
        **_turns(device, one, traced, program),
        drawing=loop_work(program, DRAWING),
        measured=measure_memory(trainer, epoch) if config.get("measure") else None,
    )


def prepare(config: DictConfig, target: str) -> tuple[Target, Trainer | Seeds]:
    """Build a run, or several side by side, for a target, and compile nothing.

    Raises:
        ConfigError: see `estimate`.
    """
    device = find_target(target)
    if config.get("measure") and target != HERE:
        raise ConfigError(f"measure=true runs two epochs, which target={target} cannot: use here")
    several = is_side_by_side(config)
    seeds = count_members(config) if several else 1
    devices = 1 if config.devices is None else config.devices
    mesh = None if target == HERE else make_target_mesh(device, devices, seeds)
    return device, build_members(config, mesh)[1] if several else build(config, mesh)


def check_estimate(config: DictConfig) -> None:
    """Check what `print_estimate` takes.

    Raises:
        ConfigError: see `estimate`.
    """
    prepare(config, config.target)


def _compile(traced: Any, target: Target) -> Any:
    """Compile what was traced, or read it from the cache if it was traced under the same names."""
    platforms = None if target.name == HERE else (target.platform,)
    with _names_kept():
        return traced.lower(lowering_platforms=platforms).compile()


@contextlib.contextmanager
def _names_kept() -> Iterator[None]:
    """Have the cache of compiled programs tell programs apart by the names in them.

    Else it would give what was compiled before its loops had names.
    """
    setting = "jax_compilation_cache_include_metadata_in_key"
    before = getattr(jax.config, setting)
    jax.config.update(setting, True)
    try:
        yield
    finally:
        jax.config.update(setting, before)


def _turns(target: Target, trainer: Trainer, traced: Any, program: Program) -> dict[str, Turn]:
    """Return what one update and one acting step do, by the name of `Estimate`'s attribute."""
    found = {}
    for name, scope, turns in (
        ("update", LEARNING, trainer.updates),
        ("step", ACTING, trainer.rollout_steps),
    ):
        counted = loop_operations(traced.jaxpr.jaxpr, scope) or {}
        total = loop_work(program, scope, without=DRAWING)
        found[name] = make_turn(
            target,
            {precision: count / turns for precision, count in counted.items()},
            None if total is None else total * (1 / turns),
        )
    return found
