"""Load a policy and act with it in a loop of one's own, after examples/train_tmaze.py.

python examples/act_with_a_saved_policy.py
"""

import jax

import amago_jax
from amago_jax import envs


def main(
    folder: str = "runs/examples/tmaze", corridor_length: int = 5, episodes: int = 8
) -> jax.Array:
    """Play episodes side by side, one step at a time.

    Args:
        folder: of a run in the T-Maze.
        corridor_length: of the maze that is played.
        episodes: how many.

    Returns:
        The return of each, float32 ``[episodes]``.
    """
    policy = amago_jax.load_policy(folder, step="best")
    env = envs.make("tmaze/passive", corridor_length=corridor_length)
    reset, step = jax.jit(jax.vmap(env.reset)), jax.jit(jax.vmap(env.step))

    keys = jax.random.split(jax.random.key(0), episodes)
    stream, memory = reset(keys), policy.initial_memory(episodes)
    returns = 0.0
    for _ in range(env.horizon):
        # What the policy sees is all in the timestep: observation, last action and reward, time.
        # The memory is carried from call to call, and forgets by itself where an episode begins.
        actions, memory = policy.act(stream.timestep, memory)
        stream = step(keys, stream, actions)
        returns += stream.timestep.previous_reward
    print("returns", returns)
    return returns


if __name__ == "__main__":
    main()
