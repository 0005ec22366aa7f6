"""The scripts' command line, in this process: nothing is started, nothing is imported anew."""

import sys

import pytest

from amago_jax.runs.cli import hydra_command
from amago_jax.runs.commands import train


def command(monkeypatch, *arguments, task=train, config_name="config", exit_code=None):
    """Run a script's command; where it leaves, check its exit code.

    Args:
        monkeypatch: pytest's.
        *arguments: the command line.
        task: what the script does.
        config_name: the script's primary configuration.
        exit_code: with which it must leave; None: it does not.
    """
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
    if exit_code is None:
        hydra_command(task, config_name)
        return
    with pytest.raises(SystemExit) as left:
        hydra_command(task, config_name)
    assert (left.value.code or 0) == exit_code
