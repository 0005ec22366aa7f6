"""amago_jax: AMAGO in JAX, on the accelerator from end to end.

The Python API in one breath: `make_run` builds a run from configuration overrides, `Run.train`
trains it, `load_policy` gives its policy back to act with.
"""

# ruff: noqa: E402, for what is imported next may start JAX.
from amago_jax.xla_flags import set_flags

set_flags()

from amago_jax import envs, interop
from amago_jax.acting.policy import Policy
from amago_jax.errors import CheckpointError, ConfigError, TrainingError
from amago_jax.runs.commands import train
from amago_jax.runs.config import compose
from amago_jax.runs.loading import load_policy, load_run
from amago_jax.runs.run import Run, make_run
from amago_jax.runs.side_by_side import Runs, make_runs

__all__ = [
    "CheckpointError",
    "ConfigError",
    "Policy",
    "Run",
    "Runs",
    "TrainingError",
    "compose",
    "envs",
    "interop",
    "load_policy",
    "load_run",
    "make_run",
    "make_runs",
    "train",
]
