"""Estimate what a run takes: python scripts/estimate.py [target=h100] [setting=value]."""

import sys

import jax

if any(argument.startswith("target=") and argument != "target=here" for argument in sys.argv[1:]):
    # What is only described is traced on the processor. JAX starts with the imports that follow,
    # and would look for accelerators whose compilers are installed.
    jax.config.update("jax_platforms", "cpu")

from amago_jax.measure.estimating import check_estimate, print_estimate
from amago_jax.runs.cli import hydra_command

if __name__ == "__main__":
    hydra_command(print_estimate, "estimate", check_estimate)
