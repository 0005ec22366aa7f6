"""Changing a configuration that is there: one that was saved, or that of a run as it trains.

What may change within a run is said here, for `Run.change` and for going on with a saved one.
"""

import dataclasses
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from amago_jax.errors import ConfigError
from amago_jax.learning import Trainer
from amago_jax.reports.finding import flatten
from amago_jax.runs.building import build
from amago_jax.runs.config import (
    CONF_DIR,
    as_list,
    compose,
    explain,
    open_settings,
    parse_overrides,
)
from amago_jax.runs.frozen import thaw
from amago_jax.runs.own_parts import fitted
from amago_jax.runs.schema import check_settings, is_setting

# What is around the program, or makes another one that the same state fits.
WITHIN = (
    "epochs",
    "stop",
    "evaluation",
    "updates",
    "batch_size",
    "batches_per_update",
    "checkpoint",
    "label",
    "sweep",
    "on_nan",
    "on_env_nan",
)
# What a process that goes on with a run may do otherwise than the one that began it.
BETWEEN = ("devices", "attention", "compilation_cache", "distributed", "resume", "logger")
# Groups in which whatever is a number to the program may change, and what they describe.
NUMBERS = {
    "agent": "agent",
    "advantage_filter": "agent",
    "extra_losses": "agent",
    "optimizer": "optimizer",
    "exploration": "schedule",
}
RECIPES = ("experiment", "ablation", "sweep")  # choices that set what belongs to other groups


