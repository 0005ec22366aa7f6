"""What the scripts share: Hydra's command line with all errors found first and said plainly."""

import itertools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from amago_jax import envs
from amago_jax.errors import ConfigError, UserError
from amago_jax.runs.building import build
from amago_jax.runs.compilation_cache import check_settings, use_compilation_cache
from amago_jax.runs.config import (
    CONF_DIR,
    choices,
    compose,
    offer_environments,
    open_environment,
)


def hydra_command(
    task: Callable[[DictConfig], object],
    config_name: str,
    check_run: Callable[[DictConfig], object] | None = None,
) -> None:
    """Run a script's task under Hydra, with the overrides of the command line.

    Every run of a multirun is composed and checked before the first begins. What the user can
    mend ends in one sentence on standard error and exit code 1. With the override ``env=?``, all
    environments are listed instead.

    Args:
        task: called with the composed configuration.
        config_name: a file at the top of conf/.
        check_run: see `check`.
    """
    if "env=?" in sys.argv[1:]:
        print(environments())
        return
    offer_environments(sys.argv[1:])
    flags = [flag for flag in ("--multirun", "-m") if flag in sys.argv]
    # Hydra's parser takes overrides in one piece: a flag between them would cut off the rest.
    sys.argv[1:] = flags + [argument for argument in sys.argv[1:] if argument not in flags]
    overrides = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    if not any(argument in ("--help", "-h", "--hydra-help") for argument in sys.argv[1:]):
        try:
            if flags:
                preset = sweep_preset(overrides, config_name)
                given = [override.partition("=")[0] for override in overrides]
                sys.argv += [f"~hydra.sweeper.params.{key}" for key in preset if key in given]
                swept = [f"{key}={value}" for key, value in preset.items() if key not in given]
                runs = split_sweep([*swept, *overrides])
            else:
                runs = [overrides]
            check(runs, config_name, check_run)
        except UserError as error:
            fail(error)
    sys.argv[1:] = open_environment(sys.argv[1:])

    def guarded(config: DictConfig) -> None:
        try:
            use_compilation_cache(**config.get("compilation_cache", {"folder": None}))
            task(config)
        except UserError as error:
            fail(error)

    hydra.main(version_base="1.3", config_path=str(CONF_DIR.resolve()), config_name=config_name)(
        guarded
    )()


def folders_given(arguments: Sequence[str]) -> list[str]:
    """Turn arguments that are folders into one override, ``folders=[...]``, and keep the others.

    Args:
        arguments: of the command line. One with "=" in it is a folder only if there is one.
    """
    words = get_args_parser().parse_intermixed_args(list(arguments)).overrides
    folders = [word for word in words if "=" not in word or Path(word).is_dir()]
    others = [argument for argument in arguments if argument not in folders]
    quoted = (folder.replace("\\", "\\\\").replace("'", "\\'") for folder in folders)
    listed = ",".join(f"'{folder}'" for folder in quoted)
    return [*others, f"folders=[{listed}]"] if folders else others


def environments() -> str:
    """List every environment, an id to a line, in groups; of a suite not installed, how to."""
    missing = [f"{suite}/... (pip install -e '.[{suite}]')" for suite in envs.missing_suites()]
    ids = sorted({*envs.list_ids(), *choices("env"), *missing})
    groups = itertools.groupby(ids, key=lambda env_id: env_id.partition("/")[0])
    return "\n\n".join("\n".join(group) for _, group in groups)


def sweep_preset(overrides: Sequence[str], config_name: str) -> dict[str, str]:
    """Return what a ``sweep=`` preset sweeps over, values by setting; what the user gives wins."""
    plain = [override for override, sweeps in _parse(overrides) if not sweeps]
    params = compose(plain, config_name, hydra_settings=True).hydra.sweeper.params
    return {str(key): str(value) for key, value in (params or {}).items()}


def split_sweep(overrides: Sequence[str]) -> list[list[str]]:
    """Return the overrides of every run of a multirun.

    Raises:
        ConfigError: if an override is malformed.
    """
    runs: list[list[str]] = [[]]
    for override, values in _parse(overrides):
        runs = [[*run, value] for run in runs for value in values or [override]]
    return runs


def _parse(overrides: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Return each override with what it sweeps over, as overrides; nothing if it does not."""
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"{' '.join(overrides)}: {reason}") from error
    return [
        (
            override,
            [f"{found.get_key_element()}={value}" for value in found.sweep_string_iterator()]
            if found.is_sweep_override()
            else [],
        )
        for override, found in zip(overrides, parsed, strict=True)
    ]


def check(
    runs: Sequence[Sequence[str]],
    config_name: str,
    check_run: Callable[[DictConfig], object] | None = None,
) -> None:
    """Compose, and for a training build, every run, given by its overrides.

    Args:
        runs: overrides of each.
        config_name: a file at the top of conf/.
        check_run: called with what was composed, instead of building it for the devices here.

    Raises:
        ConfigError: naming the first thing wrong.
    """
    for run in runs:
        config = compose(run, config_name)
        for key in sorted(OmegaConf.missing_keys(config)):
            if not key.startswith("hydra."):
                raise ConfigError(f"{key} is missing: give {key}=...")
        check_settings(**config.get("compilation_cache", {}))
        if check_run is not None:
            check_run(config)
        elif config_name in ("config", "benchmark"):
            build(config)


def fail(error: Exception) -> NoReturn:
    """Print one sentence and leave with exit code 1."""
    print(f"error: {error}", file=sys.stderr)
    sys.exit(1)
