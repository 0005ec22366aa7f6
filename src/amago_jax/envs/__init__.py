"""Environments as streams of timesteps, made by id."""

# Before anything imports gymnax.
import amago_jax.envs.lazy_imports  # noqa: F401
from amago_jax.envs.registry import (
    check_settings,
    list_ids,
    make,
    missing_suites,
    register,
    signature,
)
from amago_jax.envs.spaces import ActionSpace, BinaryActions, ContinuousActions, DiscreteActions
from amago_jax.envs.stream import StreamEnv, StreamState

__all__ = [
    "ActionSpace",
    "BinaryActions",
    "ContinuousActions",
    "DiscreteActions",
    "StreamEnv",
    "StreamState",
    "check_settings",
    "list_ids",
    "make",
    "missing_suites",
    "register",
    "signature",
]
