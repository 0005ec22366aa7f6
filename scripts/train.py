"""Train an agent: python scripts/train.py [group=name] [setting=value] ..., see --help."""

from amago_jax.runs.cli import hydra_command
from amago_jax.runs.commands import resume, train

if __name__ == "__main__":
    hydra_command(train, "config", resume=resume)
