"""Worlds that misbehave: small environments in gymnax's interface, each odd in one way."""

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments import spaces

HORIZON = 5
# What goes wrong in an episode, by the number that its state holds.
FAULTS = ("none", "observation", "reward", "flag", "reset", "far", "rich", "dear")


@struct.dataclass
class WorldState:
    time: jax.Array
    fault: jax.Array
    fuse: jax.Array  # steps until it shows


class World:
    """Walk on for five steps: nothing is odd, but in episodes whose state says so.

    Attributes:
        risk: of an episode to have one of the faults that are NaN or infinite.
    """

    def __init__(self, risk=0.0):
        self.risk = risk

    def reset_env(self, key, params):
        key_risk, key_fault, key_fuse = jax.random.split(key, 3)
        risky = jax.random.bernoulli(key_risk, self.risk)
        fault = jnp.where(risky, jax.random.randint(key_fault, (), 1, 5), 0)
        fuse = jax.random.randint(key_fuse, (), 1, HORIZON)
        broken = jnp.where(fault == FAULTS.index("reset"), jnp.nan, 0.5)
        return jnp.stack([jnp.zeros(()), broken]), WorldState(jnp.zeros((), int), fault, fuse)

    def step_env(self, key, state, action, params):
        state = state.replace(time=state.time + 1)

        def odd(usual, **faults):
            for name, value in faults.items():
                shows = (state.fault == FAULTS.index(name)) & (state.time >= state.fuse)
                usual = jnp.where(shows, value, usual)
            return usual

        seen = jnp.stack([state.time / HORIZON, odd(0.5, observation=jnp.nan, far=1e20)])
        reward = odd(0.1, reward=jnp.inf, rich=1e30, dear=1e6)
        return seen, state, reward, odd(0.0, flag=jnp.nan), {}

    def is_truncated(self, state, params):
        return jnp.zeros((), bool)

    def action_space(self, params):
        return spaces.Discrete(3)

    def observation_space(self, params):
        return spaces.Box(0.0, 1.0, (2,))
