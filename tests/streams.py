"""Random episodes as streams of timesteps, for the property tests."""

import jax
import numpy as np

from amago_jax.types import Batch, Timestep


def random_episode(rng, transitions, *, actions=3, discrete=True, features=2, terminated=True):
    """One whole episode as a Timestep of NumPy leaves ``[transitions + 1, ...]``."""
    n = transitions + 1
    if discrete:
        previous_action = rng.integers(0, actions, n).astype(np.int32)
        previous_action[0] = -1
    else:
        previous_action = rng.uniform(-1, 1, (n, actions)).astype(np.float32)
        previous_action[0] = 0
    reward = rng.normal(size=n).astype(np.float32)
    reward[0] = 0
    ends = np.arange(n) == transitions
    return Timestep(
        observation={"observation": rng.normal(size=(n, features)).astype(np.float32)},
        previous_action=previous_action,
        previous_reward=reward,
        time=np.arange(n, dtype=np.int32),
        is_first=np.arange(n) == 0,
        is_last=ends,
        terminated=ends & terminated,
    )


def concatenate(episodes):
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *episodes)


def pad(episode, length, fill=0):
    def extend(x):
        widths = [(0, length - len(x))] + [(0, 0)] * (x.ndim - 1)
        return np.pad(x, widths, constant_values=bool(fill) if x.dtype == bool else fill)

    return jax.tree.map(extend, episode)


def pack(rows, length, fill=0):
    """A Batch of rows, each a list of episodes that follow one another, then padding."""
    ids = np.zeros((len(rows), length), np.int32)
    for row, episodes in enumerate(rows):
        at = 0
        for index, episode in enumerate(episodes):
            ids[row, at : at + len(episode.time)] = index + 1
            at += len(episode.time)
    padded = [pad(concatenate(episodes), length, fill) for episodes in rows]
    timesteps = jax.tree.map(lambda *leaves: jax.device_put(np.stack(leaves)), *padded)
    return Batch(timesteps, jax.device_put(ids))
