"""Configurations that runs left: settings are read, and nothing in them is evaluated."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from amago_jax.errors import FileError, disk_reason, first_line

# A reference to another setting; all others call functions: ``${oc.env:HOME}`` reads a variable.
REFERENCE = re.compile(r"\$\{[\w.\[\]]+\}")


def read_settings(path: Path) -> DictConfig:
    """Read a configuration that a run left, whose settings may refer to each other.

    Args:
        path: of a file in YAML.

    Raises:
        FileError: if it cannot be read, or asks for more than settings, naming it.
    """
    try:
        config = OmegaConf.load(path)
        if not isinstance(config, DictConfig):
            raise FileError("not settings by name")
        check_references(OmegaConf.to_container(config, resolve=False))
    except OSError as error:
        raise FileError(f"{path}: {disk_reason(error)}") from error
    except Exception as error:  # whatever YAML's parser and OmegaConf raise
        raise FileError(f"{path}: {first_line(error)}") from error
    return config


def check_references(tree: Any) -> None:
    """Check that settings refer to nothing but each other.

    Args:
        tree: of dictionaries and lists, not resolved.

    Raises:
        FileError: if one calls a function.
    """
    for text in _strings(tree):
        if "${" in REFERENCE.sub("", text):
            raise FileError(
                f"{text!r} is more than a reference to another setting, such as ${{seed}}, and is "
                "not evaluated where it comes from a file"
            )


def _strings(tree: Any) -> Iterator[str]:
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, dict):
        for value in tree.values():
            yield from _strings(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _strings(value)
