"""Play in environments that follow instructions, recorded so that it can be played again."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

import optimized
from amago_jax.acting.first_states import prepare, take
from amago_jax.envs import StreamState
from amago_jax.hindsight.rarity import GoalTotals
from amago_jax.hindsight.relabel import relabel as relabel_batches
from amago_jax.hindsight.segments import find_segments
from amago_jax.types import Batch


def play(env, act, memory, key, *, envs, steps):
    """Play, and record every state and the random keys of its steps, leaves ``[E, T, ...]``.

    ``act(key, states, memory)`` returns actions ``[E]`` and the memory after.
    """
    key_state, key_first, key_steps = jax.random.split(key, 3)
    state = jax.vmap(env.reset)(jax.random.split(key_state, envs))
    first = prepare(env, key_first, state, steps)

    def step(carry, key):
        state, first, memory = carry
        key_action, key_env = jax.random.split(key)
        action, memory = act(key_action, state, memory)
        keys = jax.random.split(key_env, envs)
        first, begun = take(env, first, state.timestep.is_last)
        after = jax.vmap(env.step)(keys, state, action, begun)
        return (after, first, memory), (state, keys)

    carry = (state, first, memory)
    _, recorded = jax.lax.scan(step, carry, jax.random.split(key_steps, steps))
    return jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), recorded)


def pack(states):
    """Return the timesteps of states ``[E, T]`` as packed windows."""
    ids = jnp.cumsum(states.timestep.is_first, axis=1, dtype=jnp.int32)
    # What a window begins with may be the rest of an episode.
    return Batch(states.timestep, ids - ids[:, :1] + 1)


def totals_of(protocol, seed):
    """How often goals may have been achieved."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 50, protocol.goal_count).astype(np.float32)
    return GoalTotals(counts, np.minimum(counts, 20), jnp.float32(100), jnp.float32(20))


# One program for all strategies and choices: they matter to what is drawn alone.
relabel = jax.jit(relabel_batches, static_argnames="protocol")


@functools.partial(optimized.jit, static_argnums=0)
def play_again(env, states, batch, keys):
    """Follow a batch's instructions in the environment, with the same actions and keys."""

    def row(states, timesteps, segment_ids, keys):
        begins = find_segments(segment_ids).is_start
        # The action taken at a timestep is the previous action of the next one.
        actions = jnp.roll(timesteps.previous_action, -1)

        def step(before, now):
            state, begins, goals, action, key = now
            instruction = dataclasses.replace(state.env_state.instruction, goals=goals)
            observation = {**state.timestep.observation, env.goals.goals_key: goals}
            begun = StreamState(
                env_state=dataclasses.replace(state.env_state, instruction=instruction),
                timestep=dataclasses.replace(state.timestep, observation=observation),
            )
            current = jax.tree.map(lambda a, b: jnp.where(begins, a, b), begun, before)
            return env.transition(key, current, action), current.timestep

        first = jax.tree.map(lambda x: x[0], states)
        goals = timesteps.observation[env.goals.goals_key]
        return jax.lax.scan(step, first, (states, begins, goals, actions, keys))[1]

    return jax.vmap(row)(states, batch.timesteps, batch.segment_ids, keys)


def check_against_environment(env, states, batch, new, keys):
    """A relabelled batch is what the environment does under its instructions."""
    played = play_again(env, states, new, keys)
    # An episode is kept up to where the environment ends it, and what is cut off is padding.
    kept, ids, ends = (
        np.asarray(x) for x in (new.segment_ids > 0, batch.segment_ids, played.is_last)
    )
    over = np.zeros_like(ends)
    for t in range(1, ends.shape[1]):
        over[:, t] = (ids[:, t] == ids[:, t - 1]) & (over[:, t - 1] | ends[:, t - 1])
    np.testing.assert_array_equal(kept, (ids > 0) & ~over)
    assert (ids[kept] == np.asarray(new.segment_ids)[kept]).all()
    for field in ("previous_reward", "is_last", "terminated", "time"):
        ours, theirs = (np.asarray(getattr(t, field)) for t in (new.timesteps, played))
        np.testing.assert_array_equal(ours[kept], theirs[kept], err_msg=field)
    for key, ours in new.timesteps.observation.items():
        theirs = np.asarray(played.observation[key])
        np.testing.assert_array_equal(np.asarray(ours)[kept], theirs[kept], err_msg=key)