def changed(config: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """Return a configuration with overrides that mean what they mean on the command line.

    A choice of a group, ``trajectory_encoder=gru``, replaces that group's settings by those of
    conf/, and no others: what a task brings along beside ``env`` stays as it is.

    Args:
        config: what was composed before.
        overrides: as on the command line.

    Raises:
        ConfigError: if an override is malformed, or names what is not there.
    """
    config = thaw(config)
    OmegaConf.set_struct(config, True)
    overrides = as_list(overrides)
    parsed = parse_overrides(open_settings(overrides))
    for text, override in zip(overrides, parsed, strict=True):
        if override.is_sweep_override():
            raise ConfigError(f"{text} sweeps over several values: give one")
    chosen = [override for override in parsed if _is_choice(override)]
    _choose(config, chosen)
    for text, override in zip(overrides, parsed, strict=True):
        if override in chosen:
            continue
        _make_room(config, override)
        try:
            ConfigLoaderImpl._apply_overrides_to_config([override], config)
        except (HydraException, OmegaConfBaseException, ValueError, TypeError) as error:
            raise ConfigError(explain(error, [text], config)) from error
    config = fitted(config, overrides, CONF_DIR)
    check_settings(config)
    return config


def _make_room(config: DictConfig, override: Override) -> None:
    """Let a setting be given that came into the project after the configuration was saved."""
    name = override.key_or_group
    if override.is_add() or override.is_delete() or not is_setting(name, config):
        return
    section, _, last = name.rpartition(".")
    settings = OmegaConf.select(config, section) if section else config
    if not OmegaConf.is_dict(settings) or last not in settings:
        OmegaConf.update(config, name, None, force_add=True)


def _is_choice(override: Override) -> bool:
    group = override.key_or_group
    value = override.value()
    names = value if isinstance(value, list) else [value]
    is_name = all(name is None or isinstance(name, str) for name in names)
    is_group = bool(re.fullmatch(r"\w+", group)) and (CONF_DIR / group).is_dir()
    return is_group and group != "hydra" and is_name and not override.is_delete()


def _choose(config: DictConfig, chosen: Sequence[Override]) -> None:
    """Replace the settings of groups by those that the command line would compose."""
    if not chosen:
        return
    for override in chosen:
        if override.key_or_group in RECIPES:
            raise ConfigError(
                f"{override.input_line} sets what belongs to other groups, and makes a new run; "
                "of one that is there, choose groups and settings by their names"
            )
    # What the command line would make of a group depends on the environment's file.
    choices = [str(override.input_line).lstrip("+") for override in chosen]
    env_id = str(OmegaConf.select(config, "env.env_id"))
    if re.fullmatch(r"[\w./-]+", env_id) and not any(o.key_or_group == "env" for o in chosen):
        try:
            composed = compose([f"env={env_id}", *choices])
        except ConfigError:  # an environment that is registered elsewhere
            composed = compose(choices)
    else:
        composed = compose(choices)
    tree: Any = OmegaConf.to_container(composed, resolve=False)
    for override in chosen:
        group = override.key_or_group
        OmegaConf.update(config, group, tree[group], merge=False, force_add=True)


def resumable(config: DictConfig, overrides: Sequence[str], directory: str | Path) -> DictConfig:
    """Return the configuration in which a run goes on.

    Args:
        config: what was saved.
        overrides: see `changed`.
        directory: the run's folder.

    Raises:
        ConfigError: see `changed`; or if one changes what cannot change within a run.
    """
    before = in_folder(config, directory)
    after = changed(before, overrides)
    differing = differences(before, after)
    _check_names(differing, (*WITHIN, *BETWEEN), overrides)
    _check_grid(differing, before)
    after = for_devices_here(after)
    if any(name.partition(".")[0] in NUMBERS for name in differing):
        otherwise = thaw(after)
        for group in NUMBERS.keys() & before.keys():
            otherwise[group] = before[group]
        check_numbers(differing, build(otherwise), build(after))
    return after


def in_folder(config: DictConfig, directory: str | Path) -> DictConfig:
    """Return a saved configuration for a run's folder, which may have been moved."""
    config = thaw(config)
    config.run_dir = str(directory)
    return config


def for_devices_here(config: DictConfig) -> DictConfig:
    """Return a configuration that asks for no more devices than there are, with a warning."""
    found = jax.device_count()
    if config.get("devices") is not None and config.devices > found:
        warnings.warn(f"devices={config.devices}, but here are {found}, which serve", stacklevel=3)
        config.devices = None
    return config


def live(config: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """Return the configuration of a run, changed as it trains.

    Raises:
        ConfigError: see `resumable`.
    """
    after = changed(config, overrides)
    differing = differences(config, after)
    _check_names(differing, WITHIN, overrides)
    _check_grid(differing, config)
    return after


def differences(before: DictConfig, after: DictConfig) -> dict[str, Any]:
    """Return the settings that differ, by dotted names, with their values after."""
    there, here = _flat(before), _flat(after)
    same = {name for name in there.keys() & here.keys() if there[name] == here[name]}
    return {name: here.get(name) for name in sorted((there.keys() | here.keys()) - same)}


def _flat(config: DictConfig) -> dict[str, Any]:
    try:
        tree: Any = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(explain(error, [], config)) from error
    return flatten(tree)


def _check_names(
    differing: dict[str, Any], allowed: Sequence[str], overrides: Sequence[str]
) -> None:
    for name, value in differing.items():
        group = name.partition(".")[0]
        if group not in allowed and (group not in NUMBERS or name.endswith("_target_")):
            # A choice of a group, or what others refer to, changes more than it names.
            named = any(item.lstrip("+~").startswith(name) for item in overrides)
            said = f"{name}={value}"
            raise _refusal(said if named else f"{', '.join(overrides)}: {said}")


def _check_grid(differing: dict[str, Any], config: DictConfig) -> None:
    for name in differing:
        if name in (config.get("grid") or {}):
            raise ConfigError(
                f"{name} is what grid={config.grid} varies, and cannot change for all"
            )


def check_numbers(differing: dict[str, Any], before: Trainer, after: Trainer) -> None:
    """Check that what differs in groups that are compiled in are numbers to the program.

    Args:
        differing: settings, by dotted names.
        before: what the run was built of.
        after: what the changed settings describe.

    Raises:
        ConfigError: naming the first that is more.
    """
    for name, value in differing.items():
        part = NUMBERS.get(name.partition(".")[0])
        if part is not None and _kind(before, part) != _kind(after, part):
            raise _refusal(f"{name}={value}")


def rebuilt(trainer: Trainer, before: DictConfig, after: DictConfig) -> Trainer:
    """Return what trains a run from now on, on the same devices and in the same environment.

    Args:
        trainer: what trains it, built from ``before``.
        before: the run's configuration.
        after: from `live`.

    Raises:
        ConfigError: if what differs is wrong, or more than a number to the program.
    """
    found = build(after, trainer.mesh)
    check_numbers(differences(before, after), trainer, found)
    return dataclasses.replace(found, env=trainer.env)


def check_epochs(config: DictConfig, done: int) -> None:
    """Check that a run is to have no fewer epochs than it has had.

    Raises:
        ConfigError: if it is.
    """
    if config.epochs < done:
        raise ConfigError(
            f"epochs={config.epochs}, but the run in {config.run_dir} has trained {done}"
        )


def _kind(trainer: Trainer, part: str) -> Any:
    return jax.tree.structure(getattr(trainer, part))


def _refusal(said: str) -> ConfigError:
    return ConfigError(
        f"{said} cannot change within a run: what can is {', '.join(WITHIN)}, and what is "
        "a number to the program, such as optimizer.learning_rate; "
        "load_run(folder, ['run_dir=...', ...]) begins another run with the weights of this one"
    )
