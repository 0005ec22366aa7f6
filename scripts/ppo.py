"""Train recurrent PPO, to compare with: python scripts/ppo.py [setting=value] ..."""

from amago_jax.__main__ import ppo

if __name__ == "__main__":
    ppo()
