"""A memory of one's own in place of the Transformer: python examples/own_memory.py."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

import amago_jax
from amago_jax.models.trajectory_encoder import RecurrentEncoder
from amago_jax.settings import Share, Size

MAZE = ["env=tmaze/passive", "env.corridor_length=5", "rollout_steps=14"]


class Average(RecurrentEncoder):
    """A running average of what was seen: `unroll` learns with it, `decode` acts, alike."""

    width: Size = 64
    decay: Share = 0.9

    def setup(self):
        self.inner, self.outer = nn.Dense(self.width), nn.Dense(self.width)

    def unroll(self, x, positions):
        def step(memory, now):
            seen, first = now
            memory = jnp.where(first[:, None], 0.0, memory) * self.decay + seen
            return memory, memory

        seen = jnp.tanh(self.inner(x))
        over_time = (seen.swapaxes(0, 1), (positions == 0).swapaxes(0, 1))
        _, memories = jax.lax.scan(step, self.initial_memory(x.shape[0]), over_time)
        return jnp.tanh(self.outer(jnp.concatenate([seen, memories.swapaxes(0, 1)], axis=-1)))

    def initial_memory(self, batch_size):
        return jnp.zeros((batch_size, self.width))

    def decode(self, x, time, is_first, memory):
        seen = jnp.tanh(self.inner(x))
        memory = jnp.where(is_first[:, None], 0.0, memory) * self.decay + seen
        return jnp.tanh(self.outer(jnp.concatenate([seen, memory], axis=-1))), memory


def main(settings: Sequence[str] = (), folder: str = "runs/examples/own_memory") -> float:
    """Train it on the T-Maze and return the mean return; ``settings`` are further ones."""
    # Settings of the Transformer that it does not take are left out; a line says which.
    own = ["trajectory_encoder._target_=own_memory.Average", "trajectory_encoder.decay=0.95"]
    run = amago_jax.make_run([*MAZE, *own, *settings], run_dir=folder)
    for row in run.epochs():
        print(f"epoch {row['epoch']:.0f}: return {row['evaluation/return']:.2f}")
    run.save()
    policy = amago_jax.load_policy(folder, imports=["own_memory"])
    print("remembers", policy.initial_memory(1).shape)
    return row["evaluation/return"]


if __name__ == "__main__":
    main()
