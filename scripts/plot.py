"""Draw learning curves of several runs: python scripts/plot.py runs=[a,b] output=curves.png."""

from amago_jax.cli import hydra_command
from amago_jax.comparing import compare

if __name__ == "__main__":
    hydra_command(compare, "plot")
