"""Measure a Transformer's acting step: python scripts/benchmark_decoding.py [setting=value]."""

from amago_jax.measure.decoding import benchmark_decoding
from amago_jax.runs.cli import hydra_command

if __name__ == "__main__":
    hydra_command(benchmark_decoding, "benchmark_decoding")
