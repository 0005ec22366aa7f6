"""Play in environments that follow instructions, recorded so that it can be played again."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

import optimized
from amago_jax.acting.first_states import prepare, take
from amago_jax.envs import StreamState
from amago_jax.hindsight.rarity import GoalTotals
from amago_jax.hindsight.relabel import relabel as relabel_batches
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


@struct.dataclass
class Steps:
    """What is done at every step of a walk, leaves ``[E, T, ...]``.

    Attributes:
        begins: bool, an episode begins here, whatever was before.
        firsts: what it begins with, as one does that begins because the last one is over.
        actions: int32, taken where nobody knows better.
        knows: bool, do what the expert does.
        keys: random keys of the environment's own.
    """

    begins: jax.Array
    firsts: StreamState
    actions: jax.Array
    knows: jax.Array
    keys: jax.Array


@functools.partial(optimized.jit, static_argnums=(0, 1))
def walk(env, expert, steps, goes_on):
    """Return the states ``[E, T, ...]`` of a walk.

    One program records an expert who errs and plays again what was recorded: ``goes_on`` says
    whether another episode begins where one is over, or only where ``steps.begins``.
    """

    def row(steps):
        def step(before, now):
            state, over = before
            # Of an episode that is over, the last state is followed by the first of the next.
            begins = now.begins | (over & goes_on)
            state = jax.tree.map(lambda a, b: jnp.where(begins, a, b), now.firsts, state)
            action = now.actions
            if expert is not None:
                action = jnp.where(now.knows, expert(state), action)
            return (env.transition(now.keys, state, action), state.timestep.is_last), state

        first = jax.tree.map(lambda x: x[0], steps.firsts)
        return jax.lax.scan(step, (first, jnp.zeros((), bool)), steps)[1]

    return jax.vmap(row)(steps)


def play_again(env, states, batch, keys, expert=None):
    """Follow a batch's instructions in the environment, with the same actions and keys.

    ``expert`` is whom the walk was recorded with, whose program is there already.
    """
    instruction = states.env_state.instruction
    goals = batch.timesteps.observation[env.goals.goals_key]
    observation = {**states.timestep.observation, env.goals.goals_key: goals}
    told = StreamState(
        env_state=dataclasses.replace(
            states.env_state, instruction=dataclasses.replace(instruction, goals=goals)
        ),
        timestep=dataclasses.replace(states.timestep, observation=observation),
    )
    ids = np.asarray(batch.segment_ids)
    begins = np.diff(ids, axis=1, prepend=ids[:, :1] - 1) != 0
    # The action taken at a timestep is the previous action of the next one.
    actions = np.roll(batch.timesteps.previous_action, -1, axis=1)
    steps = Steps(begins, told, actions, np.zeros_like(begins), keys)
    return walk(env, expert, steps, False).timestep


def check_against_environment(env, states, batch, new, keys, expert=None):
    """A relabelled batch is what the environment does under its instructions."""
    played = play_again(env, states, new, keys, expert)
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
