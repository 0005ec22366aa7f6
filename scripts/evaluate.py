"""Evaluate a trained agent: python scripts/evaluate.py checkpoint=<run folder>."""

from amago_jax.__main__ import evaluate

if __name__ == "__main__":
    evaluate()
