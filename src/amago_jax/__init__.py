"""amago_jax: AMAGO in JAX, on the accelerator from end to end.

The Python API in one breath: `make_run` builds a run from configuration overrides, `Run.epochs`
trains it, `load_policy` gives its policy back to act with.
"""

from amago_jax.config import ConfigError, compose
from amago_jax.policy import Policy
from amago_jax.run import Run, TrainingError, load_policy, load_run, make_run, train

__all__ = [
    "ConfigError",
    "Policy",
    "Run",
    "TrainingError",
    "compose",
    "load_policy",
    "load_run",
    "make_run",
    "train",
]
