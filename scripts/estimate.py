"""Estimate what a run takes: python scripts/estimate.py [target=h100] [setting=value]."""

# ruff: noqa: E402, for what is imported last may start JAX.
import sys

import jax

given = [argument.partition("=") for argument in sys.argv[1:]]
targets = {target for name, _, value in given if name == "target" for target in value.split(",")}
if targets - {"here"}:
    if "here" in targets:
        sys.exit("error: target=here cannot be swept over with others: estimate it by itself")
    # What is only described is traced on the processor. JAX starts with the imports that follow,
    # and would look for accelerators whose compilers are installed.
    jax.config.update("jax_platforms", "cpu")

from amago_jax.measure.estimating import check_estimate, print_estimate
from amago_jax.runs.cli import hydra_command

if __name__ == "__main__":
    hydra_command(print_estimate, "estimate", check_estimate)
