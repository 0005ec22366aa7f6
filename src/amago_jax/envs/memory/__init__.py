"""Environments that test memory."""

from amago_jax.envs.memory.tmaze import make_tmaze

__all__ = ["make_tmaze"]
