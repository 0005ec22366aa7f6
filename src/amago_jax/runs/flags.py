"""A command line, taken apart by Hydra's own parser: its flags, and the overrides."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from hydra._internal.utils import get_args_parser

from amago_jax.errors import ConfigError
from amago_jax.runs.config import Sources

# Flags of which Hydra takes one at a time.
ALONE = ("run", "multirun", "cfg", "info", "shell_completion")
# Flags that show something instead of running; the first two compose a configuration for it.
COMPOSING = ("cfg", "info")
SHOWING = (*COMPOSING, "help", "hydra_help", "shell_completion", "experimental_rerun")


@dataclasses.dataclass(frozen=True)
class CommandLine:
    """A command line, taken apart.

    Attributes:
        flags: Hydra's, each with its value in one argument, as ``--cfg=job``.
        overrides: everything else, in order.
        config_name: the primary configuration.
        sources: the folders it comes from.
        multirun: whether a flag asks for several runs.
        runs: whether anything is run.
        composes: whether what is run or shown is composed of the overrides.
    """

    flags: list[str]
    overrides: list[str]
    config_name: str
    sources: Sources
    multirun: bool
    runs: bool
    composes: bool


def parse(arguments: Sequence[str], config_name: str) -> CommandLine:
    """Take a command line apart; flags may stand anywhere, with their value or before it.

    Args:
        arguments: without the program's name.
        config_name: the primary configuration, unless a flag names another.

    Returns:
        The command line, whose flags Hydra may be given ahead of all overrides.

    Raises:
        ConfigError: if a flag names a folder that is not there, or two do not go together.
        SystemExit: if a flag is unknown or its value is; Hydra's parser has said so.
    """
    found = vars(get_args_parser().parse_intermixed_args(list(arguments)))
    overrides = found.pop("overrides")
    for name in ("config_path", "config_dir"):
        found[name] = _folder(name, found[name])
    if found["hydra_help"]:  # Hydra composes its own settings alone
        overrides = [override for override in overrides if override.startswith("hydra")]
    given = {name: value for name, value in found.items() if value not in (None, False)}
    clashing = [_flag(name) for name in ALONE if name in given]
    if len(clashing) > 1:
        raise ConfigError(f"{' and '.join(clashing)} do not go together: give one of them")
    if "resolve" in given and not {"cfg", "help"} & given.keys():
        raise ConfigError("--resolve goes with --cfg or --help")
    # Written so, a flag cannot take an override for its value.
    flags = [_flag(name) + ("" if value is True else f"={value}") for name, value in given.items()]
    runs = not any(name in given for name in SHOWING)
    return CommandLine(
        flags=flags,
        overrides=overrides,
        config_name=given.get("config_name", config_name),
        sources=Sources(given.get("config_path"), given.get("config_dir")),
        multirun="multirun" in given,
        runs=runs,
        composes=runs or any(name in given for name in COMPOSING),
    )


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _folder(name: str, path: str | None) -> str | None:
    """Return a flag's folder as an absolute path: it is meant from where the user stands."""
    if path is None or "://" in path:  # a package, pkg://..., is found by Python
        return path
    if not Path(path).is_dir():
        raise ConfigError(f"{_flag(name)}={path}: there is no such folder")
    return str(Path(path).absolute())
