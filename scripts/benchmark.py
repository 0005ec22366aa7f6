"""Measure learner, rollout and end-to-end speed: python scripts/benchmark.py [setting=value]."""

from amago_jax.measure.speed import benchmark
from amago_jax.runs.cli import hydra_command

if __name__ == "__main__":
    hydra_command(benchmark, "benchmark")
