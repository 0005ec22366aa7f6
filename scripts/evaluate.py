"""Evaluate a trained agent: python scripts/evaluate.py checkpoint=<run folder>."""

from amago_jax.cli import hydra_command
from amago_jax.run import evaluate

if __name__ == "__main__":
    hydra_command(evaluate, "evaluate")
