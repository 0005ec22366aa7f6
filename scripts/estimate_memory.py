"""Estimate the memory of a training run: python scripts/estimate_memory.py [setting=value]."""

from amago_jax.cli import hydra_command
from amago_jax.memory import estimate_memory

if __name__ == "__main__":
    hydra_command(estimate_memory, "estimate_memory")
