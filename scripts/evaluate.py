"""Evaluate a trained agent: python scripts/evaluate.py checkpoint=<run folder>."""

from amago_jax.runs.cli import hydra_command
from amago_jax.runs.commands import evaluate

if __name__ == "__main__":
    hydra_command(evaluate, "evaluate")
