"""Estimate what a run takes: python scripts/estimate.py [target=h100] [setting=value]."""

from amago_jax.__main__ import estimate

if __name__ == "__main__":
    estimate()
