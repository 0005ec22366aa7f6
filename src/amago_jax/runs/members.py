"""Which runs are trained side by side: a seed each, and every setting of a grid with every seed."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from amago_jax.errors import ConfigError, FileError, first_line, nearest
from amago_jax.reports.finding import flatten
from amago_jax.reports.saved import read_settings
from amago_jax.runs.directories import TOGETHER_FILE, save_settings
from amago_jax.runs.frozen import thaw
from amago_jax.runs.schema import RUN
from amago_jax.settings import Seed, check


def write_together(config: DictConfig, directory: Path) -> None:
    """Write the configuration of all runs into the folder of all, which may be moved later.

    Raises:
        CheckpointError: if it cannot be written.
    """
    moved = thaw(config)
    named: Any = OmegaConf.to_container(config, resolve=False)
    moved.run_dir = os.path.relpath(named["run_dir"], directory)
    save_settings(moved, directory / TOGETHER_FILE, resolve=False)


def read_together(path: Path) -> DictConfig:
    """Read what `write_together` wrote, with the folder where it is now.

    Raises:
        FileError: if it cannot be read, or is not what was written.
    """
    config = read_settings(path)
    named: Any = OmegaConf.to_container(config, resolve=False)
    config.run_dir = os.path.normpath(path.parent / str(named.get("run_dir")))
    try:
        folders = [os.path.abspath(member.run_dir) for member in members(config)]
    except (ConfigError, OmegaConfBaseException) as error:
        raise FileError(f"{path}: {first_line(error)}") from error
    whole = os.path.abspath(path.parent)
    for folder in folders:
        if os.path.commonpath([folder, whole]) != whole:
            raise FileError(f"{path}: run_dir={named['run_dir']} leads out of {path.parent}")
    return config


def is_side_by_side(config: DictConfig) -> bool:
    """Whether a configuration is of several runs; those saved before there were any are not."""
    return config.get("seeds") is not None or config.get("grid") is not None


def members(config: DictConfig) -> list[DictConfig]:
    """Return the configuration of every run, with its seed, settings and folder.

    Where ``run_dir`` names a folder for each already, for it holds ``${seed}`` for instance, it is
    as it is; else each run gets a folder in it.

    Args:
        config: a training configuration with ``seeds`` or ``grid``, and a ``run_dir``.

    Raises:
        ConfigError: if seeds or grid are not what they should be.
    """
    found, folders = [], []
    for settings, seed in itertools.product(_settings(config), seeds_of(config)):
        member = config.copy()
        member.seeds, member.grid, member.seed = None, None, seed
        for name, value in settings.items():
            _set(member, name, value)
        found.append(member)
        folders.append(PurePath(*[f"{k}={v}" for k, v in settings.items()], f"seed{seed}"))
    if len({str(member.run_dir) for member in found}) < len(found) or len(found) == 1:
        for member, folder in zip(found, folders, strict=True):
            member.run_dir = str(PurePath(config.run_dir) / folder)
    return found


def count_members(config: DictConfig) -> int:
    """Return how many runs `members` would make."""
    return len(seeds_of(config)) * len(list(_settings(config)))


def seeds_of(config: DictConfig) -> list[int]:
    """Return the seeds: those listed, or so many from ``seed`` on.

    Raises:
        ConfigError: if they are neither, one is there twice, or one is more than a seed can be.
    """
    given = config.get("seeds")
    if given is None:
        return [config.seed]
    seeds: Any = OmegaConf.to_container(given) if OmegaConf.is_list(given) else given
    check("seeds", seeds, RUN["seeds"])
    check("seed", config.seed, Seed)
    if isinstance(seeds, list):
        return seeds
    check(f"seeds={seeds} from seed={config.seed} on: the last", config.seed + seeds - 1, Seed)
    return list(range(config.seed, config.seed + seeds))


def _settings(config: DictConfig) -> Iterator[dict[str, Any]]:
    """Yield every setting of the grid; one that changes nothing if there is none."""
    grid = config.get("grid")
    if grid is None:
        yield {}
        return
    named: Any = OmegaConf.to_container(grid) if OmegaConf.is_config(grid) else grid
    check("grid", named, RUN["grid"])
    for values in itertools.product(*named.values()):
        yield dict(zip(map(str, named), values, strict=True))


def _set(config: DictConfig, name: str, value: Any) -> None:
    try:
        if OmegaConf.select(config, name) is None:
            tree: Any = OmegaConf.to_container(config, resolve=False)
            known = [key for key, given in flatten(tree).items() if given is not None]
            ends = [key for key in known if key.rpartition(".")[2] == name]
            hint = f"did you mean {' or '.join(ends)}?" if ends else nearest(name, known)
            said = f"grid: there is no setting {name!r} with a value"
            raise ConfigError(f"{said}; {hint}" if hint else said)
        OmegaConf.update(config, name, value)
    except OmegaConfBaseException as error:
        raise ConfigError(f"grid: {name}={value}: {first_line(error)}") from error
