"""A run's folder."""

import itertools
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from amago_jax.errors import CheckpointError, ConfigError
from amago_jax.reports.rows import METRICS_FILE
from amago_jax.runs.checkpoints import latest_step
from amago_jax.runs.hosts import is_writer, tell_all

TOGETHER_FILE = "together.yaml"  # what runs side by side are configured by, in the folder of all


def make_directory(config: DictConfig, name: str) -> Path:
    """Make a run's folder, and put it into the configuration.

    Args:
        config: a training configuration.
        name: of the run, behind the time.

    Raises:
        ConfigError: if it cannot be made.
    """
    try:
        if config.run_dir is None:
            config.run_dir = tell_all(_new_directory(config, name) if is_writer() else "")
        elif is_writer():
            Path(config.run_dir).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"run_dir={config.run_dir}: {error.filename} cannot be made: {error.strerror}; "
            "choose another folder"
        ) from error
    return Path(config.run_dir)


def _new_directory(config: DictConfig, name: str) -> str:
    """Make a folder that is named by the time, and shared by no two runs."""
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    directory = first = Path(f"runs/{config.env.env_id}/{stamp}_{name}")
    for number in itertools.count(2):
        try:
            directory.mkdir(parents=True)
            break
        except FileExistsError:
            directory = Path(f"{first}_{number}")
    return str(directory)


def check_unused(directory: Path) -> None:
    """Check that a folder holds no run that has trained.

    Raises:
        ConfigError: if it does.
    """
    used = (directory / METRICS_FILE).exists() or (directory / TOGETHER_FILE).exists()
    used = used or latest_step(directory / "checkpoints") is not None
    if tell_all("used" if used else ""):
        raise ConfigError(f"run_dir={directory} already holds a run; choose another folder")


def save_settings(config: DictConfig, path: Path, *, resolve: bool = True) -> None:
    """Write a configuration into a run's folder.

    Raises:
        CheckpointError: if it cannot be written.
    """
    try:
        OmegaConf.save(config, path, resolve=resolve)
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error.strerror}") from error


def write_json(path: Path, content: Mapping[str, object] | Sequence[object]) -> None:
    """Write a file of JSON in one go.

    Raises:
        ValueError: if a number is not finite.
    """
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(content, allow_nan=False) + "\n", encoding="utf-8")
    part.replace(path)
