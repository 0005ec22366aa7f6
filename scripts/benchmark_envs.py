"""Measure environments with random actions: python scripts/benchmark_envs.py [setting=value]."""

from amago_jax.measure.environments import benchmark_envs
from amago_jax.runs.cli import hydra_command

if __name__ == "__main__":
    hydra_command(benchmark_envs, "benchmark_envs")
