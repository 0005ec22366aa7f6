"""Estimate what a run takes: python scripts/estimate.py [target=h100] [setting=value]."""

from amago_jax.measure.estimating import check_estimate, print_estimate
from amago_jax.runs.cli import hydra_command

if __name__ == "__main__":
    hydra_command(print_estimate, "estimate", check_estimate)
