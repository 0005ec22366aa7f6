"""Draw learning curves of several runs: python scripts/plot.py runs=[a,b] output=curves.png."""

from amago_jax.__main__ import plot

if __name__ == "__main__":
    plot()
