"""Measure attention of long windows: python scripts/benchmark_attention.py [setting=value]."""

from amago_jax.measure.attention import benchmark_attention
from amago_jax.runs.cli import hydra_command

if __name__ == "__main__":
    hydra_command(benchmark_attention, "benchmark_attention")
