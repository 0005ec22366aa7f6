"""Measure learner, rollout and end-to-end speed: python scripts/benchmark.py [setting=value]."""

from amago_jax.__main__ import benchmark

if __name__ == "__main__":
    benchmark()
