"""Runs: configuration, progress, logs, checkpoints, and the commands."""

from amago_jax.runs.building import build
from amago_jax.runs.commands import train
from amago_jax.runs.config import compose
from amago_jax.runs.loading import load_policy, load_run
from amago_jax.runs.run import Run, make_run
from amago_jax.runs.side_by_side import Runs, make_runs

__all__ = [
    "Run",
    "Runs",
    "build",
    "compose",
    "load_policy",
    "load_run",
    "make_run",
    "make_runs",
    "train",
]
