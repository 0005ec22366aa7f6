"""Draw learning curves of several runs: python scripts/plot.py runs=[a,b] output=curves.png."""

from amago_jax.reports.comparing import compare
from amago_jax.runs.cli import hydra_command

if __name__ == "__main__":
    hydra_command(compare, "plot")
