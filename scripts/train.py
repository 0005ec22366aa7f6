"""Train an agent: python scripts/train.py [group=name] [setting=value] ..., see --help."""

from amago_jax.__main__ import train

if __name__ == "__main__":
    train()
