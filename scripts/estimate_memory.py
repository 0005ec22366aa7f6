"""Estimate the memory of a training run: python scripts/estimate_memory.py [setting=value]."""

from amago_jax.measure.memory import estimate_memory
from amago_jax.runs.cli import hydra_command

if __name__ == "__main__":
    hydra_command(estimate_memory, "estimate_memory")
