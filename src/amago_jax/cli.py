"""What the scripts share: Hydra's command line with all errors found first and said plainly."""

import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

import hydra
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from amago_jax.checkpointing import CheckpointError
from amago_jax.config import CONF_DIR, ConfigError, build, compose
from amago_jax.run import TrainingError

UserError = (ConfigError, CheckpointError, TrainingError)


def hydra_command(task: Callable[[DictConfig], object], config_name: str) -> None:
    """Run a script's task under Hydra, with the overrides of the command line.

    Every run of a multirun is composed and checked before the first begins. What the user can
    mend ends in one sentence on standard error and exit code 1.

    Args:
        task: called with the composed configuration.
        config_name: a file at the top of conf/.
    """
    sweep = [flag for flag in ("--multirun", "-m") if flag in sys.argv]
    # Hydra's parser takes overrides in one piece: a flag between them would cut off the rest.
    sys.argv[1:] = sweep + [argument for argument in sys.argv[1:] if argument not in sweep]
    overrides = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    if not any(argument in ("--help", "-h", "--hydra-help") for argument in sys.argv[1:]):
        try:
            check(overrides, config_name, sweep=bool(sweep))
        except UserError as error:
            fail(error)

    def guarded(config: DictConfig) -> None:
        try:
            task(config)
        except UserError as error:
            fail(error)

    hydra.main(version_base="1.3", config_path=str(CONF_DIR.resolve()), config_name=config_name)(
        guarded
    )()


def check(overrides: Sequence[str], config_name: str, sweep: bool) -> None:
    """Compose, and for a training build, every run that the overrides ask for.

    Raises:
        ConfigError: naming the first thing wrong.
    """
    runs = [list(overrides)]
    if sweep:
        try:
            parsed = OverridesParser.create().parse_overrides(list(overrides))
        except HydraException as error:
            raise ConfigError(str(error).strip().splitlines()[0]) from error
        runs = BasicSweeper.split_arguments(parsed, max_batch_size=None)[0]
    for run in runs:
        config = compose(run, config_name)
        for key in sorted(OmegaConf.missing_keys(config)):
            if not key.startswith("hydra."):
                raise ConfigError(f"{key} is missing: give {key}=...")
        if config_name in ("config", "benchmark"):
            build(config)


def fail(error: Exception) -> NoReturn:
    """Print one sentence and leave with exit code 1."""
    print(f"error: {error}", file=sys.stderr)
    sys.exit(1)
